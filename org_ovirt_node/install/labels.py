"""SELinux labels of what the installation wrote.

The image's own files bring their labels along; files that were written by a kernel without SELinux have none, and a
node in enforcing mode would refuse them.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Optional

from org_ovirt_node.boot.files import LABEL
from org_ovirt_node.install.root import NodeRoot
from org_ovirt_node.install.system import read
from org_ovirt_node.run import Completed, run

CONFIG = "etc/selinux/config"


def labelled(path: Path) -> bool:
    """True when the file has an SELinux label of its own."""
    try:
        os.getxattr(path, LABEL, follow_symlinks=False)
    except OSError:
        return False
    return True


def _whiteout(path: Path) -> bool:
    """True for the mark of a file that is gone (kernel: filesystems/overlayfs.rst): in the overlay there is none."""
    status = path.lstat()
    return stat.S_ISCHR(status.st_mode) and status.st_rdev == 0


def unlabelled(base: Path, shown_as: str) -> Iterator[str]:
    """Paths in the new system of everything on the file system at ``base`` without a label, itself included.

    ``base`` lies at ``shown_as`` there.  What is mounted below it is left alone: an ESP can have no labels.
    """
    device = base.stat().st_dev
    for folder, below, names in os.walk(base):
        place = Path(folder)
        links = [name for name in below if (place / name).is_symlink()]
        below[:] = [name for name in below if name not in links and (place / name).stat().st_dev == device]
        for path in (place, *(place / name for name in (*names, *links))):
            if not labelled(path) and not _whiteout(path):
                yield str(Path(shown_as) / path.relative_to(base))


def policy_type(config: str) -> str:
    """The policy that /etc/selinux/config selects (selinux_config(5)); "" when it selects none."""
    found = re.search(r"^\s*SELINUXTYPE\s*=\s*(\S+)", config, re.MULTILINE)
    return found.group(1) if found else ""


def file_contexts(root: Path) -> Optional[Path]:
    """The policy's file contexts, as a path within ``root``; None where the tree has no policy or no setfiles."""
    policy = policy_type(read(root, CONFIG))
    if not policy or not any((root / folder / "setfiles").exists() for folder in ("usr/sbin", "sbin")):
        return None
    contexts = Path("etc/selinux") / policy / "contexts/files/file_contexts"
    return contexts if (root / contexts).is_file() else None


def label_paths(root: Path, contexts: Path, paths: Iterable[str], *, check: bool = True) -> Completed:
    """Give ``paths``, as they are in the tree ``root``, the labels that its ``contexts`` have for them."""
    listing = "".join(f"{path}\0" for path in paths)
    return run(["setfiles", "-F", "-0", "-f", "-", f"/{contexts}"], root=root, input=listing, check=check)


def label_new(node: NodeRoot, shared: Sequence[str]) -> None:
    """Label what has no label in the layer, on /boot and in the ``shared`` volumes (mount points)."""
    contexts = file_contexts(node.root)
    if contexts is None or not labelled(node.tree / "usr"):
        return
    paths = list(unlabelled(node.upper, "/"))
    for mountpoint in ("/boot", *shared):
        paths += unlabelled(node.root / mountpoint.lstrip("/"), mountpoint)
    found = sorted(set(paths))
    if found:
        label_paths(node.root, contexts, found)

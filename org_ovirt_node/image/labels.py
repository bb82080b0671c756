"""SELinux labels of a tree, by the tree's own policy."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from org_ovirt_node.image.squash import walk
from org_ovirt_node.install.labels import file_contexts, label_paths
from org_ovirt_node.progress import Progress
from org_ovirt_node.run import run

#: File systems of the running kernel, which get their labels at run time.
NOT_LABELLED = ("/proc", "/sys", "/dev", "/run")
NOT_LABELLED_BELOW = tuple(f"{path}/" for path in NOT_LABELLED)


def apply(root: Path, progress: Progress) -> bool:
    """Label every file below ``root``; returns False where the tree has no policy.

    The tree's own setfiles runs in a chroot.  It writes ``security.selinux`` attributes, which the host's kernel
    stores whether it knows SELinux or not.  A file that has its label already is not touched.
    """
    contexts = file_contexts(root)
    if contexts is None:
        return False
    progress.step("labels", "Setting SELinux labels")
    excluded = [part for path in NOT_LABELLED if (root / path.lstrip("/")).is_dir() for part in ("-e", path)]
    run(["setfiles", "-F", *excluded, f"/{contexts}", "/"], root=root)
    others = sorted(elsewhere(root))
    if others:
        label_paths(root, contexts, others)
    return True


def elsewhere(root: Path) -> Iterator[str]:
    """The paths in ``root`` that setfiles passes over, since they are on another file system than its folders.

    In an overlay whose sides are of two file systems (an image below, a disk above) those are all but the folders
    (kernel, overlayfs.rst, "inode properties").
    """
    device = root.stat().st_dev
    for entry in walk(root):
        path = f"/{os.path.relpath(entry.path, root)}"
        if entry.stat(follow_symlinks=False).st_dev != device and not path.startswith(NOT_LABELLED_BELOW):
            yield path


def add_equal_places(root: Path, places: Sequence[tuple[str, str]]) -> None:
    """Tell the policy that each first path is labelled like the second (semanage-fcontext(8), --equal)."""
    contexts = file_contexts(root)
    if contexts is None:
        return
    file = (root / contexts).with_name("file_contexts.subs")
    lines = file.read_text(encoding="utf-8").splitlines() if file.exists() else []
    lines += [line for line in (f"{new} {old}" for new, old in places) if line not in lines]
    file.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")

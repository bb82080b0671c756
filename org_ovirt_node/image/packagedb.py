"""The package database in the image: below /usr, and true about what the image holds.

On a node /var is shared by all layers, so a database there would describe the layer that wrote it last.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from org_ovirt_node.errors import ImageError
from org_ovirt_node.image.chroot import run_in

DPKG_OLD = Path("var/lib/dpkg")
DPKG_NEW = Path("usr/lib/sysimage/dpkg")
RPM_OLD = Path("var/lib/rpm")
RPM_NEW = Path("usr/lib/sysimage/rpm")
#: SELinux labels the database as it would at its usual place (file_contexts.subs: new place, old place).
SAME_LABELS = ((f"/{DPKG_NEW}", f"/{DPKG_OLD}"), (f"/{RPM_NEW}", f"/{RPM_OLD}"))


def is_dpkg(root: Path) -> bool:
    """True when the tree is of Debian packages."""
    return (root / DPKG_OLD / "status").is_file()


def move(root: Path) -> None:
    """Move the database to /usr/lib/sysimage, with a relative link at its old place.  Does nothing when it is there.

    Raises :class:`ImageError` for a tree that has a database at both places.
    """
    for old, new in ((DPKG_OLD, DPKG_NEW), (RPM_OLD, RPM_NEW)):
        source, target = root / old, root / new
        if source.is_symlink() or not source.is_dir():
            continue
        if target.exists() and any(target.iterdir()):
            if any(source.iterdir()):
                raise ImageError(f"the tree has a package database at /{old} and another one at /{new}")
            source.rmdir()
        else:
            target.parent.mkdir(parents=True, exist_ok=True)
            if target.exists():
                target.rmdir()
            # A copy and not a rename: a folder of an overlay's lower side cannot be renamed (overlayfs.rst).
            shutil.copytree(source, target, symlinks=True)
            shutil.copystat(source, target)
            shutil.rmtree(source)
        source.symlink_to(os.path.relpath(f"/{new}", f"/{old.parent}"))


def divert(root: Path, source: str, target: str) -> None:
    """Move the file ``source`` to ``target`` (both absolute), with dpkg's knowledge (dpkg-divert(1)).

    dpkg then finds, verifies and updates the file at its new place.
    """
    (root / target.lstrip("/")).parent.mkdir(parents=True, exist_ok=True)
    if is_dpkg(root):
        run_in(root, ["dpkg-divert", "--local", "--rename", "--add", "--divert", target, source])
    else:
        shutil.move(os.fspath(root / source.lstrip("/")), os.fspath(root / target.lstrip("/")))


def tidy(root: Path) -> None:
    """Remove dpkg's own backups and locks: they hold nothing, and differ between two builds."""
    folder = root / DPKG_NEW
    for name in ("status-old", "diversions-old", "statoverride-old", "available-old", "lock", "lock-frontend"):
        (folder / name).unlink(missing_ok=True)

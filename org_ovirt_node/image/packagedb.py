"""The package database and SELinux' module store in the image: below /usr, and true about what the image holds.

On a node /var is shared by all layers, so a database there would describe the layer that wrote it last, and a rollback
would rebuild the policy from another layer's modules.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from org_ovirt_node.errors import ImageError
from org_ovirt_node.image.chroot import run_in
from org_ovirt_node.node.installed import DPKG_NEW, DPKG_OLD, RPM_NEW, RPM_OLD

SELINUX_OLD = Path("var/lib/selinux")
SELINUX_NEW = Path("usr/lib/sysimage/selinux")
MOVED = ((DPKG_OLD, DPKG_NEW), (RPM_OLD, RPM_NEW), (SELINUX_OLD, SELINUX_NEW))
#: SELinux labels them as it would at their usual places (file_contexts.subs: new place, old place).
SAME_LABELS = tuple((f"/{new}", f"/{old}") for old, new in MOVED)


def is_dpkg(root: Path) -> bool:
    """True when the tree is of Debian packages."""
    return (root / DPKG_OLD / "status").is_file()


def move(root: Path) -> None:
    """Move them to /usr/lib/sysimage, with relative links at their old places.  Does nothing when they are there.

    Raises :class:`ImageError` for a tree that has one of them at both places.
    """
    for old, new in MOVED:
        source, target = root / old, root / new
        if source.is_symlink() or not source.is_dir():
            continue
        if target.exists() and any(target.iterdir()):
            if any(source.iterdir()):
                raise ImageError(f"the tree has a /{old} and another one at /{new}")
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
    """Remove the package managers' own backups, locks and indices: they hold nothing, and differ between two builds."""
    folder = root / DPKG_NEW
    for name in ("status-old", "diversions-old", "statoverride-old", "available-old", "lock", "lock-frontend"):
        (folder / name).unlink(missing_ok=True)
    folder = root / RPM_NEW
    log = folder / "rpmdb.sqlite-wal"
    if not log.exists() or not log.stat().st_size:
        # Of a log with nothing in it; SQLite makes both anew (sqlite.org, walformat.html).
        for name in ("rpmdb.sqlite-wal", "rpmdb.sqlite-shm", ".rpm.lock"):
            (folder / name).unlink(missing_ok=True)

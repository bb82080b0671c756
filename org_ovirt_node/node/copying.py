"""Copying single files and folders with all that belongs to them: owner, mode, times, extended attributes.

SELinux labels and POSIX ACLs are extended attributes (xattr(7)), so they go along.
"""

from __future__ import annotations

import errno
import logging
import os
import shutil
import stat
from pathlib import Path

from org_ovirt_node.boot.files import LABEL
from org_ovirt_node.errors import StorageError

log = logging.getLogger(__name__)

#: Overlayfs keeps its own state in these; they mean something in its own upper folder only.
OVERLAY_ATTRIBUTES = ("trusted.overlay.", "user.overlay.")
#: The running SELinux policy does not know a label, or does not let it be set.
LABEL_REFUSED = (errno.EINVAL, errno.EACCES)
#: A file system without extended attributes, or without this kind of them, is no reason to stop.
UNSUPPORTED = (errno.ENOTSUP, errno.EPERM, errno.ENODATA)


def copy_attributes(source: Path, target: Path) -> None:
    """Owner, mode, extended attributes and times of ``source``, neither of which is followed when it is a link."""
    status = source.lstat()
    os.lchown(target, status.st_uid, status.st_gid)
    if not stat.S_ISLNK(status.st_mode):
        target.chmod(stat.S_IMODE(status.st_mode))
    for name in attribute_names(source):
        if name.startswith(OVERLAY_ATTRIBUTES):
            continue
        try:
            os.setxattr(target, name, os.getxattr(source, name, follow_symlinks=False), follow_symlinks=False)
        except OSError as exc:
            if name == LABEL and exc.errno in LABEL_REFUSED:
                # Of another image's policy: the file keeps the label that it was made with.
                log.warning("the running SELinux policy refuses the label of %s", source)
            elif exc.errno not in UNSUPPORTED:
                raise
    os.utime(target, ns=(status.st_atime_ns, status.st_mtime_ns), follow_symlinks=False)


def attribute_names(path: Path) -> list[str]:
    """The names of a path's extended attributes; none where the file system has no such thing."""
    try:
        return os.listxattr(path, follow_symlinks=False)
    except OSError as exc:
        if exc.errno not in UNSUPPORTED:
            raise
        return []


def copy_one(source: Path, target: Path) -> None:
    """Copy one file, link, device or folder (without what is in it) to ``target``, whose parent exists.

    A file or link at ``target`` is replaced; a folder there gets the attributes.  Raises StorageError naming it.
    """
    try:
        _copy_one(source, target)
    except OSError as exc:
        raise StorageError(
            f"{source} could not be copied to {target}: {exc.strerror}", hint="Is there room on the volume?"
        ) from exc


def _copy_one(source: Path, target: Path) -> None:
    status = source.lstat()
    mode = status.st_mode
    if not stat.S_ISDIR(mode) and os.path.lexists(target):
        target.unlink()
    if stat.S_ISDIR(mode):
        if target.is_symlink() or (target.exists() and not target.is_dir()):
            target.unlink()
        target.mkdir(exist_ok=True)
    elif stat.S_ISLNK(mode):
        target.symlink_to(source.readlink())
    elif stat.S_ISREG(mode):
        with source.open("rb") as reader, target.open("xb") as writer:
            shutil.copyfileobj(reader, writer, 1 << 20)
    elif stat.S_ISSOCK(mode):
        return
    else:
        os.mknod(target, mode, status.st_rdev)
    copy_attributes(source, target)


def copy_tree(source: Path, target: Path) -> None:
    """Copy ``source``, and what is below it when it is a folder; file systems mounted below it are left out."""
    copy_one(source, target)
    if source.is_symlink() or not source.is_dir():
        return
    device = source.lstat().st_dev
    for child in sorted(source.iterdir()):
        if child.is_dir() and not child.is_symlink() and os.path.ismount(child):
            continue
        if child.lstat().st_dev == device or not child.is_dir():
            copy_tree(child, target / child.name)
    # Filling a folder changed its times.
    copy_attributes(source, target)

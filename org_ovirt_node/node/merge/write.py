"""Writing single paths of the new layer: each whole or not at all, and never through a symbolic link."""

from __future__ import annotations

import errno
import hashlib
import os
import stat
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Optional

from org_ovirt_node.node.merge import beneath
from org_ovirt_node.node.merge.model import LABEL, Kind, Meta
from org_ovirt_node.node.merge.tree import xattrs

#: The beginning of names that exist only while something is written; no program reads files that begin with a dot.
TEMPORARY = ".ovirtnode-merge."
TYPES = {
    Kind.CHARACTER: stat.S_IFCHR,
    Kind.BLOCK: stat.S_IFBLK,
    Kind.FIFO: stat.S_IFIFO,
    Kind.SOCKET: stat.S_IFSOCK,
}
#: A label that the running kernel's policy does not know, or that its policy does not let us set.
LABEL_REFUSED = (errno.EINVAL, errno.EOPNOTSUPP, errno.EPERM, errno.EACCES)


def temporary(name: str) -> str:
    """The name under which ``name`` is written; what a killed run leaves of them the next one removes."""
    return TEMPORARY + hashlib.sha256(os.fsencode(name)).hexdigest()[:16]


@contextmanager
def _replacing(folder: int, name: str) -> Iterator[str]:
    """A free name to write to; at the end of the block it takes the place of ``name``."""
    scratch = temporary(name)
    yield scratch
    os.rename(scratch, name, src_dir_fd=folder, dst_dir_fd=folder)


def write_file(
    folder: int,
    name: str,
    blocks: Iterable[bytes],
    meta: Meta,
    refused: list[str],
    times: Optional[tuple[int, int]] = None,
) -> int:
    """Write a file; ``times`` are its access and modification times in ns.  Returns its size in bytes."""
    size = 0
    with _replacing(folder, name) as scratch:
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        with beneath.opened(os.open(scratch, flags, 0o600, dir_fd=folder)) as fd:
            for block in blocks:
                size += len(block)
                view = memoryview(block)
                while view:
                    view = view[os.write(fd, view) :]
            if times is not None:
                os.utime(fd, ns=times)
        apply_meta(folder, scratch, meta, refused)
    return size


def write_link(folder: int, name: str, target: str, meta: Meta, refused: list[str]) -> None:
    """Make a symbolic link."""
    with _replacing(folder, name) as scratch:
        os.symlink(target, scratch, dir_fd=folder)
        apply_meta(folder, scratch, meta, refused)


def write_special(folder: int, name: str, kind: Kind, device: int, meta: Meta, refused: list[str]) -> None:
    """Make a device node, pipe or socket."""
    with _replacing(folder, name) as scratch:
        os.mknod(scratch, TYPES[kind] | 0o600, device, dir_fd=folder)
        apply_meta(folder, scratch, meta, refused)


def make_folder(folder: int, name: str, meta: Meta, refused: list[str]) -> None:
    """Make a directory."""
    os.mkdir(name, 0o700, dir_fd=folder)
    apply_meta(folder, name, meta, refused)


def apply_meta(folder: int, name: str, meta: Meta, refused: list[str]) -> bool:
    """Give ``name`` its owner, attributes and mode; True when they were not right.  "" is the folder itself.

    Labels that the kernel refuses are added to ``refused`` instead of raising: the caller has the policy of the new
    root label them.  Other failures raise OSError.
    """
    flags = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC
    with beneath.opened(os.open(name or ".", flags, dir_fd=folder)) as fd:
        place = beneath.inode(fd)
        status = os.fstat(fd)
        changed = False
        if (status.st_uid, status.st_gid) != (meta.uid, meta.gid):
            os.chown(place, meta.uid, meta.gid)
            changed = True
        # After the change of owner, which drops capabilities.
        before, after = dict(xattrs(place, follow=True)), dict(meta.xattrs)
        for key in before.keys() - after.keys() - {LABEL}:
            os.removexattr(place, key)
            changed = True
        for key, value in after.items():
            if before.get(key) != value:
                changed = _set_xattr(place, key, value, refused) or changed
        if not stat.S_ISLNK(status.st_mode) and stat.S_IMODE(os.fstat(fd).st_mode) != meta.mode:
            Path(place).chmod(meta.mode)
            changed = True
    return changed


def _set_xattr(place: str, key: str, value: bytes, refused: list[str]) -> bool:
    try:
        os.setxattr(place, key, value)
    except OSError as exc:
        if key != LABEL or exc.errno not in LABEL_REFUSED:
            raise
        refused.append(value.rstrip(b"\0").decode("utf-8", "backslashreplace"))
        return False
    return True


def remove(folder: int, name: str, kind: Kind) -> bool:
    """Remove a path; False for a directory with something in it."""
    try:
        if kind is Kind.DIRECTORY:
            os.rmdir(name, dir_fd=folder)
        else:
            os.unlink(name, dir_fd=folder)
    except FileNotFoundError:
        return True
    except OSError as exc:
        if exc.errno in (errno.ENOTEMPTY, errno.EEXIST):
            return False
        raise
    return True

"""Reaching files below a folder without ever following a symbolic link out of it.

Each part of a path is opened by itself with O_NOFOLLOW (openat(2)): Python has no openat2(2) with RESOLVE_BENEATH.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
#: O_NONBLOCK: a pipe in a file's place must not hold us up.
FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


@contextmanager
def opened(fd: int) -> Iterator[int]:
    """Close ``fd`` at the end of the block."""
    try:
        yield fd
    finally:
        os.close(fd)


@contextmanager
def folder(root: Path, path: str) -> Iterator[int]:
    """A descriptor of the folder ``path`` below ``root``.  Raises OSError, also when a part of it is a link."""
    fd = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        for part in path.split("/") if path else ():
            if part in ("", ".", ".."):
                raise ValueError(f"not a plain path: {path!r}")
            inner = os.open(part, FOLDER, dir_fd=fd)
            os.close(fd)
            fd = inner
        yield fd
    finally:
        os.close(fd)


@contextmanager
def file(root: Path, path: str) -> Iterator[int]:
    """A descriptor for reading the file ``path`` below ``root``.  Raises OSError."""
    above, _, name = path.rpartition("/")
    with folder(root, above) as fd, opened(os.open(name, FILE, dir_fd=fd)) as found:
        yield found


def inode(fd: int) -> str:
    """A path that names the very inode behind ``fd`` (also one opened with O_PATH) to calls that only take paths."""
    return f"/proc/self/fd/{fd}"

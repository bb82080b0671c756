"""``host.img``: the small second initrd with what belongs to this one host.

A cpio archive in the "new ASCII" format (kernel: Documentation/driver-api/early-userspace/buffer-format.rst), not
compressed; the kernel unpacks it over the image's generic initramfs.
"""

from __future__ import annotations

import stat
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath

MAGIC = b"070701"
TRAILER = "TRAILER!!!"
ALIGNMENT = 4


@dataclass(frozen=True)
class HostFile:
    """One file in the archive: its content and its permission bits."""

    content: bytes
    mode: int = 0o644


def _padded(data: bytes) -> bytes:
    return data + b"\0" * (-len(data) % ALIGNMENT)


def _member(name: str, mode: int, inode: int, content: bytes = b"", links: int = 1) -> bytes:
    encoded = name.encode() + b"\0"
    fields = (inode, mode, 0, 0, links, 0, len(content), 0, 0, 0, 0, len(encoded), 0)
    header = MAGIC + b"".join(b"%08x" % field for field in fields)
    return _padded(header + encoded) + _padded(content)


def build(files: Mapping[str, HostFile]) -> bytes:
    """The archive with ``files`` (absolute paths); folders above them are made, times are 0, owner is root."""
    folders: dict[str, None] = {}
    for path in sorted(files):
        for parent in reversed(PurePosixPath(path).parents):
            if str(parent) not in ("/", "."):
                folders[str(parent).lstrip("/")] = None
    out = b""
    inode = 1
    for folder in folders:
        out += _member(folder, stat.S_IFDIR | 0o755, inode, links=2)
        inode += 1
    for path, file in sorted(files.items()):
        out += _member(path.lstrip("/"), stat.S_IFREG | file.mode, inode, file.content)
        inode += 1
    return out + _member(TRAILER, 0, 0)

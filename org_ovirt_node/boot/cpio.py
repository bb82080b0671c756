"""Reading initramfs archives: the members of a host.img, and the names in an image's generic initramfs.

Format: cpio "new ASCII" (kernel: Documentation/driver-api/early-userspace/buffer-format.rst): archives one after the
other, each plain or compressed as a whole, with zero bytes between them.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Optional

from org_ovirt_node.boot.hostinitrd import ALIGNMENT, MAGIC, TRAILER, HostFile
from org_ovirt_node.errors import BootError
from org_ovirt_node.i18n import _
from org_ovirt_node.rounding import round_up
from org_ovirt_node.run import output_of

HEADER = 110
CRC_MAGIC = b"070702"
#: The header's fields behind its magic: thirteen numbers of eight hexadecimal digits.
FIELDS = re.compile(rb"[0-9A-Fa-f]{104}")
#: The kernel takes no longer name, its final zero counted (linux/limits.h, PATH_MAX; init/initramfs.c).
NAME_MAX = 4096
#: Bytes that are read at once where they are skipped.
BLOCK = 1 << 20
#: What the name of the listing beside an initramfs ends in.
LISTING = ".names"
#: First bytes of a compressed archive → the program that unpacks it to standard output.
PROGRAMS = {
    b"\x28\xb5\x2f\xfd": "zstd",
    b"\x1f\x8b": "gzip",
    b"\xfd7zXZ": "xz",
    b"BZh": "bzip2",
    b"\x02\x21\x4c\x18": "lz4",
}


@dataclass(frozen=True)
class Member:
    """One member: ``name`` without a leading slash, ``content`` as a place in the archive."""

    name: str
    mode: int
    offset: int
    size: int


def _aligned(offset: int) -> int:
    return round_up(offset, ALIGNMENT)


def _field(header: bytes, number: int) -> int:
    start = 6 + 8 * number
    return int(header[start : start + 8], 16)


def _sizes(header: bytes, offset: int) -> tuple[int, int]:
    """Of the content and of the name of the member whose header it is.  Raises BootError when it is none."""
    if len(header) < HEADER or header[:6] not in (MAGIC, CRC_MAGIC):
        raise BootError(
            _("an initramfs archive is damaged at byte {offset}").format(offset=offset),
            hint=_("Write it again, or get the image anew."),
        )
    if not FIELDS.fullmatch(header, 6, HEADER) or not 0 < _field(header, 11) <= NAME_MAX:
        raise BootError(
            _("an initramfs archive is damaged at byte {offset}: its header makes no sense").format(offset=offset)
        )
    return _field(header, 6), _field(header, 11)


def members(data: bytes, start: int = 0) -> Iterator[Member]:
    """The members of the plain archive at ``start``; ends behind its trailer.  Raises BootError when it is damaged."""
    offset = start
    while True:
        header = data[offset : offset + HEADER]
        size, length = _sizes(header, offset)
        mode = _field(header, 1)
        name = data[offset + HEADER : offset + HEADER + length].rstrip(b"\0").decode("utf-8", errors="replace")
        content = _aligned(offset + HEADER + length)
        if content + size > len(data):
            raise BootError(_("an initramfs archive is cut short: {name} ends behind its end").format(name=name))
        yield Member(name.lstrip("/"), mode, content, size)
        if name == TRAILER:
            return
        offset = _aligned(content + size)


def read_host_initrd(data: bytes) -> dict[str, HostFile]:
    """The regular files of a host.img, by absolute path.  Raises BootError."""
    return {
        f"/{member.name}": HostFile(data[member.offset : member.offset + member.size], stat.S_IMODE(member.mode))
        for member in members(data)
        if stat.S_ISREG(member.mode)
    }


def write_listing(initramfs: Path) -> Path:
    """Keep the names in ``initramfs`` in a file beside it, for :func:`listed_names`; returns its path.

    Format: a first line with the size of the initramfs in bytes, then one name per line (UTF-8).  Raises BootError and
    CommandError.
    """
    found = sorted(name for name in names(initramfs) if "\n" not in name)
    listing = initramfs.with_name(initramfs.name + LISTING)
    listing.write_text("\n".join([str(initramfs.stat().st_size), *found, ""]), encoding="utf-8")
    return listing


def listed_names(initramfs: Path, listing: Path) -> frozenset[str]:
    """The names in ``initramfs``, from ``listing`` where it is there and for a file of that size: nothing is unpacked.

    Raises BootError and CommandError.
    """
    if listing.is_file():
        size, *found = listing.read_text(encoding="utf-8", errors="replace").splitlines() or [""]
        if size == str(initramfs.stat().st_size):
            return frozenset(found)
    return names(initramfs)


def names(initramfs: Path) -> frozenset[str]:
    """The names of everything in an initramfs of one or more archives.  Raises BootError and CommandError."""
    with initramfs.open("rb", buffering=0) as file:
        found: set[str] = set()
        while True:
            start = _next_archive(file)
            if start is None:
                return frozenset(found)
            if start[:2] == MAGIC[:2]:
                found |= _streamed(file, start)
                continue
            file.seek(-len(start), os.SEEK_CUR)
            program = next((name for magic, name in PROGRAMS.items() if start.startswith(magic[:ALIGNMENT])), "")
            if not program:
                raise BootError(
                    _("the initramfs is compressed in a way that is not known"),
                    hint=_("zstd, gzip, xz, bzip2, lz4 are."),
                )
            # What is compressed reaches to the end of the file.  The program's status would say little: dracut pads an
            # archive with zeros, which zstd refuses after it has unpacked everything.
            with output_of([program, "-dc"], file) as plain:
                return frozenset(found | _unpacked(plain, program))


def _unpacked(plain: IO[bytes], program: str) -> set[str]:
    """The names in the archives that ``program`` unpacks."""
    found: set[str] = set()
    start = _next_archive(plain)
    if start is None:
        raise BootError(
            _("the initramfs could not be unpacked with {program}").format(program=program),
            hint=_("Is {program} installed?").format(program=program),
        )
    while start is not None:
        found |= _streamed(plain, start)
        start = _next_archive(plain)
    return found


def _next_archive(stream: IO[bytes]) -> Optional[bytes]:
    """The first bytes behind the zeros that come next; None at the end."""
    while True:
        start = stream.read(ALIGNMENT)
        if not start:
            return None
        if start.strip(b"\0"):
            return start


def _streamed(stream: IO[bytes], start: bytes) -> set[str]:
    """The names in the plain archive that began with ``start``; the stream is behind its trailer afterwards."""
    found: set[str] = set()
    offset = 0
    while True:
        header = start + _read(stream, HEADER - len(start))
        start = b""
        size, length = _sizes(header, offset)
        name = _read(stream, _aligned(HEADER + length) - HEADER)[:length].rstrip(b"\0").decode("utf-8", "replace")
        if name == TRAILER:
            return found
        found.add(name.lstrip("/"))
        left = _aligned(size)
        while left:
            left -= len(_read(stream, min(left, BLOCK)))
        offset += _aligned(HEADER + length) + _aligned(size)


def _read(stream: IO[bytes], length: int) -> bytes:
    """Exactly ``length`` bytes.  Raises BootError at an earlier end."""
    parts = []
    while length:
        data = stream.read(length)
        if not data:
            raise BootError(_("an initramfs archive is cut short"), hint=_("Write it again, or get the image anew."))
        parts.append(data)
        length -= len(data)
    return b"".join(parts)

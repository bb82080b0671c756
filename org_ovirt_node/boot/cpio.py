"""Reading initramfs archives: the members of a host.img, and the names in an image's generic initramfs.

Format: cpio "new ASCII" (kernel: Documentation/driver-api/early-userspace/buffer-format.rst): archives one after the
other, each plain or compressed as a whole, with zero bytes between them.
"""

from __future__ import annotations

import stat
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from org_ovirt_node.boot.hostinitrd import ALIGNMENT, MAGIC, TRAILER, HostFile
from org_ovirt_node.errors import BootError
from org_ovirt_node.run import run

HEADER = 110
CRC_MAGIC = b"070702"
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
    return -(-offset // ALIGNMENT) * ALIGNMENT


def _field(header: bytes, number: int) -> int:
    start = 6 + 8 * number
    return int(header[start : start + 8], 16)


def members(data: bytes, start: int = 0) -> Iterator[Member]:
    """The members of the plain archive at ``start``; ends behind its trailer.  Raises BootError when it is damaged."""
    offset = start
    while True:
        header = data[offset : offset + HEADER]
        if len(header) < HEADER or header[:6] not in (MAGIC, CRC_MAGIC):
            raise BootError(
                f"an initramfs archive is damaged at byte {offset}", hint="Write it again, or get the image anew."
            )
        try:
            mode, size, length = _field(header, 1), _field(header, 6), _field(header, 11)
        except ValueError as exc:
            raise BootError(f"an initramfs archive is damaged at byte {offset}: {exc}") from exc
        name = data[offset + HEADER : offset + HEADER + length].rstrip(b"\0").decode("utf-8", errors="replace")
        content = _aligned(offset + HEADER + length)
        if content + size > len(data):
            raise BootError(f"an initramfs archive is cut short: {name} ends behind its end")
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


def names(initramfs: Path) -> frozenset[str]:
    """The names of everything in an initramfs of one or more archives.  Raises BootError and CommandError."""
    data = initramfs.read_bytes()
    found: set[str] = set()
    offset = 0
    while offset < len(data):
        if data[offset] == 0:
            offset += ALIGNMENT
            continue
        if data[offset : offset + 6] not in (MAGIC, CRC_MAGIC):
            # What is compressed reaches to the end of the file.
            return frozenset(found | names_compressed(data[offset:]))
        end = offset
        for member in members(data, offset):
            end = _aligned(member.offset + member.size)
            if member.name != TRAILER:
                found.add(member.name)
        offset = end
    return frozenset(found)


def names_compressed(data: bytes) -> frozenset[str]:
    """The names in a compressed archive."""
    program = next((name for magic, name in PROGRAMS.items() if data.startswith(magic)), "")
    if not program:
        raise BootError(
            "the initramfs is compressed in a way that is not known", hint="zstd, gzip, xz, bzip2, lz4 are."
        )
    with tempfile.TemporaryDirectory(prefix="ovirt-node-initramfs-") as folder:
        packed, plain = Path(folder) / "packed", Path(folder) / "plain"
        packed.write_bytes(data)
        # run() is for text, so the archive goes through a file.  Its status says little: dracut pads an archive with
        # zeros, which zstd refuses after it has unpacked everything.  What counts is that the result has its end.
        run(["sh", "-c", 'exec "$1" -dc < "$2" > "$3"', "sh", program, packed, plain], check=False)
        packed.unlink()
        if not plain.stat().st_size:
            raise BootError(f"the initramfs could not be unpacked with {program}", hint=f"Is {program} installed?")
        return names(plain)

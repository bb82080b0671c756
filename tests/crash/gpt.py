"""The partitions of a GPT disk, as firmware and GRUB find them.

Format: UEFI specification, chapter 5.3 (GUID Partition Table).
"""

from __future__ import annotations

import struct
import uuid
import zlib
from dataclasses import dataclass
from typing import IO, Optional

SECTOR = 512
HEADER = struct.Struct("<8sIIII QQQQ 16s QIII".replace(" ", ""))
ENTRY = struct.Struct("<16s16sQQQ72s")
SIGNATURE = b"EFI PART"
#: More than this would be no partition table that anything here makes.
MOST = 512
BIOS_BOOT = uuid.UUID("21686148-6449-6e6f-744e-656564454649")
LVM = uuid.UUID("e6d6d379-f507-44c2-a23c-238f2a3df928")
#: Bytes of the MBR that hold boot code (GRUB puts its own there).
BOOT_CODE = 440
#: Code that has the BIOS go on to its next device: int 0x18, hlt, and a jump back to that.
BOOTS_NOTHING = bytes.fromhex("cd18 f4 ebfd")


@dataclass(frozen=True)
class Partition:
    """A partition: ``number`` from 1 on, ``start`` and ``length`` in bytes."""

    number: int
    kind: uuid.UUID
    start: int
    length: int


def read(disk: IO[bytes], size: int) -> Optional[tuple[Partition, ...]]:
    """The partitions by the primary header, else by its copy at the end; None when both are damaged or missing."""
    for sector in (1, size // SECTOR - 1):
        found = _table(disk, sector, size)
        if found is not None:
            return found
    return None


def torn(disk: IO[bytes], size: int) -> bool:
    """The first header is there, and it or its entries are damaged."""
    disk.seek(SECTOR)
    return disk.read(len(SIGNATURE)) == SIGNATURE and _table(disk, 1, size) is None


def boot_code(disk: IO[bytes]) -> bool:
    """A BIOS that starts this disk finds code in its first sector, and not such that sends it to its next device."""
    disk.seek(0)
    code = disk.read(BOOT_CODE).rstrip(b"\0")
    return bool(code) and not code.startswith(BOOTS_NOTHING)


def _table(disk: IO[bytes], sector: int, size: int) -> Optional[tuple[Partition, ...]]:
    disk.seek(sector * SECTOR)
    data = disk.read(SECTOR)
    fields = HEADER.unpack(data[: HEADER.size])
    signature, _revision, length, crc, _, own = fields[:6]
    first, count, each, entries_crc = fields[10:14]
    if signature != SIGNATURE or not HEADER.size <= length <= SECTOR or own != sector:
        return None
    if zlib.crc32(data[:16] + bytes(4) + data[20:length]) != crc or count > MOST or each != ENTRY.size:
        return None
    disk.seek(first * SECTOR)
    table = disk.read(count * each)
    if zlib.crc32(table) != entries_crc:
        return None
    found = []
    for number in range(count):
        kind, _, begin, end, _, _ = ENTRY.unpack_from(table, number * each)
        if kind != bytes(16) and begin <= end < size // SECTOR:
            place = begin * SECTOR
            found.append(Partition(number + 1, uuid.UUID(bytes_le=kind), place, (end + 1) * SECTOR - place))
    return tuple(found)

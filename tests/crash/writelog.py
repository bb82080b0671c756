"""Reads a log of all writes of a disk, as QEMU's ``blklogwrites`` and the kernel's dm-log-writes make it.

Format (kernel: admin-guide/device-mapper/log-writes.rst, drivers/md/dm-log-writes.c), little endian: one sector with
u64 magic, u64 version, u64 number of entries, u32 bytes of a sector.  Then the entries, each one sector of header (u64
first sector, u64 sectors, u64 flags, u64 bytes of data) and, for a write, its sectors.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Optional

MAGIC, VERSION = 0x6A736677736872, 1
SUPER = struct.Struct("<QQQI")
ENTRY = struct.Struct("<QQQQ")
FLUSH, FUA, DISCARD, MARK, METADATA = 1, 2, 4, 8, 16
KNOWN = FLUSH | FUA | DISCARD | MARK | METADATA
#: Headers that are read in one go; a write's data is never read with them.
SECTOR_SIZES = (512, 1024, 2048, 4096)


class LogError(Exception):
    """The log is none, or is damaged."""


@dataclass(frozen=True)
class Entry:
    """One entry: ``start`` and ``length`` are bytes of the disk, ``data`` is where the data lies in the log.

    A flush has no length.  A discard has one, and no data.
    """

    number: int
    start: int
    length: int
    flags: int
    data: int

    @property
    def end(self) -> int:
        """The first byte behind it on the disk."""
        return self.start + self.length

    @property
    def flush(self) -> bool:
        """Everything that was finished before it is on the disk."""
        return bool(self.flags & FLUSH)

    @property
    def fua(self) -> bool:
        """It is itself on the disk when it is finished."""
        return bool(self.flags & FUA)

    @property
    def discard(self) -> bool:
        return bool(self.flags & DISCARD)

    @property
    def changes(self) -> bool:
        """It changes the disk."""
        return self.length > 0 and not self.flags & MARK


class Log:
    """A log as a context manager; entries are read as they are asked for, data by ranges."""

    def __init__(self, path: Path) -> None:
        """Raises LogError when ``path`` holds no log."""
        self.path = path
        self.file = path.open("rb")
        head = self.file.read(SUPER.size)
        if len(head) < SUPER.size:
            self.file.close()
            raise LogError(f"{path} is too short for a log of writes")
        magic, version, self.count, self.sector = SUPER.unpack(head)
        if magic != MAGIC or version != VERSION or self.sector not in SECTOR_SIZES:
            self.file.close()
            raise LogError(f"{path} is no log of writes (magic {magic:#x}, version {version}, sectors {self.sector})")
        self.size = path.stat().st_size

    def __enter__(self) -> Log:
        return self

    def __exit__(
        self, kind: Optional[type[BaseException]], exc: Optional[BaseException], trace: Optional[TracebackType]
    ) -> None:
        self.file.close()

    def entries(self) -> Iterator[Entry]:
        """All entries in their order.  Raises LogError where the log ends within one."""
        place = self.sector
        for number in range(self.count):
            head = os.pread(self.file.fileno(), ENTRY.size, place)
            if len(head) < ENTRY.size:
                raise LogError(f"{self.path} ends at entry {number} of {self.count}")
            first, sectors, flags, _length = ENTRY.unpack(head)
            if flags & ~KNOWN:
                raise LogError(f"{self.path}: entry {number} has unknown flags {flags:#x}")
            # The header's length of the data is 0 in QEMU's logs: the sectors say it.
            length = sectors * self.sector
            entry = Entry(number, first * self.sector, length, flags, place + self.sector)
            if flags & DISCARD:
                place = entry.data
            elif flags & MARK:
                place = entry.data + -(-_length // self.sector) * self.sector
            else:
                place = entry.data + length
            if place > self.size:
                raise LogError(f"{self.path} ends within entry {number} of {self.count}")
            yield entry

    def read(self, entry: Entry, offset: int, length: int) -> bytes:
        """``length`` bytes of what ``entry`` writes, from ``offset`` on; zeros for a discard."""
        if entry.discard:
            return bytes(length)
        return os.pread(self.file.fileno(), length, entry.data + offset)


class Writer:
    """Makes a log: for tests, and for logs that are changed on purpose."""

    def __init__(self, path: Path, sector: int = 512) -> None:
        self.file = path.open("wb")
        self.sector = sector
        self.count = 0
        self.file.write(bytes(sector))

    def add(self, start: int, data: bytes, flags: int = 0) -> None:
        """A write of ``data`` at byte ``start``, or with FLUSH and no data a flush."""
        self._head(start, len(data), flags)
        self.file.write(data)

    def discard(self, start: int, length: int) -> None:
        self._head(start, length, DISCARD)

    def _head(self, start: int, length: int, flags: int) -> None:
        self.count += 1
        head = ENTRY.pack(start // self.sector, length // self.sector, flags, 0)
        self.file.write(head.ljust(self.sector, b"\0"))

    def close(self) -> None:
        self.file.seek(0)
        self.file.write(SUPER.pack(MAGIC, VERSION, self.count, self.sector))
        self.file.close()

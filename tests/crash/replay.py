"""Rebuilds a disk as a power cut would have left it: the writes before the cut once, those of its window on top.

The disk is one sparse file.  Writes go into it in the order of the log, and only ever forward; what a single cut keeps
of the writes after the last flush goes on top and is taken back afterwards.  So a cut costs what lies between it and
the one before, whatever the size of the disk.
"""

from __future__ import annotations

import ctypes
import os
import tempfile
from array import array
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import IO, Optional

from tests.crash.cuts import Cut, Kept, kept
from tests.crash.writelog import Entry, Log

#: Bytes that count as one for the question whether something has changed; no volume begins within such a piece.
PIECE = 64 << 10
#: Bytes that are moved at once.
STEP = 1 << 20
#: fallocate(2): the range becomes a hole, and the file keeps its size.
PUNCH = 0x03
#: What a hole of that length reads as.
ZEROS = bytes(STEP)
_libc = ctypes.CDLL(None, use_errno=True)
_libc.fallocate.argtypes = [ctypes.c_int, ctypes.c_int, ctypes.c_int64, ctypes.c_int64]


def punch(file: IO[bytes], start: int, length: int) -> None:
    """Make a range of a file a hole, which reads as zeros.  Raises OSError."""
    if length and _libc.fallocate(file.fileno(), PUNCH, start, length) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), file.name)


def is_blank(data: bytes) -> bool:
    """Nothing but zeros, and not more than STEP of them."""
    return data == (ZEROS if len(data) == STEP else ZEROS[: len(data)])


def filled(file: IO[bytes], start: int, length: int) -> Iterator[tuple[int, bytes]]:
    """What a range of a sparse file has beside holes and zeros: (place in the file, at most STEP bytes)."""
    place, end = start, start + length
    while place < end:
        try:
            place = max(place, os.lseek(file.fileno(), place, os.SEEK_DATA))
        except OSError:
            # ENXIO: nothing but a hole up to the end (lseek(2)).
            return
        hole = min(end, os.lseek(file.fileno(), place, os.SEEK_HOLE)) if place < end else end
        while place < hole:
            data = os.pread(file.fileno(), min(STEP, hole - place), place)
            if not is_blank(data):
                yield place, data
            place += len(data)


class Replay:
    """The disk of a recording in the file ``work``; a context manager that removes it."""

    def __init__(self, log: Log, base: Optional[Path], size: int, work: Path) -> None:
        """``base``: the disk before the first write, or None for a blank one; ``size`` in bytes."""
        self.log = log
        self.work = work
        self.size = size
        self.entries: Sequence[Entry] = tuple(log.entries())
        self.applied = 0
        #: For each piece a number that stands for its content: the same number, the same content.
        self.content = array("q", bytes(8 * -(-size // PIECE)))
        self.file = _copy(base, work, size)

    def __enter__(self) -> Replay:
        return self

    def __exit__(
        self, kind: Optional[type[BaseException]], exc: Optional[BaseException], trace: Optional[TracebackType]
    ) -> None:
        self.file.close()
        self.work.unlink()

    def forward(self, number: int) -> None:
        """Let all entries before ``number`` be on the disk."""
        if number < self.applied:
            raise ValueError(f"entry {number} lies before what is on the disk already ({self.applied})")
        for entry in self.entries[self.applied : number]:
            if entry.changes:
                self._write(Kept(entry, ((0, entry.length),)))
        self.applied = number

    @contextmanager
    def cut(self, cut: Cut) -> Iterator[list[Kept]]:
        """The disk after ``cut``, as long as the block runs; what was kept of the last writes."""
        self.forward(cut.window.first)
        chosen = kept(cut, self.entries[cut.window.first : cut.window.end])
        with tempfile.TemporaryFile(dir=self.work.parent) as undo:
            saved = [self._save(one, undo) for one in chosen]
            for one in chosen:
                self._write(one)
            try:
                yield chosen
            finally:
                # All were saved before the first was written, so the order says nothing.
                place = 0
                for one, numbers in zip(chosen, saved):
                    place = self._restore(one, undo, place, numbers)

    def stamp(self, start: int, length: int) -> bytes:
        """What stands for the content of a range: the same stamp, the same content."""
        view = memoryview(self.content)[start // PIECE : -(-(start + length) // PIECE)]
        return view.tobytes()

    def _write(self, one: Kept) -> None:
        for offset, length in one.ranges:
            start = one.entry.start + offset
            for done in range(0, length, STEP):
                count = min(STEP, length - done)
                data = b"" if one.entry.discard else self.log.read(one.entry, offset + done, count)
                self._put(start + done, data, count)
            for piece in _pieces(start, length):
                self.content[piece] = hash((self.content[piece], one.entry.number, offset, length))

    def _put(self, place: int, data: bytes, count: int) -> None:
        """Let ``count`` bytes be ``data``, or zeros where there is none."""
        if is_blank(data):
            punch(self.file, place, count)
        else:
            os.pwrite(self.file.fileno(), data, place)

    def _save(self, one: Kept, undo: IO[bytes]) -> list[int]:
        numbers = []
        for offset, length in one.ranges:
            start = one.entry.start + offset
            for done in range(0, length, STEP):
                undo.write(os.pread(self.file.fileno(), min(STEP, length - done), start + done))
            numbers += [self.content[piece] for piece in _pieces(start, length)]
        undo.flush()
        return numbers

    def _restore(self, one: Kept, undo: IO[bytes], place: int, numbers: list[int]) -> int:
        taken = iter(numbers)
        for offset, length in one.ranges:
            start = one.entry.start + offset
            for done in range(0, length, STEP):
                count = min(STEP, length - done)
                data = os.pread(undo.fileno(), count, place)
                place += count
                self._put(start + done, data, count)
            for piece in _pieces(start, length):
                self.content[piece] = next(taken)
        return place


def _pieces(start: int, length: int) -> range:
    return range(start // PIECE, -(-(start + length) // PIECE))


def _copy(base: Optional[Path], work: Path, size: int) -> IO[bytes]:
    """A file to work on with the content of ``base``, its holes kept."""
    # Without a buffer: what is written past it would not be seen by who reads through it.
    file = work.open("w+b", buffering=0)
    file.truncate(size)
    if base is None:
        return file
    with base.open("rb") as source:
        for place, data in filled(source, 0, os.fstat(source.fileno()).st_size):
            os.pwrite(file.fileno(), data, place)
    return file

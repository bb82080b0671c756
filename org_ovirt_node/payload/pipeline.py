"""Read · hash · write in three threads with a fixed set of buffers."""

from __future__ import annotations

import hashlib
import mmap
import queue
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Callable, Optional

from org_ovirt_node.errors import NodeError, PayloadError
from org_ovirt_node.i18n import _
from org_ovirt_node.payload.direct import BUFFER_SIZE, aligned_buffers
from org_ovirt_node.payload.source import Stream
from org_ovirt_node.payload.target import Target
from org_ovirt_node.progress import Progress

#: Seconds between two reports of how far the transfer is.
POLL = 0.2
#: A buffer is looked at whole only when its first page is zero: nearly every one of a compressed image is told apart
#: there.  Comparing slices runs at memory speed; comparing a memoryview goes byte by byte.
FIRST_LOOK = bytes(4096)
ZEROS = bytes(BUFFER_SIZE)


@dataclass
class _Piece:
    """A buffer and the part of the image in it."""

    buffer: mmap.mmap
    offset: int = 0
    length: int = 0

    @property
    def is_zero(self) -> bool:
        first = min(self.length, len(FIRST_LOOK))
        return self.buffer[:first] == FIRST_LOOK[:first] and self.buffer[: self.length] == ZEROS[: self.length]


if TYPE_CHECKING:
    _Queue = queue.SimpleQueue[Optional[_Piece]]  # None: no more
    _Stage = Callable[[_Queue, _Queue], None]


class Pipeline:
    """One pass over a stream, which is hashed when ``hashed`` and written when there is a ``target``.

    The stream has ``size`` bytes, or at least ``least`` of them (the padding may be missing); with ``part`` what
    follows them is left alone, else it is an error.  After ``run``: ``done`` bytes, and ``sha256``.
    """

    def __init__(
        self,
        stream: Stream,
        size: int,
        *,
        name: str,
        least: int = 0,
        part: bool = False,
        target: Optional[Target] = None,
        hashed: bool = True,
    ) -> None:
        self.stream = stream
        self.size = size
        self.name = name
        self.least = least or size
        self.part = part
        self.target = target
        self.done = 0
        self._digest = hashlib.sha256() if hashed else None
        self._go = threading.Event()
        self._stop = threading.Event()
        self._outcome: queue.SimpleQueue[Optional[BaseException]] = queue.SimpleQueue()
        stages: list[_Stage] = [self._read]
        if hashed:
            stages.append(self._hash)
        if target is not None:
            stages.append(self._write)
        # A ring: each stage takes from its own queue and hands on to the next one's; the last gives buffers back to
        # the first.
        self._queues: list[_Queue] = [queue.SimpleQueue() for _ in stages]
        for buffer in aligned_buffers():
            self._queues[0].put(_Piece(buffer))
        self._threads = [
            threading.Thread(
                target=self._guarded,
                args=(stage, self._queues[at], self._queues[(at + 1) % len(stages)], at == len(stages) - 1),
                name=f"payload-{at}",
                daemon=True,
            )
            for at, stage in enumerate(stages)
        ]

    @property
    def sha256(self) -> str:
        """The digest in hex; empty when none was asked for."""
        return self._digest.hexdigest() if self._digest else ""

    def run(self, progress: Progress) -> None:
        """Do it.  Raises what a stage raised, or what a signal handler raises here; the threads have ended then."""
        whole = False
        try:
            for thread in self._threads:
                thread.start()
            self._go.set()
            while not whole:
                progress.transferred(self.done, self.size)
                try:
                    failure = self._outcome.get(timeout=POLL)
                except queue.Empty:
                    continue
                if failure is not None:
                    raise failure
                whole = True
        finally:
            self._end(abort=not whole)
        progress.transferred(self.done, self.done)

    def _end(self, abort: bool) -> None:
        """Have every thread end, and wait for it: the buffers and descriptors are theirs until then."""
        self._stop.set()
        self._go.set()
        if abort:
            self.stream.abort()
        for each in self._queues:
            each.put(None)
        for thread in self._threads:
            while thread.is_alive():
                try:
                    thread.join()
                except (KeyboardInterrupt, NodeError):  # noqa: PERF203
                    # A second signal while the first is obeyed; it asks for the same.
                    continue

    def _guarded(self, stage: _Stage, take: _Queue, give: _Queue, last: bool) -> None:
        """Run one stage; what it raises, or the end of the last one, goes to the calling thread.

        None begins before all have started: a signal in the middle of that could leave one that is not yet known as
        alive, and which must then find nothing to do.
        """
        self._go.wait()
        if self._stop.is_set():
            return
        try:
            stage(take, give)
        except BaseException as exc:
            self._outcome.put(exc)
        else:
            if last:
                self._outcome.put(None)
            else:
                give.put(None)

    def _take(self, take: _Queue) -> Optional[_Piece]:
        piece = take.get()
        return None if self._stop.is_set() else piece

    def _read(self, take: _Queue, give: _Queue) -> None:
        offset = 0
        while offset < self.size:
            piece = self._take(take)
            if piece is None:
                return
            with memoryview(piece.buffer) as view:
                count = self.stream.readinto(view)
            piece.offset = offset
            piece.length = min(count, self.size - offset)
            if count > piece.length and not self.part:
                self._too_long()
            offset += piece.length
            if count < BUFFER_SIZE and offset < self.least:
                raise PayloadError(
                    _("{name} ended after {offset} of {size} bytes").format(
                        name=self.name, offset=offset, size=self.size
                    ),
                    hint=_("Fetch it again."),
                )
            if piece.length:
                give.put(piece)
            if count < BUFFER_SIZE:
                return
        if not self.part and self.least < self.size:
            # Its size was not known, and it filled the last buffer to the brim.
            with memoryview(bytearray(1)) as view:
                if self.stream.readinto(view):
                    self._too_long()

    def _too_long(self) -> None:
        raise PayloadError(
            _("{name} is longer than the {size} bytes of its squashfs").format(name=self.name, size=self.size),
            hint=_("Give its manifest, or use a server that tells the size."),
        )

    def _hash(self, take: _Queue, give: _Queue) -> None:
        assert self._digest is not None
        while True:
            piece = self._take(take)
            if piece is None:
                return
            with memoryview(piece.buffer) as view, view[: piece.length] as part:
                self._digest.update(part)
            if self.target is None:
                self.done = piece.offset + piece.length
            give.put(piece)

    def _write(self, take: _Queue, give: _Queue) -> None:
        assert self.target is not None
        while True:
            piece = self._take(take)
            if piece is None:
                return
            if piece.is_zero:
                self.target.zeros(piece.offset, piece.length)
            else:
                self.target.write(piece.buffer, piece.offset, piece.length)
            self.done = piece.offset + piece.length
            give.put(piece)

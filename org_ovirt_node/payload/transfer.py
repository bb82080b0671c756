"""An image from its source to its volume, and the check of what the volume then gives back.

Three threads pass page-aligned buffers on: one reads, one hashes, one writes; the calling thread reports progress and
is free to be interrupted.  Reading, hashing and writing all release the interpreter's lock.  See docs/transfer.md.
"""

from __future__ import annotations

import logging
import time
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from org_ovirt_node.errors import PayloadError, StorageError
from org_ovirt_node.i18n import N_, _
from org_ovirt_node.payload.direct import DirectFile
from org_ovirt_node.payload.pipeline import Pipeline
from org_ovirt_node.payload.source import Source, StartOver, Stream
from org_ovirt_node.payload.squashfs import PADDING
from org_ovirt_node.payload.target import Target, storage_error
from org_ovirt_node.progress import Progress

log = logging.getLogger(__name__)

#: A guard against a source that never stops asking for a new start; each kind of source has its own, lower limit.
MAX_STARTS = 16


@dataclass(frozen=True)
class Transferred:
    """A transfer that is complete and on the device: sizes in bytes, ``sha256`` in hex (empty: not computed)."""

    size: int
    sha256: str
    seconds: float
    #: Bytes of zero runs that were not written.
    zeros: int


def transfer(
    source: Source,
    target: Path,
    *,
    size: int,
    fresh: bool,
    expected_sha256: str = "",
    hash: bool = True,
    progress: Progress,
) -> Transferred:
    """Write the ``size`` bytes of ``source`` to ``target``, a block device or a file, and flush them.

    ``fresh`` promises that the device reads as zeros, so that runs of zeros need not be written.  When the source's
    size is not known it may end within the last 4096 of ``size`` bytes (the padding of a squashfs).  Raises
    PayloadError for what the source does (also a digest other than ``expected_sha256``), StorageError for what the
    target does; an exception of a signal handler stops the threads and passes through.  Only a transfer that
    succeeded leaves the first 4096 bytes in their place.
    """
    if source.size is not None and source.size != size:
        raise PayloadError(
            _("{name} has {size} bytes, not {expected}").format(name=source.name, size=source.size, expected=size),
            hint=_("Was the image replaced?"),
        )
    started = time.monotonic()
    for start in range(MAX_STARTS):
        try:
            pipeline, skipped = _once(source, target, size, fresh and start == 0, expected_sha256, hash, progress)
            return Transferred(pipeline.done, pipeline.sha256, time.monotonic() - started, skipped)
        except StartOver as again:  # noqa: PERF203
            log.warning("%s", again)
            progress.detail(str(again))
        except _WrongDigest as wrong:
            if not source.another(wrong):
                raise
            progress.detail(_("{message}; reading {name} instead").format(message=wrong.message, name=source.name))
    raise PayloadError(
        _("{name} cannot be read in one go after {count} starts").format(name=source.name, count=MAX_STARTS)
    )


class _WrongDigest(PayloadError):
    """The image is another one; another place may have the right one."""


def _once(
    source: Source, target: Path, size: int, fresh: bool, expected: str, hashed: bool, progress: Progress
) -> tuple[Pipeline, int]:
    """One transfer from the first byte."""
    with source.stream() as stream:
        out = Target(target, size, fresh=fresh)
        try:
            least = size if source.size is not None else size - PADDING + 1
            pipeline = Pipeline(
                stream, size, name=source.name, least=least, target=out, hashed=hashed or bool(expected)
            )
            pipeline.run(progress)
            if expected and pipeline.sha256 != expected.lower():
                raise _WrongDigest(
                    _("{name} has the SHA-256 digest {sha256}, not {expected}").format(
                        name=source.name, sha256=pipeline.sha256, expected=expected.lower()
                    ),
                    hint=_("Fetch the image and its digest again."),
                )
            out.finish(pipeline.done)
            return pipeline, out.skipped
        finally:
            out.close()


class _Readback(Stream):
    """What a target holds, past the page cache."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.offset = 0
        try:
            self.file = DirectFile(path)
            self.file.forget()
        except OSError as exc:
            raise storage_error(path, N_("{path} cannot be read back: {error}"), exc) from exc

    def readinto(self, view: memoryview) -> int:
        try:
            count = self.file.readinto(view, self.offset)
        except OSError as exc:
            raise storage_error(
                self.path, N_("{path} cannot be read back at byte {offset}: {error}"), exc, self.offset
            ) from exc
        self.offset += count
        return count

    def close(self) -> None:
        self.file.close()


def read_back(target: Path, size: int, sha256: str, progress: Progress) -> None:
    """Check that the first ``size`` bytes of ``target`` have the digest ``sha256`` (hex) on the device itself.

    Raises StorageError when they do not, or cannot be read.
    """
    with closing(_Readback(target)) as stream:
        if stream.file.size < size:
            raise StorageError(
                _("{target} gives back {size} of {expected} bytes").format(
                    target=target, size=stream.file.size, expected=size
                )
            )
        pipeline = Pipeline(stream, size, name=str(target), part=True)
        pipeline.run(progress)
    if pipeline.sha256 != sha256.lower():
        raise StorageError(
            _("{target} does not give back what was written: its SHA-256 digest is {sha256}, not {expected}").format(
                target=target, sha256=pipeline.sha256, expected=sha256.lower()
            ),
            hint=_("The disk, its cable or the memory is at fault: test them, or use another disk."),
        )

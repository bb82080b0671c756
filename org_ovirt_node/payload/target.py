"""What an image is written to: a block device (the image volume) or a regular file.

The first sector group, with the superblock, is written last: whatever is cut short leaves nothing that could be
mounted or booted.
"""

from __future__ import annotations

import errno
import logging
import mmap
import os
from pathlib import Path

from org_ovirt_node.errors import StorageError
from org_ovirt_node.payload import ioctl
from org_ovirt_node.payload.direct import ALIGNMENT, DirectFile
from org_ovirt_node.rounding import round_up

log = logging.getLogger(__name__)

#: How much of the start is held back until the end.
HEAD = ALIGNMENT


def storage_error(path: Path, what: str, exc: OSError) -> StorageError:
    """``exc`` while ``path`` could not be written or read, as one sentence."""
    hints = {
        errno.EIO: "The disk is failing: see 'dmesg', and use another one.",
        errno.ENOSPC: "Free some space, or use a larger volume.",
        errno.EBUSY: "It is in use: unmount or deactivate it.",
        errno.EROFS: "It is read-only.",
    }
    return StorageError(f"{path} {what}: {exc.strerror}", hint=hints.get(exc.errno or 0, ""))


class Target:
    """Where ``size`` bytes go.

    ``fresh`` promises that a block device reads as zeros; otherwise it is discarded first and runs of zeros are
    written.  A regular file is emptied and ends up exactly ``size`` bytes long.  All methods raise StorageError.
    """

    def __init__(self, path: Path, size: int, *, fresh: bool) -> None:
        self.path = path
        self.size = size
        self.skipped = 0
        # A block device must not be mounted or part of something (open(2): O_EXCL without O_CREAT).
        flags = os.O_EXCL if path.is_block_device() else os.O_CREAT | os.O_TRUNC
        try:
            self.file = DirectFile(path, os.O_WRONLY | flags)
        except OSError as exc:
            raise storage_error(path, "cannot be opened for writing", exc) from exc
        self.fresh = fresh or self.file.is_regular
        self._head = mmap.mmap(-1, HEAD)
        try:
            self._prepare()
        except OSError as exc:
            self.close()
            raise storage_error(path, "cannot be prepared", exc) from exc
        except BaseException:
            self.close()
            raise

    def _prepare(self) -> None:
        if not (self.file.is_block or self.file.is_regular):
            raise StorageError(f"{self.path} is neither a block device nor a file", hint="Name another target.")
        if not self.file.is_block:
            return
        if self.file.size < round_up(self.size, self.file.sector):
            raise StorageError(
                f"{self.path} has {self.file.size} bytes, too few for an image of {self.size}",
                hint="Use a larger volume.",
            )
        if not self.fresh and not ioctl.discard(self.file.fd, 0, self.file.size):
            log.debug("%s cannot discard", self.path)

    def write(self, buffer: mmap.mmap, offset: int, length: int) -> None:
        """Write ``length`` bytes of ``buffer`` at ``offset``; up to a sector of zeros after the tail."""
        whole = round_up(length, self.file.sector)
        if whole > length:
            buffer[length:whole] = bytes(whole - length)
        if offset == 0:
            head = min(HEAD, whole)
            self._head[:head] = buffer[:head]
            buffer[:head] = bytes(head)
        try:
            with memoryview(buffer) as view, view[:whole] as part:
                self.file.write(part, offset)
        except OSError as exc:
            raise storage_error(self.path, f"cannot be written at byte {offset}", exc) from exc

    def zeros(self, offset: int, length: int) -> None:
        """Make the range read as zeros."""
        if self.fresh:
            self.skipped += length
            return
        try:
            ioctl.zero_out(self.file.fd, offset, round_up(length, self.file.sector))
        except OSError as exc:
            raise storage_error(self.path, f"cannot be written at byte {offset}", exc) from exc

    def finish(self, size: int) -> None:
        """Write the first bytes, and wait until all ``size`` bytes are on the device."""
        head = min(HEAD, round_up(size, self.file.sector))
        try:
            with memoryview(self._head) as view, view[:head] as part:
                self.file.write(part, 0)
            if self.file.is_regular:
                os.ftruncate(self.file.fd, size)
            os.fsync(self.file.fd)
        except OSError as exc:
            raise storage_error(self.path, "cannot be written to its end", exc) from exc

    def close(self) -> None:
        """Close it; a second call does nothing."""
        self.file.close()

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
from org_ovirt_node.i18n import N_, _, translated
from org_ovirt_node.payload import ioctl
from org_ovirt_node.payload.direct import ALIGNMENT, DirectFile
from org_ovirt_node.rounding import round_up

log = logging.getLogger(__name__)

#: How much of the start is held back until the end.
HEAD = ALIGNMENT


def storage_error(path: Path, wrong: str, exc: OSError, offset: int = 0) -> StorageError:
    """``exc`` while ``path`` could not be written or read: ``wrong``, which is to be translated, with its values."""
    hints = {
        errno.EIO: _("The disk is failing: see 'dmesg', and use another one."),
        errno.ENOSPC: _("Free some space, or use a larger volume."),
        errno.EBUSY: _("It is in use: unmount or deactivate it."),
        errno.EROFS: _("It is read-only."),
    }
    return StorageError(
        translated(wrong).format(path=path, offset=offset, error=exc.strerror), hint=hints.get(exc.errno or 0, "")
    )


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
            raise storage_error(path, N_("{path} cannot be opened for writing: {error}"), exc) from exc
        self.fresh = fresh or self.file.is_regular
        self._head = mmap.mmap(-1, HEAD)
        try:
            self._prepare()
        except OSError as exc:
            self.close()
            raise storage_error(path, N_("{path} cannot be prepared: {error}"), exc) from exc
        except BaseException:
            self.close()
            raise

    def _prepare(self) -> None:
        if not (self.file.is_block or self.file.is_regular):
            raise StorageError(
                _("{path} is neither a block device nor a file").format(path=self.path), hint=_("Name another target.")
            )
        if not self.file.is_block:
            return
        if self.file.size < round_up(self.size, self.file.sector):
            raise StorageError(
                _("{path} has {size} bytes, too few for an image of {image_size}").format(
                    path=self.path, size=self.file.size, image_size=self.size
                ),
                hint=_("Use a larger volume."),
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
            raise storage_error(
                self.path, N_("{path} cannot be written at byte {offset}: {error}"), exc, offset
            ) from exc

    def zeros(self, offset: int, length: int) -> None:
        """Make the range read as zeros."""
        if self.fresh:
            self.skipped += length
            return
        try:
            ioctl.zero_out(self.file.fd, offset, round_up(length, self.file.sector))
        except OSError as exc:
            raise storage_error(
                self.path, N_("{path} cannot be written at byte {offset}: {error}"), exc, offset
            ) from exc

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
            raise storage_error(self.path, N_("{path} cannot be written to its end: {error}"), exc) from exc

    def close(self) -> None:
        """Close it; a second call does nothing."""
        self.file.close()

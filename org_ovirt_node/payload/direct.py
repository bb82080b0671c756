"""Files and block devices read and written past the page cache (O_DIRECT, open(2)), with a buffered fallback.

Direct input and output needs buffers, offsets and lengths that are multiples of the logical sector size.  Buffers
are anonymous maps, which are page-aligned; offsets are multiples of the buffer size; the odd tail is the callers'.
"""

from __future__ import annotations

import errno
import fcntl
import logging
import mmap
import os
import stat
from pathlib import Path

from org_ovirt_node.payload import ioctl

log = logging.getLogger(__name__)

#: SHA-256 runs at half its speed on 8 MiB buffers, which leave the processor's cache, and calls cost too much on
#: small ones.
BUFFER_SIZE = 1 << 20
BUFFER_COUNT = 8
#: The largest logical sector size in use, and a page: every direct transfer aligns to it where it can.
ALIGNMENT = 4096


def aligned_buffers(count: int = BUFFER_COUNT, size: int = BUFFER_SIZE) -> list[mmap.mmap]:
    """``count`` page-aligned buffers of ``size`` bytes."""
    return [mmap.mmap(-1, size) for _ in range(count)]


def open_direct(path: Path, flags: int) -> tuple[int, bool]:
    """Open ``path`` and say whether O_DIRECT was accepted.  Raises OSError."""
    try:
        return os.open(path, flags | os.O_DIRECT | os.O_CLOEXEC, 0o600), True
    except OSError as exc:
        if exc.errno != errno.EINVAL:
            raise
    log.debug("%s refuses O_DIRECT: going through the page cache", path)
    return os.open(path, flags | os.O_CLOEXEC, 0o600), False


class DirectFile:
    """An open file or block device.

    ``size`` is in bytes, as it was when opened; ``sector`` the unit of direct writes.  All methods raise OSError.
    """

    def __init__(self, path: Path, flags: int = os.O_RDONLY) -> None:
        self.path = path
        self.fd, self.direct = open_direct(path, flags)
        try:
            status = os.fstat(self.fd)
            self.is_block = stat.S_ISBLK(status.st_mode)
            self.is_regular = stat.S_ISREG(status.st_mode)
            self.size = ioctl.device_size(self.fd) if self.is_block else status.st_size
            self.sector = ioctl.sector_size(self.fd) if self.is_block else ALIGNMENT
        except BaseException:
            os.close(self.fd)
            raise

    def _buffered(self) -> None:
        """Leave O_DIRECT: some file systems accept it when a file is opened and refuse it at the first transfer."""
        log.debug("%s refused a direct transfer: going through the page cache", self.path)
        fcntl.fcntl(self.fd, fcntl.F_SETFL, fcntl.fcntl(self.fd, fcntl.F_GETFL) & ~os.O_DIRECT)
        self.direct = False

    def readinto(self, view: memoryview, offset: int) -> int:
        """Fill ``view`` from ``offset``; fewer bytes than its length only at the end."""
        done = 0
        while done < len(view) and offset + done < self.size:
            try:
                count = os.preadv(self.fd, [view[done:]], offset + done)
            except OSError as exc:
                if exc.errno != errno.EINVAL or not self.direct:
                    raise
                self._buffered()
                continue
            if count == 0:
                break
            done += count
        return done

    def write(self, view: memoryview, offset: int) -> None:
        """Write all of ``view`` at ``offset``."""
        done = 0
        while done < len(view):
            try:
                count = os.pwrite(self.fd, view[done:], offset + done)
            except OSError as exc:
                if exc.errno != errno.EINVAL or not self.direct:
                    raise
                self._buffered()
                continue
            if count == 0:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            done += count

    def forget(self) -> None:
        """Have the next read come from the device: drops what the page cache holds of it."""
        if self.is_block:
            try:
                ioctl.drop_cache(self.fd)
            except PermissionError:
                log.debug("%s: only root may drop a device's cache", self.path)
        os.posix_fadvise(self.fd, 0, 0, os.POSIX_FADV_DONTNEED)

    def close(self) -> None:
        """Close it; a second call does nothing."""
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1

"""The block device ioctls that the transfer needs, each wrapped once (linux/fs.h, linux/blkdev.h; block/ioctl.c).

Every function takes an open file descriptor of a block device and raises OSError.
"""

from __future__ import annotations

import errno
import fcntl
import struct

BLKFLSBUF = 0x1261
BLKSSZGET = 0x1268
BLKDISCARD = 0x1277
BLKZEROOUT = 0x127F
#: _IOR(0x12, 114, size_t) where size_t has 8 bytes, as on every architecture that we run on.
BLKGETSIZE64 = 0x80081272

NOT_SUPPORTED = (errno.EOPNOTSUPP, errno.ENOTTY, errno.EINVAL)


def device_size(fd: int) -> int:
    """The size of the device in bytes."""
    return int(struct.unpack("=Q", fcntl.ioctl(fd, BLKGETSIZE64, bytes(8)))[0])


def sector_size(fd: int) -> int:
    """The logical sector size in bytes, the unit that direct writes must keep to: 512 or 4096."""
    return int(struct.unpack("=i", fcntl.ioctl(fd, BLKSSZGET, bytes(4)))[0])


def discard(fd: int, offset: int, length: int) -> bool:
    """Tell the device that the range holds nothing any more; False when it cannot do that.

    ``offset`` and ``length`` are bytes, multiples of the logical sector size.  What the range reads as afterwards is
    undefined.
    """
    try:
        fcntl.ioctl(fd, BLKDISCARD, struct.pack("=QQ", offset, length))
    except OSError as exc:
        if exc.errno in NOT_SUPPORTED:
            return False
        raise
    return True


def zero_out(fd: int, offset: int, length: int) -> None:
    """Make the range read as zeros, by the device where it can, else the kernel writes them; units as in discard."""
    fcntl.ioctl(fd, BLKZEROOUT, struct.pack("=QQ", offset, length))


def drop_cache(fd: int) -> None:
    """Write out and forget what the kernel has cached of the device."""
    fcntl.ioctl(fd, BLKFLSBUF, 0)

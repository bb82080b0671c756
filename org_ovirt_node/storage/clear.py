"""Takes away what firmware and boot loaders start an earlier installation from."""

from __future__ import annotations

import os
from pathlib import Path

#: The part of a master boot record that holds code (UEFI specification 2.10, table 5.1).
BOOT_CODE = 440
#: int 0x18 (BIOS Boot Specification 1.01, 6.7: this device boots nothing, take the next one), and hlt for ever where
#: that comes back.  A GPT disk bears the mark of a boot sector, and a BIOS would jump into zeros.
BOOTS_NOTHING = b"\xcd\x18\xf4\xeb\xfd"
#: Bytes at the begin of a partition: FAT's boot sector with its copy, the superblocks of ext4 and XFS that GRUB reads.
BEGIN = 1 << 20


def clear_boot_code(disk: str) -> None:
    """Remove an earlier boot loader's code: after an interrupted installation the firmware tries the next device."""
    overwrite(disk, BOOTS_NOTHING.ljust(BOOT_CODE, b"\0"))


def clear_begin(partition: str) -> None:
    """Take the begin of a file system away: a signature alone is not what every firmware looks for."""
    overwrite(partition, bytes(BEGIN))


def overwrite(path: str, data: bytes) -> None:
    """Write ``data``, as far as there is room, to the begin of a device, and bring it to the disk."""
    with Path(path).open("r+b") as device:
        room = device.seek(0, os.SEEK_END)
        device.seek(0)
        device.write(data[:room])
        device.flush()
        os.fsync(device.fileno())

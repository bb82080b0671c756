"""What the caller of an installation decides, apart from the kickstart."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from org_ovirt_node.install.root import SYSROOT, WORK
from org_ovirt_node.layout.model import Firmware

#: What Anaconda unpacks as its payload; without a leading slash.
SKELETON = "usr/share/ovirt-node/skeleton.tar"
EFI_FIRMWARE = Path("/sys/firmware/efi")


def running_firmware() -> Firmware:
    """How this machine was started: what its disk shall be able to boot from, unless somebody says otherwise."""
    return Firmware.EFI if EFI_FIRMWARE.is_dir() else Firmware.BIOS


@dataclass(frozen=True)
class Options:
    """``images`` are disk image files by the name that they get; without them the machine's own disks are used.

    ``elsewhere``: the disks are another machine's, and this one's firmware is told nothing.  ``first_boot``: they are
    also copied, and the first boot of each copy makes it its machine's own (firstboot/).
    """

    firmware: tuple[Firmware, ...] = ()
    images: Mapping[str, Path] = field(default_factory=dict)
    work: Path = WORK
    root: Path = SYSROOT
    elsewhere: bool = False
    first_boot: bool = False

    @property
    def lock(self) -> Path:
        """The file whose lock an installation that uses ``work`` and ``root`` holds."""
        return self.work.with_name(f"{self.work.name}.lock")

    @property
    def targets(self) -> tuple[Firmware, ...]:
        return self.firmware or (running_firmware(),)

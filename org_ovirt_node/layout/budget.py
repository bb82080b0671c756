"""What fits into a volume group: the arithmetic that automatic and explicit layouts share.  All sizes are bytes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Optional

from org_ovirt_node.errors import LayoutError
from org_ovirt_node.i18n import _
from org_ovirt_node.kickstart import checks
from org_ovirt_node.layout import policy
from org_ovirt_node.layout.model import Disk, Encryption, Firmware, ThinPool, Volume
from org_ovirt_node.payload.facts import ImageFacts
from org_ovirt_node.rounding import round_down, round_up

#: The kernel's names of mapped devices have at most 127 bytes (DM_NAME_LEN in linux/dm-ioctl.h, with the zero);
#: LVM adds suffixes such as "-real" and "_tdata", and doubles every hyphen.
DM_NAME_LIMIT = 127
DM_SUFFIX = len("_tmeta-real")
BIOS_SECTOR = 512


@dataclass(frozen=True)
class Slots:
    """The room for images: that of the first, and that of all."""

    image: int
    each: int
    count: int

    @property
    def total(self) -> int:
        return self.each * self.count

    @property
    def further(self) -> int:
        """Room that must stay free beside the first image."""
        return self.total - self.image


def image_slots(image: ImageFacts, count: int, extent: int = policy.EXTENT) -> Slots:
    """The slots for ``count`` images such as this one."""
    return Slots(round_up(image.size, extent), policy.slot_size(image.size, extent), count)


def usable(disk: Disk) -> int:
    """Bytes of a disk that partitions can have."""
    return round_down(disk.size, policy.ALIGNMENT) - policy.GPT_OVERHEAD


def inside(pv: int, encryption: Optional[Encryption]) -> int:
    """Bytes of a PV partition that LVM sees."""
    return pv - (policy.LUKS_OVERHEAD[encryption.version] if encryption else 0)


def largest_pool(name: str, room: int, extent: int) -> ThinPool:
    """The largest pool that fits into ``room`` with its metadata and the spare of it."""
    chunk = policy.chunk_size(room)
    metadata = policy.metadata_size(room, extent, chunk)
    return ThinPool(name, round_down(room - 2 * metadata, extent), metadata, chunk)


def pool_room(pool: ThinPool) -> int:
    """What a pool takes of the VG: its data, its metadata, and LVM's spare for repairing it (lvmthin(7), pmspare)."""
    return pool.size + 2 * pool.metadata_size


def thin_sum(volumes: list[Volume], layers: int) -> int:
    """What all thin volumes take when they are full, with a layer for every image slot."""
    return sum(volume.size * (layers if volume.is_layer else 1) for volume in volumes if volume.thin)


def check_names(vg: str, pool: str, image: ImageFacts, volumes: list[Volume]) -> None:
    """Raise LayoutError for names that LVM would not take, or that are taken twice."""
    names = [image.nvr, pool, *(volume.name for volume in volumes)]
    for name in names:
        try:
            checks.lvm_name(name[:60])
        except ValueError as error:
            raise LayoutError(
                _("{name} cannot be the name of a logical volume: {error}").format(name=repr(name), error=error)
            ) from error
        if len(vg.replace("-", "--")) + 1 + len(name.replace("-", "--")) + DM_SUFFIX > DM_NAME_LIMIT:
            raise LayoutError(
                _("the names {vg} and {name} are together too long for the kernel").format(vg=vg, name=name),
                hint=_("Shorten --vg."),
            )
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        hint = _("Choose another mount point, or --pool.")
        if twice[0] == image.nvr:
            hint = _("Rename the image's file.")
        raise LayoutError(_("two logical volumes would have the name {name}").format(name=twice[0]), hint=hint)


def check_firmware(boot: Disk, firmware: tuple[Firmware, ...]) -> None:
    """Raise LayoutError when the disk cannot be booted as asked."""
    if not firmware:
        raise LayoutError(_("nothing says whether the disk is to boot by BIOS or by EFI"))
    if Firmware.BIOS in firmware and boot.sector_size != BIOS_SECTOR:
        raise LayoutError(
            _("the disk {name} has sectors of {sector_size} bytes, and BIOS cannot boot from these").format(
                name=boot.name, sector_size=boot.sector_size
            ),
            hint=_("Switch the firmware to EFI, or boot from another disk with bootloader --boot-drive=."),
        )

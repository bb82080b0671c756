"""The defaults of a node's layout: which volumes, how large, how small at the least, and the formulae.

Every number has its reason here and in docs/layout.md.  All sizes are bytes.
"""

from __future__ import annotations

from dataclasses import dataclass

from org_ovirt_node.layout.model import GIB, MIB
from org_ovirt_node.rounding import round_down, round_up

#: LVM's own default, and what Anaconda makes.
EXTENT = 4 * MIB
#: Every partition starts and ends on a MiB, what libparted aligns to on any disk that asks for no more.
ALIGNMENT = MIB
#: The primary GPT and the backup GPT each lie within one MiB of the two ends of a disk.
GPT_OVERHEAD = 2 * MIB
#: Left over on each disk, for disks whose optimal I/O size makes libparted align to more than a MiB.
DISK_SLACK = 8 * MIB
#: Where LVM puts the first extent of a PV (lvm.conf: default_data_alignment=1), its own metadata before it.
PV_OVERHEAD = MIB
#: The header that cryptsetup reserves: LUKS2 16 MiB, LUKS1 2 MiB (cryptsetup-luksFormat(8), --offset).
LUKS_OVERHEAD = {"luks2": 16 * MIB, "luks1": 2 * MIB}

#: GRUB's core image needs some 32 KiB; a MiB is what everyone reserves (GRUB manual, "BIOS installation").
BIOSBOOT_SIZE = MIB
#: Anaconda's size; several vendors' boot loaders, shim, GRUB and firmware capsules fit.
ESP_SIZE = 600 * MIB
BOOT_LABEL = "boot"
ESP_LABEL = "EFI"

#: Room for each image: this much of the size of the first, because the next release is rarely smaller.
SLOT_HEADROOM_PERCENT = 150

#: Bytes of pool metadata for each chunk: lvmthin(7) estimates 64, doubled because blocks that snapshots share are
#: described again in each.
METADATA_PER_CHUNK = 128
#: Red Hat's advice (access.redhat.com node 6318131) is to start with 1 GiB; a small pool gets this share of itself.
METADATA_USUAL = GIB
METADATA_SHARE = 100
#: Four extents; LVM's own minimum of 2 MiB filled up for oVirt users (BZ 1432359).
METADATA_MINIMUM = 16 * MIB
#: What the kernel can address (drivers/md/dm-thin-metadata.h: 255 * 2^14 blocks of 4 KiB), in whole extents.
METADATA_MAXIMUM = 15 * GIB + 880 * MIB
#: LVM's default chunk; it is doubled while the chunks would need more metadata than METADATA_COMFORT.
CHUNK_MINIMUM = 64 << 10
CHUNK_MAXIMUM = GIB
METADATA_COMFORT = 2 * GIB

#: One part in this many of the VG stays free beyond the slots, to grow the pool's metadata and for repairs.
FREE_SHARE = 100
FREE_MINIMUM = 16 * MIB
FREE_MAXIMUM = 16 * GIB

#: mkfs.xfs refuses less than 300 MB; mkfs.ext4 works with less but leaves next to nothing.
FS_MINIMUM = {"ext4": 64 * MIB, "xfs": 320 * MIB}
FS_TYPES = tuple(FS_MINIMUM)
DEFAULT_FS = "ext4"
SWAP_NAME = "swap"


@dataclass(frozen=True)
class Default:
    """A volume of the default layout: ``usual`` bytes on a disk that has the room, never below ``minimum``."""

    mountpoint: str
    usual: int
    minimum: int
    options: tuple[str, ...] = ()
    #: False for volumes that a node cannot do without.
    removable: bool = True


#: Swap does not grow with memory on a hypervisor: virtual machines are not meant to be swapped out.  8 GiB is what
#: Anaconda recommends at most for 8 to 64 GiB of memory; 256 MiB still lets the kernel move out what is never used.
SWAP = Default("swap", 8 * GIB, 256 * MIB)
#: /boot holds a kernel, an initramfs and host.img for each slot, some 120 MiB together; 1 GiB is Anaconda's minimum.
BOOT = Default("/boot", GIB, 512 * MIB, ("nodev", "nosuid"), removable=False)
#: The layer: what is written outside the separate volumes.
LAYER = Default("/", 6 * GIB, 768 * MIB, ("discard",), removable=False)

#: The volumes of the upstream ``ovirt`` profile of Anaconda, parents first.
VOLUMES = (
    Default("/home", GIB, 128 * MIB, ("discard", "nodev", "nosuid")),
    Default("/tmp", GIB, 256 * MIB, ("discard", "nodev", "nosuid")),
    Default("/var", 5 * GIB, 1024 * MIB, ("discard",), removable=False),
    Default("/var/crash", 10 * GIB, 256 * MIB, ("discard", "nodev", "nosuid")),
    Default("/var/log", 8 * GIB, 512 * MIB, ("discard", "nodev", "nosuid")),
    Default("/var/log/audit", 2 * GIB, 128 * MIB, ("discard", "nodev", "nosuid")),
    Default("/var/tmp", 10 * GIB, 512 * MIB, ("discard", "nodev", "nosuid")),
)
BY_MOUNTPOINT = {default.mountpoint: default for default in (*VOLUMES, LAYER, BOOT, SWAP)}


def minimum_size(mountpoint: str, fstype: str) -> int:
    """The least size of a volume: that of the file system, and of what is kept there."""
    default = BY_MOUNTPOINT.get(mountpoint)
    return max(FS_MINIMUM.get(fstype, 0), default.minimum if default else 0)


def volume_options(mountpoint: str) -> tuple[str, ...]:
    """Mount options of a thin volume.  ``discard`` always: without it the pool never gets space back."""
    default = BY_MOUNTPOINT.get(mountpoint)
    return default.options if default else ("discard",)


def volume_name(mountpoint: str) -> str:
    """The LV of a mount point: ``/var/log/audit`` → ``var_log_audit``."""
    return mountpoint.strip("/").replace("/", "_")


def layer_name(nvr: str, number: int = 1) -> str:
    """The LV of a layer, as imgbased names them."""
    return f"{nvr}+{number}"


def slot_size(image_size: int, extent: int = EXTENT) -> int:
    """Room that is kept for each image, whatever it will be: the first image's size with headroom."""
    return round_up(image_size * SLOT_HEADROOM_PERCENT // 100, extent)


def chunk_size(pool_size: int) -> int:
    """The smallest chunk with which the metadata of a pool of ``pool_size`` bytes stays comfortable."""
    chunk = CHUNK_MINIMUM
    while chunk < CHUNK_MAXIMUM and pool_size // chunk * METADATA_PER_CHUNK > METADATA_COMFORT:
        chunk *= 2
    return chunk


def metadata_size(pool_size: int, extent: int = EXTENT, chunk: int = 0) -> int:
    """Metadata for a pool of ``pool_size`` bytes; LVM keeps as much again as the spare for repairs (pmspare)."""
    needed = -(-pool_size // (chunk or chunk_size(pool_size))) * METADATA_PER_CHUNK
    usual = min(METADATA_USUAL, pool_size // METADATA_SHARE)
    return min(round_up(max(needed, usual, METADATA_MINIMUM), extent), round_down(METADATA_MAXIMUM, extent))


def free_room(vg_size: int, extent: int = EXTENT) -> int:
    """What stays free in a VG of ``vg_size`` bytes besides the slots."""
    return round_up(min(max(vg_size // FREE_SHARE, FREE_MINIMUM), FREE_MAXIMUM), extent)


def vg_size(pv_sizes: list[int], extent: int = EXTENT) -> int:
    """Bytes in whole extents of a VG whose PVs have ``pv_sizes`` bytes (without any LUKS header)."""
    return sum(round_down(max(size - PV_OVERHEAD, 0), extent) for size in pv_sizes)


def mount_options(text: str) -> tuple[str, ...]:
    """The mount options of a kickstart line as a tuple; ``defaults`` means none."""
    return tuple(word for word in text.split(",") if word and word != "defaults")

"""The layout as data.  All sizes are bytes; all names are those of the field (see docs/architecture.md)."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Optional

MIB = 1 << 20
GIB = 1 << 30


class Firmware(Enum):
    """What a disk shall be able to boot from."""

    BIOS = "bios"
    EFI = "efi"


class Role(Enum):
    """What a partition is for."""

    BIOSBOOT = "biosboot"
    ESP = "esp"
    BOOT = "boot"
    PV = "pv"
    #: GRUB's environment block where /boot is an array, which GRUB cannot write to; one on each disk.
    ENVIRONMENT = "environment"


#: udev's links to partitions by their unique ids (udev: 60-persistent-storage.rules), as ExistingPartition has them.
BY_PARTUUID = "by-partuuid/"


#: File systems (blivet's names) that firmware and boot loaders start something from, the firmware's own first.
STARTED_FROM = ("efi", "vfat", "ext2", "ext3", "ext4", "xfs")


@dataclass(frozen=True)
class ExistingPartition:
    """A partition that is on a disk before we touch it.

    ``links`` are its names below /dev/disk/, such as ``by-uuid/2c38…``.
    """

    name: str
    size: int
    fstype: str = ""
    label: str = ""
    links: tuple[str, ...] = ()


@dataclass(frozen=True)
class Disk:
    """A disk as the planner sees it: facts only, no handle.

    ``name`` is the kernel's (or blivet's) name without /dev/, ``links`` are names below /dev/disk/ such as
    ``by-id/virtio-abc``; ``members`` are the paths of a multipath device or the disks of an array.
    """

    name: str
    size: int
    sector_size: int = 512
    kind: str = "disk"
    serial: str = ""
    wwn: str = ""
    model: str = ""
    links: tuple[str, ...] = ()
    members: tuple[str, ...] = ()
    partitions: tuple[ExistingPartition, ...] = ()
    vgs: tuple[str, ...] = ()
    #: True when neither a partition table nor a file system, PV or other signature was found on it.
    blank: bool = True
    readonly: bool = False
    #: What lies on the disk itself, without a partition table (``LVM2_member``, ``ext4`` …), and its label.
    fstype: str = ""
    label: str = ""
    #: Why the disk must not be used, such as "the image is read from it"; empty for a disk that may be.
    protected: str = ""


@dataclass(frozen=True)
class Encryption:
    """LUKS below a PV.  The passphrase is kept out of the representation so that it reaches no log."""

    passphrase: str
    version: str = "luks2"

    def __repr__(self) -> str:
        return f"Encryption(passphrase='********', version={self.version!r})"


@dataclass(frozen=True)
class Partition:
    """A partition to make.  ``mountpoint`` is empty for BIOS boot partitions and PVs.

    ``array`` names the array that it is a part of, which has file system, mount point and the like in its place.
    """

    disk: str
    role: Role
    size: int
    fstype: str = ""
    mountpoint: str = ""
    label: str = ""
    options: tuple[str, ...] = ()
    encryption: Optional[Encryption] = None
    array: str = ""


@dataclass(frozen=True)
class Array:
    """An md RAID1 over the partitions that name it; for ``role`` BOOT or PV."""

    name: str
    role: Role
    fstype: str = ""
    mountpoint: str = ""
    label: str = ""
    options: tuple[str, ...] = ()


@dataclass(frozen=True)
class VolumeGroup:
    """The VG; ``extent_size`` in bytes."""

    name: str
    extent_size: int = 4 * MIB
    #: Names of the disks whose PV partitions form it.
    disks: tuple[str, ...] = ()


@dataclass(frozen=True)
class ImageVolume:
    """The plain linear LV that holds one image bit for bit; ``name`` is the NVR."""

    name: str
    size: int


@dataclass(frozen=True)
class ThinPool:
    """The thin pool, with the size of its metadata."""

    name: str
    size: int
    metadata_size: int
    chunk_size: int


@dataclass(frozen=True)
class Volume:
    """A LV with a file system: the layer (``mountpoint`` "/"), a shared volume, or swap (fstype "swap").

    ``thin`` volumes live in the pool; swap is a linear LV.
    """

    name: str
    size: int
    fstype: str
    mountpoint: str = ""
    options: tuple[str, ...] = ()
    thin: bool = True

    @property
    def is_layer(self) -> bool:
        return self.mountpoint == "/"


@dataclass(frozen=True)
class Layout:
    """Everything that is to be on the disks, in the order in which it is made."""

    firmware: tuple[Firmware, ...]
    #: The disks that are used, the boot disk first.
    disks: tuple[Disk, ...]
    #: Names of those of them that lose their previous content.
    wiped: tuple[str, ...]
    partitions: tuple[Partition, ...]
    vg: VolumeGroup
    image: ImageVolume
    #: Bytes that stay free in the VG: for further images, and some room to grow the pool's metadata.  LVM's spare
    #: for that metadata (pmspare, as large as the metadata) is not in here; it is taken.
    reserved: int
    pool: ThinPool
    volumes: tuple[Volume, ...]
    arrays: tuple[Array, ...] = ()

    @property
    def layer(self) -> Volume:
        """The writable layer of the first image."""
        return next(volume for volume in self.volumes if volume.is_layer)

    @property
    def shared(self) -> tuple[Volume, ...]:
        """The volumes that every layer mounts, parents before children."""
        found = [v for v in self.volumes if v.mountpoint and not v.is_layer]
        return tuple(sorted(found, key=lambda volume: volume.mountpoint))

    @property
    def boot_disk(self) -> Disk:
        return self.disks[0]

    @property
    def removed(self) -> tuple[str, ...]:
        """The unique ids (GPT) of the partitions that go: firmware's entries for them lead nowhere then."""
        links = [
            link for disk in self.disks if disk.name in self.wiped for part in disk.partitions for link in part.links
        ]
        return tuple(link[len(BY_PARTUUID) :] for link in links if link.startswith(BY_PARTUUID))

    @property
    def startable(self) -> tuple[str, ...]:
        """The names of the partitions that go and that something could be started from: of system partitions first."""
        found = [
            part
            for disk in self.disks
            if disk.name in self.wiped
            for part in disk.partitions
            if part.fstype in STARTED_FROM
        ]
        return tuple(part.name for part in sorted(found, key=lambda part: STARTED_FROM.index(part.fstype)))

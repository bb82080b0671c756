"""What Anaconda's partitioning will make, as its device tree tells, before any disk is written."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Any

from pyanaconda.modules.common.constants.objects import BOOTLOADER, DEVICE_TREE
from pyanaconda.modules.common.constants.services import STORAGE
from pyanaconda.modules.common.structures.storage import DeviceData, DeviceFormatData

from org_ovirt_node.errors import LayoutError, StorageError
from org_ovirt_node.i18n import N_, _, translated
from org_ovirt_node.install.adopt import taken
from org_ovirt_node.install.options import Options
from org_ovirt_node.kickstart.model import DEFAULT_POOL, DEFAULT_VG, NodeSection, VolumeRequest
from org_ovirt_node.kickstart.units import human_size
from org_ovirt_node.layout.model import Firmware
from org_ovirt_node.layout.policy import CHUNK_MINIMUM, EXTENT, layer_name
from org_ovirt_node.payload.facts import ImageFacts
from org_ovirt_node.rounding import round_up
from org_ovirt_node.service.bootloader import ENABLED

#: blivet's names of device types.
THIN, POOL, VG, PARTITION = "lvmthinlv", "lvmthinpool", "lvmvg", "partition"
#: Mount points that a node cannot share with its layer: what is in them outlives an upgrade.
SEPARATE = ("/var",)
#: What the core of GRUB that we install can read.
BOOT_FILE_SYSTEMS = ("ext4",)
#: Bytes of a thin pool's metadata for each chunk of its data, as libblockdev (which Anaconda uses) reckons it.
METADATA_PER_CHUNK = 64
HINT = N_(
    "Say 'autopart --type=thinp', or give the volumes with part, volgroup and logvol; "
    "'ovirt-node-install --plan --format kickstart' prints such lines."
)


@dataclass(frozen=True)
class Device:
    """A device of the tree; ``size`` in bytes."""

    name: str
    type: str
    size: int
    parents: tuple[str, ...]
    children: tuple[str, ...]
    fstype: str = ""

    @property
    def disk(self) -> str:
        """The disk of a partition."""
        return self.parents[0] if self.parents else ""


@dataclass(frozen=True)
class PlannedStorage:
    """What the partitioning that is applied will make; ``free`` are the bytes that it leaves in the VG.

    ``volumes`` are the names of the LVs that will be in the VG.
    """

    mounts: dict[str, Device] = field(default_factory=dict)
    vg: str = ""
    vg_size: int = 0
    free: int = 0
    volumes: tuple[str, ...] = ()
    pool: str = ""
    pool_size: int = 0
    #: What is to boot the node; empty where no boot loader is to be installed.
    firmware: tuple[Firmware, ...] = ()
    #: The partition table of the disk with /boot as blivet calls it, empty where it cannot be told.
    table: str = ""
    #: The disks with a BIOS boot partition, and the one of --boot-drive, which Anaconda fills in where nobody does.
    biosboot: tuple[str, ...] = ()
    boot_drive: str = ""

    @property
    def mountpoints(self) -> tuple[str, ...]:
        return tuple(sorted(path for path in self.mounts if path.startswith("/")))


def read_planned() -> PlannedStorage:
    """Ask Anaconda's storage module.  Raises StorageError when no partitioning has been applied yet."""
    tree = STORAGE.get_proxy(DEVICE_TREE)
    found = {path: _device(tree, name) for path, name in tree.GetMountPoints().items()}
    root = found.get("/")
    if root is None:
        raise StorageError(_("the disks are not partitioned yet"), hint=_("Choose a destination for the installation."))
    pool = _ancestor(tree, root, POOL)
    group = _ancestor(tree, pool or root, VG)
    planned = _boot_facts(tree, found)
    if group is None:
        return planned
    plain = [_device(tree, name) for name in group.children]
    thin = [_device(tree, name) for name in pool.children] if pool else []
    used = sum(device.size + (2 * metadata_size(device.size) if device.type == POOL else 0) for device in plain)
    return replace(
        planned,
        vg=group.name,
        vg_size=group.size,
        free=max(group.size - used, 0),
        # blivet calls an LV by the VG, a dash, and the LV.
        volumes=tuple(device.name[len(group.name) + 1 :] for device in (*plain, *thin)),
        pool=pool.name if pool else "",
        pool_size=pool.size if pool else 0,
    )


def metadata_size(pool: int) -> int:
    """The metadata of a thin pool of ``pool`` bytes, in whole extents; LVM keeps as much again to spare.

    The device tree does not tell it: this is what Anaconda takes where the kickstart has no --metadatasize.
    """
    return round_up(max(pool // CHUNK_MINIMUM * METADATA_PER_CHUNK, EXTENT), EXTENT)


def _boot_facts(tree: Any, mounts: dict[str, Device]) -> PlannedStorage:
    proxy = STORAGE.get_proxy(BOOTLOADER)
    formats = {name: DeviceFormatData.from_structure(tree.GetFormatData(name)) for name in tree.GetDevices()}
    biosboot = [_on(tree, _device(tree, name)).disk for name, found in formats.items() if found.type == "biosboot"]
    label = formats.get(mounts["/boot"].disk) if "/boot" in mounts else None
    # "partition table (GPT)" is how blivet describes one.
    table = label.description.rpartition("(")[2].rstrip(")").lower() if label and label.type == "disklabel" else ""
    drive = str(tree.ResolveDevice(str(proxy.Drive))) if proxy.Drive else ""
    partitions = {path: _on(tree, found) for path, found in mounts.items() if path in ("/boot", "/boot/efi")}
    return PlannedStorage(
        mounts={**mounts, **partitions},
        firmware=Options().targets if int(proxy.BootloaderMode) == ENABLED else (),
        table=table,
        biosboot=tuple(biosboot),
        boot_drive=_device(tree, drive).name if drive else "",
    )


def _on(tree: Any, device: Device) -> Device:
    """The device with its parents by name: the tree has IDs for them since 42."""
    return replace(device, parents=tuple(_device(tree, parent).name for parent in device.parents))


def _device(tree: Any, name: str) -> Device:
    data = DeviceData.from_structure(tree.GetDeviceData(name))
    fmt = DeviceFormatData.from_structure(tree.GetFormatData(name))
    return Device(data.name, data.type, int(data.size), tuple(data.parents), tuple(data.children), fmt.type)


def _ancestor(tree: Any, device: Device, kind: str) -> Any:
    for name in device.parents:
        parent = _device(tree, name)
        if parent.type == kind:
            return parent
        found = _ancestor(tree, parent, kind)
        if found is not None:
            return found
    return None


def check(planned: PlannedStorage, node: NodeSection, image: ImageFacts) -> tuple[str, ...]:
    """Refuse a partitioning on which the node cannot be, by name; returns what is worth a warning.

    Raises LayoutError.
    """
    root = planned.mounts["/"]
    if root.type != THIN or not planned.vg:
        raise LayoutError(
            _("the root file system is to be on {name} ({type}), no thin volume").format(
                name=root.name, type=root.type
            ),
            hint=translated(HINT),
        )
    boot = planned.mounts.get("/boot")
    if boot is None or boot.type != PARTITION:
        wrong = _("/boot is to be part of the root file system, not on a partition of its own")
        if boot is not None:
            wrong = _("/boot is to be on {name} ({type}), not on a partition of its own")
        values = {"name": boot.name, "type": boot.type} if boot else {}
        raise LayoutError(wrong.format(**values), hint=translated(HINT))
    if boot.fstype not in BOOT_FILE_SYSTEMS:
        raise LayoutError(
            _("/boot is to have the file system {fstype}, which GRUB's core does not read").format(fstype=boot.fstype),
            hint=_("Use {names}: 'autopart --fstype=ext4', or 'part /boot --fstype=ext4'.").format(
                names=_(" or ").join(BOOT_FILE_SYSTEMS)
            ),
        )
    _check_boot(planned, boot)
    for mountpoint in SEPARATE:
        if mountpoint not in planned.mounts:
            raise LayoutError(
                _("the partitioning has no volume of its own for {mountpoint}").format(mountpoint=mountpoint),
                hint=translated(HINT),
            )
    _check_section(planned, node)
    for name in (image.nvr, layer_name(image.nvr)):
        if name in planned.volumes and root.name != f"{planned.vg}-{name}":
            raise LayoutError(
                taken(planned.vg, name), hint=_("Remove that volume, or let 'clearpart --all' clear its disks.")
            )
    needed = round_up(image.size, EXTENT)
    if needed > planned.free:
        raise LayoutError(
            _("the image needs {needed}, and the volume group {vg} is to have {free} free").format(
                needed=human_size(needed), vg=planned.vg, free=human_size(planned.free)
            ),
            hint=_("Make the thin pool or other volumes smaller, or add a disk."),
        )
    wanted = needed * node.image_slots
    if wanted > planned.free:
        few = _("the volume group {vg} has {free} free: fewer than --image-slots={slots} images of {needed} will fit")
        free, each = human_size(planned.free), human_size(needed)
        return (few.format(vg=planned.vg, free=free, slots=node.image_slots, needed=each),)
    return ()


def _check_boot(planned: PlannedStorage, boot: Device) -> None:
    """The disk must be one that the firmware starts a boot loader from."""
    first = boot
    if Firmware.EFI in planned.firmware:
        esp = planned.mounts.get("/boot/efi")
        if esp is None or esp.type != PARTITION or esp.fstype != "efi":
            raise LayoutError(
                _("the partitioning has no EFI system partition at /boot/efi, and this machine boots by EFI"),
                hint=_("Add 'part /boot/efi --fstype=efi --size=600' to partitions of your own."),
            )
        first = esp
    if Firmware.BIOS in planned.firmware and (boot.disk not in planned.biosboot or planned.table not in ("", "gpt")):
        raise LayoutError(
            _("the disk {disk} with /boot is to have no BIOS boot partition in a GPT").format(disk=boot.disk),
            hint=_(
                "Let 'clearpart --all --initlabel --disklabel=gpt' make a GPT (by hand on CentOS Stream 9: boot "
                "with inst.gpt), and add 'part biosboot --fstype=biosboot --size=1' to partitions of your own."
            ),
        )
    if planned.firmware and planned.boot_drive and planned.boot_drive != first.disk:
        raise LayoutError(
            _(
                "the boot loader is to be on {boot_drive} (--boot-drive), and the partitions that it needs are on "
                "{disk}"
            ).format(boot_drive=planned.boot_drive, disk=first.disk),
            hint=_("Say 'bootloader --boot-drive={disk}', or put these partitions on {boot_drive}.").format(
                disk=first.disk, boot_drive=planned.boot_drive
            ),
        )


def _check_section(planned: PlannedStorage, node: NodeSection) -> None:
    """What the section asks of the disks must be what the partitioning brings: nothing is ignored."""
    if node.vg not in (DEFAULT_VG, planned.vg):
        raise LayoutError(
            _("--vg={vg} is asked for and the partitioning makes the volume group {made}").format(
                vg=node.vg, made=planned.vg
            ),
            hint=_("Leave --vg out, or name it in the kickstart's volgroup line."),
        )
    pool = planned.pool.removeprefix(f"{planned.vg}-")
    if node.pool not in (DEFAULT_POOL, pool):
        raise LayoutError(
            _("--pool={pool} is asked for and the partitioning makes the thin pool {made}").format(
                pool=node.pool, made=pool
            ),
            hint=_("Leave --pool out, or name it in the kickstart's logvol line with --thinpool."),
        )
    if node.layer_size and planned.mounts["/"].size < node.layer_size:
        raise LayoutError(
            _("--layer-size={asked} is asked for and the partitioning gives the root {size}").format(
                asked=human_size(node.layer_size), size=human_size(planned.mounts["/"].size)
            ),
            hint=_("Give the size in the kickstart's logvol line for /."),
        )
    for volume in node.volumes:
        _check_volume(planned, volume)
    _check_absent(planned.mounts, node.novolumes)


def _check_volume(planned: PlannedStorage, volume: VolumeRequest) -> None:
    found, asked = planned.mounts.get(volume.mountpoint), f"volume {volume.mountpoint}"
    correct = _("Correct the logvol line of {mountpoint}.").format(mountpoint=volume.mountpoint)
    if found is None:
        raise LayoutError(
            _("{asked} is asked for and the partitioning has none").format(asked=asked),
            hint=_("Add a logvol line for {mountpoint}.").format(mountpoint=volume.mountpoint),
        )
    if found.size < volume.size:
        raise LayoutError(
            _("{asked} --size={size} is asked for and the partitioning gives it {made}").format(
                asked=asked, size=human_size(volume.size), made=human_size(found.size)
            ),
            hint=correct,
        )
    if volume.fstype not in ("", found.fstype):
        raise LayoutError(
            _("{asked} --fstype={fstype} is asked for and the partitioning gives it {made}").format(
                asked=asked, fstype=volume.fstype, made=found.fstype
            ),
            hint=correct,
        )


def _check_absent(mounts: Iterable[str], novolumes: Iterable[str]) -> None:
    for mountpoint in novolumes:
        if mountpoint in mounts:
            raise LayoutError(
                _("novolume {mountpoint} is asked for and the partitioning makes one").format(mountpoint=mountpoint),
                hint=_("Leave the logvol line of {mountpoint} out, or novolume.").format(mountpoint=mountpoint),
            )

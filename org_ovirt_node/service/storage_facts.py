"""What Anaconda's partitioning will make, as its device tree tells, before any disk is written."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from pyanaconda.modules.common.constants.objects import DEVICE_TREE
from pyanaconda.modules.common.constants.services import STORAGE
from pyanaconda.modules.common.structures.storage import DeviceData, DeviceFormatData

from org_ovirt_node.errors import LayoutError, StorageError
from org_ovirt_node.install.adopt import taken
from org_ovirt_node.kickstart.model import DEFAULT_VG, NodeSection
from org_ovirt_node.kickstart.units import human_size
from org_ovirt_node.layout.policy import EXTENT, layer_name
from org_ovirt_node.payload.facts import ImageFacts
from org_ovirt_node.rounding import round_up

#: blivet's names of device types.
THIN, POOL, VG, PARTITION = "lvmthinlv", "lvmthinpool", "lvmvg", "partition"
#: Mount points that a node cannot share with its layer: what is in them outlives an upgrade.
SEPARATE = ("/var",)
#: What the core of GRUB that we install can read.
BOOT_FILE_SYSTEMS = ("ext4",)
HINT = (
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

    @property
    def mountpoints(self) -> tuple[str, ...]:
        return tuple(sorted(path for path in self.mounts if path.startswith("/")))


def read_planned() -> PlannedStorage:
    """Ask Anaconda's storage module.  Raises StorageError when no partitioning has been applied yet."""
    tree = STORAGE.get_proxy(DEVICE_TREE)
    found = {path: _device(tree, name) for path, name in tree.GetMountPoints().items()}
    root = found.get("/")
    if root is None:
        raise StorageError("the disks are not partitioned yet", hint="Choose a destination for the installation.")
    pool = _ancestor(tree, root, POOL)
    group = _ancestor(tree, pool or root, VG)
    if group is None:
        return PlannedStorage(mounts=found)
    plain = [_device(tree, name) for name in group.children]
    thin = [_device(tree, name) for name in pool.children] if pool else []
    used = sum(device.size for device in plain)
    return PlannedStorage(
        mounts=found,
        vg=group.name,
        vg_size=group.size,
        free=max(group.size - used, 0),
        # blivet calls an LV by the VG, a dash, and the LV.
        volumes=tuple(device.name[len(group.name) + 1 :] for device in (*plain, *thin)),
        pool=pool.name if pool else "",
        pool_size=pool.size if pool else 0,
    )


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
        raise LayoutError(f"the root file system is to be on {root.name} ({root.type}), no thin volume", hint=HINT)
    boot = planned.mounts.get("/boot")
    if boot is None or boot.type != PARTITION:
        where = f"on {boot.name} ({boot.type})" if boot else "part of the root file system"
        raise LayoutError(f"/boot is to be {where}, not on a partition of its own", hint=HINT)
    if boot.fstype not in BOOT_FILE_SYSTEMS:
        raise LayoutError(
            f"/boot is to have the file system {boot.fstype}, which GRUB's core does not read",
            hint=f"Use {' or '.join(BOOT_FILE_SYSTEMS)}: 'autopart --fstype=ext4', or 'part /boot --fstype=ext4'.",
        )
    for mountpoint in SEPARATE:
        if mountpoint not in planned.mounts:
            raise LayoutError(f"the partitioning has no volume of its own for {mountpoint}", hint=HINT)
    _check_section(planned, node)
    for name in (image.nvr, layer_name(image.nvr)):
        if name in planned.volumes and root.name != f"{planned.vg}-{name}":
            raise LayoutError(
                taken(planned.vg, name), hint="Remove that volume, or let 'clearpart --all' clear its disks."
            )
    needed = round_up(image.size, EXTENT)
    if needed > planned.free:
        raise LayoutError(
            f"the image needs {human_size(needed)}, and the volume group {planned.vg} is to have "
            f"{human_size(planned.free)} free",
            hint="Make the thin pool or other volumes smaller, or add a disk.",
        )
    wanted = needed * node.image_slots
    if wanted > planned.free:
        return (
            f"the volume group {planned.vg} has {human_size(planned.free)} free: fewer than --image-slots="
            f"{node.image_slots} images of {human_size(needed)} will fit",
        )
    return ()


def _check_section(planned: PlannedStorage, node: NodeSection) -> None:
    """What the section asks of the disks must be what the partitioning brings: nothing is ignored."""
    if node.vg not in (DEFAULT_VG, planned.vg):
        raise LayoutError(
            f"--vg={node.vg} is asked for and the partitioning makes the volume group {planned.vg}",
            hint="Leave --vg out, or name it in the kickstart's volgroup line.",
        )
    if node.layer_size and planned.mounts["/"].size < node.layer_size:
        raise LayoutError(
            f"--layer-size={human_size(node.layer_size)} is asked for and the partitioning gives the root "
            f"{human_size(planned.mounts['/'].size)}",
            hint="Give the size in the kickstart's logvol line for /.",
        )
    for volume in node.volumes:
        found = planned.mounts.get(volume.mountpoint)
        if found is None:
            raise LayoutError(
                f"volume {volume.mountpoint} is asked for and the partitioning has none",
                hint=f"Add a logvol line for {volume.mountpoint}.",
            )
        if found.size < volume.size:
            raise LayoutError(
                f"volume {volume.mountpoint} --size={human_size(volume.size)} is asked for and the partitioning gives "
                f"it {human_size(found.size)}",
                hint=f"Correct the logvol line of {volume.mountpoint}.",
            )
    _check_absent(planned.mounts, node.novolumes)


def _check_absent(mounts: Iterable[str], novolumes: Iterable[str]) -> None:
    for mountpoint in novolumes:
        if mountpoint in mounts:
            raise LayoutError(
                f"novolume {mountpoint} is asked for and the partitioning makes one",
                hint=f"Leave the logvol line of {mountpoint} out, or novolume.",
            )

"""An installation on disks that somebody else has partitioned and mounted: Anaconda.

The steps are those of :class:`~.engine.Installation`; only where the layout comes from and how the root is assembled
differ.  Anaconda goes on working in its ``/mnt/sysroot`` after us, so what is assembled there stays.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Optional

from org_ovirt_node.errors import BootError, LayoutError, StorageError
from org_ovirt_node.i18n import _
from org_ovirt_node.kickstart.units import human_size
from org_ovirt_node.layout.model import Firmware, ImageVolume, Layout, Partition, Role, ThinPool, Volume, VolumeGroup
from org_ovirt_node.layout.policy import EXTENT, layer_name
from org_ovirt_node.node import lvm
from org_ovirt_node.payload.facts import ImageFacts
from org_ovirt_node.rounding import round_up
from org_ovirt_node.run import run
from org_ovirt_node.storage.execute import Created, MadePartition, MadeVolume, mapper_path, settle

LSBLK = ("--json", "--bytes", "--output", "NAME,KNAME,PATH,TYPE,FSTYPE,UUID,PARTUUID,SIZE,PARTTYPE,PTTYPE")
#: The types of partitions in a GPT (UEFI specification 2.10, table 5.7, and GRUB manual, "BIOS installation").
BIOSBOOT_GUID = "21686148-6449-6e6f-744e-656564454649"
SYS_BLOCK = Path("/sys/class/block")


@dataclass(frozen=True)
class Mounted:
    """A line of mountinfo (proc_pid_mountinfo(5))."""

    number: int
    parent: int
    target: Path
    fstype: str
    source: str


def _plain(text: str) -> str:
    """A field of mountinfo with its octal escapes undone."""
    return text.encode().decode("unicode_escape").encode("latin-1").decode()


def parse_mountinfo(text: str) -> tuple[Mounted, ...]:
    """The mounts in the order in which they were made."""
    found = []
    for line in text.splitlines():
        left, _, right = line.partition(" - ")
        fields, rest = left.split(), right.split()
        found.append(Mounted(int(fields[0]), int(fields[1]), Path(_plain(fields[4])), rest[0], _plain(rest[1])))
    return tuple(found)


def mounts() -> tuple[Mounted, ...]:
    """What is mounted now."""
    return parse_mountinfo(Path("/proc/self/mountinfo").read_text(encoding="utf-8", errors="surrogateescape"))


def top_mount(found: Sequence[Mounted], target: Path) -> Mounted:
    """The mount that is seen at ``target``.  Raises StorageError when nothing is mounted there."""
    at = [mount for mount in found if mount.target == target]
    if not at:
        raise StorageError(
            _("nothing is mounted at {target}").format(target=target), hint=_("Has the partitioning been done?")
        )
    return at[-1]


def children(found: Sequence[Mounted], mount: Mounted) -> tuple[Mounted, ...]:
    """The mounts directly below ``mount``; of several at one place the one that is seen."""
    below = {child.target: child for child in found if child.parent == mount.number}
    return tuple(below.values())


@dataclass(frozen=True)
class BlockDevice:
    """A block device, as lsblk(8) tells; ``disks`` are the paths of the whole disks below it."""

    path: str
    kname: str
    type: str
    fstype: str
    uuid: str
    partuuid: str
    size: int
    part_type: str
    table: str
    disks: tuple[str, ...]


def parse_lsblk(text: str) -> dict[str, BlockDevice]:
    """The devices of ``lsblk`` by their path.  Raises StorageError for anything that is no report of it."""
    found: dict[str, BlockDevice] = {}

    def take(rows: Any, disk: Optional[str]) -> None:
        for row in rows:
            top = str(row["path"]) if disk is None or row["type"] == "mpath" else disk
            known = found.get(row["path"])
            found[row["path"]] = BlockDevice(
                path=row["path"],
                kname=row["kname"],
                type=row["type"],
                fstype=row["fstype"] or "",
                uuid=row["uuid"] or "",
                partuuid=row["partuuid"] or "",
                size=int(row["size"]),
                part_type=(row["parttype"] or "").lower(),
                table=(row["pttype"] or "").lower(),
                disks=tuple(dict.fromkeys([*(known.disks if known else ()), top])),
            )
            take(row.get("children", []), top)

    try:
        take(json.loads(text)["blockdevices"], None)
    except (ValueError, KeyError, TypeError, AttributeError) as exc:
        raise StorageError(_("lsblk's report could not be read"), hint=_("Run 'lsblk --json' to see it.")) from exc
    return found


def block_devices() -> dict[str, BlockDevice]:
    """All block devices."""
    return parse_lsblk(run(["lsblk", *LSBLK]).stdout)


@dataclass(frozen=True)
class Adopted:
    """What was found: the devices, and their layout as if we had planned it.

    ``root_lv`` is the present name of the layer's LV, ``table`` the partition table of the disk with /boot (``gpt`` or
    ``dos``).
    """

    created: Created
    root_lv: str
    table: str
    has_biosboot: bool

    @property
    def layout(self) -> Layout:
        return self.created.layout


def volume_of(device: str) -> lvm.LogicalVolume:
    """The LV whose device is ``device``.  Raises StorageError when it is none."""
    asked = run(["lvs", "--reportformat", "json", "--units", "b", "--options", lvm.LV_FIELDS, device], check=False)
    rows = lvm.parse_rows(asked.stdout, "lv") if asked.ok else []
    if not rows:
        raise StorageError(
            _("the root file system is on {device}, which is no logical volume").format(device=device),
            hint=_("Use 'autopart --type=thinp', or put / on a thin volume."),
        )
    return lvm.parse_volume(rows[0])


def adopt(root: Path, image: ImageFacts, firmware: tuple[Firmware, ...]) -> Adopted:
    """Describe what is mounted at ``root`` as a layout that was made.

    Raises StorageError, LayoutError or BootError for what cannot be a node.
    """
    found = mounts()
    layer = volume_of(top_mount(found, root).source)
    group = lvm.group(layer.vg)
    pool = next((volume for volume in group.volumes if volume.name == layer.pool), None)
    if pool is None:
        raise LayoutError(
            _("the volume {vg}/{name} of the root file system is not thin").format(vg=layer.vg, name=layer.name),
            hint=_("Use 'autopart --type=thinp', or 'logvol / --thin --poolname='."),
        )
    needed = round_up(image.size, group.extent_size or EXTENT)
    if needed > group.free:
        raise LayoutError(
            _("the image needs {needed}, and the VG {name} has {free} free").format(
                needed=human_size(needed), name=group.name, free=human_size(group.free)
            ),
            hint=_("Make the thin pool or other volumes smaller, or add a disk."),
        )
    devices = block_devices()
    parts = _partitions(found, devices, root)
    volumes = _volumes(found, devices, root, group)
    layout = Layout(
        firmware=firmware,
        disks=(),
        wiped=(),
        partitions=tuple(part.request for part in parts),
        vg=VolumeGroup(group.name, group.extent_size),
        image=ImageVolume(image.nvr, needed),
        reserved=max(group.free - needed, 0),
        pool=ThinPool(pool.name, pool.size, 0, 0),
        volumes=tuple(volume.request for volume in volumes),
    )
    boot = devices[parts[0].path]
    return Adopted(
        created=Created(layout, parts, volumes),
        root_lv=layer.name,
        table=boot.table,
        has_biosboot=any(
            device.part_type == BIOSBOOT_GUID and set(device.disks) & set(boot.disks) for device in devices.values()
        ),
    )


def _place(mount: Mounted, root: Path) -> str:
    return "/" if mount.target == root else "/" + str(mount.target.relative_to(root))


def _volumes(
    found: Sequence[Mounted], devices: dict[str, BlockDevice], root: Path, group: lvm.Group
) -> tuple[MadeVolume, ...]:
    by_path = {str(mapper_path(group.name, volume.name)): volume for volume in group.volumes}
    made = {}
    for mount in found:
        volume = by_path.get(mount.source)
        if volume is None or not (mount.target == root or root in mount.target.parents):
            continue
        request = Volume(volume.name, volume.size, mount.fstype, _place(mount, root), thin=bool(volume.pool))
        device = devices.get(mount.source)
        made[mount.source] = MadeVolume(request, mount.source, device.uuid if device else "")
    return tuple(made.values())


def _partitions(found: Sequence[Mounted], devices: dict[str, BlockDevice], root: Path) -> tuple[MadePartition, ...]:
    """/boot first, and the ESP where there is one."""
    parts = [_partition(top_mount(found, root / "boot"), devices, Role.BOOT, "/boot")]
    esp = [mount for mount in found if mount.target == root / "boot/efi"]
    if esp:
        parts.append(_partition(esp[-1], devices, Role.ESP, "/boot/efi"))
    return tuple(parts)


def partition_number(kname: str) -> int:
    """The number of a partition in its table, 0 for a device that is none.

    A partition of a multipath device or of a disk image is device-mapper's: its UUID there begins with ``partN-``
    (kpartx and parted).
    """
    for name, pattern in (("partition", r"(\d+)"), ("dm/uuid", r"part(\d+)-")):
        file = SYS_BLOCK / kname / name
        found = re.match(pattern, file.read_text(encoding="ascii")) if file.is_file() else None
        if found:
            return int(found.group(1))
    return 0


def _partition(mount: Mounted, devices: dict[str, BlockDevice], role: Role, mountpoint: str) -> MadePartition:
    device = devices.get(mount.source)
    number = partition_number(device.kname) if device else 0
    if device is None or not number:
        raise BootError(
            _("{mountpoint} is on {source}, which is no partition").format(mountpoint=mountpoint, source=mount.source),
            hint=_("GRUB can write its environment block only on a plain partition: give it one."),
        )
    disk = device.disks[-1]
    return MadePartition(
        request=Partition(Path(disk).name, role, device.size, mount.fstype, mountpoint),
        number=number,
        path=device.path,
        uuid=device.uuid,
        disk_path=disk,
        partuuid=device.partuuid,
    )


def make_image_volume(layout: Layout) -> None:
    """Make the image's LV.  Raises StorageError, also where its name or the layer's is taken.

    The layer's may be the name of the root's volume already, as in the lines that ovirt-node-install prints.

    LVM itself does it: a scan of all devices by blivet would take longer than all the rest of our steps.
    """
    group = lvm.group(layout.vg.name)
    for name in (layout.image.name, layer_name(layout.image.name)):
        if group.find(name) is not None and not any(have.is_layer and have.name == name for have in layout.volumes):
            raise StorageError(taken(group.name, name), hint=_("Remove it, or install another image."))
    lvm.create_linear(group.name, layout.image.name, layout.image.size, ())
    settle()


def taken(vg: str, name: str) -> str:
    """The sentence for a volume that would have to be made and is there already."""
    return _("the volume group {vg} has a volume {name} already").format(vg=vg, name=name)


def carry_over(bare: Path, upper: Path, tree: Path, *, leave: Sequence[str] = ()) -> tuple[str, ...]:
    """Move what Anaconda wrote on the bare root into the layer's upper side; returns the paths.

    Only files of the root's own file system are looked at.  ``leave`` names files that the image has itself and that
    are dropped then.  Folders above a file look as they do in the image.
    """
    device = bare.stat().st_dev
    moved = []
    for folder, folders, names in os.walk(bare):
        place = Path(folder)
        inside = place.relative_to(bare)
        folders[:] = [name for name in folders if _ours(place / name, device, inside / name)]
        links = [name for name in folders if (place / name).is_symlink()]
        for name in (*names, *links):
            path = inside / name
            if str(path) in leave and os.path.lexists(tree / path):
                (place / name).unlink()
                continue
            _make_parents(upper, tree, path)
            (place / name).replace(upper / path)
            moved.append(str(path))
    return tuple(sorted(moved))


def _ours(path: Path, device: int, inside: Path) -> bool:
    return str(inside) not in ("upper", "work", "lost+found") and path.lstat().st_dev == device


def _make_parents(upper: Path, tree: Path, path: Path) -> None:
    from org_ovirt_node.install.root import copy_attributes

    for parent in reversed(path.parents):
        if str(parent) == "." or (upper / parent).is_dir():
            continue
        (upper / parent).mkdir()
        if (tree / parent).is_dir() and not (tree / parent).is_symlink():
            copy_attributes(tree / parent, upper / parent)


def prune(bare: Path) -> None:
    """Remove the empty folders of the skeleton; those that are mount points stay, and are not looked into."""
    device = bare.stat().st_dev
    found = []
    for folder, folders, _names in os.walk(bare):
        place = Path(folder)
        folders[:] = [name for name in folders if _ours(place / name, device, place.relative_to(bare) / name)]
        found += [place / name for name in folders if not (place / name).is_symlink()]
    for path in reversed(found):
        with suppress(OSError):
            path.rmdir()

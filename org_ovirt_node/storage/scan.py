"""What disks there are, as blivet sees them, turned into plain facts for the planner."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Optional

from org_ovirt_node.errors import LayoutError, StorageError
from org_ovirt_node.i18n import _
from org_ovirt_node.layout.model import Disk, ExistingPartition

log = logging.getLogger(__name__)

#: blivet's device types and what we call them.
KINDS = {"dm-multipath": "multipath", "iscsi": "iscsi", "nvme": "nvme", "mdarray": "raid", "dm-linear": "image"}
LINK_FOLDERS = ("by-id", "by-path", "by-uuid", "by-label", "by-partuuid", "by-partlabel")


def open_blivet(images: Optional[Mapping[str, Path]] = None) -> Any:
    """A blivet that has scanned the machine, or only the disk ``images`` (name → file) where there are any."""
    try:
        import blivet
    except ImportError as exc:
        raise StorageError(
            _("blivet is not usable here: {error}").format(error=exc),
            hint=_("Install python3-blivet and libblockdev's plugins; the installer image has them."),
        ) from exc
    handle = blivet.Blivet()
    if images:
        handle.disk_images = {name: str(path) for name, path in images.items()}
    try:
        handle.reset()
    except Exception as exc:
        # blivet raises many unrelated classes here; all of them mean that the disks cannot be read.
        raise StorageError(
            _("the disks could not be scanned: {error}").format(error=exc), hint=_("Look into the log for the device.")
        ) from exc
    return handle


def check_vg_name(vg: str, dev: Path = Path("/dev")) -> None:
    """Raise LayoutError when ``/dev/VG`` is something else than the links of a VG: LVM would make none of that name."""
    place = dev / vg
    if not os.path.lexists(place):
        return
    if place.is_dir() and all(entry.is_symlink() and "dm-" in str(entry.readlink()) for entry in place.iterdir()):
        return
    raise LayoutError(
        _("{place} is there and is no volume group, so none can have the name {vg}").format(place=place, vg=vg),
        hint=_("Choose another --vg=NAME."),
    )


def _links(device: Any) -> tuple[str, ...]:
    found = []
    for link in getattr(device, "device_links", None) or ():
        name = str(link).replace("/dev/disk/", "", 1)
        if name.split("/", 1)[0] in LINK_FOLDERS:
            found.append(name)
    return tuple(sorted(found))


def _sector_size(name: str) -> int:
    path = Path("/sys/class/block") / name / "queue/logical_block_size"
    try:
        return int(path.read_text(encoding="ascii"))
    except (OSError, ValueError):
        return 512


def _kernel_name(device: Any) -> str:
    return Path(str(device.sysfs_path or device.name)).name


def describe_disk(handle: Any, device: Any) -> Disk:
    """One disk of blivet's as facts.  Sizes in bytes."""
    children = [child for child in handle.devices if device in child.disks and child is not device]
    partitions = tuple(
        ExistingPartition(
            name=child.name,
            size=int(child.size),
            fstype=str(child.format.type or ""),
            label=str(getattr(child.format, "label", "") or ""),
            links=_links(child),
        )
        for child in children
        if child.type == "partition"
    )
    vgs = {child.name for child in children if child.type == "lvmvg"}
    found = [device.format, *(child.format for child in children if child.type == "partition")]
    vgs |= {fmt.vg_name for fmt in found if fmt.type == "lvmpv" and getattr(fmt, "vg_name", None)}
    return Disk(
        name=device.name,
        size=int(device.size),
        sector_size=_sector_size(_kernel_name(device)),
        kind=KINDS.get(device.type, "disk"),
        serial=str(getattr(device, "serial", "") or ""),
        wwn=str(getattr(device, "wwn", "") or ""),
        model=str(getattr(device, "model", "") or ""),
        links=_links(device),
        members=tuple(parent.name for parent in device.parents) if device.type == "dm-multipath" else (),
        partitions=partitions,
        vgs=tuple(sorted(vgs)),
        blank=device.format.type is None and not children,
        readonly=bool(getattr(device, "readonly", False)),
        fstype="" if device.partitioned else str(device.format.type or ""),
        label=str(getattr(device.format, "label", "") or ""),
        protected=_in_use(device, children),
    )


def _in_use(device: Any, children: Sequence[Any]) -> str:
    """Why the disk must not be written: something on it is mounted, or blivet protects it."""
    if device.protected:
        return _("the installer runs from it")
    for each in (device, *children):
        mountpoint = getattr(each.format, "system_mountpoint", None)
        if mountpoint:
            return _("{name} is mounted on {mountpoint}").format(name=each.name, mountpoint=mountpoint)
    return ""


def disks(handle: Any) -> tuple[Disk, ...]:
    """All disks that could be used: no optical drives, no floppies, no loop devices."""
    usable = [device for device in handle.disks if device.type not in ("cdrom", "floppy", "loop", "zram")]
    return tuple(describe_disk(handle, device) for device in usable)

"""Disks, images and requests for the tests of layouts."""

from __future__ import annotations

from collections.abc import Sequence

from org_ovirt_node.kickstart.model import DiskSelection, InstallRequest, NodeSection, StorageRequest
from org_ovirt_node.kickstart.standard import load
from org_ovirt_node.layout.model import GIB, MIB, Disk, ExistingPartition, Firmware, Layout, Role
from org_ovirt_node.layout.plan import plan
from org_ovirt_node.payload.facts import ImageFacts

BIOS, EFI = (Firmware.BIOS,), (Firmware.EFI,)
BOTH = (Firmware.BIOS, Firmware.EFI)
#: 150 MiB and a bit, so that it ends in the middle of an extent.
IMAGE = ImageFacts("ovirt-node-ng-4.5.5-0.20240101.0", 150 * MIB + 4096)
NODE = NodeSection(images=("file:/a.squashfs",), nosignature=True)
ALL = DiskSelection(clear="all", initlabel=True, zerombr=True)
AUTO = StorageRequest(selection=ALL, autopart=True)
ADDON = "%addon org_ovirt_node --image=file:/a.squashfs --nosignature"
USED = (ExistingPartition("sda1", GIB, "ext4", "old"),)


def disk(name: str = "sda", size: int = 64 * GIB, **facts: object) -> Disk:
    """A blank disk, unless ``facts`` put something on it."""
    blank = not any(facts.get(key) for key in ("partitions", "vgs", "fstype"))
    return Disk(name, size, **{"blank": blank, **facts})  # type: ignore[arg-type]


def automatic(
    *disks: Disk,
    request: StorageRequest = AUTO,
    node: NodeSection = NODE,
    image: ImageFacts = IMAGE,
    firmware: tuple[Firmware, ...] = BIOS,
    boot_drive: str = "",
) -> Layout:
    return plan(disks or [disk()], request, node, image, firmware, boot_drive)


def read(text: str) -> InstallRequest:
    """A kickstart from a text, line 1 being its first line."""
    return load("ks.cfg", fetch=lambda source: text, run_pre=False)


def pv_space(layout: Layout) -> int:
    """Bytes in whole extents that LVM really has, counted anew: a MiB for LVM, 16 MiB for a LUKS2 header."""
    total = 0
    for part in layout.partitions:
        if part.role is Role.PV:
            inside = part.size - (16 * MIB if part.encryption else 0) - MIB
            total += inside // layout.vg.extent_size
    return total * layout.vg.extent_size


def check(layout: Layout, image: ImageFacts = IMAGE, slots: int = 3) -> None:
    """What must hold for every layout, or executing it would fail."""
    extent, pool = layout.vg.extent_size, layout.pool
    sizes = [layout.image.size, pool.size, pool.metadata_size, *(volume.size for volume in layout.volumes)]
    assert all(size > 0 and size % extent == 0 for size in [*sizes])
    assert all(part.size > 0 and part.size % MIB == 0 for part in layout.partitions)
    for used in layout.disks:
        parts = [part.size for part in layout.partitions if part.disk == used.name]
        assert MIB + sum(parts) + MIB <= used.size
    linear = sum(volume.size for volume in layout.volumes if not volume.thin)
    # Two times the metadata: LVM makes a spare of the same size.
    taken = layout.image.size + pool.size + 2 * pool.metadata_size + linear
    assert taken + layout.reserved == pv_space(layout)
    assert layout.image.size >= image.size
    assert layout.reserved >= (slots - 1) * image.size * 3 // 2
    thin = sum(volume.size * (slots if volume.is_layer else 1) for volume in layout.volumes if volume.thin)
    assert thin <= pool.size
    chunks = pool.size // pool.chunk_size
    assert pool.metadata_size >= max(64 * chunks, 2 * MIB)
    assert pool.metadata_size < 16 * GIB
    names = [volume.name for volume in layout.volumes] + [pool.name, layout.image.name]
    assert len(set(names)) == len(names)
    for volume in layout.volumes:
        assert not volume.thin or "discard" in volume.options


def sizes(layout: Layout) -> dict[str, int]:
    """The size of each volume by its mount point."""
    return {volume.mountpoint or volume.fstype: volume.size for volume in layout.volumes}


def roles(layout: Layout, name: str) -> Sequence[Role]:
    """What is on a disk, in order."""
    return [part.role for part in layout.partitions if part.disk == name]

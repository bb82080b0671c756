"""From disks and a request to a :class:`Layout`: pure, it touches nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from org_ovirt_node.kickstart.model import NodeSection, StorageRequest
from org_ovirt_node.layout import budget, select
from org_ovirt_node.layout.automatic import automatic
from org_ovirt_node.layout.explicit import Context, explicit
from org_ovirt_node.layout.model import Disk, Firmware, Layout
from org_ovirt_node.payload.facts import ImageFacts


def plan(
    disks: Sequence[Disk],
    request: StorageRequest,
    node: NodeSection,
    image: ImageFacts,
    firmware: tuple[Firmware, ...],
    boot_drive: str = "",
    *,
    file: str = "",
) -> Layout:
    """The layout on ``disks``: all that the machine has; those to use are selected here.

    ``firmware`` is what the boot disk shall be able to boot from, ``boot_drive`` the value of ``bootloader
    --boot-drive``, ``file`` the kickstart's name for messages about its lines.  Raises LayoutError, or
    KickstartProblem for a line that is not a node's layout.
    """
    firmware = tuple(dict.fromkeys(firmware))
    everything = tuple(_protect(disk, node.images) for disk in disks)
    if not request.autopart:
        return explicit(Context(everything, request, node, image, firmware, boot_drive, file))
    chosen = select.candidates(everything, request.selection)
    first = select.boot_disk(chosen, everything, boot_drive)
    used = (first, *(disk for disk in chosen if disk is not first))
    budget.check_firmware(first, firmware)
    wiped = select.check_wiping(used, everything, request.selection)
    select.check_vg_name(node.vg, used, everything)
    return automatic(used, wiped, request, node, image, firmware)


def _protect(disk: Disk, images: Sequence[str]) -> Disk:
    """The disk with a reason not to use it, when one of the images is read from it."""
    labels = {disk.label, *(part.label for part in disk.partitions)} - {""}
    names = {*select.names(disk), *(part.name for part in disk.partitions)}
    for image in images:
        scheme, _, rest = image.partition(":")
        device = rest.partition(":/")[0]
        if scheme != "hd" or disk.protected:
            continue
        if device.partition("=")[2] in labels or device.replace("/dev/", "", 1).replace("disk/", "", 1) in names:
            return replace(disk, protected=f"the image is read from it ({image})")
    return disk

"""From disks and a request to a :class:`Layout`: pure, it touches nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from org_ovirt_node.i18n import _
from org_ovirt_node.kickstart.model import NodeSection, StorageRequest
from org_ovirt_node.layout import budget, select
from org_ovirt_node.layout.automatic import automatic
from org_ovirt_node.layout.explicit import explicit
from org_ovirt_node.layout.model import Disk, Firmware, Layout
from org_ovirt_node.layout.placed import Context
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
    everything = tuple(_protect(disk, (*node.images, node.manifest)) for disk in disks)
    if not request.autopart:
        return explicit(Context(everything, request, node, image, firmware, boot_drive, file))
    chosen = select.candidates(everything, request.selection)
    first = select.boot_disk(chosen, everything, boot_drive, request.selection.boot_place)
    used = (first, *(disk for disk in chosen if disk is not first))
    budget.check_firmware(first, firmware)
    wiped = select.check_wiping(used, everything, request.selection)
    select.check_vg_name(node.vg, used, everything)
    return automatic(used, wiped, request, node, image, firmware)


def _protect(disk: Disk, sources: Sequence[str]) -> Disk:
    """The disk with a reason not to use it, when one of the sources (images, their manifest) is read from it."""
    names = {*select.names(disk), *(f"by-label/{label}" for label in (disk.label,) if label)}
    for part in disk.partitions:
        names |= {part.name, *part.links, *(f"by-label/{label}" for label in (part.label,) if label)}
    for source in sources:
        scheme, _colon, rest = source.partition(":")
        device = rest.partition(":/")[0].removeprefix("/dev/").removeprefix("disk/")
        tag, _equals, value = device.partition("=")
        if value:
            device = f"by-{tag.lower()}/{value}"
        if scheme == "hd" and not disk.protected and device in names:
            return replace(disk, protected=_("the image is read from it ({source})").format(source=source))
    return disk

"""``autopart``: the default volumes, scaled to the disks.  All sizes are bytes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Optional

from org_ovirt_node.errors import LayoutError
from org_ovirt_node.i18n import _
from org_ovirt_node.kickstart.model import NodeSection, StorageRequest
from org_ovirt_node.kickstart.units import human_size
from org_ovirt_node.layout import budget, policy
from org_ovirt_node.layout.model import (
    Disk,
    Encryption,
    Firmware,
    ImageVolume,
    Layout,
    Partition,
    Role,
    Volume,
    VolumeGroup,
)
from org_ovirt_node.payload.facts import ImageFacts
from org_ovirt_node.rounding import round_down, round_up

#: Between its minimum (0) and its usual size (this) every volume grows in as many steps.
STEPS = 1024
#: A PV of which LVM could use nothing.
LEAST_PV = policy.PV_OVERHEAD + policy.EXTENT
ESP_OPTIONS = ("umask=0077", "shortname=winnt")


@dataclass(frozen=True)
class Wish:
    """A volume with the room that it may have."""

    mountpoint: str
    fstype: str
    minimum: int
    usual: int

    def size(self, step: int, unit: int = policy.EXTENT) -> int:
        """The size at ``step`` of STEPS, in whole units and never below the minimum."""
        least = round_up(self.minimum, unit)
        more = max(round_up(self.usual, unit) - least, 0)
        return least + round_down(more * step // STEPS, unit)


@dataclass(frozen=True)
class Plan:
    """Everything that is decided before the sizes are."""

    disks: tuple[Disk, ...]
    firmware: tuple[Firmware, ...]
    encryption: Optional[Encryption]
    slots: budget.Slots
    boot: Wish
    layer: Wish
    shared: tuple[Wish, ...]
    swap: Optional[Wish]

    @property
    def starters(self) -> int:
        """What the boot disk holds besides /boot and the PV."""
        bios = policy.BIOSBOOT_SIZE if Firmware.BIOS in self.firmware else 0
        return bios + (policy.ESP_SIZE if Firmware.EFI in self.firmware else 0)

    def pv_sizes(self, step: int) -> list[int]:
        """The PV partition of each disk."""
        sizes = [budget.usable(disk) - policy.DISK_SLACK for disk in self.disks]
        sizes[0] -= self.starters + self.boot.size(step, policy.ALIGNMENT)
        return sizes

    def vg_size(self, step: int) -> int:
        return policy.vg_size([budget.inside(size, self.encryption) for size in self.pv_sizes(step)])

    def thin(self, step: int) -> int:
        """All thin volumes together, with a layer for each image slot: nothing is promised twice."""
        return self.layer.size(step) * self.slots.count + sum(wish.size(step) for wish in self.shared)

    def swap_size(self, step: int) -> int:
        return self.swap.size(step) if self.swap else 0

    def fits(self, step: int) -> bool:
        if min(budget.inside(size, self.encryption) for size in self.pv_sizes(step)) <= LEAST_PV:
            return False
        room = self.vg_size(step) - self.slots.total - self.swap_size(step) - policy.free_room(self.vg_size(step))
        return room > 0 and budget.largest_pool("", room, policy.EXTENT).size >= self.thin(step)


def automatic(
    disks: tuple[Disk, ...],
    wiped: tuple[str, ...],
    request: StorageRequest,
    node: NodeSection,
    image: ImageFacts,
    firmware: tuple[Firmware, ...],
) -> Layout:
    """The default layout on ``disks``, the boot disk first.  Raises LayoutError when they are too small."""
    plan = _plan(disks, request, node, image, firmware)
    if not plan.fits(0):
        raise _too_small(plan)
    low, high = 0, STEPS
    while low < high:  # the largest step that fits
        middle = (low + high + 1) // 2
        low, high = (middle, high) if plan.fits(middle) else (low, middle - 1)
    return _layout(plan, low, wiped, node, image)


def _plan(
    disks: tuple[Disk, ...],
    request: StorageRequest,
    node: NodeSection,
    image: ImageFacts,
    firmware: tuple[Firmware, ...],
) -> Plan:
    encryption = Encryption(request.passphrase, request.luks_version or "luks2") if request.encrypted else None
    fstype = request.fstype or policy.DEFAULT_FS
    layer = _wish(policy.LAYER, fstype)
    if node.layer_size is not None:
        layer = Wish("/", fstype, node.layer_size, node.layer_size)
    return Plan(
        disks=disks,
        firmware=firmware,
        encryption=encryption,
        slots=budget.image_slots(image, node.image_slots),
        boot=_wish(policy.BOOT, policy.DEFAULT_FS),
        layer=layer,
        shared=_shared(request, node, fstype),
        swap=None if request.noswap else _wish(policy.SWAP, "swap"),
    )


def _wish(default: policy.Default, fstype: str) -> Wish:
    return Wish(default.mountpoint, fstype, policy.minimum_size(default.mountpoint, fstype), default.usual)


def _shared(request: StorageRequest, node: NodeSection, fstype: str) -> tuple[Wish, ...]:
    left_out = {*node.novolumes, *(("/home",) if request.nohome else ())}
    wishes = {default.mountpoint: _wish(default, fstype) for default in policy.VOLUMES}
    for volume in node.volumes:
        wishes[volume.mountpoint] = Wish(volume.mountpoint, volume.fstype or fstype, volume.size, volume.size)
        left_out.discard(volume.mountpoint)  # --nohome with a volume line for /home: the line says more
    return tuple(wishes[name] for name in sorted(wishes) if name not in left_out)


def _too_small(plan: Plan) -> LayoutError:
    """What is needed at the least, added up."""
    items: list[tuple[str, int]] = [
        (_("partition table and alignment"), (policy.GPT_OVERHEAD + policy.DISK_SLACK) * len(plan.disks))
    ]
    if plan.starters:
        items.append((_("boot loader partitions"), plan.starters))
    items.append(("/boot", plan.boot.size(0, policy.ALIGNMENT)))
    items.append((_("{count} image slots").format(count=plan.slots.count), plan.slots.total))
    items.append((_("{count} layers").format(count=plan.slots.count), plan.layer.size(0) * plan.slots.count))
    items += [(wish.mountpoint, wish.size(0)) for wish in plan.shared]
    if plan.swap:
        items.append(("swap", plan.swap_size(0)))
    listed = sum(size for _, size in items)
    for disk, pv in zip(plan.disks[1:], plan.pv_sizes(0)[1:]):
        if budget.inside(pv, plan.encryption) <= LEAST_PV:
            return LayoutError(
                _("the disk {name} ({size}) is too small to be a part of the volume group").format(
                    name=disk.name, size=human_size(disk.size)
                ),
                hint=_("Leave it out with ignoredisk."),
            )
    needed = _least_size(plan, round_up(listed, policy.EXTENT))
    items.append(("LVM", needed - listed))
    have = sum(disk.size for disk in plan.disks)
    names = ", ".join(disk.name for disk in plan.disks)
    if have >= needed:
        return LayoutError(
            _("the disk {name} ({size}) is too small to boot from").format(
                name=plan.disks[0].name, size=human_size(plan.disks[0].size)
            ),
            hint=_("Choose a larger disk with bootloader --boot-drive=."),
        )
    wrong = _("the disk {disks} ({have}) cannot hold the node, which needs {needed} at the least: {items}")
    if len(plan.disks) > 1:
        wrong = _("the disks {disks} ({have}) cannot hold the node, which needs {needed} at the least: {items}")
    return LayoutError(
        wrong.format(
            disks=names,
            have=human_size(have),
            needed=human_size(needed),
            items=", ".join(f"{name} {human_size(size)}" for name, size in items),
        ),
        hint=_("Use a larger disk or more disks, fewer --image-slots, or leave volumes out with novolume."),
    )


def _least_size(plan: Plan, start: int) -> int:
    """Bytes that all disks must have together, ``start`` at the least: LVM's own needs grow with the disk."""
    low = high = start
    while not _grown(plan, high).fits(0):
        low, high = high, high * 2
    while high - low > policy.EXTENT:
        middle = (low + high) // 2
        low, high = (low, middle) if _grown(plan, middle).fits(0) else (middle, high)
    return high


def _grown(plan: Plan, total: int) -> Plan:
    """The plan with its first disk grown until all have ``total`` bytes together."""
    rest = sum(disk.size for disk in plan.disks[1:])
    first = Disk(plan.disks[0].name, max(total - rest, 0))
    return Plan(**{**vars(plan), "disks": (first, *plan.disks[1:])})


def partitions(plan: Plan, step: int) -> tuple[Partition, ...]:
    """What is on the disks, in order."""
    boot = plan.disks[0].name
    found = []
    if Firmware.BIOS in plan.firmware:
        found.append(Partition(boot, Role.BIOSBOOT, policy.BIOSBOOT_SIZE))
    if Firmware.EFI in plan.firmware:
        found.append(Partition(boot, Role.ESP, policy.ESP_SIZE, "vfat", "/boot/efi", policy.ESP_LABEL, ESP_OPTIONS))
    size = plan.boot.size(step, policy.ALIGNMENT)
    found.append(Partition(boot, Role.BOOT, size, plan.boot.fstype, "/boot", policy.BOOT_LABEL, policy.BOOT.options))
    for disk, pv in zip(plan.disks, plan.pv_sizes(step)):
        found.append(Partition(disk.name, Role.PV, pv, encryption=plan.encryption))
    return tuple(found)


def _volumes(plan: Plan, step: int, image: ImageFacts) -> list[Volume]:
    layer = Volume(policy.layer_name(image.nvr), plan.layer.size(step), plan.layer.fstype, "/", policy.LAYER.options)
    found = [layer]
    for wish in plan.shared:
        options = policy.volume_options(wish.mountpoint)
        name = policy.volume_name(wish.mountpoint)
        found.append(Volume(name, wish.size(step), wish.fstype, wish.mountpoint, options))
    if plan.swap:
        found.append(Volume(policy.SWAP_NAME, plan.swap_size(step), "swap", thin=False))
    return found


def _layout(plan: Plan, step: int, wiped: Sequence[str], node: NodeSection, image: ImageFacts) -> Layout:
    volumes = _volumes(plan, step, image)
    budget.check_names(node.vg, node.pool, image, volumes)
    vg = plan.vg_size(step)
    swap = plan.swap_size(step)
    room = vg - plan.slots.total - swap - policy.free_room(vg)
    pool = budget.largest_pool(node.pool, room, policy.EXTENT)
    return Layout(
        firmware=plan.firmware,
        disks=plan.disks,
        wiped=tuple(wiped),
        partitions=partitions(plan, step),
        vg=VolumeGroup(node.vg, policy.EXTENT, tuple(disk.name for disk in plan.disks)),
        image=ImageVolume(image.nvr, plan.slots.image),
        reserved=vg - plan.slots.image - swap - budget.pool_room(pool),
        pool=pool,
        volumes=tuple(volumes),
    )

"""``part``, ``volgroup`` and ``logvol`` lines: the partitions, and what only a whole layout can say.

A line that does not belong to a node is refused by its number: what it asks for would be missing on the node.  All
sizes are bytes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Optional

from org_ovirt_node.i18n import N_, _, translated
from org_ovirt_node.kickstart.model import (
    DEFAULT_VG,
    PartitionRequest,
    VolumeGroupRequest,
)
from org_ovirt_node.kickstart.units import human_size
from org_ovirt_node.layout import budget, mirror, policy, select
from org_ovirt_node.layout.automatic import ESP_OPTIONS
from org_ovirt_node.layout.explicit_lvm import Space, volumes_and_pool
from org_ovirt_node.layout.model import (
    GIB,
    MIB,
    Disk,
    Encryption,
    Firmware,
    ImageVolume,
    Layout,
    Partition,
    Role,
    VolumeGroup,
)
from org_ovirt_node.layout.placed import Context, Placed
from org_ovirt_node.rounding import round_down, round_up

#: Less has no room for one boot loader with its fonts and fallback copy.
ESP_MINIMUM = 64 * MIB
_ROLES = {"biosboot": Role.BIOSBOOT, "/boot/efi": Role.ESP, "/boot": Role.BOOT}
_FSTYPES = {
    Role.BIOSBOOT: ("", "biosboot"),
    Role.ESP: ("", "efi", "vfat"),
    Role.BOOT: ("", "ext4"),
    Role.PV: ("", "lvmpv"),
}
_MINIMUM = {
    Role.BIOSBOOT: policy.BIOSBOOT_SIZE,
    Role.ESP: ESP_MINIMUM,
    Role.BOOT: policy.BOOT.minimum,
    Role.PV: 64 * MIB,
}
_NO_PARTITION = {
    "swap": N_("part {mount} is no partition of a node: swap is a logical volume: logvol swap --fstype=swap."),
    "/": N_("part {mount} is no partition of a node: the root is a thin volume: logvol / --thin."),
    "prepboot": N_("part {mount} is no partition of a node: this platform is not supported."),
}
_NO_VOLUME = N_("part {mount} is no partition of a node: it is a thin volume: logvol --thin.")
_OFFSETS = (Role.BIOSBOOT, Role.ESP, Role.ENVIRONMENT, Role.BOOT, Role.PV)


def explicit(context: Context) -> Layout:
    """The layout that the lines describe.  Raises KickstartProblem by line, or LayoutError for the disks."""
    _check_section(context)
    mirror.check(context)
    placed = _placed(context)
    boot = next(part.disk for part in placed if part.role is Role.BOOT)
    budget.check_firmware(boot, context.firmware)
    _check_boot(context, placed, boot)
    if context.request.arrays:
        mirror.check_disks(context, placed)
        placed += mirror.environments(context, placed)
    used = tuple(dict.fromkeys([boot, *(part.disk for part in placed)]))
    wiped = select.check_wiping(used, context.everything, context.request.selection)
    group = _group(context, placed)
    select.check_vg_name(group.name, used, context.everything)
    partitions = _partitions(context, placed)
    return _layout(context, used, wiped, group, placed, partitions)


def _check_section(context: Context) -> None:
    node = context.node
    if node.volumes:
        volume = node.volumes[0]
        context.fail(
            volume.line,
            _("%addon org_ovirt_node: volume {mountpoint}: there are logvol lines, which say it all").format(
                mountpoint=volume.mountpoint
            ),
            hint=_("Give a logvol line instead, or use autopart --type=thinp."),
        )
    if node.novolumes:
        context.fail(
            node.line,
            _("%addon org_ovirt_node: novolume {mountpoint}: there are logvol lines, which say it all").format(
                mountpoint=node.novolumes[0]
            ),
            hint=_("Take it away, or use autopart --type=thinp."),
        )


def _role(context: Context, part: PartitionRequest) -> Role:
    mount = part.mountpoint
    if mount in _ROLES:
        return _ROLES[mount]
    if mount.startswith("pv."):
        return Role.PV
    if mirror.is_member(part):
        return mirror.role_of(context, part)
    wrong = _NO_PARTITION.get(
        mount, _NO_VOLUME if mount.startswith("/") else N_("part {mount} is no partition of a node")
    )
    hint = _("Accepted are biosboot, /boot/efi, /boot and pv.NN.")
    return context.fail(part.line, translated(wrong).format(mount=mount), hint=hint)


def _placed(context: Context) -> list[Placed]:
    request = context.request
    candidates = select.candidates(context.everything, request.selection)
    roles = [(part, _role(context, part)) for part in request.partitions]
    on_boot = next((part for part, role in roles if role is Role.BOOT), None)
    if on_boot is None:
        first = request.partitions[0].line if request.partitions else 0
        context.fail(first, _("there is no /boot partition"), hint=_("Add part /boot --fstype=ext4 --size=1024."))
    named = _disk(context, on_boot, candidates) if on_boot.disk else None
    if named is None or context.boot_drive:
        chosen = select.boot_disk(candidates, context.everything, context.boot_drive, request.selection.boot_place)
        if named is not None and named != chosen:
            context.fail(
                on_boot.line,
                _("part /boot is on {name}, but bootloader --boot-drive is {chosen}").format(
                    name=named.name, chosen=chosen.name
                ),
            )
        named = chosen
    placed = []
    for part, role in roles:
        disk = _disk(context, part, candidates) if part.disk else named
        _check_part(context, part, role)
        placed.append(Placed(part, role, disk))
    _check_twins(context, placed)
    return placed


def _disk(context: Context, part: PartitionRequest, candidates: Sequence[Disk]) -> Disk:
    found = select.find(part.disk, context.everything)
    usable = [disk for disk in found if disk in candidates]
    names = ", ".join(select.describe(disk) for disk in candidates)
    what = f"part {part.mountpoint} --ondisk={part.disk}"
    if not usable:
        wrong = _("{what}: is not one that the kickstart lets us use") if found else _("{what}: is not there")
        context.fail(part.line, wrong.format(what=what), hint=_("There are: {names}.").format(names=names))
    if len(usable) > 1:
        context.fail(part.line, _("{what} means {count} disks").format(what=what, count=len(usable)))
    return usable[0]


def _check_part(context: Context, part: PartitionRequest, role: Role) -> None:
    what = f"part {part.mountpoint}"
    accepted = _(" or ").join(name for name in _FSTYPES[role] if name)
    if not mirror.is_member(part) and part.fstype not in _FSTYPES[role]:
        context.fail(
            part.line,
            _("{what} --fstype={fstype} is not supported").format(what=what, fstype=part.fstype),
            hint=_("Accepted is {accepted}.").format(accepted=accepted),
        )
    if part.size < _MINIMUM[role] and not part.grow:
        least = human_size(_MINIMUM[role])
        context.fail(
            part.line,
            _("{what} --size: {size} is too small; it needs {least}").format(
                what=what, size=human_size(part.size), least=least
            ),
        )
    if part.encrypted and role is not Role.PV:
        context.fail(
            part.line, _("{what} --encrypted: only a physical volume (pv.NN) can be encrypted").format(what=what)
        )
    if part.grow and role is not Role.PV:
        context.fail(
            part.line,
            _("{what} --grow: only a physical volume (pv.NN) grows").format(what=what),
            hint=_("Give its --size."),
        )
    if part.max_size and not part.grow:
        context.fail(part.line, _("{what} --maxsize without --grow means nothing").format(what=what))
    if part.max_size and part.max_size < part.size:
        context.fail(part.line, _("{what}: --maxsize is smaller than --size").format(what=what))
    for option, value in (("--label", part.label), ("--fsoptions", part.options)):
        if value and role in (Role.PV, Role.BIOSBOOT):
            context.fail(
                part.line,
                _("{what} {option}={value}: there is no file system on it").format(
                    what=what, option=option, value=value
                ),
            )


def _check_twins(context: Context, placed: Sequence[Placed]) -> None:
    seen: dict[tuple[str, str], int] = {}
    for part in placed:
        name, line = part.request.mountpoint, part.request.line
        # Each disk of a mirror has a boot loader of its own.
        several = part.role is Role.BIOSBOOT and bool(context.request.arrays)
        keys = [("", f"{name} {part.disk.name}" if several else name)]
        keys += [("pv", part.disk.name)] if part.role is Role.PV else []
        for key in keys:
            if key in seen:
                wrong = _("part {name} is given twice (see line {line})")
                if key[0]:
                    wrong = _("part {name} is a second physical volume on {disk} (see line {line})")
                context.fail(line, wrong.format(name=name, disk=part.disk.name, line=seen[key]))
            seen[key] = line


def _check_boot(context: Context, placed: Sequence[Placed], boot: Disk) -> None:
    roles = {part.role: part for part in placed}
    line = roles[Role.BOOT].request.line
    if Firmware.BIOS in context.firmware and Role.BIOSBOOT not in roles:
        context.fail(
            line,
            _("there is no BIOS boot partition, and BIOS cannot boot from a GPT disk without one"),
            hint=_("Add part biosboot --fstype=biosboot --size=1."),
        )
    if Firmware.EFI in context.firmware and Role.ESP not in roles:
        context.fail(
            line,
            _("there is no EFI system partition, and EFI cannot boot without one"),
            hint=_("Add part /boot/efi --fstype=efi --size=600."),
        )
    booted = mirror.boot_disks(placed)
    for part in placed:
        if part.role is not Role.PV and part.disk not in booted:
            context.fail(
                part.request.line,
                _("part {mountpoint} is not on the disk of /boot, {name}").format(
                    mountpoint=part.request.mountpoint, name=boot.name
                ),
            )


def _group(context: Context, placed: Sequence[Placed]) -> VolumeGroupRequest:
    request, node = context.request, context.node
    line = placed[-1].request.line
    if not request.vgs:
        context.fail(line, _("there is no volume group"), hint=_("Add volgroup {vg} pv.01.").format(vg=node.vg))
    if len(request.vgs) > 1:
        second = request.vgs[1]
        context.fail(
            second.line, _("volgroup {name}: a second volume group is not supported yet").format(name=second.name)
        )
    group = request.vgs[0]
    if node.vg not in (DEFAULT_VG, group.name):
        context.fail(
            group.line, _("volgroup {name}: %addon org_ovirt_node says --vg={vg}").format(name=group.name, vg=node.vg)
        )
    known = {_pv_name(context, part): part for part in placed if part.role is Role.PV}
    for pv in group.pvs:
        if pv not in known:
            context.fail(group.line, _("volgroup {name}: there is no part {pv}").format(name=group.name, pv=pv))
        if group.pvs.count(pv) > 1:
            context.fail(group.line, _("volgroup {name}: {pv} is given twice").format(name=group.name, pv=pv))
    for name, part in known.items():
        if name not in group.pvs:
            context.fail(part.request.line, _("part {name} belongs to no volume group").format(name=name))
    extent = group.extent_size
    if extent and (extent & (extent - 1) or not MIB <= extent <= GIB):
        context.fail(
            group.line,
            _("volgroup {name} --pesize={extent} is not supported").format(name=group.name, extent=extent >> 10),
            hint=_("Accepted are powers of two from 1024 (1 MiB) to 1048576 (1 GiB)."),
        )
    return group


def _pv_name(context: Context, part: Placed) -> str:
    """The pv.NN of a partition, or of the array that it is in."""
    if mirror.is_member(part.request):
        return mirror.array_of(context, part.request).mountpoint
    return part.request.mountpoint


def _least(part: Placed) -> int:
    return round_up(part.request.size, policy.ALIGNMENT)


def _placed_on(disk: Disk, placed: Sequence[Placed]) -> list[Placed]:
    """The lines for one disk."""
    return [part for part in placed if part.disk == disk]


def _check_room(context: Context, placed: Sequence[Placed]) -> None:
    """Every disk must hold its partitions; the largest is the one to blame."""
    for disk in {part.disk for part in placed}:
        parts = _placed_on(disk, placed)
        wanted, room = sum(map(_least, parts)), budget.usable(disk)
        if wanted > room:
            largest = max(parts, key=_least).request
            message = _("part {name}: the partitions of {disk} need {wanted} together, and {room} fit on it").format(
                name=largest.mountpoint,
                disk=select.describe(disk),
                wanted=human_size(wanted),
                room=human_size(max(room, 0)),
            )
            context.fail(largest.line, message)


def _size(context: Context, part: Placed, placed: Sequence[Placed]) -> int:
    """The size of a partition, grown when it may."""
    size = _least(part)
    room = budget.usable(part.disk) - sum(map(_least, _placed_on(part.disk, placed))) + size
    if not part.request.grow:
        return size
    grown = max(size, round_down(room - policy.DISK_SLACK, policy.ALIGNMENT))
    grown = min(grown, part.request.max_size) if part.request.max_size else grown
    if grown < _MINIMUM[part.role]:
        least = human_size(_MINIMUM[part.role])
        message = _("part {name} grows to {size} only; it needs {least}").format(
            name=part.request.mountpoint, size=human_size(grown), least=least
        )
        context.fail(part.request.line, message)
    return grown


def _encryption(part: PartitionRequest) -> Optional[Encryption]:
    return Encryption(part.passphrase, part.luks_version or "luks2") if part.encrypted else None


def _partitions(context: Context, placed: Sequence[Placed]) -> tuple[Partition, ...]:
    _check_room(context, placed)
    found = []
    for part in sorted(placed, key=lambda one: _OFFSETS.index(one.role)):
        request, size = part.request, _size(context, part, placed)
        name, given = part.disk.name, policy.mount_options(request.options)
        if mirror.is_member(request):
            array = mirror.array_of(context, request).name
            found.append(Partition(name, part.role, size, array=array))
        elif part.role is Role.ENVIRONMENT:
            found.append(Partition(name, part.role, size, "ext4", request.mountpoint, request.label, given))
        elif part.role is Role.BIOSBOOT:
            found.append(Partition(name, part.role, size))
        elif part.role is Role.ESP:
            label = request.label or policy.ESP_LABEL
            found.append(Partition(name, part.role, size, "vfat", "/boot/efi", label, given or ESP_OPTIONS))
        elif part.role is Role.BOOT:
            label = request.label or policy.BOOT_LABEL
            found.append(Partition(name, part.role, size, "ext4", "/boot", label, given or policy.BOOT.options))
        else:
            found.append(Partition(name, part.role, size, encryption=_encryption(request)))
    return tuple(found)


def _layout(
    context: Context,
    used: tuple[Disk, ...],
    wiped: tuple[str, ...],
    group: VolumeGroupRequest,
    placed: Sequence[Placed],
    partitions: tuple[Partition, ...],
) -> Layout:
    extent = group.extent_size or policy.EXTENT
    disks = [part.disk.name for pv in group.pvs for part in placed if _pv_name(context, part) == pv]
    pvs = [part for part in partitions if part.role is Role.PV]
    sizes = [budget.inside(part.size, part.encryption) for part in pvs if not part.array]
    sizes += [mirror.inside([part.size for part in pvs])] if context.request.arrays else []
    total = policy.vg_size(sizes, extent)
    slots = budget.image_slots(context.image, context.node.image_slots, extent)
    asked = max(group.reserved_space, total * group.reserved_percent // 100)
    space = Space(total, extent, slots, round_up(asked, extent), group.line)
    pool, volumes = volumes_and_pool(context.request, context.node, context.image, group.name, space, context.fail)
    budget.check_names(group.name, pool.name, context.image, volumes)
    linear = sum(volume.size for volume in volumes if not volume.thin)
    reserved = total - slots.image - linear - budget.pool_room(pool)
    if reserved < max(slots.further, space.reserved):
        context.fail(
            group.line,
            _(
                "volgroup {name} has {total}; beside its volumes {reserved} stay free, and {further} are needed "
                "for {count} more images and what the line reserves"
            ).format(
                name=group.name,
                total=human_size(total),
                reserved=human_size(max(reserved, 0)),
                further=human_size(max(slots.further, space.reserved)),
                count=slots.count - 1,
            ),
            hint=_("Make the thin pool smaller, or give fewer --image-slots."),
        )
    return Layout(
        firmware=context.firmware,
        disks=used,
        wiped=wiped,
        partitions=partitions,
        vg=VolumeGroup(group.name, extent, tuple(disks)),
        image=ImageVolume(context.image.nvr, slots.image),
        reserved=reserved,
        pool=pool,
        volumes=tuple(volumes),
        arrays=mirror.arrays(context),
    )

"""``raid`` lines: a node on two disks or more, each of which has all of it.

There are two arrays, for /boot and for the physical volume, over the same disks.  GRUB reads either half of /boot as a
plain file system (the metadata of version 1.0 lies at its end: md(4)), and writes its environment block to a small
partition of the disk that it was started from: writing to one half of an array would part the halves.
"""

from __future__ import annotations

from collections.abc import Sequence

from org_ovirt_node.i18n import _
from org_ovirt_node.kickstart.model import ArrayRequest, PartitionRequest
from org_ovirt_node.layout import budget, policy
from org_ovirt_node.layout.model import MIB, Array, Disk, Firmware, Role
from org_ovirt_node.layout.placed import Context, Placed

BOOT = "/boot"
#: Where the partitions with GRUB's environment blocks are mounted, with a number from 1 on.
ENVIRONMENT = f"{BOOT}/env"
ENVIRONMENT_SIZE = 16 * MIB
#: A disk that is gone must not keep the others from coming up.
ENVIRONMENT_OPTIONS = ("nofail", "x-systemd.device-timeout=10s", "noatime")
FEWEST = 2
#: What md keeps of each member for itself, at the most (mdadm's super1.c, "headroom"), and its least.
MOST_OVERHEAD, LEAST_OVERHEAD = 130 * MIB, 4 * MIB


def is_member(part: PartitionRequest) -> bool:
    """True for a part of an array."""
    return part.mountpoint.startswith("raid.")


def array_of(context: Context, part: PartitionRequest) -> ArrayRequest:
    """The array that a member is for."""
    found = [array for array in context.request.arrays if part.mountpoint in array.members]
    if not found:
        context.fail(
            part.line,
            _("part {mountpoint} belongs to no raid line").format(mountpoint=part.mountpoint),
            hint=_("Add raid /boot or raid pv.01."),
        )
    if len(found) > 1:
        context.fail(
            found[1].line,
            _("raid {mountpoint}: {member} is in raid {other} already").format(
                mountpoint=found[1].mountpoint, member=part.mountpoint, other=found[0].mountpoint
            ),
        )
    return found[0]


def role_of(context: Context, part: PartitionRequest) -> Role:
    """What a member is for."""
    return Role.BOOT if array_of(context, part).mountpoint == BOOT else Role.PV


def check(context: Context) -> None:
    """Refuse what is no whole mirror, by line."""
    request, fail = context.request, context.fail
    arrays = request.arrays
    if not arrays:
        return
    names = [part.mountpoint for part in request.partitions]
    for array in arrays:
        what = f"raid {array.mountpoint}"
        if len(set(array.members)) < FEWEST:
            fail(
                array.line,
                _("{what} has {count} member: a mirror has two or more").format(
                    what=what, count=len(set(array.members))
                ),
            )
        for member in array.members:
            if member not in names:
                fail(
                    array.line,
                    _("{what}: there is no part {member}").format(what=what, member=member),
                    hint=_("Add part {member} --ondisk=… --size=….").format(member=member),
                )
        for other in arrays:
            if other is not array and other.name == array.name:
                fail(
                    max(array.line, other.line),
                    _("{what} --device={name} is given twice").format(what=what, name=array.name),
                )
    boots = [array for array in arrays if array.mountpoint == BOOT]
    pvs = [array for array in arrays if array.mountpoint != BOOT]
    for found, missing in ((boots, BOOT), (pvs, "pv.01")):
        if not found:
            fail(
                arrays[0].line,
                _(
                    "there is no raid {missing}: a node on one of the disks alone needs /boot and its volumes there"
                ).format(missing=missing),
                hint=_("Add raid {missing} --level=1 --device=NAME raid.NN ….").format(missing=missing),
            )
        if len(found) > 1:
            fail(
                found[1].line,
                _("raid {mountpoint}: a second one is not supported").format(mountpoint=found[1].mountpoint),
            )
    for part in request.partitions:
        if part.mountpoint == BOOT or part.mountpoint.startswith("pv."):
            fail(
                part.line,
                _("part {mountpoint} would be on one disk alone").format(mountpoint=part.mountpoint),
                hint=_("Make it an array, or no array."),
            )
        if is_member(part):
            _check_member(context, part)


def _check_member(context: Context, part: PartitionRequest) -> None:
    fail, what = context.fail, f"part {part.mountpoint}"
    if not part.disk:
        fail(part.line, _("{what} says no disk").format(what=what), hint=_("Add --ondisk=DISK."))
    if part.fstype not in ("", "mdmember"):
        fail(
            part.line,
            _("{what} --fstype={fstype} is not supported").format(what=what, fstype=part.fstype),
            hint=_("The raid line says what is on it."),
        )
    for option, value in (("--label", part.label), ("--fsoptions", part.options)):
        if value:
            fail(
                part.line,
                _("{what} {option}={value}: it belongs to the raid line").format(what=what, option=option, value=value),
            )
    if part.encrypted:
        fail(part.line, _("{what} --encrypted: an encrypted mirror is not supported yet").format(what=what))


def boot_disks(placed: Sequence[Placed]) -> list[Disk]:
    """The disks with /boot, or a half of it."""
    return list(dict.fromkeys(part.disk for part in placed if part.role is Role.BOOT))


def check_disks(context: Context, placed: Sequence[Placed]) -> None:
    """Both arrays have a member on each of the same disks, each of which can be booted."""
    request, fail = context.request, context.fail
    first, disks = request.arrays[0], {}
    for array in request.arrays:
        on = [part.disk.name for part in placed if part.request.mountpoint in array.members]
        twice = sorted({disk for disk in on if on.count(disk) > 1})
        if twice:
            fail(
                array.line,
                _("raid {mountpoint} has two members on {disk}").format(mountpoint=array.mountpoint, disk=twice[0]),
                hint=_("Take different disks."),
            )
        disks[array.mountpoint] = sorted(on)
    if len({tuple(found) for found in disks.values()}) > 1:
        each = _("{name} on {disks}")
        said = "; ".join(each.format(name=name, disks=", ".join(found)) for name, found in disks.items())
        fail(request.arrays[-1].line, _("the arrays are not on the same disks: {said}").format(said=said))
    if Firmware.EFI in context.firmware:
        fail(
            first.line,
            _("raid: a mirrored node that boots by EFI is not supported yet"),
            hint=_("Let it boot by BIOS."),
        )
    for disk in boot_disks(placed):
        budget.check_firmware(disk, context.firmware)
        if not any(part.role is Role.BIOSBOOT and part.disk == disk for part in placed):
            fail(
                first.line,
                _("{name} has a half of /boot and no BIOS boot partition").format(name=disk.name),
                hint=_("Add part biosboot --fstype=biosboot --size=1 --ondisk={name}.").format(name=disk.name),
            )


def environments(context: Context, placed: Sequence[Placed]) -> list[Placed]:
    """The partitions for GRUB's environment blocks, one for each disk with a half of /boot."""
    line = context.request.arrays[0].line
    found = []
    for number, disk in enumerate(boot_disks(placed), start=1):
        wanted = PartitionRequest(
            mountpoint=f"{ENVIRONMENT}{number}",
            size=ENVIRONMENT_SIZE,
            disk=disk.name,
            label=f"env{number}",
            options=",".join(ENVIRONMENT_OPTIONS),
            line=line,
        )
        found.append(Placed(wanted, Role.ENVIRONMENT, disk))
    return found


def arrays(context: Context) -> tuple[Array, ...]:
    """The arrays to make."""
    found = []
    for array in context.request.arrays:
        if array.mountpoint == BOOT:
            options = policy.mount_options(array.options)
            label = array.label or policy.BOOT_LABEL
            found.append(Array(array.name, Role.BOOT, "ext4", BOOT, label, options or policy.BOOT.options))
        else:
            found.append(Array(array.name, Role.PV))
    return tuple(found)


def inside(members: Sequence[int]) -> int:
    """Bytes of an array of members of these sizes that LVM sees, at the least."""
    smallest = min(members)
    return smallest - max(LEAST_OVERHEAD, min(MOST_OVERHEAD, smallest >> 8))

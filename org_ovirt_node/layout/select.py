"""Which disks are used, and whether what is on them may be wiped."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from fnmatch import fnmatchcase
from typing import NoReturn

from org_ovirt_node.errors import LayoutError
from org_ovirt_node.i18n import _
from org_ovirt_node.kickstart.model import DiskSelection
from org_ovirt_node.kickstart.place import Place
from org_ovirt_node.kickstart.units import human_size
from org_ovirt_node.layout.model import Disk

#: What ``clearpart --linux`` may wipe, as blivet names file systems and signatures.
LINUX_TYPES = frozenset(
    ("ext2", "ext3", "ext4", "xfs", "btrfs", "f2fs", "squashfs", "swap", "lvmpv", "LVM2_member", "luks", "crypto_LUKS")
) | {"mdmember", "linux_raid_member", "biosboot", "prepboot"}


def names(disk: Disk) -> tuple[str, ...]:
    """Every name by which a kickstart can mean the disk."""
    links = [name for link in disk.links for name in (link, link.rpartition("/")[2])]
    return tuple(filter(None, [disk.name, *links, disk.serial, disk.wwn, disk.wwn.replace("0x", "", 1)]))


def _plain(pattern: str) -> str:
    for prefix in ("/dev/disk/", "disk/", "/dev/mapper/", "mapper/", "/dev/"):
        if pattern.startswith(prefix):
            return pattern[len(prefix) :]
    return pattern


def find(pattern: str, disks: Sequence[Disk]) -> list[Disk]:
    """The disks that ``pattern`` means: a name, a link below /dev/disk, or a glob over those, serial and WWN.

    A path of a multipath device (or a member of an array) means the device.
    """
    plain = _plain(pattern)
    owners = {member: disk for disk in disks for member in disk.members}
    exact = [disk for disk in disks if plain in names(disk)]
    found = exact or [disk for disk in disks if any(fnmatchcase(name, plain) for name in names(disk))]
    found += [disk for member, disk in owners.items() if fnmatchcase(member, plain)]
    return list(dict.fromkeys(owners.get(disk.name, disk) for disk in found))


def describe(disk: Disk) -> str:
    """A disk in a message: name, size, serial."""
    if not disk.serial:
        return f"{disk.name} ({human_size(disk.size)})"
    return _("{name} ({size}, serial {serial})").format(name=disk.name, size=human_size(disk.size), serial=disk.serial)


def _listed(disks: Iterable[Disk]) -> str:
    return "; ".join(describe(disk) for disk in disks) or _("none")


def _refuse(place: Place, message: str, *, hint: str = "") -> NoReturn:
    """Blame the line of the kickstart, where there is one."""
    if place.line:
        place.fail(message, hint=hint)
    raise LayoutError(message, hint=hint)


def find_all(patterns: Sequence[str], disks: Sequence[Disk], command: str, place: Place) -> list[Disk]:
    """The disks of all patterns, in the patterns' order.

    Raises KickstartProblem (or LayoutError, without a place) for a pattern that means none.
    """
    found: dict[Disk, None] = {}
    for pattern in patterns:
        matching = find(pattern, disks)
        if not matching:
            _refuse(
                place,
                _("{command} names the disk {pattern}, and there is none").format(
                    command=command, pattern=repr(pattern)
                ),
                hint=_("The disks are: {disks}.").format(disks=_listed(disks)),
            )
        found.update(dict.fromkeys(matching))
    return list(found)


def _unusable(disk: Disk) -> str:
    if disk.protected:
        return disk.protected
    if disk.readonly:
        return _("it is read-only, or in use by the installer")
    return _("it has no medium") if disk.size <= 0 else ""


def candidates(disks: Sequence[Disk], selection: DiskSelection) -> tuple[Disk, ...]:
    """The disks that the kickstart lets us use, before looking at what is on them.

    ``ignoredisk --only-use`` decides; else ``clearpart --drives``, which names what is to be cleared for us; else
    all disks but those of ``ignoredisk --drives``.
    """
    members = {member for disk in disks for member in disk.members}
    whole = [disk for disk in disks if disk.name not in members]
    ignored = find_all(selection.ignored, disks, "ignoredisk --drives", selection.ignore_place)
    cleared = find_all(selection.clear_drives, disks, "clearpart --drives", selection.clear_place)
    if selection.only_use:
        chosen = find_all(selection.only_use, disks, "ignoredisk --only-use", selection.ignore_place)
    elif cleared:
        chosen = [disk for disk in cleared if disk not in ignored]
    else:
        chosen = [disk for disk in whole if disk not in ignored and not _unusable(disk)]
    for disk in chosen:
        if _unusable(disk):
            named = selection.ignore_place if selection.only_use else selection.clear_place
            _refuse(named, _("the disk {disk} cannot be used: {why}").format(disk=describe(disk), why=_unusable(disk)))
    if not chosen:
        ignoring = _("ignored by the kickstart")
        reasons = "; ".join(f"{describe(disk)}: {_unusable(disk) or ignoring}" for disk in whole)
        wrong = _("there is no disk to install on ({reasons})") if reasons else _("there is no disk to install on")
        raise LayoutError(
            wrong.format(reasons=reasons),
            hint=_("Attach a disk, or name one with ignoredisk --only-use=."),
        )
    return tuple(chosen)


def boot_disk(disks: Sequence[Disk], everything: Sequence[Disk], boot_drive: str, place: Place) -> Disk:
    """The disk that is booted from: ``bootloader --boot-drive`` (said at ``place``), else the first."""
    if not boot_drive:
        return disks[0]
    found = find_all([boot_drive], everything, "bootloader --boot-drive", place)
    usable = [disk for disk in found if disk in disks]
    if not usable:
        _refuse(
            place,
            _("bootloader --boot-drive={boot_drive} is {disk}, which is not among the disks to be used").format(
                boot_drive=boot_drive, disk=describe(found[0])
            ),
            hint=_("These are used: {disks}.").format(disks=_listed(disks)),
        )
    if len(usable) > 1:
        _refuse(
            place,
            _("bootloader --boot-drive={boot_drive} means more than one disk: {disks}").format(
                boot_drive=boot_drive, disks=_listed(usable)
            ),
            hint=_("Name one."),
        )
    return usable[0]


def content(disk: Disk) -> str:
    """What is on a disk, in words."""
    parts = []
    if disk.partitions:
        unknown = _("unknown")
        shown = [f"{part.name} {part.label or part.fstype or unknown}" for part in disk.partitions[:4]]
        more = len(disk.partitions) - len(shown)
        said = _("partitions {names} and {more} more") if more else _("partitions {names}")
        parts.append(said.format(names=", ".join(shown), more=more))
    if disk.fstype:
        what = f"{disk.fstype} {disk.label!r}" if disk.label else disk.fstype
        parts.append(_("{fstype} on the whole disk").format(fstype=what))
    if disk.vgs:
        parts.append(_("volume group {names}").format(names=", ".join(disk.vgs)))
    return _(" and ").join(parts) or _("no partition table that could be read, or an empty one")


def _refusal(disk: Disk, selection: DiskSelection, cleared: Sequence[Disk]) -> str:
    """Which command would permit wiping the disk; empty when it is permitted."""
    if disk.blank:
        return ""
    clearable = selection.clear != "none" and (not selection.clear_drives or disk in cleared)
    if not disk.partitions and not disk.fstype and not disk.vgs:
        return "" if selection.zerombr or clearable else "zerombr"
    if not clearable:
        return f"clearpart --all --initlabel --drives={disk.name}"
    if not disk.partitions and not selection.initlabel:
        return _("clearpart --all --initlabel (there is no partition table on it to clear)")
    foreign = [part for part in disk.partitions if part.fstype and part.fstype not in LINUX_TYPES]
    if selection.clear == "linux" and foreign:
        return _("clearpart --all (--linux leaves {name}, {fstype})").format(
            name=foreign[0].name, fstype=foreign[0].fstype
        )
    return ""


def check_wiping(used: Sequence[Disk], everything: Sequence[Disk], selection: DiskSelection) -> tuple[str, ...]:
    """Names of the used disks that lose what is on them.  Raises LayoutError when the kickstart does not permit it."""
    cleared = find_all(selection.clear_drives, everything, "clearpart --drives", selection.clear_place)
    for disk in used:
        permit = _refusal(disk, selection, cleared)
        if permit:
            raise LayoutError(
                _("the disk {disk} is not empty: {content}").format(disk=describe(disk), content=content(disk)),
                hint=_("To lose that, say {permit} in the kickstart; or keep off the disk with ignoredisk.").format(
                    permit=permit
                ),
            )
    wiped = [disk for disk in used if not disk.blank]
    _check_shared_vgs(wiped, used, everything)
    return tuple(disk.name for disk in wiped)


def _others(used: Sequence[Disk], everything: Sequence[Disk]) -> list[Disk]:
    members = {member for disk in used for member in disk.members}
    return [disk for disk in everything if disk not in used and disk.name not in members]


def _check_shared_vgs(wiped: Sequence[Disk], used: Sequence[Disk], everything: Sequence[Disk]) -> None:
    for disk in wiped:
        for vg in disk.vgs:
            other = next((other for other in _others(used, everything) if vg in other.vgs), None)
            if other is not None:
                raise LayoutError(
                    _("the volume group {vg} is on {disk} and also on {other}, which is not used").format(
                        vg=vg, disk=describe(disk), other=describe(other)
                    ),
                    hint=_("Use both disks, or neither, or remove the volume group first."),
                )


def check_vg_name(vg: str, used: Sequence[Disk], everything: Sequence[Disk]) -> None:
    """Refuse a volume group of our name on a disk that stays: LVM could not tell them apart."""
    for disk in _others(used, everything):
        if vg in disk.vgs:
            raise LayoutError(
                _("there is a volume group {vg} already, on {disk}, which is not to be used").format(
                    vg=vg, disk=describe(disk)
                ),
                hint=_("Give ours another name with --vg=NAME, rename the other with vgrename, or detach that disk."),
            )


def select_disks(disks: Sequence[Disk], selection: DiskSelection, boot_drive: str = "") -> tuple[Disk, ...]:
    """The disks to use, the boot disk first.  Raises LayoutError when there are none, or one may not be wiped."""
    chosen = candidates(disks, selection)
    first = boot_disk(chosen, disks, boot_drive, selection.boot_place)
    used = (first, *(disk for disk in chosen if disk is not first))
    check_wiping(used, disks, selection)
    return used

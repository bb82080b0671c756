"""From the parsed storage commands to :class:`StorageRequest`.  pykickstart counts in MiB, we in bytes."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Optional

from org_ovirt_node.boot import cmdline
from org_ovirt_node.i18n import N_, _, translated
from org_ovirt_node.kickstart import checks
from org_ovirt_node.kickstart.commands import Line, line_of, lines_of
from org_ovirt_node.kickstart.model import (
    ArrayRequest,
    BootloaderRequest,
    DiskSelection,
    LogicalVolumeRequest,
    PartitionRequest,
    StorageRequest,
    VolumeGroupRequest,
)
from org_ovirt_node.kickstart.place import NOWHERE

MIB = 1 << 20
KIB = 1 << 10
LUKS_VERSIONS = ("luks1", "luks2")
#: Bytes of a MiB number that is still a disk's: an exbibyte.
_LIMIT = 1 << 40
#: What the kernel and the boot entry can carry on one line.
_APPEND_LIMIT = 1500


#: fstab(5) divides its fields at white space, and a backslash or a "#" has a meaning there.
_MOUNT_OPTIONS = re.compile(r"([^\s,\\#]+(,[^\s,\\#]+)*)?", re.ASCII)


#: What a name below /dev/md/ may be, and mdadm(8) keeps in 32 bytes.
_ARRAY_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_-]{0,31}", re.ASCII)


@dataclass(frozen=True)
class _Label:
    pattern: re.Pattern[str]
    #: The hint, to be translated.
    accepted: str


#: ext4 keeps 16 bytes (mke2fs(8), -L), FAT 11 and not all of ASCII (mkfs.fat(8), -n).
_LABELS = {
    "/boot": _Label(re.compile(r"[ -~]{1,16}"), N_("Accepted are 1 to 16 letters of ASCII.")),
    "/boot/efi": _Label(
        re.compile(r"[A-Za-z0-9_ -]{1,11}"), N_("Accepted are 1 to 11 letters, digits, blanks and _ -.")
    ),
}


def _bytes(line: Line, option: str, unit: int = MIB, *, least: int = 1) -> int:
    """The value of a size option in bytes; 0 when it is not there."""
    text = line.text(option)
    if not text:
        return 0
    if not re.fullmatch(r"[0-9]{1,15}", text, re.ASCII) or not least <= int(text) <= _LIMIT:
        line.fail(
            _("{option}={text} is not a size").format(option=option, text=text),
            hint=_("Accepted is a whole number of {unit}.").format(unit="MiB" if unit == MIB else "KiB"),
        )
    return int(text) * unit


def _luks(line: Line) -> tuple[bool, str, str]:
    encrypted = "--encrypted" in line.given
    passphrase, version = line.text("--passphrase"), line.text("--luks-version")
    if not encrypted:
        for option in ("--passphrase", "--luks-version"):
            if option in line.given:
                line.fail(
                    _("{option} without --encrypted means nothing").format(option=option),
                    hint=_("Add --encrypted, or take it away."),
                )
        return False, "", ""
    if not passphrase:
        line.fail(_("--encrypted needs --passphrase=TEXT"), hint=_("An unattended install cannot ask for it."))
    if version and version not in LUKS_VERSIONS:
        line.fail(
            _("--luks-version={version} is not supported").format(version=version),
            hint=_("Accepted are {versions}.").format(versions=_(" and ").join(LUKS_VERSIONS)),
        )
    return True, passphrase, version


def selection(lines: Sequence[Line]) -> DiskSelection:
    """``ignoredisk``, ``clearpart`` and ``zerombr`` together."""
    ignore, clear, boot = (line_of(lines, command) for command in ("ignoredisk", "clearpart", "bootloader"))
    kind = "none"
    if clear is not None:
        kinds = [name for name in ("all", "linux", "none") if f"--{name}" in clear.given]
        if len(kinds) > 1:
            clear.fail(_("--{one} and --{other} exclude each other").format(one=kinds[0], other=kinds[1]))
        kind = kinds[0] if kinds else "none"
        label = clear.text("--disklabel")
        if label not in ("", "gpt"):
            clear.fail(
                _("--disklabel={label} is not supported").format(label=label),
                hint=_("A node's disks have a GPT; accepted is gpt."),
            )
    return DiskSelection(
        only_use=_words(ignore, "--only-use"),
        ignored=_words(ignore, "--drives"),
        clear=kind,
        clear_drives=_words(clear, "--drives"),
        initlabel=clear is not None and "--initlabel" in clear.given,
        zerombr=line_of(lines, "zerombr") is not None,
        ignore_place=ignore.place if ignore else NOWHERE,
        clear_place=clear.place if clear else NOWHERE,
        boot_place=boot.place if boot else NOWHERE,
    )


def _words(line: Optional[Line], option: str) -> tuple[str, ...]:
    if line is None or option not in line.given:
        return ()
    words = [word.strip() for word in line.text(option).split(",")]
    if not all(words):
        line.fail(
            _("{option}={text} names no disk").format(option=option, text=line.text(option)),
            hint=_("Accepted are names with commas between them."),
        )
    return tuple(words)


def partition(line: Line) -> PartitionRequest:
    """A ``part`` line."""
    encrypted, passphrase, version = _luks(line)
    size = _bytes(line, "--size")
    if not size:
        line.fail(
            _("{mountpoint}: --size is missing").format(mountpoint=line.data.mountpoint),
            hint=_("Give --size=MIB, with --grow to take more."),
        )
    return PartitionRequest(
        mountpoint=line.data.mountpoint,
        size=size,
        grow="--grow" in line.given,
        max_size=_bytes(line, "--maxsize"),
        fstype=line.text("--fstype"),
        disk=line.text("--ondisk").replace("/dev/", "", 1) if line.text("--ondisk") else "",
        label=_label(line),
        options=_options(line),
        encrypted=encrypted,
        passphrase=passphrase,
        luks_version=version,
        line=line.place.line,
    )


def _options(line: Line) -> str:
    """Mount options: they are written into fstab and given to mount(8) as they are."""
    text = line.text("--fsoptions")
    if not _MOUNT_OPTIONS.fullmatch(text):
        line.fail(
            _("--fsoptions={text} are no mount options").format(text=repr(text)),
            hint=_("Accepted are words with commas between them."),
        )
    return text


def _label(line: Line) -> str:
    """The label of a file system, which mkfs must take."""
    text, limit = line.text("--label"), _LABELS.get(line.data.mountpoint)
    if text and limit is not None and not limit.pattern.fullmatch(text):
        line.fail(
            _("{mountpoint} --label={text} cannot be its label").format(
                mountpoint=line.data.mountpoint, text=repr(text)
            ),
            hint=translated(limit.accepted),
        )
    return text


def array(line: Line) -> ArrayRequest:
    """A ``raid`` line."""
    if line.text("--level").lower().removeprefix("raid") != "1":
        line.fail(
            _("--level={level} is not supported").format(level=line.text("--level")),
            hint=_("A node can be mirrored: --level=1."),
        )
    mountpoint = line.data.mountpoint
    if mountpoint != "/boot" and not mountpoint.startswith("pv."):
        line.fail(
            _("{mountpoint} cannot be an array of a node's").format(mountpoint=mountpoint),
            hint=_("Accepted are /boot and pv.NN."),
        )
    fstype, expected = line.text("--fstype"), "ext4" if mountpoint == "/boot" else "lvmpv"
    if fstype not in ("", expected):
        line.fail(
            _("{mountpoint} --fstype={fstype} is not supported").format(mountpoint=mountpoint, fstype=fstype),
            hint=_("Accepted is {expected}.").format(expected=expected),
        )
    name = line.text("--device").replace("/dev/md/", "", 1)
    if not _ARRAY_NAME.fullmatch(name):
        line.fail(
            _("{mountpoint} --device={device} cannot be its name").format(
                mountpoint=mountpoint, device=repr(line.text("--device"))
            ),
            hint=_("Give --device=NAME, with letters, digits, _ and -."),
        )
    if mountpoint != "/boot":
        for option in ("--label", "--fsoptions"):
            if option in line.given:
                line.fail(
                    _("{mountpoint} {option}: there is no file system on it").format(
                        mountpoint=mountpoint, option=option
                    )
                )
    return ArrayRequest(
        mountpoint=mountpoint,
        name=name,
        members=tuple(line.data.members),
        label=_label(line),
        options=_options(line),
        line=line.place.line,
    )


def volume_group(line: Line) -> VolumeGroupRequest:
    """A ``volgroup`` line."""
    for pv in line.data.physvols:
        if not pv.startswith("pv."):
            line.fail(
                _("{pv} is no physical volume").format(pv=repr(pv)),
                hint=_("Accepted are names of part lines, such as pv.01."),
            )
    if not line.data.physvols:
        line.fail(_("no physical volume"), hint=_("Accepted is volgroup NAME pv.01 …."))
    return VolumeGroupRequest(
        name=_name(line, line.data.vgname, checks.vg_name),
        pvs=tuple(line.data.physvols),
        extent_size=_bytes(line, "--pesize", KIB),
        reserved_space=_bytes(line, "--reserved-space"),
        reserved_percent=_percent(line, "--reserved-percent"),
        line=line.place.line,
    )


def logical_volume(line: Line) -> LogicalVolumeRequest:
    """A ``logvol`` line."""
    size, percent = _bytes(line, "--size"), _percent(line, "--percent")
    recommended = "--recommended" in line.given
    if sum(map(bool, (size, percent, recommended))) != 1:
        line.fail(
            _("{mountpoint}: give exactly one of --size=MIB, --percent=N and --recommended").format(
                mountpoint=line.data.mountpoint
            )
        )
    return LogicalVolumeRequest(
        name=_name(line, line.text("--name")),
        vg=line.text("--vgname"),
        mountpoint="" if line.data.mountpoint in ("", "none") else line.data.mountpoint,
        size=size,
        percent=percent,
        grow="--grow" in line.given,
        max_size=_bytes(line, "--maxsize"),
        fstype=line.text("--fstype"),
        options=_options(line),
        thinpool="--thinpool" in line.given,
        thin="--thin" in line.given,
        pool=line.text("--poolname"),
        metadata_size=_bytes(line, "--metadatasize"),
        chunk_size=_bytes(line, "--chunksize", KIB),
        recommended=recommended,
        line=line.place.line,
    )


def _name(line: Line, name: str, check: object = None) -> str:
    try:
        return checks.vg_name(name) if check is checks.vg_name else checks.lvm_name(name)
    except ValueError as error:
        line.fail(_("the name {name}: {error}").format(name=repr(name), error=error))


def _percent(line: Line, option: str) -> int:
    text = line.text(option)
    if text and (not re.fullmatch(r"[0-9]{1,3}", text, re.ASCII) or not 1 <= int(text) <= 100):
        line.fail(_("{option}={text} is not a percentage from 1 to 100").format(option=option, text=text))
    return int(text) if text else 0


def storage(lines: Sequence[Line]) -> StorageRequest:
    """All storage commands.  Raises KickstartProblem when they contradict each other."""
    auto = line_of(lines, "autopart")
    # Both together are refused by pykickstart.
    request = StorageRequest(
        selection=selection(lines),
        partitions=tuple(partition(line) for line in lines_of(lines, "part", "partition")),
        arrays=tuple(array(line) for line in lines_of(lines, "raid")),
        vgs=tuple(volume_group(line) for line in lines_of(lines, "volgroup")),
        volumes=tuple(logical_volume(line) for line in lines_of(lines, "logvol")),
    )
    return _automatic(auto, request.selection) if auto is not None else request


def _automatic(line: Line, disks: DiskSelection) -> StorageRequest:
    kind, fstype = line.text("--type"), line.text("--fstype")
    if kind not in ("", "thinp"):
        line.fail(
            _("--type={kind} is not supported").format(kind=kind),
            hint=_("A node needs thin LVs; accepted is --type=thinp."),
        )
    if fstype:
        try:
            checks.fstype(fstype)
        except ValueError as error:
            line.fail(f"--fstype={fstype}: {error}")
    encrypted, passphrase, version = _luks(line)
    return StorageRequest(
        selection=disks,
        autopart=True,
        encrypted=encrypted,
        passphrase=passphrase,
        luks_version=version,
        nohome="--nohome" in line.given,
        noswap="--noswap" in line.given,
        fstype=fstype,
    )


def bootloader(lines: Sequence[Line]) -> BootloaderRequest:
    """The ``bootloader`` command, or its defaults."""
    line = line_of(lines, "bootloader")
    if line is None:
        return BootloaderRequest()
    location = line.text("--location") or "mbr"
    timeout = line.text("--timeout") or str(BootloaderRequest.timeout)
    if not re.fullmatch(r"[0-9]{1,4}", timeout, re.ASCII):
        line.fail(_("--timeout={timeout} is not a number of seconds from 0 to 9999").format(timeout=timeout))
    append = line.text("--append")
    if len(append) > _APPEND_LIMIT or not append.isprintable():
        line.fail(_("--append is not a kernel command line of at most {most} letters").format(most=_APPEND_LIMIT))
    for word in cmdline.split(append):
        if word.startswith(cmdline.OURS):
            line.fail(
                _("--append={word} would name another root than the node's").format(word=word), hint=_("Leave it out.")
            )
    return BootloaderRequest(
        append=append,
        timeout=int(timeout),
        location="partition" if location == "boot" else location,
        boot_drive=line.text("--boot-drive"),
        line=line.place.line,
    )

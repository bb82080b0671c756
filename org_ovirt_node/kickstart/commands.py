"""Which standard commands and options are taken, which mean nothing here, and which are refused by name.

pykickstart parses each line; this table then says whether everything on it is something that we do.  What is not in
the table is refused, so a new option of pykickstart's can never be ignored in silence.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NoReturn, Optional

from org_ovirt_node.i18n import N_, _, translated
from org_ovirt_node.kickstart.place import Place


@dataclass(frozen=True)
class Line:
    """A command as pykickstart parsed it, and the options that were really written, with their values as text."""

    command: str
    data: Any
    given: dict[str, tuple[str, ...]] = field(repr=False)
    place: Place

    def fail(self, message: str, *, hint: str = "") -> NoReturn:
        self.place.fail(f"{self.command}: {message}", hint=hint)

    def text(self, option: str) -> str:
        """The value of an option as written, empty when it was not."""
        return self.given.get(option, ("",))[-1]


def lines_of(lines: Sequence[Line], *commands: str) -> list[Line]:
    """The lines with one of these commands, in their order."""
    return [line for line in lines if line.command in commands]


def line_of(lines: Sequence[Line], command: str) -> Optional[Line]:
    """The line of a command that is given once, if it is there."""
    return next(iter(lines_of(lines, command)), None)


@dataclass(frozen=True)
class Command:
    """A supported command: the options that are supported, and whether it may be given more than once."""

    options: tuple[str, ...] = ()
    many: bool = False
    #: Commands that exclude each other, each of them also itself.
    group: str = ""
    #: True for what has a meaning in Anaconda only and changes nothing on the installed node.
    harmless: bool = False


def _options(text: str) -> tuple[str, ...]:
    return tuple(text.split())


_ENDING = Command(group="reboot, poweroff, halt and shutdown")
_PART = Command(
    _options(
        "--fstype --size --grow --maxsize --ondisk --label --fsoptions --encrypted --passphrase --luks-version "
        "--asprimary"
    ),
    many=True,
)
_DISPLAY = Command(_options("--non-interactive"), many=True, harmless=True)

COMMANDS = {
    "ignoredisk": Command(_options("--drives --only-use")),
    "clearpart": Command(_options("--all --linux --none --drives --initlabel --disklabel")),
    "zerombr": Command(),
    "autopart": Command(
        _options("--type --fstype --nohome --noswap --encrypted --passphrase --luks-version"),
    ),
    "part": _PART,
    "partition": _PART,
    "raid": Command(_options("--level --device --fstype --label --fsoptions"), many=True),
    "volgroup": Command(_options("--pesize --reserved-space --reserved-percent"), many=True),
    "logvol": Command(
        _options(
            "--vgname --name --size --percent --grow --maxsize --fstype --fsoptions --thinpool --thin --poolname "
            "--metadatasize --chunksize --recommended"
        ),
        many=True,
    ),
    "bootloader": Command(_options("--append --timeout --location --boot-drive")),
    "rootpw": Command(_options("--iscrypted --plaintext --lock")),
    "user": Command(
        _options("--name --password --iscrypted --plaintext --lock --uid --gid --groups --homedir --shell --gecos"),
        many=True,
    ),
    "group": Command(_options("--name --gid"), many=True),
    "sshkey": Command(_options("--username"), many=True),
    "lang": Command(),
    "keyboard": Command(_options("--vckeymap --xlayouts")),
    "timezone": Command(_options("--utc --isUtc --ntpservers")),
    "timesource": Command(_options("--ntp-server"), many=True),
    "network": Command(
        _options(
            "--device --bootproto --ip --netmask --gateway --nameserver --hostname --mtu --onboot --noipv4 --noipv6 "
            "--ipv6 --ipv6gateway --ipv4-dns-search --ipv6-dns-search --activate --no-activate"
        ),
        many=True,
    ),
    "iscsiname": Command(),
    "iscsi": Command(
        _options("--target --ipaddr --port --user --password --reverse-user --reverse-password --iface"), many=True
    ),
    "services": Command(_options("--enabled --disabled")),
    "selinux": Command(_options("--enforcing --permissive --disabled")),
    "firewall": Command(_options("--enable --disable")),
    "reboot": _ENDING,
    "poweroff": _ENDING,
    "halt": _ENDING,
    "shutdown": _ENDING,
    "text": _DISPLAY,
    "cmdline": _DISPLAY,
    "graphical": _DISPLAY,
    "skipx": Command(many=True, harmless=True),
    "eula": Command(_options("--agreed"), many=True, harmless=True),
    "firstboot": Command(_options("--disable"), many=True, harmless=True),
}

#: What people write for options that pykickstart calls otherwise.
SPELLED = {("firewall", "--enable"): "--enabled", ("firewall", "--disable"): "--disabled"}
#: Commands after which old versions of pykickstart pass over anything with a warning.
BARE_COMMANDS = ("zerombr", "skipx")

_IMAGE = N_("A node is installed from the image that %addon org_ovirt_node names with --image.")
_LATER = N_("It is not supported yet.")
_WHOLE = N_("A node's disks are taken whole, or not at all.")
#: Why a command is refused, where there is more to say than that it is not supported.
REFUSED_COMMANDS = {
    **dict.fromkeys(("liveimg", "url", "nfs", "harddrive", "cdrom", "hmc", "repo", "method", "module"), _IMAGE),
    **dict.fromkeys(("ostreesetup", "ostreecontainer", "bootc"), _IMAGE),
    **dict.fromkeys(("fcoe", "multipath", "zfcp", "nvdimm", "dmraid"), _LATER),
    "mount": _WHOLE,
    "reqpart": N_("autopart makes the partitions that the firmware needs."),
    "btrfs": N_("A node's volumes are thin LVs."),
    "snapshot": N_("A node goes back to an earlier layer with nodectl rollback."),
}
#: Commands that say where the node is to be.  A plan for Anaconda takes all of them at their word, and no others.
ABOUT_DISKS = (
    *("ignoredisk", "clearpart", "zerombr", "autopart", "part", "partition", "volgroup", "logvol", "bootloader"),
    *("iscsiname", "iscsi", "fcoe", "raid", "multipath", "zfcp", "nvdimm", "dmraid", "mount", "reqpart", "btrfs"),
    "snapshot",
)
#: The command by which a kickstart is known to be Anaconda's: every installation of a node by Anaconda has it.
ANACONDAS_OWN = "liveimg"
#: Why an option is refused, where there is more to say.
REFUSED_OPTIONS = {
    ("bootloader", "--disabled"): N_("A node needs its boot loader; --location=none leaves out only the boot sectors."),
    ("bootloader", "--driveorder"): N_("Give --boot-drive=DISK."),
    ("volgroup", "--useexisting"): _LATER,
    ("volgroup", "--noformat"): _LATER,
    ("logvol", "--useexisting"): _LATER,
    ("logvol", "--noformat"): _LATER,
    ("logvol", "--encrypted"): N_("Encrypt the physical volume: part pv.01 --encrypted --passphrase=…."),
    ("part", "--onpart"): _WHOLE,
    ("part", "--noformat"): _WHOLE,
    ("clearpart", "--list"): _WHOLE,
    ("raid", "--useexisting"): _LATER,
    ("raid", "--noformat"): _LATER,
    ("raid", "--spares"): _LATER,
    ("raid", "--encrypted"): _LATER,
    ("reboot", "--kexec"): N_("A node boots through its boot loader, which counts the tries."),
    ("firstboot", "--enable"): N_("A node has no first-boot dialog; accepted is --disable."),
}

#: Options whose values never reach a message or a log, and commands whose plain words do not.
SECRET_OPTIONS = (
    "--password",
    "--reverse-password",
    "--passphrase",
    "--escrowcert",
    "--hw-passphrase",
    "--wpakey",
    "--wepkey",
    "--md5pass",
)
SECRET_COMMANDS = ("rootpw", "sshpw", "user", "autopart")


def refuse_command(name: str, place: Place) -> NoReturn:
    """Refuse a command that is not supported."""
    name = name.partition("=")[0]  # rootpw=…
    why = REFUSED_COMMANDS.get(name)
    supported = _("Supported are {names}.").format(names=", ".join(sorted(COMMANDS)))
    place.fail(
        _("the command {name} is not supported").format(name=repr(name)), hint=translated(why) if why else supported
    )


@dataclass(frozen=True)
class Arg:
    """A word of a line, or an option with its value; ``known`` options have the parser's first name for them."""

    name: str = ""
    value: str = field(default="", repr=False)
    known: bool = False


def read_args(parser: Any, args: Sequence[str]) -> list[Arg]:
    """``args`` as ``parser`` (argparse) reads them: options by their first name, with their values, and other words.

    What the parser does not know, or cannot tell from another option, is an option that is not known.
    """
    actions: dict[str, Any] = getattr(parser, "_option_string_actions", {})
    found: list[Arg] = []
    words = list(args)
    while words:
        word = words.pop(0)
        if word == "--":
            return [*found, *(Arg(value=rest) for rest in words)]
        name, equals, value = word.partition("=")
        if not name.startswith("-"):
            found.append(Arg(value=word))
            continue
        matches = {id(action): action for key, action in actions.items() if key == name}
        if not matches and name.startswith("--"):
            matches = {id(action): action for key, action in actions.items() if key.startswith(name)}
        if len(matches) != 1:
            found.append(Arg(name, value))
            continue
        action = next(iter(matches.values()))
        if not equals and action.nargs is None and words:
            value = words.pop(0)
        found.append(Arg(action.option_strings[0], value, known=True))
    return found


def options_given(args: Sequence[Arg]) -> dict[str, tuple[str, ...]]:
    """The known options by name, with their values."""
    given: dict[str, tuple[str, ...]] = {}
    for arg in args:
        if arg.known:
            given[arg.name] = (*given.get(arg.name, ()), arg.value)
    return given


def secrets_in(command: str, args: Sequence[Arg]) -> list[str]:
    """What of a line must not be shown, the longest first: passwords, and what may be one behind a slip of the hand."""
    secrets = []
    words_too = command in SECRET_COMMANDS
    for arg in args:
        secret = (not arg.known or arg.name in SECRET_OPTIONS) if arg.name else words_too
        # A passphrase of two words, without quotes: the second stands alone.
        words_too = words_too or secret
        if secret and arg.value:
            # Messages quote words as Python writes them.
            secrets += [arg.value, repr(arg.value)[1:-1]]
    return sorted(set(secrets), key=len, reverse=True)


def check_options(name: str, given: dict[str, tuple[str, ...]], place: Place) -> None:
    """Refuse an option that pykickstart knows and that we do not take, or that is there twice."""
    command = COMMANDS[name]
    supported = ", ".join(SPELLED.get((name, option), option) for option in command.options)
    for option, values in given.items():
        if option not in command.options:
            key = ("part" if name == "partition" else name, option)
            why = translated(REFUSED_OPTIONS.get(key, ""))
            known = _("Supported are {names}.").format(names=supported) if supported else _("Supported are no options.")
            place.fail(
                _("{name}: the option {option} is not supported").format(name=name, option=option), hint=why or known
            )
        if len(values) > 1:
            place.fail(
                _("{name}: the option {option} is given {count} times").format(
                    name=name, option=option, count=len(values)
                ),
                hint=_("Give it once."),
            )
    if name == "ignoredisk" and len(given) > 1:
        place.fail(_("{name}: {options} exclude each other").format(name=name, options=_(" and ").join(given)))

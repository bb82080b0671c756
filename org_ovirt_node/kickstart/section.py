"""The ``%addon org_ovirt_node`` section: text to :class:`NodeSection` and back, with pykickstart alone.

Anaconda shows only the message of an error, never the line; so every message names the section, the option and the
offending text, and says what is accepted.
"""

from __future__ import annotations

import argparse
import shlex
from collections.abc import Sequence
from typing import Any, NoReturn

from pykickstart.errors import KickstartParseError
from pykickstart.options import KSOptionParser
from pykickstart.version import F34

from org_ovirt_node.i18n import _, translated
from org_ovirt_node.kickstart import checks
from org_ovirt_node.kickstart.model import NodeSection, VolumeRequest
from org_ovirt_node.kickstart.options import BY_NAME, OPTIONS, Option
from org_ovirt_node.kickstart.place import Place
from org_ovirt_node.kickstart.units import ACCEPTED, format_size
from org_ovirt_node.layout.policy import SWAP_NAME, VOLUMES, volume_name
from org_ovirt_node.urls import redact_value

ADDON = "org_ovirt_node"
SECTION = f"%addon {ADDON}"
LINES = "volume MOUNTPOINT --size=SIZE [--fstype=ext4|xfs]; novolume MOUNTPOINT"


class _Place(Place):
    """Where we are, for errors."""

    def fail(self, message: str, *, hint: str = "") -> NoReturn:
        super().fail(f"{SECTION}: {message}", hint=hint)


def _parser(command: str, options: Sequence[Option]) -> argparse.ArgumentParser:
    parser = KSOptionParser(prog=command, description=command, version=F34, allow_abbrev=False)
    for option in options:
        keywords: dict[str, Any] = {"dest": option.field, "action": "append", "default": None}
        if option.flag:
            keywords.update(action="append_const", const=True)
        parser.add_argument(option.name, help=option.help, version=F34, **keywords)
    assert isinstance(parser, argparse.ArgumentParser)
    return parser


def _values(command: str, options: Sequence[Option], args: list[str], place: _Place) -> dict[str, list[object]]:
    """The values of each option as written, in order.  ``command`` is empty for the header."""
    known = ", ".join(option.usage for option in options) or "none"
    title = f"{command}: " if command else ""
    try:
        found, extra = _parser(command or ADDON, options).parse_known_args(args)
    except KickstartParseError as error:
        place.fail(f"{title}{error.message}", hint=_("Accepted options: {known}.").format(known=known))
    if extra:
        # A mistyped option shows its name alone, for its value may be secret.
        shown = extra[0].partition("=")[0] if extra[0].startswith("-") else redact_value(extra[0])
        wrong = _("unknown option {text}") if extra[0].startswith("-") else _("unexpected text {text}")
        place.fail(title + wrong.format(text=repr(shown)), hint=_("Accepted options: {known}.").format(known=known))
    values: dict[str, list[object]] = {key: value for key, value in vars(found).items() if value}
    for option in options:
        given = values.get(option.field, [])
        if len(given) > 1 and not option.repeated:
            place.fail(
                _("{title}{option} is given {count} times").format(title=title, option=option.name, count=len(given)),
                hint=_("Give it once."),
            )
    return values


def _checked(command: str, option: Option, text: object, place: _Place) -> object:
    if option.flag:
        return True
    try:
        return option.check(str(text))
    except ValueError as error:
        place.fail(f"{command}{option.name}={redact_value(str(text))}: {error}")


def parse_section(args: list[str], lines: list[tuple[int, str]], *, file: str = "", line: int = 0) -> NodeSection:
    """Parse the words after ``%addon org_ovirt_node`` and the numbered lines of the body.

    Raises :class:`KickstartProblem` with the place for everything that is not exactly right.
    """
    place = _Place(file, line)
    fields: dict[str, object] = {}
    values = _values("", OPTIONS, args, place)
    for option in OPTIONS:
        if option.field not in values:
            continue
        checked = [_checked("", option, value, place) for value in values[option.field]]
        fields[option.field] = tuple(checked) if option.repeated else checked[0]
    volumes, novolumes = _parse_lines(lines, file)
    section = NodeSection(line=line, volumes=volumes, novolumes=novolumes, **fields)  # type: ignore[arg-type]
    _check_whole(section, place)
    _check_names(section, file)
    return section


def _check_whole(section: NodeSection, place: _Place) -> None:
    if not section.images:
        place.fail(
            _("--image is missing"),
            hint=_("Give {usage}, where URL is {urls}.").format(
                usage=BY_NAME["--image"].usage, urls=translated(checks.URLS)
            ),
        )
    if len(set(section.images)) != len(section.images):
        place.fail(_("--image names the same URL twice"), hint=_("Every --image is a mirror that is tried in turn."))
    if section.sha256 and section.nosignature:
        place.fail(
            _("--sha256 and --nosignature exclude each other"), hint=_("Keep --sha256: the digest is then checked.")
        )
    named = section.manifest or any(checks.is_manifest(image) for image in section.images)
    if not section.sha256 and not section.nosignature and not named:
        place.fail(
            _("nothing says how the image is verified"),
            hint=_(
                "Give --sha256=HEX (the digest of the image), --manifest=URL (signed), or --nosignature to take "
                "it unchecked."
            ),
        )
    if section.key and not named:
        place.fail(_("--key has no manifest to check"), hint=_("Give --manifest=URL as well, or leave --key out."))
    if section.vg == section.pool:
        place.fail(
            _("--vg={vg} and --pool={pool} are the same name").format(vg=section.vg, pool=section.pool),
            hint=_("Give them different names."),
        )


def _check_names(section: NodeSection, file: str) -> None:
    """Every volume is a LV of its own name, which comes from its mount point."""
    mountpoints = {default.mountpoint for default in VOLUMES} | {volume.mountpoint for volume in section.volumes}
    pool = _("the thin pool")
    owners: dict[str, list[str]] = {SWAP_NAME: ["swap"], section.pool: [pool]}
    for mountpoint in sorted(mountpoints - set(section.novolumes)):
        owners.setdefault(volume_name(mountpoint), []).append(mountpoint)
    for volume in section.volumes:
        place, name = _Place(file, volume.line), volume_name(volume.mountpoint)
        try:
            checks.lvm_name(name)
        except ValueError as error:
            place.fail(
                _("volume {mountpoint}: its logical volume would have the name {name}: {error}").format(
                    mountpoint=volume.mountpoint, name=repr(name), error=error
                )
            )
        others = [owner for owner in owners[name] if owner != volume.mountpoint]
        if others:
            place.fail(
                _("volume {mountpoint}: its logical volume would have the name {name}, as {other} has").format(
                    mountpoint=volume.mountpoint, name=name, other=others[0]
                ),
                hint=_("Choose another mount point, or --pool.")
                if others[0] == pool
                else _("Choose another mount point."),
            )


def _parse_lines(lines: list[tuple[int, str]], file: str) -> tuple[tuple[VolumeRequest, ...], tuple[str, ...]]:
    volumes: list[VolumeRequest] = []
    novolumes: list[str] = []
    seen: dict[str, str] = {}
    for number, text in lines:
        place = _Place(file, number)
        if checks.cut_by_comment(text):
            place.fail(translated(checks.CUT), hint=translated(checks.QUOTE))
        try:
            words = shlex.split(text, comments=True)
        except ValueError as error:
            place.fail(
                _("the line {text} cannot be read: {error}").format(text=repr(text.split()[0]), error=error),
                hint=_("Accepted lines: {lines}.").format(lines=LINES),
            )
        if not words:
            continue
        command, rest = words[0], words[1:]
        if command == "volume":
            volume = _parse_volume(rest, place)
            volumes.append(volume)
            mountpoint = volume.mountpoint
        elif command == "novolume":
            mountpoint = _parse_novolume(rest, place)
            novolumes.append(mountpoint)
        else:
            place.fail(
                _("unknown line {text}").format(text=repr(words[0].partition("=")[0])),
                hint=_("Accepted lines: {lines}.").format(lines=LINES),
            )
        if mountpoint in seen:
            place.fail(
                _("{command} {mountpoint}: {before} {mountpoint} was given before").format(
                    command=command, mountpoint=mountpoint, before=seen[mountpoint]
                )
            )
        seen[mountpoint] = command
    return tuple(volumes), tuple(novolumes)


SIZE = Option("--size", "size", "SIZE", "Size of the volume, with a unit.", checks.size)
FSTYPE = Option("--fstype", "fstype", "ext4|xfs", "File system of the volume.", checks.fstype)


def _mountpoint(command: str, rest: list[str], place: _Place) -> tuple[str, list[str]]:
    if not rest or rest[0].startswith("-"):
        place.fail(
            _("{command}: the mount point is missing").format(command=command),
            hint=_("Accepted lines: {lines}.").format(lines=LINES),
        )
    try:
        return checks.mountpoint(rest[0]), rest[1:]
    except ValueError as error:
        place.fail(f"{command} {rest[0]}: {error}")


def _parse_volume(rest: list[str], place: _Place) -> VolumeRequest:
    mountpoint, options = _mountpoint("volume", rest, place)
    command = f"volume {mountpoint}"
    values = _values(command, (SIZE, FSTYPE), options, place)
    if "size" not in values:
        place.fail(
            _("{command}: --size is missing").format(command=command),
            hint=_("Give --size=SIZE, {accepted}.").format(accepted=translated(ACCEPTED)),
        )
    size = _checked(f"{command} ", SIZE, values["size"][0], place)
    fstype = _checked(f"{command} ", FSTYPE, values["fstype"][0], place) if "fstype" in values else ""
    assert isinstance(size, int) and isinstance(fstype, str)
    problem = checks.too_small(mountpoint, fstype, size)
    if problem:
        place.fail(f"{command} --size={values['size'][0]}: {problem}")
    return VolumeRequest(mountpoint, size, fstype, place.line)


def _parse_novolume(rest: list[str], place: _Place) -> str:
    mountpoint, options = _mountpoint("novolume", rest, place)
    _values(f"novolume {mountpoint}", (), options, place)
    problem = checks.not_removable(mountpoint)
    if problem:
        place.fail(f"novolume {mountpoint}: {problem}")
    return mountpoint


def format_section(section: NodeSection) -> str:
    """The section as text that :func:`parse_section` reads back as the same request (but for line numbers)."""
    header = [SECTION]
    for option in OPTIONS:
        header += option.words(getattr(section, option.field))
    body = []
    for volume in section.volumes:
        words = ["volume", volume.mountpoint, f"--size={format_size(volume.size)}"]
        body.append(shlex.join([*words, f"--fstype={volume.fstype}"] if volume.fstype else words))
    body += [shlex.join(["novolume", mountpoint]) for mountpoint in section.novolumes]
    return "\n".join([f"{header[0]} {shlex.join(header[1:])}".rstrip(), *body, "%end"]) + "\n"

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
        place.fail(f"{title}{error.message}", hint=f"Accepted options: {known}.")
    if extra:
        # A mistyped option shows its name alone, for its value may be secret.
        shown = extra[0].partition("=")[0] if extra[0].startswith("-") else redact_value(extra[0])
        kind = "unknown option" if extra[0].startswith("-") else "unexpected text"
        place.fail(f"{title}{kind} {shown!r}", hint=f"Accepted options: {known}.")
    values: dict[str, list[object]] = {key: value for key, value in vars(found).items() if value}
    for option in options:
        given = values.get(option.field, [])
        if len(given) > 1 and not option.repeated:
            place.fail(f"{title}{option.name} is given {len(given)} times", hint="Give it once.")
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
        place.fail("--image is missing", hint=f"Give {BY_NAME['--image'].usage}, where URL is {checks.URLS}.")
    if len(set(section.images)) != len(section.images):
        place.fail("--image names the same URL twice", hint="Every --image is a mirror that is tried in turn.")
    if section.sha256 and section.nosignature:
        place.fail("--sha256 and --nosignature exclude each other", hint="Keep --sha256: the digest is then checked.")
    named = section.manifest or any(checks.is_manifest(image) for image in section.images)
    if not section.sha256 and not section.nosignature and not named:
        place.fail(
            "nothing says how the image is verified",
            hint="Give --sha256=HEX (the digest of the image), --manifest=URL (signed), or --nosignature to take it "
            "unchecked.",
        )
    if section.key and not named:
        place.fail("--key has no manifest to check", hint="Give --manifest=URL as well, or leave --key out.")
    if section.vg == section.pool:
        place.fail(f"--vg={section.vg} and --pool={section.pool} are the same name", hint="Give them different names.")


def _check_names(section: NodeSection, file: str) -> None:
    """Every volume is a LV of its own name, which comes from its mount point."""
    mountpoints = {default.mountpoint for default in VOLUMES} | {volume.mountpoint for volume in section.volumes}
    owners: dict[str, list[str]] = {SWAP_NAME: ["swap"], section.pool: ["the thin pool"]}
    for mountpoint in sorted(mountpoints - set(section.novolumes)):
        owners.setdefault(volume_name(mountpoint), []).append(mountpoint)
    for volume in section.volumes:
        place, name = _Place(file, volume.line), volume_name(volume.mountpoint)
        try:
            checks.lvm_name(name)
        except ValueError as error:
            place.fail(f"volume {volume.mountpoint}: its logical volume would have the name {name!r}: {error}")
        others = [owner for owner in owners[name] if owner != volume.mountpoint]
        if others:
            place.fail(
                f"volume {volume.mountpoint}: its logical volume would have the name {name}, as {others[0]} has",
                hint="Choose another mount point" + (", or --pool." if others[0] == "the thin pool" else "."),
            )


def _parse_lines(lines: list[tuple[int, str]], file: str) -> tuple[tuple[VolumeRequest, ...], tuple[str, ...]]:
    volumes: list[VolumeRequest] = []
    novolumes: list[str] = []
    seen: dict[str, str] = {}
    for number, text in lines:
        place = _Place(file, number)
        if checks.cut_by_comment(text):
            place.fail(checks.CUT, hint=checks.QUOTE)
        try:
            words = shlex.split(text, comments=True)
        except ValueError as error:
            place.fail(f"the line {text.split()[0]!r} cannot be read: {error}", hint=f"Accepted lines: {LINES}.")
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
            place.fail(f"unknown line {words[0].partition('=')[0]!r}", hint=f"Accepted lines: {LINES}.")
        if mountpoint in seen:
            place.fail(f"{command} {mountpoint}: {seen[mountpoint]} {mountpoint} was given before")
        seen[mountpoint] = command
    return tuple(volumes), tuple(novolumes)


SIZE = Option("--size", "size", "SIZE", "Size of the volume, with a unit.", checks.size)
FSTYPE = Option("--fstype", "fstype", "ext4|xfs", "File system of the volume.", checks.fstype)


def _mountpoint(command: str, rest: list[str], place: _Place) -> tuple[str, list[str]]:
    if not rest or rest[0].startswith("-"):
        place.fail(f"{command}: the mount point is missing", hint=f"Accepted lines: {LINES}.")
    try:
        return checks.mountpoint(rest[0]), rest[1:]
    except ValueError as error:
        place.fail(f"{command} {rest[0]}: {error}")


def _parse_volume(rest: list[str], place: _Place) -> VolumeRequest:
    mountpoint, options = _mountpoint("volume", rest, place)
    command = f"volume {mountpoint}"
    values = _values(command, (SIZE, FSTYPE), options, place)
    if "size" not in values:
        place.fail(f"{command}: --size is missing", hint=f"Give --size=SIZE, {ACCEPTED}.")
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

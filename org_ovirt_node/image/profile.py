"""Image profiles: what goes into an image, as an INI file (``data/profiles/*.conf``)."""

from __future__ import annotations

import configparser
from dataclasses import dataclass
from pathlib import Path

from org_ovirt_node.errors import ImageError
from org_ovirt_node.kickstart.units import parse_size

MINIMA = ("disk", "memory")
#: Section → option → what it means.  The one table that reading, checking and docs/images.md follow.
OPTIONS: dict[str, dict[str, str]] = {
    "image": {
        "name": "the image's name, the first part of its NVR",
        "boot_args": "kernel arguments that every layer of this image boots with",
        "minimum_disk": "size of the disks that a host must have together, such as 20GiB",
        "minimum_memory": "memory that a host must have, such as 2GiB",
    },
    "debian": {
        "suite": "Debian release to take packages from",
        "components": "archive components",
        "security": "yes: take security updates too, when the host's apt sources have a security mirror",
        "packages": "packages to install, with what they depend on and without what they recommend",
        "exclude": "paths (dpkg path-exclude patterns) that are not unpacked",
        "include": "exceptions to exclude (dpkg path-include patterns)",
    },
    "rpm": {
        "release": "release of the distribution ($releasever)",
        "repositories": "URLs of the repositories; no other is used",
        "keys": "files or URLs of the keys that the packages are signed with",
        "unsigned": "yes: take packages that nobody has signed",
        "packages": "packages and @groups to install, with what they require and without what they recommend",
        "exclude": "packages that are never installed",
    },
    "initramfs": {
        "modules": "dracut modules of the generic initramfs",
        "drivers": "kernel modules that it has beside those of the dracut modules",
    },
    "units": {
        "enable": "systemd units to enable",
        "disable": "systemd units to disable",
        "mask": "systemd units to mask",
    },
}


@dataclass(frozen=True)
class Profile:
    """What goes into an image.  Everything but the name may be empty where the root tree comes from elsewhere."""

    name: str
    boot_args: str = ""
    #: Bytes; 0: any.
    minimum_disk: int = 0
    minimum_memory: int = 0
    suite: str = ""
    components: tuple[str, ...] = ("main",)
    security: bool = False
    packages: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    include: tuple[str, ...] = ()
    releasever: str = ""
    repositories: tuple[str, ...] = ()
    keys: tuple[str, ...] = ()
    unsigned: bool = False
    rpms: tuple[str, ...] = ()
    rpms_excluded: tuple[str, ...] = ()
    initramfs_modules: tuple[str, ...] = ()
    initramfs_drivers: tuple[str, ...] = ()
    enable: tuple[str, ...] = ()
    disable: tuple[str, ...] = ()
    mask: tuple[str, ...] = ()


def _checked(parser: configparser.ConfigParser, source: str) -> None:
    for section in parser.sections():
        if section not in OPTIONS:
            raise ImageError(
                f"{source}: unknown section [{section}]", hint=f"The sections are {', '.join(sorted(OPTIONS))}."
            )
        for option in parser[section]:
            if option not in OPTIONS[section]:
                raise ImageError(
                    f"{source}: unknown option {option!r} in [{section}]",
                    hint=f"The options there are {', '.join(OPTIONS[section])}.",
                )


def parse(text: str, source: str = "profile") -> Profile:
    """Read a profile.  Raises :class:`ImageError` with ``source`` and the place for anything it does not know."""
    parser = configparser.ConfigParser(
        interpolation=None, delimiters=("=",), comment_prefixes=("#",), inline_comment_prefixes=None
    )
    try:
        parser.read_string(text, source)
        _checked(parser, source)
        security = parser.getboolean("debian", "security", fallback=False)
        unsigned = parser.getboolean("rpm", "unsigned", fallback=False)
        disk, memory = (parse_size(parser.get("image", f"minimum_{what}", fallback="0B")) for what in MINIMA)
    except (configparser.Error, ValueError) as exc:
        raise ImageError(f"{source}: {str(exc).splitlines()[0]}") from exc

    def words(section: str, option: str, fallback: str = "") -> tuple[str, ...]:
        return tuple(parser.get(section, option, fallback=fallback).split())

    name = parser.get("image", "name", fallback="").strip()
    if not name:
        raise ImageError(f"{source}: the option name in [image] is missing")
    if words("debian", "packages") and words("rpm", "packages"):
        raise ImageError(f"{source}: packages of both [debian] and [rpm]", hint="An image is made of one kind.")
    return Profile(
        name=name,
        boot_args=" ".join(words("image", "boot_args")),
        minimum_disk=disk,
        minimum_memory=memory,
        suite=parser.get("debian", "suite", fallback="").strip(),
        components=words("debian", "components", "main"),
        security=security,
        packages=words("debian", "packages"),
        exclude=words("debian", "exclude"),
        include=words("debian", "include"),
        releasever=parser.get("rpm", "release", fallback="").strip(),
        repositories=words("rpm", "repositories"),
        keys=words("rpm", "keys"),
        unsigned=unsigned,
        rpms=words("rpm", "packages"),
        rpms_excluded=words("rpm", "exclude"),
        initramfs_modules=words("initramfs", "modules"),
        initramfs_drivers=words("initramfs", "drivers"),
        enable=words("units", "enable"),
        disable=words("units", "disable"),
        mask=words("units", "mask"),
    )


def load(path: Path) -> Profile:
    """Read the profile in ``path``.  Raises :class:`ImageError`."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as exc:
        raise ImageError(f"the profile {path} cannot be read: {exc}") from exc
    return parse(text, str(path))

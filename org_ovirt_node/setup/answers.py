"""What the text installer has been told, and the kickstart that it means: pure."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from org_ovirt_node.firstboot.answers import network_line
from org_ovirt_node.firstboot.record import HOSTNAME, NETWORK, PASSWORD
from org_ovirt_node.kickstart.units import human_size

#: Kinds of lsblk(8) that a node can be on.
DISK_TYPES = ("disk", "mpath", "raid1", "raid10")


@dataclass(frozen=True)
class Image:
    """An image on the medium: its file there and its SHA-256."""

    path: str
    nvr: str
    sha256: str


@dataclass(frozen=True)
class Disk:
    """A disk of the machine; ``size`` in bytes."""

    name: str
    size: int
    model: str = ""

    @property
    def shown(self) -> str:
        return " ".join(word for word in (self.name, human_size(self.size), self.model.strip()) if word)


@dataclass(frozen=True)
class Answers:
    """All that is asked; ``lines`` are kickstart lines by what they are about (firstboot/record.py has the names)."""

    images: tuple[Image, ...]
    image: int = 0
    disks: tuple[Disk, ...] = ()
    lines: Mapping[str, tuple[str, ...]] = field(default_factory=dict, repr=False)

    @property
    def missing(self) -> tuple[str, ...]:
        """What has to be said before an installation can begin."""
        wanted = (("disk", bool(self.disks)), (PASSWORD, bool(self.lines.get(PASSWORD))))
        return tuple(name for name, there in wanted if not there)

    def _said(self, about: str) -> tuple[str, ...]:
        return self.lines.get(about, (network_line(),) if about == NETWORK else ())

    def kickstart(self) -> str:
        """The kickstart; the disks lose what is on them."""
        image = self.images[self.image]
        names = ",".join(disk.name for disk in self.disks)
        lines = [
            "lang en_US.UTF-8",
            "keyboard us",
            "timezone --utc Etc/UTC",
            f"ignoredisk --only-use={names}",
            "zerombr",
            f"clearpart --all --initlabel --drives={names}",
            "autopart --type=thinp",
            "bootloader --timeout=3",
            *(line for about in (HOSTNAME, NETWORK, PASSWORD) for line in self._said(about)),
            f"%addon org_ovirt_node {shlex.quote(f'--image=file:{image.path}')} --sha256={image.sha256}",
            "%end",
        ]
        return "\n".join(lines) + "\n"


def disks_of(report: dict[str, Any]) -> tuple[Disk, ...]:
    """The disks in the output of ``lsblk --json --bytes --output NAME,SIZE,MODEL,TYPE,RO,MOUNTPOINTS``.

    Disks that are read-only, empty drives, or have something mounted (the medium) are left out.
    """
    return tuple(
        Disk(device["name"], int(device["size"]), device.get("model") or "")
        for device in report.get("blockdevices", [])
        if device.get("type") in DISK_TYPES and not device.get("ro") and device.get("size") and not _mounted(device)
    )


def _mounted(device: dict[str, Any]) -> bool:
    children: Sequence[dict[str, Any]] = device.get("children") or []
    return any(device.get("mountpoints") or []) or any(map(_mounted, children))

"""The ``part`` lines of a kickstart with the disks that they are for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NoReturn

from org_ovirt_node.errors import KickstartProblem
from org_ovirt_node.kickstart.model import NodeSection, PartitionRequest, StorageRequest
from org_ovirt_node.layout.model import Disk, Firmware, Role
from org_ovirt_node.payload.facts import ImageFacts


@dataclass(frozen=True)
class Context:
    """What every check needs."""

    everything: tuple[Disk, ...]
    request: StorageRequest
    node: NodeSection
    image: ImageFacts
    firmware: tuple[Firmware, ...]
    boot_drive: str
    file: str

    def fail(self, line: int, message: str, *, hint: str = "") -> NoReturn:
        raise KickstartProblem(message, file=self.file or "kickstart", line=line, hint=hint)


@dataclass(frozen=True)
class Placed:
    """A ``part`` line with its disk."""

    request: PartitionRequest
    role: Role
    disk: Disk

"""Partition tables of the node's disks on a first boot: new GUIDs, and the last partition grown.

sfdisk(8) of util-linux 2.35 or newer; it writes the table without telling the kernel, which would refuse to read it
again while a partition is in use; partx(8) then tells it the one new size.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

from org_ovirt_node.errors import StorageError
from org_ovirt_node.run import run

SYS_BLOCK = Path("/sys/class/block")
QUIET = ("--quiet", "--no-reread", "--no-tell-kernel")


@dataclass(frozen=True)
class Partition:
    """A partition of a disk: number and first sector."""

    number: int
    start: int


@dataclass(frozen=True)
class Table:
    """A GPT: the partitions in the order in which they lie on the disk."""

    disk: str
    partitions: tuple[Partition, ...]

    @property
    def last(self) -> int:
        """The number of the last one."""
        return self.partitions[-1].number


def parse(text: str, disk: str) -> Table:
    """The output of ``sfdisk --json``.  Raises StorageError for another table than a GPT."""
    try:
        table = json.loads(text)["partitiontable"]
        if table["label"] != "gpt":
            raise ValueError(f"its partition table is {table['label']}")
        names = [(part["node"], part["start"]) for part in table.get("partitions", [])]
        found = [Partition(number_of(node, disk), start) for node, start in names]
    except (ValueError, KeyError, TypeError) as error:
        raise StorageError(f"the partitions of {disk} cannot be read: {error}") from error
    return Table(disk, tuple(sorted(found, key=lambda part: part.start)))


def number_of(node: str, disk: str) -> int:
    """The number of the partition ``node`` (as /dev/vda3 or /dev/nvme0n1p3).  Raises ValueError."""
    digits = node[len(disk) :].lstrip("p")
    if not node.startswith(disk) or not digits.isdigit():
        raise ValueError(f"{node} is no partition of it")
    return int(digits)


def read(disk: str) -> Table:
    """The table of ``disk``."""
    return parse(run(["sfdisk", "--json", disk]).stdout, disk)


def renew_guids(table: Table) -> None:
    """Give disk and partitions new GUIDs; nothing of a node refers to them, but for the firmware's boot entry."""
    run(["sfdisk", *QUIET, "--disk-id", table.disk, str(uuid4()).upper()])
    for part in table.partitions:
        run(["sfdisk", *QUIET, "--part-uuid", table.disk, str(part.number), str(uuid4()).upper()])


def grow_last(table: Table) -> None:
    """Let the last partition reach to the end of the disk, which puts the backup GPT there as well."""
    run(["sfdisk", *QUIET, "-N", str(table.last), table.disk], input=", +\n")
    run(["partx", "--update", "--nr", str(table.last), table.disk])


def parent(partition: str, sys_block: Path = SYS_BLOCK) -> tuple[str, int]:
    """The disk of ``partition`` (a device), and its number; an empty name for what is no partition."""
    name = Path(partition).resolve().name
    number = sys_block / name / "partition"
    if not number.is_file():
        return "", 0
    return f"/dev/{(sys_block / name).resolve().parent.name}", int(number.read_text())


def partitions_of(disk: str, sys_block: Path = SYS_BLOCK) -> tuple[str, ...]:
    """The devices of all partitions of ``disk``."""
    folder = (sys_block / Path(disk).name).resolve()
    return tuple(f"/dev/{path.parent.name}" for path in sorted(folder.glob("*/partition")))

"""What is mounted on the node, as findmnt(8) tells it in JSON."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from org_ovirt_node.errors import StorageError
from org_ovirt_node.run import run


@dataclass(frozen=True)
class Mounted:
    """One mount."""

    target: str
    source: str
    fstype: str
    options: tuple[str, ...]


def parse(text: str) -> tuple[Mounted, ...]:
    """The mounts in a report of ``findmnt --json``.  Raises StorageError."""
    try:
        return tuple(_walk(json.loads(text)["filesystems"]))
    except (ValueError, KeyError, TypeError, AttributeError) as exc:
        raise StorageError("findmnt's report could not be read", hint="Run 'findmnt --json' to see it.") from exc


def _walk(rows: list[dict[str, Any]]) -> Iterator[Mounted]:
    for row in rows:
        yield Mounted(row["target"], row["source"] or "", row["fstype"] or "", tuple((row["options"] or "").split(",")))
        yield from _walk(row.get("children") or [])


def mounts() -> tuple[Mounted, ...]:
    """Everything that is mounted.  Raises StorageError and CommandError."""
    return parse(run(["findmnt", "--json", "--output", "TARGET,SOURCE,FSTYPE,OPTIONS"]).stdout)


def of_group(found: tuple[Mounted, ...], vg: str) -> tuple[Mounted, ...]:
    """The mounts of volumes of ``vg``, but image and layers: what all layers share."""
    # Device-mapper doubles the hyphens of both names (lvm(8)), so a single one ends the VG's.
    name = re.compile(rf"/dev/mapper/{re.escape(vg.replace('-', '--'))}-(?!-)|/dev/{re.escape(vg)}/")
    return tuple(
        mount
        for mount in found
        if name.match(mount.source) and not mount.target.startswith(("/run/", "/mnt/")) and mount.target != "/"
    )

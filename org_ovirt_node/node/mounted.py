"""What is mounted on the node, as findmnt(8) tells it in JSON."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from org_ovirt_node.errors import StorageError
from org_ovirt_node.i18n import _
from org_ovirt_node.mounts import unmount
from org_ovirt_node.run import run

MOUNTINFO = Path("/proc/self/mountinfo")


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
        raise StorageError(_("findmnt's report could not be read"), hint=_("Run 'findmnt --json' to see it.")) from exc


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


def points_below(folder: Path, text: str) -> list[str]:
    """Mount points at or below ``folder`` in ``/proc/self/mountinfo`` (proc_pid_mountinfo(5)), the last one first."""
    points = [line.split()[4] for line in text.splitlines() if len(line.split()) > 4]
    plain = [re.sub(r"\\([0-7]{3})", lambda found: chr(int(found.group(1), 8)), point) for point in points]
    return [point for point in reversed(plain) if Path(point).is_relative_to(folder)]


def release_below(folder: Path) -> None:
    """Unmount what a killed program left mounted below ``folder``, and detach loop devices over files there.

    Raises StorageError when somebody uses it.
    """
    for point in points_below(folder, MOUNTINFO.read_text(encoding="utf-8", errors="replace")):
        listed = run(["losetup", "--list", "--noheadings", "--output", "NAME,BACK-FILE"], check=False).stdout
        for line in listed.splitlines():
            name, _, file = line.strip().partition(" ")
            if Path(file.strip()).is_relative_to(folder):
                run(["losetup", "--detach", name], check=False)
        unmount(Path(point))

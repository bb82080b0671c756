"""LVM as its own JSON reports tell it, in bytes, filtered to what is the node's.

Format: ``lvs(8)``, ``vgs(8)``, ``lvmreport(7)``: ``--reportformat json_std`` is missing in older LVM, so the plain
``json`` is read, in which every value is text.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Optional

from org_ovirt_node.errors import StorageError
from org_ovirt_node.run import run

TAG_VG, TAG_POOL, TAG_BASE, TAG_LAYER, TAG_VOLUME, TAG_INIT = (
    f"imgbased:{name}" for name in ("vg", "pool", "base", "layer", "volume", "init")
)
LV_FIELDS = "lv_name,vg_name,lv_size,lv_attr,lv_tags,pool_lv,origin,data_percent,metadata_percent,lv_path,lv_active"
VG_FIELDS = "vg_name,vg_uuid,vg_size,vg_free,vg_extent_size,vg_tags,vg_attr"


@dataclass(frozen=True)
class LogicalVolume:
    """One LV; sizes in bytes, percentages 0…100 or None where LVM gives none."""

    name: str
    vg: str
    size: int
    attr: str
    tags: tuple[str, ...]
    pool: str
    origin: str
    data_percent: Optional[float]
    metadata_percent: Optional[float]
    path: str
    active: bool

    @property
    def readonly(self) -> bool:
        return self.attr[1:2] in ("r", "R")


@dataclass(frozen=True)
class Group:
    """A VG with its LVs."""

    name: str
    uuid: str
    size: int
    free: int
    extent_size: int
    tags: tuple[str, ...]
    volumes: tuple[LogicalVolume, ...]

    def tagged(self, tag: str) -> tuple[LogicalVolume, ...]:
        return tuple(volume for volume in self.volumes if tag in volume.tags)


def parse_rows(text: str, kind: str) -> list[dict[str, str]]:
    """The rows named ``kind`` ("lv", "vg") of a report.  Raises StorageError for anything else than a report."""
    try:
        data: Any = json.loads(text)
        rows = [row for part in data["report"] for row in part.get(kind, [])]
    except (ValueError, KeyError, TypeError, AttributeError) as exc:
        raise StorageError("LVM's report could not be read", hint="Run 'lvs --reportformat json' to see it.") from exc
    if not all(isinstance(row, dict) and all(isinstance(v, str) for v in row.values()) for row in rows):
        raise StorageError("LVM's report has rows of an unknown form", hint="Run 'lvs --reportformat json' to see it.")
    return rows


def _tags(text: str) -> tuple[str, ...]:
    return tuple(tag for tag in text.split(",") if tag)


def _percent(text: str) -> Optional[float]:
    return float(text) if text else None


def parse_volume(row: dict[str, str]) -> LogicalVolume:
    """One row of ``lvs``."""
    try:
        return LogicalVolume(
            name=row["lv_name"].strip("[]"),
            vg=row["vg_name"],
            size=int(row["lv_size"].rstrip("B")),
            attr=row["lv_attr"],
            tags=_tags(row["lv_tags"]),
            pool=row["pool_lv"],
            origin=row["origin"],
            data_percent=_percent(row["data_percent"]),
            metadata_percent=_percent(row["metadata_percent"]),
            path=row["lv_path"],
            active=row["lv_active"] == "active",
        )
    except (KeyError, ValueError) as exc:
        raise StorageError(f"LVM's report lacks {exc}", hint="LVM 2.02.158 or newer is needed.") from exc


def _report(program: str, fields: str, arguments: Sequence[str]) -> str:
    argv = [program, "--reportformat", "json", "--units", "b", "--options", fields, *arguments]
    return run(argv).stdout


def groups(select: str = "") -> tuple[Group, ...]:
    """The VGs that ``select`` (an LVM selection criterion, lvmreport(7)) matches, without their LVs."""
    rows = parse_rows(_report("vgs", VG_FIELDS, ["--select", select] if select else []), "vg")
    return tuple(_group(row, ()) for row in rows)


def _group(row: dict[str, str], volumes: tuple[LogicalVolume, ...]) -> Group:
    try:
        return Group(
            name=row["vg_name"],
            uuid=row["vg_uuid"],
            size=int(row["vg_size"].rstrip("B")),
            free=int(row["vg_free"].rstrip("B")),
            extent_size=int(row["vg_extent_size"].rstrip("B")),
            tags=_tags(row["vg_tags"]),
            volumes=volumes,
        )
    except (KeyError, ValueError) as exc:
        raise StorageError(f"LVM's report lacks {exc}", hint="LVM 2.02.158 or newer is needed.") from exc


def group(name: str) -> Group:
    """The VG ``name`` with its LVs.  Raises StorageError when there is none."""
    rows = parse_rows(_report("vgs", VG_FIELDS, ["--select", f"vg_name={name}"]), "vg")
    if not rows:
        raise StorageError(f"there is no volume group {name}", hint="Is its disk connected? 'pvs' lists what is seen.")
    volumes = parse_rows(_report("lvs", LV_FIELDS, [name]), "lv")
    return _group(rows[0], tuple(parse_volume(row) for row in volumes))


def add_tags(name: str, tags: Sequence[str]) -> None:
    """Tag the LV ``vg/lv``."""
    run(["lvchange", *(word for tag in tags for word in ("--addtag", tag)), name])


def set_readonly(name: str) -> None:
    """Make the LV ``vg/lv`` read-only, in LVM's metadata and in the running kernel."""
    run(["lvchange", "--permission", "r", name])

"""LVM as its own JSON reports tell it, in bytes, filtered to what is the node's.

Format: ``lvs(8)``, ``vgs(8)``, ``lvmreport(7)``: ``--reportformat json_std`` is missing in older LVM, so the plain
``json`` is read, in which every value is text.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Optional

from org_ovirt_node.errors import CommandError, StorageError
from org_ovirt_node.i18n import _
from org_ovirt_node.run import run

TAG_VG, TAG_POOL, TAG_BASE, TAG_LAYER, TAG_VOLUME, TAG_INIT = (
    f"imgbased:{name}" for name in ("vg", "pool", "base", "layer", "volume", "init")
)
#: On an LV that an update made and has not finished: leftovers of a failed update are recognised by it.
TAG_INCOMPLETE = "ovirt-node:incomplete"
#: On an image LV: the digest and the length in bytes of what was written to it.
TAG_SHA256, TAG_SIZE = "ovirt-node:sha256=", "ovirt-node:size="
LV_FIELDS = (
    "lv_name,vg_name,lv_size,lv_attr,lv_tags,pool_lv,origin,data_percent,metadata_percent,lv_path,lv_active,"
    "lv_time,lv_metadata_size"
)
#: lv_time as seconds since the epoch (lvm.conf: report/time_format), whatever the time zone is.
TIME_FORMAT = ("--config", 'report{time_format="%s"}')
VG_FIELDS = "vg_name,vg_uuid,vg_size,vg_free,vg_extent_size,vg_tags"
#: What an LV's row tells of its VG beside the name: one program does for both.
VG_FIELDS_OF_LV = VG_FIELDS.partition(",")[2]
#: What is asked of dmsetup(8).
DM_FIELDS = "name,uuid"


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
    #: When it was made, in seconds since the epoch; 0 where LVM does not tell.
    created: int = 0
    #: Of a thin pool: bytes of its metadata.
    metadata_size: int = 0

    @property
    def readonly(self) -> bool:
        return self.attr[1:2] in ("r", "R")

    @property
    def zeroes(self) -> bool:
        """Of a thin pool: what was never written to one of its volumes reads as zeros (lvs(8), lv_attr)."""
        return self.attr[7:8] == "z"

    @property
    def incomplete(self) -> bool:
        """True for what an unfinished update left."""
        return TAG_INCOMPLETE in self.tags

    @property
    def sha256(self) -> str:
        """The recorded digest of an image, empty when none was recorded."""
        return self._value(TAG_SHA256)

    @property
    def content_size(self) -> int:
        """The recorded length of an image in bytes, 0 when none was recorded."""
        return _number(self._value(TAG_SIZE))

    def _value(self, prefix: str) -> str:
        return next((tag[len(prefix) :] for tag in self.tags if tag.startswith(prefix)), "")


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

    def find(self, name: str) -> Optional[LogicalVolume]:
        """The LV ``name``, or None."""
        return next((volume for volume in self.volumes if volume.name == name), None)


def parse_rows(text: str, kind: str) -> list[dict[str, str]]:
    """The rows named ``kind`` ("lv", "vg") of a report.  Raises StorageError for anything else than a report."""
    try:
        data: Any = json.loads(text)
        rows = [row for part in data["report"] for row in part.get(kind, [])]
    except (ValueError, KeyError, TypeError, AttributeError) as exc:
        raise StorageError(
            _("LVM's report could not be read"), hint=_("Run 'lvs --reportformat json' to see it.")
        ) from exc
    if not all(isinstance(row, dict) and all(isinstance(v, str) for v in row.values()) for row in rows):
        raise StorageError(
            _("LVM's report has rows of an unknown form"), hint=_("Run 'lvs --reportformat json' to see it.")
        )
    return rows


def _tags(text: str) -> tuple[str, ...]:
    return tuple(tag for tag in text.split(",") if tag)


def _percent(text: str) -> Optional[float]:
    return float(text) if text else None


def _number(text: str) -> int:
    # isdigit() alone takes characters that int() does not ("²").
    return int(text) if text.isascii() and text.isdigit() else 0


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
            created=_number(row.get("lv_time", "")),
            metadata_size=_number(row.get("lv_metadata_size", "").rstrip("B")),
        )
    except (KeyError, ValueError) as exc:
        raise StorageError(
            _("LVM's report lacks {error}").format(error=exc), hint=_("LVM 2.02.158 or newer is needed.")
        ) from exc


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
        raise StorageError(
            _("LVM's report lacks {error}").format(error=exc), hint=_("LVM 2.02.158 or newer is needed.")
        ) from exc


def group(name: str) -> Group:
    """The VG ``name`` with its LVs.  Raises StorageError when there is none, CommandError."""
    select = f"vg_name={name}"
    try:
        rows = parse_rows(_report("lvs", f"{LV_FIELDS},{VG_FIELDS_OF_LV}", [*TIME_FORMAT, name]), "lv")
    except CommandError:
        if groups(select):
            raise
        rows = []
    if rows:
        return _group(rows[0], tuple(parse_volume(row) for row in rows))
    found = groups(select)
    if not found:
        raise StorageError(
            _("there is no volume group {name}").format(name=name),
            hint=_("Is its disk connected? 'pvs' lists what is seen."),
        )
    return found[0]


def digest_tags(sha256: str, size: int) -> tuple[str, str]:
    """The tags that record what was written to an image LV; ``size`` in bytes.  ``nodectl verify`` compares with it."""
    return f"{TAG_SHA256}{sha256}", f"{TAG_SIZE}{size}"


def add_tags(name: str, tags: Sequence[str]) -> None:
    """Tag the LV ``vg/lv``."""
    run(["lvchange", *_tag_words(tags), name], whole=True)


def drop_tags(vg: str, names: Sequence[str], tags: Sequence[str]) -> None:
    """Take tags from LVs of ``vg``, all in one change; those that they do not have do no harm."""
    run(
        ["lvchange", *(word for tag in tags for word in ("--deltag", tag)), *(f"{vg}/{name}" for name in names)],
        whole=True,
    )


def create_linear(vg: str, name: str, size: int, tags: Sequence[str]) -> None:
    """Make a plain LV of at least ``size`` bytes with ``tags``; what was on its extents before is not a file system."""
    run(
        ["lvcreate", "--yes", "--wipesignatures", "y", "--size", f"{size}b", "--name", name, *_tag_words(tags), vg],
        whole=True,
    )


def create_thin(vg: str, pool: str, name: str, size: int, tags: Sequence[str]) -> None:
    """Make a thin LV of ``size`` bytes in ``pool`` with ``tags``."""
    run(
        ["lvcreate", "--yes", "--virtualsize", f"{size}b", "--name", name, *_tag_words(tags), "--thin", f"{vg}/{pool}"],
        whole=True,
    )


def _tag_words(tags: Sequence[str]) -> list[str]:
    return [word for tag in tags for word in ("--addtag", tag)]


def rename(vg: str, name: str, new: str) -> None:
    """Rename an LV."""
    run(["lvrename", vg, name, new], whole=True)


def remove(name: str) -> None:
    """Remove the LV ``vg/lv``, which nobody uses.  Raises CommandError."""
    run(["lvremove", "--yes", name], hint=_("Is it still mounted? See 'findmnt'."), whole=True)


def seal(name: str, tags: Sequence[str]) -> None:
    """Make the LV ``vg/lv`` read-only, in LVM's metadata and in the running kernel, and tag it."""
    run(["lvchange", "--permission", "r", *_tag_words(tags), name], whole=True)


def devices(report: str, vg: str) -> list[str]:
    """The names of device-mapper's devices of ``vg`` in what ``dmsetup info`` says of DM_FIELDS, one a line.

    Hyphens in names of VGs and LVs are doubled (libdevmapper: dm_build_dm_name): one that is not parts the two.
    """
    own = re.compile(re.escape(vg.replace("-", "--")) + "-[^-]")
    rows = [line.split() for line in report.splitlines()]
    return [
        name for name, uuid in (row for row in rows if len(row) == 2) if uuid.startswith("LVM-") and own.match(name)
    ]


def drop_devices(vg: str) -> None:
    """Take the LVs of ``vg`` down whose disk is gone: LVM, which cannot read it, knows no such VG any more."""
    report = run(["dmsetup", "info", "--columns", "--noheadings", "--separator", " ", "--options", DM_FIELDS]).stdout
    found = devices(report, vg)
    if found:
        # Deferred: one that another is on goes after that one.
        run(["dmsetup", "remove", "--deferred", *found], check=False)

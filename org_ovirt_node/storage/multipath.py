"""Multipath in the installer: several paths to one disk become one device before anything looks at the disks.

An installer of a distribution (Anaconda) does this by itself; here it is for ``ovirt-node-install``.  What a disk is
comes from udev's WWID (lsblk(8)), the configuration is multipath.conf(5).
"""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from org_ovirt_node.boot.hostfiles import BY_STACK
from org_ovirt_node.boot.reachable import MULTIPATH_CONF
from org_ovirt_node.errors import StorageError
from org_ovirt_node.i18n import _
from org_ovirt_node.inside import matching, place_for_file
from org_ovirt_node.node.rootfacts import MPATH_UUID
from org_ovirt_node.run import run
from org_ovirt_node.storage.execute import settle

CONF = Path(MULTIPATH_CONF)
SYS_BLOCKS = Path("/sys/dev/block")
#: Beside the installer's configuration and for it alone (multipath.conf(5), config_dir).  Where udev's rule names a
#: map's partitions otherwise than libparted does (Debian: mpatha-part1, not mpatha1), a new one has the wrong name.
ALONE = Path("/etc/multipath/conf.d/ovirt-node-installer.conf")
ALONE_CONF = "defaults {\n    skip_kpartx yes\n}\n"
#: For an installer that has no configuration: a map for every disk with more than one path, under a short name.
DEFAULT_CONF = "defaults {\n    find_multipaths yes\n    user_friendly_names yes\n}\n"


#: What of a disk lsblk is asked for.  Names are shared by the paths to one disk; HCTL is that of a SCSI disk alone.
COLUMNS = "NAME,TYPE,WWN,SERIAL,VENDOR,MODEL,SIZE,TRAN,HCTL"
#: Sticks and cards, on which a serial number is often that of the whole series.
CHEAP = ("usb",)


@dataclass(frozen=True)
class DiskRow:
    """A disk of lsblk's report: its name, what says which disk it is (empty: nothing does), and the maps over it."""

    name: str
    identity: str
    maps: tuple[str, ...]


def _identity(row: dict[str, Any]) -> str:
    """A disk's WWN; else, for a SCSI disk, all that a standard inquiry tells: it needs a serial number."""
    if row["wwn"]:
        return f"WWN {row['wwn']}"
    serial = str(row.get("serial") or "").strip()
    if not serial or not row.get("hctl") or row.get("tran") in CHEAP:
        return ""
    product = [str(row.get(name) or "").strip() for name in ("vendor", "model", "size")]
    return _("serial number {serial}, {product}").format(serial=serial, product=" ".join(filter(None, product)))


def parse_disks(text: str) -> list[DiskRow]:
    """The disks of ``lsblk --json``.  Raises StorageError for anything that is no report of lsblk."""
    try:
        return [
            DiskRow(
                str(row["name"]),
                _identity(row),
                tuple(str(child["name"]) for child in row.get("children", []) if child["type"] == "mpath"),
            )
            for row in json.loads(text)["blockdevices"]
            if row["type"] == "disk"
        ]
    except (ValueError, KeyError, TypeError, AttributeError) as exc:
        raise StorageError(_("lsblk's report could not be read"), hint=_("Run 'lsblk --json' to see it.")) from exc


def parse_paths(text: str) -> dict[str, list[str]]:
    """The disks of ``lsblk --json`` that are reached by several paths without a map: their identity → their names."""
    found: dict[str, list[str]] = {}
    for disk in parse_disks(text):
        if disk.identity and not disk.maps:
            found.setdefault(disk.identity, []).append(disk.name)
    return {identity: names for identity, names in found.items() if len(names) > 1}


def maps(text: str) -> list[str]:
    """The names of the maps in what ``lsblk --json`` says."""
    return sorted({name for disk in parse_disks(text) for name in disk.maps})


def without_map() -> dict[str, list[str]]:
    """The disks of this machine that are reached by several paths without a map: their identity → their names."""
    return parse_paths(report())


def report() -> str:
    """What lsblk says of all disks of this machine, as JSON."""
    return run(["lsblk", "--json", "--output", COLUMNS]).stdout


def assemble() -> tuple[str, ...]:
    """Make maps for the disks with several paths, where there are any; returns which they are.

    Raises StorageError when one of them gets no map: a path must never be partitioned by itself.
    """
    wanted = without_map()
    if not wanted:
        return ()
    if shutil.which("multipathd") is None:
        raise StorageError(
            _("the disks {disks} are paths to one disk, and this installer has no multipathd").format(
                disks=_listed(wanted)
            ),
            hint=_("Use an installer with multipath-tools, or leave one path connected."),
        )
    if not CONF.exists():
        CONF.write_text(DEFAULT_CONF, encoding="ascii")
    ALONE.parent.mkdir(parents=True, exist_ok=True)
    ALONE.write_text(ALONE_CONF, encoding="ascii")
    run(["systemctl", "restart", "multipathd.service"])
    # Asked after all paths are known: what it lists is complete.
    run(["multipath", "-v0"], check=False)
    settle()
    left = without_map()
    if left:
        raise StorageError(
            _("multipathd makes no device of {disks}, which are paths to one disk").format(disks=_listed(left)),
            hint=_(
                "See 'multipath -ll -v3' and what {conf} leaves out (a disk without a WWN is taken only where "
                'blacklist_exceptions {{ property ".*" }} says so), or leave one path connected.'
            ).format(conf=CONF),
        )
    for name in maps(report()):
        # What is on the disk already, named as libparted names what it makes (kpartx(8), -p).
        run(["kpartx", "-a", "-s", f"/dev/mapper/{name}"])
    settle()
    return tuple(wanted)


def one_path(disk: str, sys_blocks: Path = SYS_BLOCKS) -> str:
    """The device of a working path to ``disk``, for programs that know no maps; ``disk`` itself where it is no map.

    Kernel: Documentation/ABI/testing/sysfs-block-dm ("uuid"), sysfs-block-device; a SCSI disk's state is "running".
    """
    number = Path(disk).stat().st_rdev
    folder = sys_blocks / f"{os.major(number)}:{os.minor(number)}"
    if not _read(folder / "dm/uuid").startswith(MPATH_UUID):
        return disk
    paths = sorted((folder / "slaves").iterdir())
    working = [path for path in paths if _read(path / "device/state") in ("running", "live")]
    return f"/dev/{(working or paths)[0].name}" if paths else disk


def fresh_path(disk: str) -> str:
    """As :func:`one_path`; what was read through that path before the map was written is forgotten."""
    path = one_path(disk)
    if path != disk:
        run(["blockdev", "--flushbufs", path])
    return path


def _read(path: Path) -> str:
    return path.read_text(encoding="ascii", errors="replace").strip() if path.is_file() else ""


def _listed(found: dict[str, list[str]]) -> str:
    both = _(" and ")
    return "; ".join(f"{both.join(names)} ({identity})" for identity, names in sorted(found.items()))


def copy_files(root: Path, source: Path = Path("/")) -> None:
    """Take the files by which the installer knows its maps into the new system at ``root``."""
    found = [path for pattern in BY_STACK["multipath"] for path in matching(source, pattern)]
    for path in found:
        name = path.lstrip("/")
        if (source / name).is_file() and path != str(ALONE):
            target = place_for_file(root, name)
            shutil.copyfile(source / name, target)
            target.chmod(0o600)

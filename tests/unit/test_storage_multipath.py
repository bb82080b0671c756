"""Disks with several paths, as lsblk reports them."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any, Optional

import pytest

from org_ovirt_node.boot import hostfiles
from org_ovirt_node.errors import StorageError
from org_ovirt_node.storage import multipath


def disk(name: str, wwn: Optional[str], *children: str, kind: str = "disk") -> dict[str, Any]:
    row: dict[str, Any] = {"name": name, "type": kind, "wwn": wwn}
    if children:
        row["children"] = [{"name": f"{name}-{child}", "type": child, "wwn": wwn} for child in children]
    return row


def scsi(name: str, **changed: Optional[str]) -> dict[str, Any]:
    """A SCSI disk without a WWN, as lsblk shows it."""
    known = {"serial": "17", "vendor": "QEMU    ", "model": "HARDDISK", "size": "20G", "tran": None, "hctl": "2:0:0:0"}
    return {**disk(name, None), **known, **changed}


@pytest.mark.parametrize(
    ("rows", "found"),
    [
        ([], {}),
        ([disk("sda", "0x1"), disk("sdb", "0x1")], {"WWN 0x1": ["sda", "sdb"]}),
        ([disk("sda", "0x1"), disk("sdb", "0x2")], {}),
        # Virtual disks have no WWN: that they lack one makes them no paths to each other.
        ([disk("vda", None), disk("vdb", None)], {}),
        ([disk("sda", "0x1", "mpath"), disk("sdb", "0x1", "mpath")], {}),
        # A partition below a path says that nobody has made the map yet.
        ([disk("sda", "0x1", "part"), disk("sdb", "0x1", "part")], {"WWN 0x1": ["sda", "sdb"]}),
        ([disk("sr0", "0x1", kind="rom"), disk("sr1", "0x1", kind="rom")], {}),
        # Without a WWN a SCSI disk is known by vendor, model, size and serial number together.
        ([scsi("sda"), scsi("sdb")], {"serial number 17, QEMU HARDDISK 20G": ["sda", "sdb"]}),
        ([scsi("sda"), scsi("sdb", serial="18")], {}),
        ([scsi("sda"), scsi("sdb", size="10G")], {}),
        ([scsi("sda", serial=None), scsi("sdb", serial=None)], {}),
        ([scsi("sda", tran="usb"), scsi("sdb", tran="usb")], {}),
        ([scsi("vda", hctl=None), scsi("vdb", hctl=None)], {}),
    ],
)
def test_paths(rows: list[dict[str, Any]], found: dict[str, list[str]]) -> None:
    assert multipath.parse_paths(json.dumps({"blockdevices": rows})) == found


def test_a_map_over_two_paths_is_one_map() -> None:
    both = {"name": "mpatha", "type": "mpath", "wwn": "0x1"}
    rows = [{"name": name, "type": "disk", "wwn": "0x1", "children": [both]} for name in ("sda", "sdb")]
    assert multipath.maps(json.dumps({"blockdevices": [*rows, disk("vda", None, "part")]})) == ["mpatha"]


@pytest.mark.parametrize(
    ("uuid", "states", "found"),
    [
        ("mpath-360000", {"sda": "running", "sdb": "running"}, "/dev/sda"),
        ("mpath-360000", {"sda": "offline", "sdb": "running"}, "/dev/sdb"),
        ("mpath-360000", {"nvme0c0n1": "live"}, "/dev/nvme0c0n1"),
        ("mpath-360000", {"sda": "offline", "sdb": ""}, "/dev/sda"),
        ("LVM-1", {"sda": "running"}, "/dev/null"),
        ("", {}, "/dev/null"),
    ],
)
def test_failures_row_34_one_path_stands_for_the_map(
    tmp_path: Path, uuid: str, states: dict[str, str], found: str
) -> None:
    # Any device of this machine will do: it is looked up by its number, whatever it is called.
    number = Path("/dev/null").stat().st_rdev
    folder = tmp_path / f"{os.major(number)}:{os.minor(number)}"
    (folder / "dm").mkdir(parents=True)
    (folder / "slaves").mkdir()
    (folder / "dm/uuid").write_text(f"{uuid}\n")
    for name, state in states.items():
        (tmp_path / name / "device").mkdir(parents=True)
        (tmp_path / name / "device/state").write_text(f"{state}\n")
        (folder / "slaves" / name).symlink_to(tmp_path / name)
    assert multipath.one_path("/dev/null", tmp_path) == found


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"blockdevices": [1]}', '{"blockdevices": [{"name": "sda"}]}'])
def test_a_report_that_is_none(text: str) -> None:
    with pytest.raises(StorageError, match="lsblk"):
        multipath.parse_paths(text)


def test_failures_row_3_the_new_system_knows_the_maps_as_the_installer_does(tmp_path: Path) -> None:
    source, root = tmp_path / "installer", tmp_path / "root"
    (source / "etc/multipath").mkdir(parents=True)
    (source / "etc/multipath.conf").write_text("defaults {\n user_friendly_names no\n}\n")
    (source / "etc/multipath/wwids").write_text("/3600/\n")
    (source / "etc/multipath/conf.d").mkdir()
    (source / "etc/multipath/conf.d/site.conf").write_text("blacklist {\n}\n")
    (source / "etc/multipath/conf.d/site.conf.rpmsave").write_text("old")
    (source / str(multipath.ALONE).lstrip("/")).write_text(multipath.ALONE_CONF)
    multipath.copy_files(root, source)
    assert [path.name for path in (root / "etc/multipath/conf.d").iterdir()] == ["site.conf"]
    assert "/etc/multipath/conf.d/site.conf" in hostfiles.collect(root, {}, {"multipath"})
    assert (root / "etc/multipath.conf").read_text() == "defaults {\n user_friendly_names no\n}\n"
    assert (root / "etc/multipath/wwids").read_text() == "/3600/\n"
    assert not (root / "etc/multipath/bindings").exists()

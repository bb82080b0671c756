"""VGs that have lost a disk, as pvs reports them."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import cast

import pytest

from org_ovirt_node.install import engine
from org_ovirt_node.node import lvm
from org_ovirt_node.run import Completed
from org_ovirt_node.storage import iscsi
from org_ovirt_node.storage.execute import incomplete_groups

BELOW = {"/dev/sda3": ["sda3", "sda"], "/dev/sdb1": ["sdb1", "sdb"], "/dev/mapper/x": ["x", "sdc1", "sdc"]}


@pytest.mark.parametrize(
    ("rows", "wiped", "found"),
    [
        ([("/dev/sda3", "onn", "1"), ("[unknown]", "onn", "1")], ["sda"], ["onn"]),
        # The rest of it is on a disk that stays: not ours to remove.
        ([("/dev/sda3", "onn", "1"), ("[unknown]", "onn", "1")], ["sdb"], []),
        ([("/dev/sda3", "a", "1"), ("/dev/sdb1", "a", "1"), ("[unknown]", "a", "1")], ["sda"], []),
        ([("/dev/sda3", "a", "1"), ("/dev/sdb1", "a", "1"), ("[unknown]", "a", "1")], ["sda", "sdb"], ["a"]),
        # A whole VG is blivet's.
        ([("/dev/sda3", "onn", "0")], ["sda"], []),
        ([("/dev/sdb1", "", "")], ["sdb"], []),
        ([("/dev/mapper/x", "x", "2"), ("[unknown]", "x", "2")], ["sdc"], ["x"]),
        ([], ["sda"], []),
    ],
)
def test_which_are_removed(rows: list[tuple[str, str, str]], wiped: list[str], found: list[str]) -> None:
    fields = ("pv_name", "vg_name", "vg_missing_pv_count")
    report = json.dumps({"report": [{"pv": [dict(zip(fields, row)) for row in rows]}]})
    assert incomplete_groups(report, BELOW.__getitem__, wiped) == found


REPORT = """\
onn-pool00_tmeta LVM-b0cMGVgrM9y7lkfBYJmGqrMZvb-tmeta
onn-node--1.0--1+1 LVM-b0cMGVgrM9y7lkfBYJmGqrMZvb
onn--data-vmstore LVM-otherVGotherVGotherVGotherVG
onn-luks CRYPT-LUKS2-0123-onn-luks
onnx-root LVM-anotherVGanotherVG
mpatha mpath-360000000000000000e00000000010001
"""


@pytest.mark.parametrize(
    ("vg", "found"),
    [("onn", ["onn-pool00_tmeta", "onn-node--1.0--1+1"]), ("onn-data", ["onn--data-vmstore"]), ("other", [])],
)
def test_which_devices_are_of_a_group(vg: str, found: list[str]) -> None:
    assert lvm.devices(REPORT, vg) == found
    assert lvm.devices("No devices found\n", vg) == []


def test_the_volumes_on_a_lost_target_go_without_lvm(monkeypatch: pytest.MonkeyPatch) -> None:
    ran: list[list[str]] = []

    def run(argv: list[str], **_options: object) -> Completed:
        ran.append(argv)
        return Completed((), 0, REPORT, "")

    monkeypatch.setattr(lvm, "run", run)
    installation = cast("engine.Installation", SimpleNamespace(layout=SimpleNamespace(vg=SimpleNamespace(name="onn"))))
    monkeypatch.setattr(iscsi, "lost", lambda: ("iqn.2024-01.org.example:storage",))
    engine.Installation._release(installation)
    assert [argv[:2] for argv in ran] == [["dmsetup", "info"], ["dmsetup", "remove"]]
    assert ran[1][-2:] == ["onn-pool00_tmeta", "onn-node--1.0--1+1"]

"""VGs that have lost a disk, as pvs reports them."""

from __future__ import annotations

import json

import pytest

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

"""A plan as text and as JSON."""

from __future__ import annotations

import json

import pytest

from org_ovirt_node.node.merge.describe import as_dict, as_text
from org_ovirt_node.node.merge.model import BESIDE, IdMap, MergePlan
from org_ovirt_node.node.merge.names import shown
from org_ovirt_node.node.merge.plan import plan
from tests.support.etc import MemoryTree, file


@pytest.fixture
def made() -> MergePlan:
    text = "1\n2\n3\n"
    return plan(
        MemoryTree({"same": file(), "both\n": file("1"), "text": file(text), "stale": file("1")}),
        MemoryTree({"same": file(), "both\n": file("user"), "text": file("0\n" + text), "stale": file("1")}),
        MemoryTree({"same": file(), "both\n": file("image"), "text": file(text + "4\n")}),
    )


def test_failures_row_6_a_conflict_is_in_the_text_and_in_the_json(made: MergePlan) -> None:
    text, data = as_text(made), as_dict(made)
    assert "1 conflicts" in text
    assert "  /etc/both\\n: changed differently on this node and in the image; this node's is kept " in text
    assert f"(the image's is /etc/both\\n{BESIDE})" in text
    assert [(one["path"], one["beside"]) for one in data["conflicts"]] == [("/etc/both\\n", f"/etc/both\\n{BESIDE}")]


def test_the_text_says_what_is_merged_and_details_say_all_that_changes(made: MergePlan) -> None:
    assert "/etc/text: changed on both sides" in as_text(made)
    assert "/etc/stale" not in as_text(made)
    detailed = as_text(made, details=True)
    assert "  /etc/stale: no longer in the image (absent)" in detailed
    assert "/etc/same" not in detailed


def test_the_json_has_counts_changes_and_ids(made: MergePlan) -> None:
    data = as_dict(MergePlan(made.actions, made.notices, IdMap({300: 999, 20: 30}, {5: 6})))
    assert json.loads(json.dumps(data)) == data
    assert data["format"] == 1
    assert data["summary"] == {
        "paths": 7,
        "conflicts": 1,
        "size": len("user") + len("image") + len("0\n1\n2\n3\n4\n"),
        "sources": {"image": 4, "node": 1, "merged": 1, "absent": 1},
    }
    assert {"path": "/etc/stale", "source": "absent", "why": "image-dropped", "type": None} in data["changes"]
    assert [notice["topic"] for notice in data["notices"]] == ["merged"]
    assert data["ids"] == {"users": [[20, 30], [300, 999]], "groups": [[5, 6]]}


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("", "/etc"),
        ("a b", "/etc/a b"),
        ("a\nb", "/etc/a\\nb"),
        ("a\\nb", "/etc/a\\\\nb"),
        ("\udcff\udc80", "/etc/\\xff\\x80"),
        ("\x1b[31m", "/etc/\\x1b[31m"),
        ("caf\u00e9", "/etc/caf\u00e9"),
        ("\u202egnp.exe", "/etc/\\u202egnp.exe"),
    ],
)
def test_a_name_is_one_line_and_cannot_play_tricks(path: str, expected: str) -> None:
    assert shown(path) == expected

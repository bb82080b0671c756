"""The merge by line: diff3's semantics, compared with git merge-file where there is one."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Optional

import pytest
from hypothesis import given
from hypothesis import strategies as st

from org_ovirt_node.node.merge import diff3

CASES = {
    "nothing": ("abc", "abc", "abc", "abc"),
    "one side": ("abc", "aXc", "abc", "aXc"),
    "other side": ("abc", "abc", "abY", "abY"),
    "both, apart": ("abcde", "Xbcde", "abcdY", "XbcdY"),
    "both, added at both ends": ("abc", "Xabc", "abcY", "XabcY"),
    "both, the same": ("abc", "aXc", "aXc", "aXc"),
    "both, the same and another": ("abcde", "aXcde", "aXcdY", "aXcdY"),
    "both, the same line": ("abc", "aXc", "aYc", None),
    "both, touching": ("abcd", "aXcd", "abYd", None),
    "both, at the same place": ("ab", "aXb", "aYb", None),
    "changed and deleted": ("abc", "aXc", "ac", None),
    "both deleted, overlapping": ("abcd", "ad", "acd", None),
    "deleted apart": ("abcde", "bcde", "abcd", "bcd"),
    "everything deleted": ("abc", "", "abc", ""),
    "from nothing": ("", "a", "b", None),
    "moved": ("abcdef", "bcdefa", "abcdef", "bcdefa"),
    "many equal lines": ("aaaaaa", "aaaaaaX", "Yaaaaaa", "YaaaaaaX"),
}


def text(letters: str) -> bytes:
    return "".join(f"{letter}\n" for letter in letters).encode()


@pytest.mark.parametrize(("old", "node", "new", "expected"), CASES.values(), ids=list(CASES))
def test_regions(old: str, node: str, new: str, expected: Optional[str]) -> None:
    wanted = None if expected is None else text(expected)
    assert diff3.merge(text(old), text(node), text(new)) == wanted
    assert diff3.merge(text(old), text(new), text(node)) == wanted, "the sides have equal rights"


def test_a_last_line_without_an_end_and_carriage_returns_survive() -> None:
    assert diff3.merge(b"a\nb\nc", b"X\na\nb\nc", b"a\nb\nc") == b"X\na\nb\nc"
    assert diff3.merge(b"a\nb\nc", b"X\na\nb\nc", b"a\nb\nc\nd\n") == b"X\na\nb\nc\nd\n"
    assert diff3.merge(b"a\r\nb\rb\nc\r\n", b"X\r\na\r\nb\rb\nc\r\n", b"a\r\nb\rb\nY\r\n") == b"X\r\na\r\nb\rb\nY\r\n"
    assert diff3.merge(b"\xff\nb\nc\n", b"\xff\nb\nc\n\xfe\n", b"\xfd\nb\nc\n") == b"\xfd\nb\nc\n\xfe\n"


@pytest.mark.parametrize(
    ("name", "first", "last"), [("x.json", "[", "]"), ("x.xml", "<a>", "</a>")], ids=["json", "xml"]
)
def test_a_clean_merge_that_breaks_the_format_is_a_conflict(name: str, first: str, last: str) -> None:
    """Each side takes away one of two brackets at one end, and they are not the same ones."""
    comma = "," if first == "[" else "<b/>"
    old, node, new = (
        "\n".join(words.replace("(", first).replace(")", last).replace(",", comma).split()).encode() + b"\n"
        for words in ("( ( 1 , 2 ) )", "( 1 , 2 )", "( 1 , ( 2 ) )")
    )
    assert diff3.merge(old, node, new, "x.conf") is not None
    assert diff3.merge(old, node, new, name) is None
    assert diff3.merge(old, old, new, name) == new
    assert diff3.merge(b"no " + old, b"no " + node, b"no " + new, name) is not None, "it was none before"


def test_too_much_work_is_a_conflict_by_its_size_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    old = b"first\n" + b"x\n" * 50 + b"last\n"
    node, new = b"FIRST\n" + b"x\n" * 50 + b"last\n", b"first\n" + b"x\n" * 50 + b"last\nmore\n"
    assert diff3.merge(old, node, new) is not None
    monkeypatch.setattr(diff3, "MAX_PAIRS", 100)
    assert diff3.merge(old, node, new) is not None, "equal ends cost nothing, however many lines they have"
    between = b"FIRST\n" + b"x\n" * 50 + b"last\nmine\n"
    assert diff3.merge(old, between, old) is None, "50 times 50 pairs"


LINES = st.lists(st.sampled_from("abcx"), max_size=8).map("".join)


@given(LINES, LINES)
def test_a_side_without_changes_gives_the_other(old: str, changed: str) -> None:
    assert diff3.merge(text(old), text(changed), text(old)) == text(changed)
    assert diff3.merge(text(old), text(old), text(changed)) == text(changed)
    assert diff3.merge(text(old), text(changed), text(changed)) == text(changed)


@given(LINES, LINES, LINES)
def test_a_clean_merge_has_every_line_that_a_side_added(old: str, node: str, new: str) -> None:
    merged = diff3.merge(text(old), text(node), text(new))
    assert merged == diff3.merge(text(old), text(new), text(node))
    if merged is not None:
        for side in (node, new):
            for letter in set(side) - set(old):
                assert text(letter).strip() in merged.splitlines()


@pytest.mark.parametrize(("old", "node", "new", "expected"), CASES.values(), ids=list(CASES))
def test_git_merge_file_says_the_same(tmp_path: Path, old: str, node: str, new: str, expected: Optional[str]) -> None:
    for name, content in (("old", old), ("node", node), ("new", new)):
        (tmp_path / name).write_bytes(text(content))
    ran = subprocess.run(
        ["git", "merge-file", "-p", "node", "old", "new"], cwd=tmp_path, capture_output=True, check=False
    )
    assert (ran.returncode == 0) is (expected is not None)
    if expected is not None:
        assert ran.stdout == text(expected)

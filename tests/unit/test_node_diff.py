"""nodectl diff: layers and images against each other."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from org_ovirt_node.errors import NodeError
from org_ovirt_node.kickstart.model import NodeSection
from org_ovirt_node.node import update_run
from org_ovirt_node.node.diff import compare, diff
from org_ovirt_node.node.layers import state
from org_ovirt_node.node.update import Request
from org_ovirt_node.node.upper import Change
from org_ovirt_node.progress import Silent
from tests.support.fakenode import NEW, OLD, VG, FakeNode, make_node, path_with_fakes, squash


@pytest.fixture
def node(memory: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeNode]:
    """A node with two images, the second one updated to."""
    made = make_node(memory / "node")
    monkeypatch.setenv("OVIRT_NODE_PATH", path_with_fakes(made.home))
    (made.places.dev / VG / OLD).unlink()
    squash(made.home / "run/image", made.places.dev / VG / OLD)
    digest = hashlib.sha256((made.home / "new.squashfs").read_bytes()).hexdigest()
    section = NodeSection(images=(f"file://{made.home}/new.squashfs",), sha256=digest)
    update_run.update(Request(section, inhibit=False), Silent(), made.places)
    yield made
    assert str(made.home) not in Path("/proc/self/mountinfo").read_text(), "something is left mounted"


def found(node: FakeNode, one: str, other: str = "") -> dict[str, str]:
    before = set(Path(node.home).iterdir())
    changes = diff(state(VG, node.places.boot, node.places.cmdline), one, other, node.places)
    assert set(Path(node.home).iterdir()) == before, "a folder is left"
    return {change.path: change.kind.value for change in changes}


def test_a_layer_against_its_image(node: FakeNode) -> None:
    changes = found(node, f"{NEW}+1")
    assert changes["etc/list"] == "changed"
    assert changes["root/mine"] == "added"
    assert "usr" not in changes


def test_the_running_layer_against_its_image(node: FakeNode) -> None:
    assert found(node, f"{OLD}+1") == {"root/mine": "added"}


def test_an_image_against_the_running_one(node: FakeNode) -> None:
    changes = found(node, NEW)
    assert changes["etc/gone"] == "deleted"
    assert changes["etc/list"] == "changed"
    assert changes["var/lib/new"] == changes["var/lib/new/state"] == "added"
    assert "root/.profile" not in changes
    assert found(node, OLD, NEW) == changes
    back = found(node, NEW, OLD)
    assert back["etc/gone"] == "added" and back["var/lib/new"] == "deleted" and "var/lib/new/state" not in back


def test_the_running_layer_against_another_one(node: FakeNode) -> None:
    changes = found(node, f"{OLD}+1", f"{NEW}+1")
    # Both have the user's line; the image's is in the new one alone.
    assert changes["etc/list"] == "changed"
    # The test's running layer has no /root of its own image: what counts is what the new one has.
    assert changes["root"] == "added" and changes["root/mine"] == "added"


def test_names_that_mean_nothing_are_refused(node: FakeNode) -> None:
    with pytest.raises(NodeError, match=rf"no image or layer what.*There are .*{OLD}"):
        found(node, OLD, "what")
    with pytest.raises(NodeError, match="does not run from a layer"):
        found(node, "")


def write(folder: Path, **files: str) -> Path:
    folder.mkdir()
    for name, text in files.items():
        (folder / name).write_text(text)
        os.utime(folder / name, (0, 0))
    return folder


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda top: None, []),
        (lambda top: (top / "a").write_text("2"), [("a", "changed")]),
        (lambda top: (top / "a").chmod(0o600), [("a", "changed")]),
        (lambda top: os.chown(top / "a", 7, 0), [("a", "changed")]),
        (lambda top: os.setxattr(top / "a", "user.x", b"1"), [("a", "changed")]),
        (lambda top: (top / "a").unlink(), [("a", "deleted")]),
        (lambda top: ((top / "a").unlink(), (top / "a").symlink_to("b")), [("a", "changed")]),
        (
            lambda top: ((top / "a").unlink(), (top / "a").mkdir(), (top / "a/x").write_text("")),
            [("a", "changed"), ("a/x", "added")],
        ),
        (lambda top: ((top / "d").mkdir(), (top / "d/x").write_text("")), [("d", "added"), ("d/x", "added")]),
    ],
)
def test_what_counts_as_a_difference(tmp_path: Path, change: object, expected: list[tuple[str, str]]) -> None:
    before, after = write(tmp_path / "before", a="1", b="1"), write(tmp_path / "after", a="1", b="1")
    change(after)  # type: ignore[operator]
    (after / "b").write_text("1")
    assert [(one.path, one.kind.value) for one in compare(before, after)] == expected


def test_sizes_are_those_of_the_files(tmp_path: Path) -> None:
    before, after = write(tmp_path / "before"), write(tmp_path / "after", a="12345")
    (change,) = compare(before, after)
    assert isinstance(change, Change) and change.size == 5

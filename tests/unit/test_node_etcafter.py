"""What is changed in /etc between an update and the reboot: it is named, since the new layer will not have it."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from org_ovirt_node.kickstart.model import NodeSection
from org_ovirt_node.node import check, checkfacts, etcafter, motd, update_run
from org_ovirt_node.node.update import Request
from org_ovirt_node.progress import Silent
from tests.support.fakenode import NEW, OLD, FakeNode, make_node, path_with_fakes


@pytest.fixture
def node(memory: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeNode]:
    made = make_node(memory / "node")
    monkeypatch.setenv("OVIRT_NODE_PATH", path_with_fakes(made.home))
    yield made


def reason(node: FakeNode) -> str:
    facts = checkfacts.gather(node.places)
    groups = check.judge(facts)
    result = check.as_dict(groups)["updates"]["no_changes_after_update"]
    text = str(result.get("reason", ""))
    assert (text in motd.message(facts, groups).as_text()) or not text
    return text


def test_what_is_changed_before_the_reboot_is_named_until_then(node: FakeNode) -> None:
    etc = node.places.upper / "etc"
    etc.mkdir(exist_ok=True)
    (etc / "before").write_text("taken along\n")
    assert reason(node) == ""
    image = node.home / "new.squashfs"
    section = NodeSection(images=(f"file://{image}",), sha256=hashlib.sha256(image.read_bytes()).hexdigest())
    update_run.update(Request(section, inhibit=False), Silent(), node.places)
    assert reason(node) == ""
    (etc / "later.conf").write_text("stays here\n")
    assert "/etc/later.conf;" in reason(node) and "/etc/before" not in reason(node)
    node.booted(f"{NEW}+1")
    assert reason(node) == ""
    node.booted(f"{OLD}+1")
    update_run.cancel(Silent(), node.places)
    assert reason(node) == ""


def test_only_so_many_are_named() -> None:
    facts = check.Facts(etc_later=tuple(f"f{number:02}" for number in range(check.SHOWN + 3)))
    said = check.as_dict(check.judge(facts))["updates"]["no_changes_after_update"]["reason"]
    assert "/etc/f09 and 3 more" in said and "f10" not in said


def test_each_kind_of_change_is_seen_and_nothing_else(tmp_path: Path) -> None:
    upper, image = tmp_path / "upper", tmp_path / "image"
    for top in (upper, image):
        (top / "etc/folder").mkdir(parents=True)
        (top / "etc/lvm").mkdir()
    (image / "etc/opened").write_text("image's")
    (image / "etc/written").write_text("image's")
    for name in ("same", "content", "mode", "gone", "folder/below"):
        (upper / "etc" / name).write_text("old")
    (upper / "etc/link").symlink_to("a")
    before = etcafter.marks(upper)
    assert etcafter.changed(before, upper, image) == ()

    times = (upper / "etc/content").stat()
    (upper / "etc/content").write_text("new")
    # Whoever sets the times back is seen all the same.
    os.utime(upper / "etc/content", ns=(times.st_atime_ns, times.st_mtime_ns))
    (upper / "etc/mode").chmod(0o600)
    (upper / "etc/gone").unlink()
    (upper / "etc/link").unlink()
    (upper / "etc/link").symlink_to("b")
    (upper / "etc/folder/new").write_text("x")
    for name in ("opened", "written"):
        shutil.copy2(image / "etc" / name, upper / "etc" / name)
    (upper / "etc/written").write_text("user's")
    (upper / "etc/lvm/backup").mkdir()
    (upper / "etc/lvm/backup/onn").write_text("x")
    found = etcafter.changed(before, upper, image)
    assert found == ("content", "folder/new", "gone", "link", "mode", "written")

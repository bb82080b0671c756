"""How an update ends that does not end well, or that somebody else stops; and what --keep takes along."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn

import pytest

from org_ovirt_node.boot import grubcfg
from org_ovirt_node.cli import common
from org_ovirt_node.errors import CommandError, NodeError
from org_ovirt_node.mounts import mounted
from org_ovirt_node.node import bootstate, carry, etcmerge, journal, lock, lvm, update_run
from org_ovirt_node.node import mounted as mounted_module
from org_ovirt_node.node.layers import config
from org_ovirt_node.progress import Silent
from tests.support.fakenode import NEW, OLD, FakeNode, path_with_fakes, updatable
from tests.support.fakenode import update_request as request


@pytest.fixture
def node(memory: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeNode]:
    with updatable(memory / "node", monkeypatch) as made:
        yield made


def fail(*_arguments: object) -> NoReturn:
    raise CommandError(["lvchange"], 5, "no answer")


def test_an_error_at_the_very_end_says_that_the_new_layer_is_tried(
    node: FakeNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lvm, "drop_tags", fail)
    with pytest.raises(NodeError, match=rf"{NEW}\+1 is installed and the next boot tries it.*no answer"):
        update_run.update(request(node), Silent(), node.places)
    last = journal.load(node.places.state)
    assert last is not None and last.undecided
    assert node.grubenv["trial_entry"] == f"{NEW}+1"
    monkeypatch.undo()
    monkeypatch.setenv("OVIRT_NODE_PATH", path_with_fakes(node.home))
    assert "was undone" in update_run.cancel(Silent(), node.places)
    assert NEW not in node.volumes and "trial_entry" not in node.grubenv


def test_an_error_on_the_way_says_that_the_node_boots_as_before(
    node: FakeNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lvm, "seal", fail)
    with pytest.raises(NodeError, match="boots what it booted before"):
        update_run.update(request(node), Silent(), node.places)


def test_an_error_that_is_none_of_ours_is_undone_too(node: FakeNode, monkeypatch: pytest.MonkeyPatch) -> None:
    def odd(*_arguments: object) -> NoReturn:
        raise ValueError("an odd name")

    monkeypatch.setattr(carry, "carry", odd)
    with pytest.raises(ValueError, match="an odd name"):
        update_run.update(request(node), Silent(), node.places)
    assert NEW not in node.volumes and f"{NEW}+1" not in node.volumes
    last = journal.load(node.places.state)
    assert last is not None and last.reason == "an odd name"


def test_the_boot_is_put_back_before_anything_of_a_trial_is_taken_away(
    node: FakeNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    update_run.update(request(node), Silent(), node.places)

    def stop(*_arguments: object) -> NoReturn:
        assert "trial_entry" not in node.grubenv
        raise NodeError("as far as this")

    monkeypatch.setattr(update_run, "_take_back_added", stop)
    with pytest.raises(NodeError, match="as far as this"):
        update_run.cancel(Silent(), node.places)


@pytest.mark.parametrize("where", ["set_default", "release_below", "_take_back_added"])
def test_a_cancellation_that_was_cut_short_can_be_run_again(
    node: FakeNode, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    update_run.update(request(node), Silent(), node.places)
    owner = {"set_default": bootstate, "release_below": mounted_module}.get(where, update_run)
    with monkeypatch.context() as patch:
        patch.setattr(owner, where, fail)
        with pytest.raises(CommandError):
            update_run.cancel(Silent(), node.places)
    assert "was undone" in update_run.cancel(Silent(), node.places)
    assert NEW not in node.volumes and f"{NEW}+1" not in node.volumes
    assert node.grubenv == {"saved_entry": f"{OLD}+1"}
    update_run.update(request(node), Silent(), node.places)


def test_only_an_update_can_be_cancelled(node: FakeNode) -> None:
    with (
        lock.locked("the rollback", node.places.lock),
        pytest.raises(NodeError, match=rf"the rollback is running \(process {os.getpid()}\)"),
    ):
        update_run.cancel(Silent(), node.places)


def test_a_layer_that_was_given_up_once_is_not_removed_when_its_new_trial_is_cancelled(node: FakeNode) -> None:
    update_run.update(request(node), Silent(), node.places)
    last = journal.load(node.places.state)
    assert last is not None
    last.reason = "it did not boot"
    journal.save(last, node.places.state)
    bootstate.start_trial(node.places.boot, f"{NEW}+1", 3, f"{OLD}+1")
    assert "nothing was removed" in update_run.cancel(Silent(), node.places)
    assert "trial_entry" not in node.grubenv and f"{NEW}+1" in node.volumes


def test_a_plan_while_an_update_runs_says_so(node: FakeNode) -> None:
    with lock.locked(lock.UPDATE, node.places.lock):
        found = update_run.only_plan(request(node), Silent(), node.places)
    assert found.problems == (f"the update is running (process {os.getpid()})",)


def test_a_plan_looks_into_the_image_in_a_folder_of_its_own(node: FakeNode, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Path] = []
    conflicts = etcmerge.Merge.conflicts

    def looked(merge: etcmerge.Merge) -> list[dict[str, str]]:
        # An update that starts now clears its own folder.
        mounted_module.release_below(node.places.work)
        seen.extend(node.home.glob("ovirt-node-plan-*/look/**/usr"))
        return conflicts(merge)

    monkeypatch.setattr(etcmerge.Merge, "conflicts", looked)
    found = update_run.only_plan(request(node), Silent(), node.places)
    assert found.merge is not None and seen
    assert not list(node.home.glob("ovirt-node-plan-*"))


@pytest.mark.parametrize("value", [None, "3", 2.5, True])
def test_a_number_in_the_nodes_configuration_must_be_one(tmp_path: Path, value: object) -> None:
    file = tmp_path / "node.json"
    file.write_text(json.dumps({"vg": "onn", "image_slots": value}))
    with pytest.raises(NodeError, match=r"image_slots is .*, which is no number"):
        config(file)


def test_more_tries_than_grub_counts_are_refused_before_anything_is_written(node: FakeNode) -> None:
    data = json.loads(node.places.config.read_text())
    node.places.config.write_text(json.dumps({**data, "boot_tries": 12}))
    with pytest.raises(NodeError, match=f"1 to {grubcfg.MAX_TRIES} tries, not 12"):
        update_run.update(request(node), Silent(), node.places)
    assert NEW not in node.volumes


def test_only_root_changes_a_node(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(NodeError, match="only root can roll back"):
        common.require_root("roll back")


def test_kept_are_the_changes_and_not_the_old_images_files(node: FakeNode) -> None:
    old, new, live, upper = node.home / "run/image", node.home / "new", node.places.live, node.places.upper
    for tree, files in (
        (old, {"tool": "old", "unwanted": "old", "mine": "old"}),
        (new, {"tool": "new", "unwanted": "new", "mine": "new"}),
        (live, {"tool": "old", "mine": "my own", "added": "my own"}),
        (upper, {"mine": "my own", "added": "my own"}),
    ):
        (tree / "usr/local").mkdir(parents=True, exist_ok=True)
        for name, text in files.items():
            (tree / "usr/local" / name).write_text(text)
    os.mknod(upper / "usr/local/unwanted", 0o20000, 0)
    said = carry.carry(node.places, new, ("/usr/local",))
    assert said == ["/usr/local goes along"]
    found = {path.name: path.read_text() for path in (new / "usr/local").iterdir()}
    assert found == {"tool": "new", "mine": "my own", "added": "my own"}


def test_what_nobody_changed_is_as_the_new_image_has_it(node: FakeNode) -> None:
    for tree, text in ((node.places.live, "old"), (node.home / "new", "new")):
        (tree / "usr/share").mkdir(parents=True, exist_ok=True)
        (tree / "usr/share/tool").write_text(text)
    assert "was not changed" in carry.carry(node.places, node.home / "new", ("/usr/share/tool",))[0]
    assert (node.home / "new/usr/share/tool").read_text() == "new"


def test_a_path_on_a_shared_volume_needs_no_keeping(node: FakeNode) -> None:
    (node.places.live / "home").mkdir(exist_ok=True)
    with (
        mounted("tmpfs", node.places.live / "home", fstype="tmpfs"),
        pytest.raises(NodeError, match="/home is not needed: it is on a volume of its own"),
    ):
        carry.check_keep(node.places, ("/home",))

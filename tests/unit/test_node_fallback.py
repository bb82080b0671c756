"""The end of a trial where something is in its way: a full disk, a choice by hand, another nodectl, foreign files."""

from __future__ import annotations

import fcntl
import os
import shutil
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Optional

import pytest

from org_ovirt_node.boot import bls, trial
from org_ovirt_node.cli import nodectl
from org_ovirt_node.errors import NodeError
from org_ovirt_node.mounts import mounted
from org_ovirt_node.node import bootstate, check, checkfacts, health, journal, remove, rollback, survey
from org_ovirt_node.node.layers import NodeState, boot_state, state
from tests.support.fakenode import (
    NEW,
    OLD,
    OLDER,
    VG,
    FakeNode,
    entry_options,
    make_node_on_trial,
    path_with_fakes,
    tries_used,
)


@pytest.fixture
def node(memory: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeNode]:
    """A node with three images, NEW on trial."""
    monkeypatch.setenv("OVIRT_NODE_PATH", path_with_fakes(memory / "node"))
    made = make_node_on_trial(memory / "node")
    monkeypatch.setattr(nodectl, "PLACES", made.places)
    yield made


def read(node: FakeNode) -> NodeState:
    return state(VG, node.places.boot, node.places.cmdline)


def on_trial(node: FakeNode, used: int = 1) -> None:
    """NEW is booted for the ``used``-th time."""
    node.booted(f"{NEW}+1")
    tries_used(node, used)


def call(node: FakeNode, capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str]:
    status = nodectl.main(["--log", str(node.home / "log"), *arguments])
    shown = capsys.readouterr()
    assert "Traceback" not in shown.err
    return status, shown.out + shown.err


@contextmanager
def full(folder: Path, home: Path) -> Iterator[None]:
    """``folder`` on a file system without a free block."""
    shutil.copytree(folder, home / "content")
    with mounted("tmpfs", folder, fstype="tmpfs", options=["size=256k"]):
        shutil.copytree(home / "content", folder, dirs_exist_ok=True)
        with pytest.raises(OSError, match="No space left"), (folder / "filler").open("wb", buffering=0) as file:
            while True:
                file.write(bytes(4096))
        yield


def test_failures_row_2_a_full_boot_does_not_keep_a_healthy_layer_from_being_good(node: FakeNode) -> None:
    on_trial(node)
    with full(node.places.boot, node.home):
        said = health.boot_good(node.places)
        assert said.startswith(f"{NEW}+1 is marked good; the boot entry of {NEW}+1 stays as it is: ")
        assert "No space left" in said
        assert node.grubenv == {"saved_entry": f"{NEW}+1"}
        assert node.places.good.read_text() == f"{NEW}+1\n"
        assert trial.on_trial(entry_options(node, f"{NEW}+1"))
        last = journal.load(node.places.state)
        assert last is not None and last.good
        # Once there is room, the next boot does the rest.
        (node.places.boot / "filler").unlink()
        node.booted(f"{NEW}+1")
        assert health.boot_good(node.places) == f"{NEW}+1 runs; the default is {NEW}+1"
        assert not trial.on_trial(entry_options(node, f"{NEW}+1"))
        assert node.menu[0] == f"{NEW}+1"


def test_failures_row_2_a_full_var_does_not_keep_a_healthy_layer_from_being_good(node: FakeNode) -> None:
    on_trial(node)
    with full(node.places.state, node.home):
        said = health.boot_good(node.places)
        assert "the update was not noted as good" in said
        assert node.places.good.exists() and node.grubenv == {"saved_entry": f"{NEW}+1"}
        (node.places.state / "filler").unlink()
        node.booted(f"{NEW}+1")
        health.boot_good(node.places)
        last = journal.load(node.places.state)
        assert last is not None and last.good


def test_a_mark_that_cannot_be_left_is_told_and_stops_nothing(node: FakeNode) -> None:
    on_trial(node)
    node.places.good.mkdir()
    assert "was not written" in health.boot_good(node.places)
    assert not trial.on_trial(entry_options(node, f"{NEW}+1"))


def test_failures_row_2_a_boot_that_fails_is_not_repeated_where_nothing_is_to_fall_back_to(
    node: FakeNode, capsys: pytest.CaptureFixture[str]
) -> None:
    on_trial(node)
    # The unit reboots unless the status is 0.
    assert call(node, capsys, "health", "bad")[0] == 1
    bootstate.save_good(node.places.boot, f"{NEW}+1")
    assert trial.on_trial(entry_options(node, f"{NEW}+1"))
    status, said = call(node, capsys, "health", "bad")
    assert status == 0 and "nothing that a reboot falls back to" in said
    unit = Path(__file__).parents[2] / "data/systemd/ovirt-node-boot-bad.service"
    lines = unit.read_text().splitlines()
    assert "FailureAction=reboot-force" in lines and "ExecStart=/usr/sbin/nodectl health bad --journal" in lines
    assert not [line for line in lines if line.startswith("SuccessAction=")]


def test_a_boot_that_fails_is_given_up_where_boot_cannot_be_read(
    node: FakeNode, capsys: pytest.CaptureFixture[str]
) -> None:
    on_trial(node)
    (node.places.boot / "grub/grub.cfg").unlink()
    assert call(node, capsys, "health", "bad")[0] == 1


def test_failures_row_15_a_rollback_by_hand_during_a_trial_stays(node: FakeNode) -> None:
    on_trial(node)
    rollback.perform(rollback.choose(read(node)), 3, node.places)
    assert health.boot_good(node.places) == f"{NEW}+1 runs; the default is {OLD}+1"
    assert node.grubenv == {"saved_entry": f"{OLD}+1"}
    assert node.menu[0] == f"{OLD}+1"
    assert trial.on_trial(entry_options(node, f"{NEW}+1"))


def test_a_layer_is_not_marked_good_while_another_nodectl_changes_what_is_booted(node: FakeNode) -> None:
    on_trial(node)
    with node.places.lock.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        file.write(f"{os.getpid()}\n")
        file.flush()
        with pytest.raises(NodeError, match=f"another nodectl is running \\(process {os.getpid()}\\)"):
            health.boot_good(node.places, patience=0.2)
        assert boot_state(node.places.boot).saved == f"{OLD}+1"
    assert health.boot_good(node.places, patience=0.2).startswith(f"{NEW}+1 is marked good")


@pytest.mark.parametrize("content", ["title Memory test\nefi /memtest.efi\n", "", "\0\xff", None])
def test_failures_row_3_a_foreign_file_among_the_entries_stops_nothing(
    node: FakeNode, capsys: pytest.CaptureFixture[str], content: Optional[str]
) -> None:
    path = node.places.boot / bls.ENTRIES / "memtest.conf"
    if content is None:
        path.mkdir()
    else:
        path.write_text(content, encoding="latin-1")
    for command in ("info", "list"):
        assert call(node, capsys, command)[0] == 0
    on_trial(node)
    assert health.boot_good(node.places) == f"{NEW}+1 is marked good"
    assert rollback.choose(read(node)).target == f"{OLD}+1"
    groups = check.as_dict(check.judge(checkfacts.gather(node.places)))
    assert groups["bootloader"]["status"] == "ok" and groups["status"] != "bad"
    assert "memtest.conf" in groups["boot"]["foreign_entries"]["reason"]
    assert path.exists()


def test_failures_row_3_an_entry_of_a_foreign_kernel_is_no_fault_and_a_dead_layers_is(node: FakeNode) -> None:
    entry = bls.layer_entry("rescue", "rescue", "6.1", "root=/dev/sda1", "0" * 32)
    bls.entry_path(node.places.boot, "rescue").write_text(entry.render())
    groups = check.as_dict(check.judge(checkfacts.gather(node.places)))
    assert groups["bootloader"]["status"] == "ok"
    entry = bls.layer_entry("dead+1", "dead", "6.1", "ovirt_node.layer=dead+1", "0" * 32)
    bls.entry_path(node.places.boot, "dead+1").write_text(entry.render())
    groups = check.as_dict(check.judge(checkfacts.gather(node.places)))
    assert groups["bootloader"]["valid_boot_entries"]["reason"] == (
        "the boot entry dead+1 leads to a layer that does not exist"
    )


@pytest.mark.parametrize("name", [bls.KERNEL, bls.HOST_INITRD])
@pytest.mark.parametrize("empty", [True, False])
def test_failures_row_3_an_entry_without_its_files_is_not_taken_for_a_valid_one(
    node: FakeNode, name: str, empty: bool
) -> None:
    bootstate.set_default(node.places.boot, f"{OLD}+1")
    for layer in (f"{OLDER}+1", f"{NEW}+1"):
        path = node.places.boot / layer / name
        path.unlink()
        if empty:
            path.touch()
    data = check.as_dict(check.judge(checkfacts.gather(node.places)))
    reason = f"{OLDER}+1 cannot be booted: /{OLDER}+1/{name} on /boot is gone or empty"
    assert reason in data["bootloader"]["valid_boot_entries"]["reason"] and data["status"] == "bad"
    with pytest.raises(NodeError, match="is the oldest layer"):
        rollback.choose(read(node))
    with pytest.raises(NodeError, match="gone or empty"):
        rollback.choose(read(node), OLDER)
    with pytest.raises(NodeError, match="gone or empty"):
        bootstate.start_trial(node.places.boot, f"{NEW}+1", 3, f"{OLD}+1")
    assert node.grubenv == {"saved_entry": f"{OLD}+1"}


def never_good(node: FakeNode, layer: str) -> None:
    path = bls.entry_path(node.places.boot, layer)
    path.write_text(path.read_text().replace("user=first", "user=first " + " ".join(trial.ARGUMENTS)))


def test_failures_row_15_no_rollback_makes_a_layer_on_trial_the_good_one(node: FakeNode) -> None:
    never_good(node, f"{OLDER}+1")
    on_trial(node)
    before = node.grubenv
    for name in (OLDER, NEW):
        with pytest.raises(NodeError, match=f"{NEW}\\+1 runs on trial") as caught:
            rollback.choose(read(node), name)
        assert f"go back to {OLD}+1 first" in caught.value.hint
    assert node.grubenv == before
    # What is known to be good can be gone back to.
    rollback.perform(rollback.choose(read(node), OLD), 3, node.places)
    assert node.grubenv == {"saved_entry": f"{OLD}+1"}


def test_failures_row_15_a_trial_falls_back_to_the_good_layer_and_not_to_the_running_one(node: FakeNode) -> None:
    bootstate.set_default(node.places.boot, f"{OLD}+1")
    node.booted(f"{OLDER}+1")
    rollback.perform(rollback.choose(read(node), NEW), 2, node.places)
    assert node.grubenv == {"saved_entry": f"{OLD}+1", "trial_entry": f"{NEW}+1", "trial_tries": "2"}


def gave_up(node: FakeNode) -> None:
    """OLDER was good, OLD was given up, NEW runs and is good."""
    never_good(node, f"{OLD}+1")
    on_trial(node)
    health.boot_good(node.places)


def test_failures_row_15_a_rollback_does_not_lead_to_a_layer_that_was_given_up(node: FakeNode) -> None:
    gave_up(node)
    chosen = rollback.choose(read(node))
    assert (chosen.target, chosen.retry) == (f"{OLDER}+1", False)
    never_good(node, f"{OLDER}+1")
    with pytest.raises(NodeError, match=f"no layer older than {NEW}\\+1 was ever marked good") as caught:
        rollback.choose(read(node))
    assert f"--to {OLD}+1" in caught.value.hint
    assert rollback.choose(read(node), OLD).retry


def test_failures_row_15_what_was_given_up_goes_before_an_older_image_that_was_good(node: FakeNode) -> None:
    gave_up(node)
    assert remove.collect(read(node), 2, node.places) == (OLD,)
    assert sorted(read(node).layers) == [OLDER, NEW]


def failing_check(node: FakeNode, said: str) -> None:
    path = node.places.live / health.FOLDER / "required.d/10-no"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\necho {said}\nexit 1\n")
    path.chmod(0o755)


@pytest.mark.parametrize("healthy", [True, False])
def test_failures_row_3_a_fallback_is_told_where_the_old_layer_is_not_marked_good_either(
    node: FakeNode, capsys: pytest.CaptureFixture[str], healthy: bool
) -> None:
    on_trial(node)
    failing_check(node, "of the new one")
    assert call(node, capsys, "health", "run")[0] == 1
    tries_used(node, 4)
    node.booted(f"{OLD}+1")
    if healthy:
        shutil.rmtree(node.places.live / health.FOLDER)
    else:
        failing_check(node, "of the old one")
    node.places.motd.unlink(missing_ok=True)
    assert call(node, capsys, "health", "run")[0] == (0 if healthy else 1)
    told = f"{NEW}+1 was given up and {OLD}+1 runs instead: "
    for _ in range(2):
        data = check.as_dict(check.judge(checkfacts.gather(node.places)))
        reason = data["updates"]["no_fallback"]["reason"]
        assert told in reason and "of the new one" in reason and "of the old one" not in reason
        assert told in node.places.motd.read_text()
        # What boot-good keeps says the same.
        health.boot_good(node.places)


def test_failures_row_3_a_second_fallback_of_the_same_layer_is_told_with_its_own_reason(
    node: FakeNode, capsys: pytest.CaptureFixture[str]
) -> None:
    for said in ("the first time", "the second time"):
        on_trial(node)
        failing_check(node, said)
        assert call(node, capsys, "health", "run")[0] == 1
        shutil.rmtree(node.places.live / health.FOLDER)
        tries_used(node, 4)
        node.booted(f"{OLD}+1")
        assert "was given up" in health.boot_good(node.places)
        facts = checkfacts.gather(node.places)
        assert said in facts.fallback
        assert facts.journal is not None and said in facts.journal.reason
        rollback.perform(rollback.choose(read(node), NEW), 3, node.places)
        assert not checkfacts.gather(node.places).fallback


def test_a_boot_that_fails_without_a_way_back_is_told_at_login(
    node: FakeNode, capsys: pytest.CaptureFixture[str]
) -> None:
    on_trial(node)
    bootstate.save_good(node.places.boot, f"{NEW}+1")
    assert call(node, capsys, "health", "bad")[0] == 0
    assert "node status" in node.places.motd.read_text()


@pytest.mark.parametrize("command", ["motd", "check"])
def test_a_signal_is_no_result_of_a_check(
    node: FakeNode, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    def stopped(*_: object) -> object:
        os.kill(os.getpid(), signal.SIGTERM)
        raise AssertionError

    monkeypatch.setattr(checkfacts, "state", stopped)
    status, said = call(node, capsys, command)
    assert status == 143 and "BAD" not in said


def test_failures_row_2_check_asks_for_the_room_on_boot_that_an_update_does(
    node: FakeNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    with (node.places.boot / f"{OLD}+1" / bls.INITRAMFS).open("r+b") as file:
        file.truncate(200 << 20)
    for free, enough in ((230 << 20, False), (255 << 20, True)):
        monkeypatch.setattr(survey, "free_bytes", lambda _, free=free: free)
        data = check.as_dict(check.judge(checkfacts.gather(node.places)))
        assert (data["boot"]["space_on_boot"]["status"] == "ok") is enough

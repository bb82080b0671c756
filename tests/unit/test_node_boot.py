"""What is booted: trials, marking good, fallback, rollback, removal; also with a lost environment block."""

from __future__ import annotations

import os
import select
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from org_ovirt_node.boot import bls, files, grubcfg, trial
from org_ovirt_node.errors import BootError, NodeError
from org_ovirt_node.mounts import mounted
from org_ovirt_node.node import bootstate, check, checkfacts, health, journal, listing, lvm, motd, remove, rollback
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

POOL_SPACE = "checking_available_space_in_thinpool"


@pytest.fixture
def node(memory: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeNode]:
    """A node with three images, NEW on trial."""
    monkeypatch.setenv("OVIRT_NODE_PATH", path_with_fakes(memory / "node"))
    yield make_node_on_trial(memory / "node")


def read(node: FakeNode) -> NodeState:
    return state(VG, node.places.boot, node.places.cmdline)


@pytest.mark.parametrize("used", [1, 2, 3])
def test_a_healthy_layer_is_marked_good_also_on_its_last_try(node: FakeNode, used: int) -> None:
    node.booted(f"{NEW}+1")
    tries_used(node, used)
    assert health.boot_good(node.places) == f"{NEW}+1 is marked good"
    assert node.grubenv == {"saved_entry": f"{NEW}+1"}
    assert node.menu[0] == f"{NEW}+1"
    assert not trial.on_trial(entry_options(node, f"{NEW}+1"))
    assert entry_options(node, f"{NEW}+1").endswith("user=second user=first")
    last = journal.load(node.places.state)
    assert last is not None and last.good and not last.undecided
    assert node.places.good.exists()


@pytest.mark.parametrize("damage", ["", "no loader"])
def test_a_good_layer_brings_its_boot_loader_and_what_fails_there_stops_nothing(node: FakeNode, damage: str) -> None:
    tree, esp = node.places.image_tree, node.places.boot / "efi"
    shipped = {
        "usr/lib/shim/shimx64.efi.signed": "EFI/debian/shimx64.efi",
        "usr/lib/shim/mmx64.efi.signed": "EFI/debian/mmx64.efi",
        "usr/lib/grub/x86_64-efi-signed/grubx64.efi.signed": "EFI/debian/grubx64.efi",
        "usr/bin/grub-mkimage": "",
    }
    for name in shipped if not damage else ():
        (tree / name).parent.mkdir(parents=True, exist_ok=True)
        (tree / name).write_text("new")
    with mounted("tmpfs", esp, fstype="tmpfs"):
        (esp / "EFI/debian").mkdir(parents=True)
        (esp / "EFI/debian/grub.cfg").write_text("stub")
        (esp / "EFI/debian/shimx64.efi").write_text("old")
        node.booted(f"{NEW}+1")
        tries_used(node, 1)
        said = health.boot_good(node.places)
        assert said.startswith(f"{NEW}+1 is marked good")
        assert ("EFI/debian/shimx64.efi" in said) == (not damage)
        assert ("stays as it was" in said) == bool(damage)
        assert (esp / "EFI/debian/shimx64.efi").read_text() == ("old" if damage else "new")
        assert read(node).boot.next == f"{NEW}+1"
        assert health.boot_good(node.places) == f"{NEW}+1 runs; the default is {NEW}+1"


def test_failures_row_13_the_second_boot_is_as_the_first(node: FakeNode) -> None:
    node.booted(f"{NEW}+1")
    tries_used(node, 1)
    health.boot_good(node.places)
    kept = {path: path.read_bytes() for path in node.places.boot.rglob("*") if path.is_file()}
    for _ in range(2):
        node.booted(f"{NEW}+1")
        assert not trial.on_trial(node.places.cmdline.read_text())
        health.boot_good(node.places)
        assert {path: path.read_bytes() for path in node.places.boot.rglob("*") if path.is_file()} == kept
    assert read(node).boot.next == f"{NEW}+1"


def test_a_fallback_is_noticed_told_and_not_repeated(node: FakeNode) -> None:
    node.booted(f"{NEW}+1")
    health.record(node.places, "the check required.d/10-vdsm ended with status 1: no")
    tries_used(node, 4)
    node.booted(f"{OLD}+1")
    said = health.boot_good(node.places)
    assert f"{NEW}+1 did not become healthy" in said and "10-vdsm" in said
    assert "trial_entry" not in node.grubenv and node.grubenv["saved_entry"] == f"{OLD}+1"
    facts = checkfacts.gather(node.places)
    groups = check.judge(facts)
    assert "10-vdsm" in check.as_dict(groups)["updates"]["no_fallback"]["reason"]
    assert any("10-vdsm" in line for line in motd.message(facts, groups).lines)
    node.booted(f"{OLD}+1")
    assert "did not become healthy" not in health.boot_good(node.places)
    assert trial.on_trial(entry_options(node, f"{NEW}+1"))


@pytest.mark.parametrize("block", [None, b"", b"garbage" * 200, b"# GRUB Environment Block\n", bytes(1024)])
def test_failures_row_3_a_lost_environment_block_boots_the_good_layer_and_is_mended(
    node: FakeNode, block: object
) -> None:
    path = node.places.boot / "grub/grubenv"
    path.unlink()
    if isinstance(block, bytes):
        path.write_bytes(block)
    found = boot_state(node.places.boot)
    assert (found.sound, found.next, found.pending) == (False, f"{OLD}+1", False)
    node.booted(f"{OLD}+1")
    said = health.boot_good(node.places)
    assert "environment block was lost" in said
    assert path.stat().st_size == 1024 and node.grubenv == {"saved_entry": f"{OLD}+1"}
    assert boot_state(node.places.boot).sound


def test_a_layer_that_was_chosen_by_hand_does_not_become_the_default(node: FakeNode) -> None:
    bootstate.set_default(node.places.boot, f"{OLD}+1")
    node.booted(f"{OLDER}+1")
    health.boot_good(node.places)
    assert node.grubenv["saved_entry"] == f"{OLD}+1"


def test_failures_row_18_foreign_variables_stay_and_a_full_block_does_not_stop_an_update(node: FakeNode) -> None:
    files.write_environment(node.places.boot, "grub", {**node.grubenv, "kernelopts": "x" * 20})
    bootstate.set_default(node.places.boot, f"{OLD}+1")
    assert node.grubenv == {"saved_entry": f"{OLD}+1", "kernelopts": "x" * 20}
    files.write_environment(node.places.boot, "grub", {"saved_entry": "a", "kernelopts": "x" * 900})
    bootstate.start_trial(node.places.boot, f"{NEW}+1", 9, f"{OLD}+1")
    assert node.grubenv["trial_tries"] == "9"


@pytest.mark.parametrize("tries", [0, 10, -1])
def test_tries_that_grub_cannot_count_are_refused(node: FakeNode, tries: int) -> None:
    with pytest.raises(BootError, match="1 to 9"):
        bootstate.start_trial(node.places.boot, f"{NEW}+1", tries, f"{OLD}+1")


def test_failures_row_24_rollback_on_the_oldest_says_so(node: FakeNode) -> None:
    node.booted(f"{OLDER}+1")
    with pytest.raises(NodeError, match=f"{OLDER}\\+1 is the oldest layer"):
        rollback.choose(read(node))


def test_failures_row_15_a_rollback_leads_to_the_layer_that_it_names(node: FakeNode) -> None:
    node.booted(f"{NEW}+1")
    health.boot_good(node.places)
    chosen = rollback.choose(read(node))
    assert chosen.target == f"{OLD}+1"
    rollback.perform(chosen, 3, node.places)
    assert read(node).boot.next == f"{OLD}+1"
    assert node.grubenv == {"saved_entry": f"{OLD}+1"}
    assert node.menu[0] == f"{OLD}+1"
    node.booted(f"{OLD}+1")
    for name in (NEW, f"{NEW}+1"):
        assert rollback.choose(read(node), name).target == f"{NEW}+1"


def test_a_rollback_to_a_layer_that_never_was_good_puts_it_on_trial_again(node: FakeNode) -> None:
    bootstate.set_default(node.places.boot, f"{OLD}+1")
    chosen = rollback.choose(read(node), NEW)
    assert chosen.retry
    rollback.perform(chosen, 2, node.places)
    assert node.grubenv == {"saved_entry": f"{OLD}+1", "trial_entry": f"{NEW}+1", "trial_tries": "2"}


@pytest.mark.parametrize("gone", [f"{OLD}+1", OLD])
def test_a_rollback_to_what_is_not_complete_is_refused(node: FakeNode, gone: str) -> None:
    node.booted(f"{NEW}+1")
    found = node.lvm
    del found["lvs"][gone]
    node.set(**found)
    with pytest.raises(NodeError, match=r"not complete|there is no layer"):
        rollback.choose(read(node), f"{OLD}+1")


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        (OLD, "runs now"),
        (f"{OLD}+1", "runs now"),
        (NEW, "is what the next boot tries"),
        ("node-9-9", "there is no image or layer"),
    ],
)
def test_what_is_needed_to_boot_is_not_removed(node: FakeNode, name: str, reason: str) -> None:
    with pytest.raises(NodeError, match=reason):
        remove.remove_image(read(node), name, node.places)
    assert name == "node-9-9" or name in node.volumes


def test_the_last_good_layer_is_not_removed_while_another_runs(node: FakeNode) -> None:
    bootstate.set_default(node.places.boot, f"{OLD}+1")
    node.booted(f"{OLDER}+1")
    with pytest.raises(NodeError, match="last one that is known to be good"):
        remove.remove_image(read(node), OLD, node.places)


def test_failures_row_28_no_entry_names_a_removed_volume_wherever_removal_is_cut_short(node: FakeNode) -> None:
    bootstate.set_default(node.places.boot, f"{OLD}+1")
    node.set(failing=["lvremove"])
    with pytest.raises(NodeError):
        remove.remove_image(read(node), OLDER, node.places)
    assert f"{OLDER}+1" not in [entry.name for entry in bls.read_all(node.places.boot)]
    assert f"{OLDER}+1" not in node.menu
    node.set(failing=[])
    remove.remove_image(read(node), OLDER, node.places)
    assert OLDER not in node.volumes and f"{OLDER}+1" not in node.volumes


def test_failures_row_27_a_layer_without_image_and_two_products_break_nothing(node: FakeNode) -> None:
    node.add_layer("other-product-1.0-1", 10, [])
    found = node.lvm
    del found["lvs"][OLDER]
    node.set(**found)
    current = read(node)
    assert current.layers[OLDER] == (f"{OLDER}+1",)
    text = listing.as_text(current)
    assert "the image is missing" in text and "other-product-1.0-1" in text
    groups = check.as_dict(check.judge(checkfacts.gather(node.places)))
    assert f"{OLDER}+1 has no image" in groups["images"]["image_of_each_layer"]["reason"]
    remove.remove_image(current, f"{OLDER}+1", node.places)
    assert f"{OLDER}+1" not in node.volumes


def test_failures_row_26_no_volume_group_is_no_ok(node: FakeNode) -> None:
    node.set(vg="elsewhere")
    groups = check.judge(checkfacts.gather(node.places))
    data = check.as_dict(groups)
    assert data["status"] == "bad"
    for key in ("initialized_vg", "initialized_thin_pool", "initialized_lvs"):
        assert data["basic_storage"][key] == {
            "status": "failed",
            "reason": "there is no volume group onn. Is its disk connected? 'pvs' lists what is seen.",
        }


def mend(node: FakeNode) -> None:
    """A node that has nothing to complain of, as far as the stand-ins tell."""
    digest = list(lvm.digest_tags("0" * 64, 4096))
    found = node.lvm
    for one in found["lvs"].values():
        one["tags"] += digest if lvm.TAG_BASE in one["tags"] else []
    node.set(**found)


def test_check_has_imgbaseds_keys_and_is_ok(node: FakeNode) -> None:
    mend(node)
    data = check.as_dict(check.judge(checkfacts.gather(node.places)))
    assert data["status"] == "ok", data
    assert {"bootloader", "mount_points", "basic_storage", "thin_storage", "vdsmd"} <= data.keys()
    assert data["mount_points"] == {
        "status": "ok",
        "separate_var": {"status": "ok"},
        "discard_is_used": {"status": "ok"},
    }
    assert data["vdsmd"] == {"status": "ok"}


@pytest.mark.parametrize(
    ("values", "group", "key", "reason", "overall"),
    [
        ({"metadata_percent": 85.0}, "thin_storage", POOL_SPACE, "metadata of pool00 is 85 %", "bad"),
        ({"data_percent": 81.0}, "thin_storage", POOL_SPACE, "data of pool00 is 81 %", "bad"),
        ({"tags": []}, "basic_storage", "initialized_vg", "not tagged as a node's", "bad"),
    ],
)
def test_failures_row_10_check_names_what_runs_full(
    node: FakeNode, values: dict[str, object], group: str, key: str, reason: str, overall: str
) -> None:
    mend(node)
    node.set(**values)
    data = check.as_dict(check.judge(checkfacts.gather(node.places)))
    assert reason in data[group][key]["reason"]
    assert data["status"] == overall


def test_failures_row_19_a_thin_volume_without_discard_is_named(node: FakeNode) -> None:
    mend(node)
    found = node.lvm
    found["lvs"]["var"] = {"kind": "thin", "size": 1, "tags": [], "pool": "pool00", "readonly": False, "created": 1}
    for mount in found["mounts"]:
        mount["options"] = "rw" if mount["target"] == "/var" else mount["options"]
    node.set(**found)
    data = check.as_dict(check.judge(checkfacts.gather(node.places)))
    assert data["mount_points"]["discard_is_used"]["reason"].startswith("/var is mounted without 'discard'")
    assert data["status"] == "bad"


def write_check(node: FakeNode, name: str, text: str, mode: int = 0o755) -> None:
    path = node.places.live / health.FOLDER / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(mode)


def test_required_checks_decide_and_wanted_ones_tell(node: FakeNode) -> None:
    assert health.healthy(health.run_checks(node.places.live))
    write_check(node, "wanted.d/10-soft", "echo soft; exit 3")
    write_check(node, "required.d/20-late", "exit 0")
    write_check(node, "required.d/05-not-executable", "exit 1", 0o644)
    write_check(node, "required.d/06-backup~", "exit 1")
    results = health.run_checks(node.places.live)
    assert [(one.name, one.status) for one in results] == [("required.d/20-late", 0), ("wanted.d/10-soft", 3)]
    assert health.healthy(results)
    write_check(node, "required.d/10-hard", "echo no way >&2; exit 1")
    results = health.run_checks(node.places.live)
    assert not health.healthy(results)
    assert health.describe(results[0]) == "the check required.d/10-hard ended with status 1: no way"
    assert results[1].ok


def test_a_check_that_hangs_or_cannot_start_has_failed(node: FakeNode) -> None:
    write_check(node, "required.d/10-hang", "sleep 60")
    write_check(node, "required.d/20-broken", "")
    (node.places.live / health.FOLDER / "required.d/20-broken").write_text("#!/no/such/interpreter\n")
    found = health.run_checks(node.places.live, limit=0.2)
    assert [one.status for one in found] == [-1, -1]
    assert "no answer within 0.2 s" in found[0].output


def test_a_check_that_leaves_something_in_the_background_has_passed(node: FakeNode) -> None:
    left = node.places.live.parent / "left"
    write_check(node, "required.d/10-daemon", f"echo fine; sleep 60 & echo $! > {left}; exit 0")
    found = health.run_checks(node.places.live, limit=10)
    os.kill(int(left.read_text()), signal.SIGKILL)
    assert [(one.status, one.output) for one in found] == [(0, "fine")]


def test_a_check_that_hangs_ends_with_all_that_it_started(node: FakeNode) -> None:
    fifo = node.places.live.parent / "fifo"
    os.mkfifo(fifo)
    reader = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
    write_check(node, "required.d/10-hang", f"exec 3> {fifo}; sleep 60 & wait")
    assert health.run_checks(node.places.live, limit=1)[0].status == -1
    # Nobody holds the other end any more.
    waiting = select.poll()
    waiting.register(reader, select.POLLIN)
    assert waiting.poll(10_000) == [(reader, select.POLLHUP)]
    os.close(reader)


def test_of_a_talkative_check_the_end_is_kept(node: FakeNode) -> None:
    write_check(node, "required.d/10-talk", "head -c 100000 /dev/zero | tr '\\0' x; echo; echo the end; exit 1")
    output = health.run_checks(node.places.live)[0].output
    assert output.endswith("x / the end") and len(output) < health.TAIL + 10


def test_rollback_shows_what_of_etc_is_otherwise(tmp_path: Path) -> None:
    live, other = tmp_path / "live", tmp_path / "other"
    for top in (live, other):
        for folder in ("same", "mode", "attributes"):
            (top / folder).mkdir(parents=True)
            (top / folder / "file").write_text("same")
        (top / "link").symlink_to("same" if top == live else "mode")
        (top / "content").write_text("live!" if top == live else "other")
    (live / "mode").chmod(0o700)
    (live / "attributes/file").chmod(0o755)
    (live / "new/empty").mkdir(parents=True)
    (live / "to-folder").symlink_to("same")
    (other / "deleted").mkdir()
    (other / "kind").mkdir()
    (live / "kind").write_text("file")
    (live / os.fsdecode(b"odd\xff\n")).touch()
    (live / "lvm/backup").mkdir(parents=True)
    (other / "lvm").mkdir()
    (live / "lvm/backup/onn").write_text("noise")
    assert rollback.differences(live, other) == sorted(
        [
            "attributes/file",
            "content",
            "deleted",
            "kind",
            "link",
            "mode",
            "new",
            "new/empty",
            "odd\\xff\\n",
            "to-folder",
        ]
    )
    other.chmod(0o700)
    assert "." in rollback.differences(live, other)


@pytest.mark.parametrize(("written", "default"), [("2", "new"), ("3", "good"), ("", "good")])
def test_a_block_that_grub_cannot_write_ends_the_trial(written: str, default: str) -> None:
    """Run the counting part of grub.cfg in a shell in which load_env says what is in the block after save_env."""
    script = grubcfg.render_config(1, "")
    counting = script[: script.index("set timeout=")]
    body = "\n".join(line.replace("set ", "export ", 1) for line in counting.splitlines())
    commands = 'insmod() { :; }; save_env() { :; }; load_env() { [ -z "$1" ] || trial_tries=$WRITTEN; }\n'
    variables = {"prefix": "/nowhere", "saved_entry": "good", "trial_entry": "new", "trial_tries": "3"}
    done = subprocess.run(
        ["bash", "-c", f"{commands}{body}\necho $default"],
        env={**variables, "WRITTEN": written},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split()[-1] == default


def test_addresses_of_the_console() -> None:
    text = """[{"ifname":"lo","addr_info":[{"local":"127.0.0.1","scope":"host"}]},
      {"ifname":"virbr0","addr_info":[{"local":"192.168.122.1","scope":"global"}]},
      {"ifname":"ovirtmgmt","addr_info":[{"local":"10.0.0.5","scope":"global"},{"local":"fe80::1","scope":"link"},
       {"local":"2001:db8::5","scope":"global"}]}]"""
    assert motd.addresses(text) == ["10.0.0.5", "2001:db8::5"]
    assert motd.banner(motd.addresses(text)) == "Admin Console: https://10.0.0.5:9090/ or https://[2001:db8::5]:9090/"
    with pytest.raises(NodeError):
        motd.addresses("nonsense")


def fake_systemctl(node: FakeNode, printed: str) -> None:
    path = node.home / "bin/systemctl"
    path.write_text(f"#!/bin/sh\nprintf '{printed}'\n")
    path.chmod(0o755)


def test_a_failed_boot_leaves_its_reason_for_the_layer_that_runs_instead(node: FakeNode) -> None:
    node.booted(f"{NEW}+1")
    fake_systemctl(node, "sshd.service loaded failed failed OpenSSH\\n")
    assert health.boot_bad(node.places) == "units failed: sshd.service"
    tries_used(node, 4)
    node.booted(f"{OLD}+1")
    assert "units failed: sshd.service" in health.boot_good(node.places)


def test_the_health_checks_reason_is_not_replaced_by_a_vaguer_one(node: FakeNode) -> None:
    node.booted(f"{NEW}+1")
    fake_systemctl(node, "ovirt-node-health.service loaded failed failed x\\n")
    health.record(node.places, "the check required.d/10-no ended with status 1: no")
    assert "10-no" in health.boot_bad(node.places)


def test_the_reason_of_an_earlier_fallback_is_not_taken_for_this_one(node: FakeNode) -> None:
    node.booted(f"{OLDER}+1")
    health.record(node.places, "an old reason")
    tries_used(node, 4)
    node.booted(f"{OLD}+1")
    assert "an old reason" not in health.boot_good(node.places)

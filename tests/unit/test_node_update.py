"""An update from its first step to its last: run, killed, cancelled, refused, and run again."""

from __future__ import annotations

import hashlib
import json
import os
import pickle
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from org_ovirt_node.boot import bls, cpio, trial
from org_ovirt_node.errors import BootError, Interrupted, NodeError, StorageError
from org_ovirt_node.kickstart.model import NodeSection
from org_ovirt_node.mounts import mounted
from org_ovirt_node.node import journal, lvm, packages, survey, update_run
from org_ovirt_node.node.layers import state
from org_ovirt_node.node.merge.execute import Outcome
from org_ovirt_node.node.merge.execute import execute as execute_merge
from org_ovirt_node.node.places import Places
from org_ovirt_node.node.update import Request, Update
from org_ovirt_node.node.update_run import STEPS
from org_ovirt_node.payload.verity import append_tree
from org_ovirt_node.progress import Silent
from org_ovirt_node.run import run as run_program
from org_ovirt_node.steps import Step
from tests.support.fakenode import KERNEL, MIB, NEW, OLD, VG, FakeNode, squash, updatable
from tests.support.fakenode import update_request as request
from tests.support.webserver import serving

NAMES = [step.name for step in STEPS]
COMMITTED = NAMES.index("trial")


@pytest.fixture
def node(memory: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeNode]:
    with updatable(memory / "node", monkeypatch) as made:
        yield made


def run(node: FakeNode, **more: object) -> Update:
    return update_run.update(request(node, **more), Silent(), node.places)


def assert_untouched(node: FakeNode) -> None:
    """The node boots what it booted before, and nothing of the update is there."""
    assert node.grubenv["saved_entry"] == f"{OLD}+1"
    assert "trial_entry" not in node.grubenv
    assert node.menu == [f"{OLD}+1"]
    assert sorted(node.volumes) == sorted(["pool00", OLD, f"{OLD}+1"])
    assert not (node.places.boot / f"{NEW}+1").exists()
    assert not (node.places.live / "var/lib/new").exists()


def layer_root(node: FakeNode, name: str, layer: str = f"{NEW}+1") -> Path:
    return node.places.dev / VG / layer


def read_layer(node: FakeNode, path: str) -> str:
    """A file of the new layer's upper side."""
    with mounted(str(node.places.dev / VG / f"{NEW}+1"), node.home / "peek", fstype="ext4") as base:
        return (base / "upper" / path).read_text()


def test_an_update_makes_image_and_layer_and_puts_them_on_trial(node: FakeNode) -> None:
    done = run(node)
    assert list(done.seconds) == NAMES
    assert node.grubenv == {"saved_entry": f"{OLD}+1", "trial_entry": f"{NEW}+1", "trial_tries": "3"}
    image = node.volumes[NEW]
    data = (node.home / "new.squashfs").read_bytes()
    assert (node.places.dev / VG / NEW).read_bytes()[: len(data)] == data
    assert image == [lvm.TAG_BASE, *lvm.digest_tags(hashlib.sha256(data).hexdigest(), len(data))]
    assert node.lvm["lvs"][NEW]["readonly"]
    assert node.volumes[f"{NEW}+1"] == [lvm.TAG_LAYER]
    assert (node.places.boot / f"{NEW}+1/vmlinuz").read_bytes() == NEW.encode()
    last = journal.load(node.places.state)
    assert last is not None and last.finished and last.done == NAMES[1:]


def test_a_new_layer_whose_image_has_a_hash_tree_boots_through_it(node: FakeNode) -> None:
    tree = append_tree(node.home / "new.squashfs")
    run(node)
    entry = bls.read_all(node.places.boot)
    options = next(one.options for one in entry if one.name == f"{NEW}+1").split()
    assert f"ovirt_node.roothash={tree.roothash}" in options
    assert f"ovirt_node.hashoffset={tree.hash_offset}" in options


def test_failures_row_3_the_last_good_layer_stays_the_first_entry(node: FakeNode) -> None:
    run(node)
    assert node.menu == [f"{OLD}+1", f"{NEW}+1"]


def test_failures_row_6_etc_is_merged_and_conflicts_are_reported(node: FakeNode) -> None:
    done = run(node)
    assert read_layer(node, "etc/list") == "a, mine\nb\nc\nd\ne, new\n"
    assert read_layer(node, "etc/motd") == "mine\n"
    assert [one["path"] for one in done.journal.conflicts] == ["/etc/motd"]
    beside = done.journal.conflicts[0]["beside"]
    assert read_layer(node, beside.lstrip("/")) == "new\n"


def test_failures_row_6_a_path_is_shown_so_that_a_line_is_one_line(node: FakeNode) -> None:
    name = "two\nlines"
    for folder, text in (("run/image/usr/lib/ovirt-node/etc", "old"), ("live/etc", "mine"), ("new/etc", "new")):
        (node.home / folder / name).write_text(text)
    (node.home / "new/usr/lib/ovirt-node/etc" / name).write_text("new")
    (node.home / "new.squashfs").unlink()
    squash(node.home / "new", node.home / "new.squashfs")
    conflicts = run(node).journal.conflicts
    assert [one["path"] for one in conflicts] == ["/etc/motd", "/etc/two\\nlines"]
    assert conflicts[1]["beside"].startswith("/etc/two\\nlines.")


def test_failures_row_18_a_refused_label_is_in_the_journal(node: FakeNode, monkeypatch: pytest.MonkeyPatch) -> None:
    def execute(*arguments: Any, **more: Any) -> Outcome:
        return replace(execute_merge(*arguments, **more), unlabelled=["list"], left=["old.d"])

    monkeypatch.setattr("org_ovirt_node.node.etcmerge.execute", execute)
    _, label, folder = run(node).journal.conflicts
    assert label["path"] == "/etc/list" and "restorecon /etc/list" in label["text"]
    assert folder["path"] == "/etc/old.d" and "it stays" in folder["text"]


def test_failures_row_20_kernel_arguments_keep_their_order_and_old_image_ones_go(node: FakeNode) -> None:
    run(node)
    entry = next(entry for entry in bls.read_all(node.places.boot) if entry.name == f"{NEW}+1")
    words = trial.without_trial(entry.options).split()
    assert words[-4:] == ["console=tty0", "new_image=1", "user=second", "user=first"]
    assert "old_image=1" not in words
    assert f"ovirt_node.layer={NEW}+1" in words
    assert trial.on_trial(entry.options)


@pytest.mark.parametrize("zeroes", [True, False])
def test_the_journal_of_a_layer_is_written_only_where_old_data_could_be_in_it(
    node: FakeNode, monkeypatch: pytest.MonkeyPatch, zeroes: bool
) -> None:
    node.set(zeroes=zeroes)
    calls: list[list[str]] = []

    def noted(argv: list[str], **more: Any) -> Any:
        calls.append([str(word) for word in argv])
        return run_program(argv, **more)

    monkeypatch.setattr("org_ovirt_node.node.update.run", noted)
    run(node)
    (made,) = [call for call in calls if call[0].startswith("mkfs.")]
    assert ("lazy_journal_init=1" in made) == zeroes


def test_what_the_image_brings_for_shared_volumes_is_added_and_nothing_overwritten(node: FakeNode) -> None:
    done = run(node)
    live = node.places.live / "var"
    assert (live / "lib/new/state").read_text() == "new\n"
    assert (live / "log/new").read_text() == "new\n"
    assert (live / "lib/old").read_text() == "old\n"
    assert list(done.journal.added) == ["var/lib/new", "var/lib/new/state", "var/log/new"]


def test_roots_home_goes_along_and_other_paths_when_they_are_kept(node: FakeNode) -> None:
    (node.places.live / "opt/tool").mkdir(parents=True)
    (node.places.live / "opt/tool/file").write_text("tool")
    run(node, keep=("/opt/tool",))
    assert read_layer(node, "root/mine") == "mine\n"
    assert read_layer(node, "opt/tool/file") == "tool"


def test_failures_row_5_what_lies_on_root_is_named_beforehand_and_can_be_kept(node: FakeNode) -> None:
    from org_ovirt_node.node import updateplan

    for folder in (node.places.upper, node.places.live):
        (folder / "data/images").mkdir(parents=True)
        (folder / "data/images/disk").write_text("a guest's disk")
    asked = request(node)
    plan = updateplan.as_dict(update_run.only_plan(asked, Silent(), node.places), asked)
    assert "/data/images/disk" in [one["path"] for one in plan["left_behind"]]
    assert "/data/images/disk" in updateplan.as_text(plan)
    asked = request(node, keep=("/data",))
    plan = updateplan.as_dict(update_run.only_plan(asked, Silent(), node.places), asked)
    assert "/data/images/disk" in plan["kept"] and not plan["left_behind"]
    run(node, keep=("/data",))
    assert read_layer(node, "data/images/disk") == "a guest's disk"


def test_failures_row_13_a_kernel_of_the_users_own_stays_in_the_menu(node: FakeNode) -> None:
    boot = node.places.boot
    (boot / "vmlinuz-own").write_bytes(b"own")
    own = bls.layer_entry(f"{OLD}+1", OLD, "6.0-own", "root=ovirt-node own=1", "0" * 32)
    text = own.render().replace(own.linux, "/vmlinuz-own")
    bls.entry_path(boot, "own").write_text(text)
    run(node)
    assert (boot / "vmlinuz-own").read_bytes() == b"own"
    assert bls.entry_path(boot, "own").read_text() == text
    assert "linux /vmlinuz-own" in (boot / "grub/entries.cfg").read_text()


def test_failures_row_16_the_kernels_checksum_goes_to_boot_for_fips_mode(node: FakeNode) -> None:
    digest = "0123abcd"
    modules = node.home / "new/usr/lib/modules" / KERNEL
    (modules / ".vmlinuz.hmac").write_text(f"{digest}  vmlinuz-{KERNEL}\n")
    (node.home / "new.squashfs").unlink()
    squash(node.home / "new", node.home / "new.squashfs")
    run(node)
    # fipscheck and sha512hmac read "DIGEST  FILE", with the file beside it.
    assert (node.places.boot / f"{NEW}+1/.vmlinuz.hmac").read_text() == f"{digest}  vmlinuz\n"


def test_the_host_initrd_has_this_hosts_files(node: FakeNode) -> None:
    run(node)
    found = cpio.read_host_initrd((node.places.boot / f"{NEW}+1/host.img").read_bytes())
    assert found["/etc/lvm/devices/system.devices"].content.startswith(b"IDTYPE=")
    assert (node.places.boot / f"{NEW}+1/host.img").stat().st_mode & 0o777 == 0o600


class Killed(BaseException):
    """Stands for SIGKILL: no handler of the program sees it, and the mounts go as they do with the machine."""


def killed(node: FakeNode, where: str, name: str) -> None:
    """Run the update up to ``step``, and kill it before or after that."""

    def deadly(step: Step[Update]) -> Step[Update]:
        def act(update: Update) -> None:
            if where == "after":
                step.action(update)
            raise Killed

        return Step(step.name, step.text, act)

    steps = tuple(deadly(step) if step.name == name else step for step in STEPS)
    with ExitStack() as stack, pytest.raises(Killed):
        update_run.run_steps(Update(request(node), Silent(), stack, node.places), steps)


KILLER = """
import os, pickle, signal, sys
from pathlib import Path
from org_ovirt_node.node import update_run
from org_ovirt_node.steps import Step
from tests.support.fakenode import FakeNode
from tests.unit import test_node_update as tests
def kill(update):
    os.kill(os.getpid(), signal.SIGKILL)
node = FakeNode(Path(sys.argv[1]), pickle.loads(bytes.fromhex(sys.argv[2])))
steps = [s if s.name != "carry" else Step(s.name, s.text, kill) for s in update_run.STEPS]
update_run.run_steps.__defaults__ = (tuple(steps),)
tests.run(node)
"""


@pytest.mark.parametrize("then", ["update", "cancel"])
def test_what_a_killed_process_left_mounted_is_released(node: FakeNode, then: str) -> None:
    arguments = [str(node.home), pickle.dumps(node.places).hex()]
    project = Path(__file__).resolve().parents[2]
    environment = {**os.environ, "PYTHONPATH": str(project)}
    done = subprocess.run([sys.executable, "-c", KILLER, *arguments], capture_output=True, text=True, env=environment)
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert str(node.places.work) in Path("/proc/self/mountinfo").read_text()
    if then == "update":
        run(node)
        assert node.grubenv["trial_entry"] == f"{NEW}+1"
    else:
        update_run.cancel(Silent(), node.places)
        assert_untouched(node)


@pytest.mark.parametrize("where", ["before", "after"])
@pytest.mark.parametrize("step", NAMES)
def test_failures_row_4_a_killed_update_can_be_run_again(node: FakeNode, step: str, where: str) -> None:
    killed(node, where, step)
    number = NAMES.index(step)
    found = state(VG, node.places.boot, node.places.cmdline)
    # Bootable as before: GRUB's default is the running layer, and its files and volumes are there.
    assert found.boot.good == f"{OLD}+1"
    assert {OLD, f"{OLD}+1"} <= set(node.volumes)
    assert (node.places.boot / f"{OLD}+1/vmlinuz").read_bytes() == b"kernel"
    committed = number > COMMITTED or (number == COMMITTED and where == "after")
    assert found.boot.pending == committed
    if committed:
        with pytest.raises(NodeError, match=f"an update to {NEW}\\+1 awaits its reboot"):
            run(node)
        return
    run(node)
    assert node.grubenv["trial_entry"] == f"{NEW}+1"
    assert all(lvm.TAG_INCOMPLETE not in tags for tags in node.volumes.values())


@pytest.mark.parametrize("step", NAMES)
def test_an_update_killed_after_any_step_can_be_cancelled(node: FakeNode, step: str) -> None:
    killed(node, "after", step)
    made_nothing = NAMES.index(step) < NAMES.index("image")
    if made_nothing:
        with pytest.raises(NodeError, match="no update to cancel"):
            update_run.cancel(Silent(), node.places)
    else:
        update_run.cancel(Silent(), node.places)
    assert_untouched(node)


def test_an_image_that_was_read_back_is_not_written_twice(node: FakeNode) -> None:
    killed(node, "after", "merge")
    before = len([call for call in node.calls if call.startswith("lvcreate")])
    done = run(node)
    assert done.reused
    made = [call for call in node.calls if call.startswith("lvcreate")][before:]
    assert len(made) == 1 and f"--name {NEW}+1" in made[0]


def test_an_image_whose_digest_is_not_asked_for_is_written_again(node: FakeNode) -> None:
    killed(node, "after", "merge")
    section = NodeSection(images=(f"file://{node.home}/new.squashfs",), nosignature=True)
    assert not update_run.update(Request(section, inhibit=False), Silent(), node.places).reused


def fail_at(monkeypatch: pytest.MonkeyPatch, name: str, error: BaseException) -> None:
    """Let the step ``name`` do its work and then fail."""

    def failing(step: Step[Update]) -> Step[Update]:
        def act(update: Update) -> None:
            step.action(update)
            raise error

        return Step(step.name, step.text, act)

    steps = tuple(failing(step) if step.name == name else step for step in STEPS)
    monkeypatch.setattr(update_run, "STEPS", steps)
    original = update_run.run_steps
    monkeypatch.setattr(update_run, "run_steps", lambda doing: original(doing, steps))


@pytest.mark.parametrize("error", [StorageError("no space"), KeyboardInterrupt()])
@pytest.mark.parametrize("step", NAMES[: COMMITTED + 1])
def test_failures_rows_25_and_28_a_failure_late_or_early_leaves_the_node_as_it_was(
    node: FakeNode, monkeypatch: pytest.MonkeyPatch, step: str, error: BaseException
) -> None:
    with monkeypatch.context() as patch:
        fail_at(patch, step, error)
        with pytest.raises(Interrupted if not isinstance(error, NodeError) else type(error)):
            run(node)
    assert_untouched(node)
    run(node)
    assert node.grubenv["trial_entry"] == f"{NEW}+1"


def test_failures_row_25_an_image_that_is_cut_short_is_refused(node: FakeNode) -> None:
    image = node.home / "new.squashfs"
    wanted = request(node)
    os.truncate(image, image.stat().st_size - 4096)
    with pytest.raises(NodeError):
        update_run.update(wanted, Silent(), node.places)
    assert_untouched(node)


def test_failures_row_1_a_new_layer_whose_root_is_not_reachable_never_becomes_default(node: FakeNode) -> None:
    node.set(pv_uuid="ZZZZZZ-1234-5678-9abc-def0-1234-GhIjKl")
    with pytest.raises(BootError, match="does not name /dev/vda3"):
        run(node)
    assert_untouched(node)


def test_a_second_update_before_the_reboot_is_refused(node: FakeNode) -> None:
    run(node)
    with pytest.raises(NodeError, match="awaits its reboot"):
        run(node)


def test_an_update_to_the_installed_image_is_refused(node: FakeNode) -> None:
    run(node)
    update_run.cancel(Silent(), node.places)
    run(node)
    node.booted(f"{NEW}+1")
    with pytest.raises(NodeError, match="on trial and not marked good"):
        run(node)


def test_failures_row_2_no_room_on_boot_is_known_before_the_first_write(
    node: FakeNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    from org_ovirt_node.node import survey

    monkeypatch.setattr(survey, "free_bytes", lambda folder: MIB)
    with pytest.raises(NodeError, match=r"/boot has no room .*: .* are needed, 1.0 MiB are free, .* are missing"):
        run(node)
    assert not [call for call in node.calls if call.split()[0] in ("lvcreate", "lvremove", "lvchange")]
    assert_untouched(node)


def test_no_room_in_the_volume_group_is_known_before_the_first_write(node: FakeNode) -> None:
    node.set(size=204 * MIB)
    with pytest.raises(
        NodeError, match=r"volume group onn has no room for the image: 4.0 MiB are needed, 0 B are free"
    ):
        run(node)
    assert_untouched(node)


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"data_percent": 99.0}, r"the thin pool pool00 has no room for the layer: .* 2.0 MiB are free"),
        ({"metadata_percent": 95.0}, r"metadata of the thin pool pool00 is 95 % full.*lvextend --poolmetadatasize"),
    ],
)
def test_failures_row_10_a_full_pool_is_known_before_the_first_write(
    node: FakeNode, values: dict[str, float], said: str
) -> None:
    node.set(**values)
    with pytest.raises(NodeError, match=said):
        run(node)
    assert_untouched(node)


def test_a_missing_shared_volume_is_named(node: FakeNode) -> None:
    node.set(mounts=[one for one in node.lvm["mounts"] if one["target"] != "/var"])
    with pytest.raises(NodeError, match="/var is no separate volume"):
        run(node)


def test_two_updates_at_a_time_are_refused(node: FakeNode) -> None:
    from org_ovirt_node.node import lock

    with lock.locked("another", node.places.lock), pytest.raises(NodeError, match=f"process {os.getpid()}"):
        run(node)


def test_the_oldest_image_goes_only_when_there_is_no_room_beside_it(node: FakeNode) -> None:
    node.add_layer("node-0.9-1", 50, [])
    node.set(size=212 * MIB)
    run(node)
    assert "node-0.9-1" in node.volumes, "there were 4 MiB free"
    update_run.cancel(Silent(), node.places)
    node.set(size=208 * MIB)
    run(node)
    assert "node-0.9-1" not in node.volumes
    assert node.menu == [f"{OLD}+1", f"{NEW}+1"]


def test_failures_row_15_images_beyond_the_slots_go_at_the_end_the_oldest_first(node: FakeNode) -> None:
    for number, created in ((7, 70), (8, 60), (9, 90)):
        node.add_layer(f"node-0.{number}-1", created, [])
    run(node)
    assert [name for name in node.volumes if name.startswith("node-0") and "+" not in name] == ["node-0.9-1"]
    assert {OLD, NEW} <= set(node.volumes)


def test_failures_row_29_a_kernel_that_the_running_layer_uses_is_not_removed(node: FakeNode) -> None:
    for number, created in ((7, 70), (8, 60), (9, 90)):
        node.add_layer(f"node-0.{number}-1", created, [])
    path = bls.entry_path(node.places.boot, f"{OLD}+1")
    path.write_text(path.read_text().replace(f"linux /{OLD}+1/", "linux /node-0.8-1+1/"))
    run(node)
    assert (node.places.boot / "node-0.8-1+1/vmlinuz").exists()
    assert "node-0.8-1" in node.volumes and "node-0.7-1" not in node.volumes


def test_cancelling_a_pending_update_takes_everything_back(node: FakeNode) -> None:
    run(node)
    assert "undone" in update_run.cancel(Silent(), node.places)
    assert_untouched(node)
    with pytest.raises(NodeError, match="no update to cancel"):
        update_run.cancel(Silent(), node.places)


def test_what_an_update_added_and_a_user_changed_stays(node: FakeNode) -> None:
    run(node)
    (node.places.live / "var/log/new").write_text("changed by a user\n")
    update_run.cancel(Silent(), node.places)
    assert (node.places.live / "var/log/new").read_text() == "changed by a user\n"


def test_what_kept_packages_put_on_var_is_taken_back(node: FakeNode, monkeypatch: pytest.MonkeyPatch) -> None:
    package = packages.Package("tool.deb", "tool", "1", 1)

    def install(_packages: object, _places: object, root: Path) -> list[str]:
        (root / "var/lib/tool").mkdir(parents=True)
        for name in ("state", "used"):
            (root / "var/lib/tool" / name).write_text("new\n")
        return []

    monkeypatch.setattr(packages, "kept", lambda _places: (package,))
    monkeypatch.setattr(packages, "install", install)
    run(node)
    state = node.places.live / "var/lib/tool"
    assert (state / "state").read_text() == "new\n"
    (state / "used").write_text("by its service\n")
    update_run.cancel(Silent(), node.places)
    assert [path.name for path in state.iterdir()] == ["used"]


def test_what_a_killed_update_put_on_var_is_taken_back_before_another_image_comes(node: FakeNode) -> None:
    place = node.places.live / "var/lib/first"
    place.write_text("of the first image\n")
    status = place.lstat()
    mark = [status.st_mode, status.st_size, status.st_mtime_ns]
    journal.save(journal.Journal("first-1-1", added={"var/lib/first": mark}), node.places.state)
    run(node)
    assert not place.exists()


def test_the_running_layer_is_never_taken_for_a_leftover(node: FakeNode) -> None:
    run(node)
    current = node.lvm
    for name in (NEW, f"{NEW}+1"):
        current["lvs"][name]["tags"].append(lvm.TAG_INCOMPLETE)
    node.set(**current)
    node.booted(f"{NEW}+1")
    with pytest.raises(NodeError, match="runs already"):
        update_run.cancel(Silent(), node.places)
    assert NEW in node.volumes


def test_a_plan_shows_any_name_on_one_line_of_plain_text(node: FakeNode) -> None:
    from org_ovirt_node.node import updateplan

    for folder in (node.places.upper, node.places.live):
        (folder / "opt").mkdir(parents=True, exist_ok=True)
        (folder / os.fsdecode(b"opt/\xff\nodd")).write_text("x")
    for keep in ((), ("/opt",)):
        asked = request(node, keep=keep)
        plan = updateplan.as_dict(update_run.only_plan(asked, Silent(), node.places), asked)
        assert r"/opt/\xff\nodd" in [*plan["kept"], *(one["path"] for one in plan["left_behind"])]
        assert r"/opt/\xff\nodd" in updateplan.as_text(plan).encode("utf-8").decode("utf-8")


def test_a_plan_says_everything_and_changes_nothing(node: FakeNode) -> None:
    from org_ovirt_node.node import updateplan

    before = {path: path.stat().st_mtime_ns for path in node.home.rglob("*") if "work" not in path.parts}
    asked = request(node)
    plan = updateplan.as_dict(update_run.only_plan(asked, Silent(), node.places), asked)
    assert plan["possible"] and plan["image"] == NEW
    assert [one["path"] for one in plan["etc"]["conflicts"]] == ["/etc/motd"]
    assert plan["bytes"]["image"] == (node.home / "new.squashfs").stat().st_size
    assert json.loads(json.dumps(plan)) == plan
    assert "It can start." in updateplan.as_text(plan)
    after = {path: path.stat().st_mtime_ns for path in node.home.rglob("*") if "work" not in path.parts}
    changed = {path for path in after if before.get(path) != after[path]} | (before.keys() - after.keys())
    assert {path.name for path in changed} <= {"calls.log", "node"}


@pytest.mark.parametrize("room", [True, False])
def test_a_plan_looks_into_an_image_on_a_server_where_there_is_room(
    node: FakeNode, monkeypatch: pytest.MonkeyPatch, room: bool
) -> None:
    from org_ovirt_node.node import updateplan

    if not room:
        monkeypatch.setattr(survey, "FETCH_MARGIN", 1 << 60)
    data = (node.home / "new.squashfs").read_bytes()
    with serving(data) as server:
        section = NodeSection(images=(f"{server.url}/{NEW}.squashfs",), sha256=hashlib.sha256(data).hexdigest())
        asked = Request(section, inhibit=False)
        plan = updateplan.as_dict(update_run.only_plan(asked, Silent(), node.places), asked)
    assert plan["image"] == NEW
    assert plan["etc"]["known"] == plan["bytes"]["boot_exact"] == room
    assert [one["path"] for one in plan["etc"]["conflicts"]] == (["/etc/motd"] if room else [])
    assert ("conflicts are not known" in updateplan.as_text(plan)) == (not room)
    assert not list(node.places.temporary.glob("ovirt-node-*")), "a copy is left"


def test_places_are_the_real_ones_by_default() -> None:
    assert Places().boot == Path("/boot") and Places().dev == Path("/dev")

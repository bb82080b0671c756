"""The parts of an update by themselves: reports, room, preflight, what goes along."""

from __future__ import annotations

import errno
import json
import os
from dataclasses import replace
from pathlib import Path
from typing import NoReturn

import pytest
from hypothesis import given
from hypothesis import strategies as st

from org_ovirt_node.boot import bls
from org_ovirt_node.errors import NodeError, StorageError
from org_ovirt_node.node import carry, copying, journal, lvm, mounted, preflight, room, shared, survey, upper
from org_ovirt_node.node.merge.model import IdMap
from org_ovirt_node.node.places import Places
from org_ovirt_node.node.preflight import MIB, Facts, Pool
from org_ovirt_node.node.room import ImageUse

ROW = {
    "lv_name": "node-1-1",
    "vg_name": "onn",
    "lv_size": "4194304B",
    "lv_attr": "-ri-a-----",
    "lv_tags": "imgbased:base,ovirt-node:sha256=abc,ovirt-node:size=4000000",
    "pool_lv": "",
    "origin": "",
    "data_percent": "",
    "metadata_percent": "",
    "lv_path": "/dev/onn/node-1-1",
    "lv_active": "active",
    "lv_time": "1767225600",
    "lv_metadata_size": "",
}


def test_a_volume_of_lvms_report() -> None:
    found = lvm.parse_volume(ROW)
    assert (found.sha256, found.content_size, found.created, found.readonly) == ("abc", 4000000, 1767225600, True)
    assert not found.incomplete
    assert lvm.parse_volume({**ROW, "lv_tags": "ovirt-node:incomplete"}).incomplete


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"report": 1}', '{"report": [{"lv": [{"lv_name": 1}]}]}', "null"])
def test_a_report_of_another_form_is_an_error(text: str) -> None:
    try:
        assert lvm.parse_rows(text, "lv") == []
    except StorageError as exc:
        assert "report" in str(exc)


def test_findmnts_report_and_what_is_shared() -> None:
    text = json.dumps(
        {
            "filesystems": [
                {
                    "target": "/",
                    "source": "ovirt-node",
                    "fstype": "overlay",
                    "options": "rw",
                    "children": [
                        {"target": "/var", "source": "/dev/mapper/onn-var", "fstype": "ext4", "options": "rw,discard"},
                        {"target": "/boot", "source": "/dev/vda2", "fstype": "ext4", "options": "rw"},
                        {
                            "target": "/run/ovirt-node/layer",
                            "source": "/dev/mapper/onn-n",
                            "fstype": "ext4",
                            "options": "",
                        },
                        {"target": "/x", "source": "/dev/mapper/onn--2-x", "fstype": "ext4", "options": "rw"},
                    ],
                }
            ]
        }
    )
    found = mounted.parse(text)
    assert [one.target for one in mounted.of_group(found, "onn")] == ["/var"]
    assert [one.target for one in mounted.of_group(found, "onn-2")] == ["/x"]
    with pytest.raises(StorageError):
        mounted.parse("[]")


IMAGES = tuple(ImageUse(f"n-{number}", (f"n-{number}+1",), number, 10) for number in (3, 1, 2, 4))


def entry(name: str, kernel_of: str) -> bls.Entry:
    return replace(bls.layer_entry(name, name, "6", "", ""), linux=f"/{kernel_of}/vmlinuz")


def test_the_oldest_go_first_and_what_is_needed_stays() -> None:
    entries = [entry("n-4+1", "n-1+1"), entry("n-3+1", "n-3+1")]
    stays = room.protected_layers("n-4+1", "n-3+1", "", entries)
    assert stays == {"n-4+1", "n-3+1", "n-1+1"}
    assert [image.name for image in room.removable(IMAGES, stays, "n-4")] == ["n-2"]


@pytest.mark.parametrize(
    ("free", "needed", "gone"),
    [(10, 10, []), (0, 5, ["n-1"]), (0, 11, ["n-1", "n-2"]), (0, 1000, ["n-1", "n-2", "n-3", "n-4"])],
)
def test_no_more_goes_than_has_to(free: int, needed: int, gone: list[str]) -> None:
    ordered = room.removable(IMAGES, (), "")
    assert [image.name for image in room.to_make_room(free, needed, ordered)] == gone


@given(st.integers(0, 8), st.integers(1, 5), st.integers(0, 4), st.integers(0, 4))
def test_failures_rows_15_and_29_garbage_collection_never_takes_what_boots(
    count: int, slots: int, running: int, good: int
) -> None:
    images = [ImageUse(f"i{number}", (f"i{number}+1",), number, 1) for number in range(count)]
    stays = room.protected_layers(f"i{running}+1", f"i{good}+1", "", [])
    gone = room.beyond_slots(count, slots, room.removable(images, stays, f"i{running}"))
    assert not {layer for image in gone for layer in image.layers} & stays
    assert f"i{running}" not in {image.name for image in gone}
    assert count - len(gone) >= min(count, slots)


SOUND = Facts(
    need=preflight.need(100 * MIB, 50 * MIB),
    extent=4 * MIB,
    vg="onn",
    vg_free=100 * MIB,
    pool=Pool("pool00", 1000 * MIB, 16 * MIB, 50.0, 10.0),
    boot_free=60 * MIB,
    mounted=frozenset({"/var"}),
    installed=frozenset({"n-1"}),
    nvr="n-2",
    running="n-1+1",
)


def test_a_sound_node_has_no_problem() -> None:
    assert preflight.problems(SOUND) == ()


@pytest.mark.parametrize(
    ("facts", "said"),
    [
        (replace(SOUND, vg_free=96 * MIB), "image: 100.0 MiB are needed, 96.0 MiB are free, 4.0 MiB are missing"),
        (replace(SOUND, boot_free=51 * MIB), "/boot has no room for kernel and initramfs: 52.0 MiB are needed"),
        (replace(SOUND, pool=replace(SOUND.pool, data=95.0)), "the thin pool pool00 has no room for the layer"),
        (replace(SOUND, pool=replace(SOUND.pool, metadata=91.0)), "lvextend --poolmetadatasize +16M onn/pool00"),
        (replace(SOUND, mounted=frozenset()), "/var is no separate volume"),
        (replace(SOUND, pending="n-2+1"), "awaits its reboot"),
        (replace(SOUND, on_trial=True), "on trial and not marked good"),
        (replace(SOUND, nvr="n-1"), "n-1 is installed already"),
        (replace(SOUND, entry=False), "no boot entry to fall back to"),
        (replace(SOUND, slots=1), "one image only"),
        (replace(SOUND, on_battery=True), "battery"),
    ],
)
def test_each_problem_is_named_with_its_measure(facts: Facts, said: str) -> None:
    found = preflight.problems(facts)
    assert len(found) == 1 and said in found[0]


def test_images_that_go_first_count_as_free() -> None:
    assert preflight.problems(replace(SOUND, vg_free=0, room=(ImageUse("n-0", (), 0, 100 * MIB),))) == ()
    assert "n-0 is removed first" in preflight.notes(replace(SOUND, room=(ImageUse("n-0", (), 0, 1),)))[0]


@pytest.mark.parametrize(
    ("supplies", "expected"),
    [
        ({}, False),
        ({"AC": ("Mains", "1"), "BAT0": ("Battery", "")}, False),
        ({"AC": ("Mains", "0"), "BAT0": ("Battery", "")}, True),
        ({"AC": ("Mains", "0")}, False),
        ({"BAT0": ("Battery", "")}, False),
    ],
)
def test_a_battery_alone_is_noticed(tmp_path: Path, supplies: dict[str, tuple[str, str]], expected: bool) -> None:
    for name, (kind, online) in supplies.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / "type").write_text(f"{kind}\n")
        if online:
            (tmp_path / name / "online").write_text(f"{online}\n")
    assert survey.on_battery(tmp_path) is expected


@pytest.mark.parametrize(("scope", "expected"), [("Device", False), ("System", True)])
def test_a_battery_of_a_device_is_none_of_the_machines(tmp_path: Path, scope: str, expected: bool) -> None:
    for name, facts in {
        "hidpp_battery_0": {"type": "Battery", "scope": scope},
        "ucsi-source-psy-1": {"type": "USB", "online": "0"},
    }.items():
        (tmp_path / name).mkdir()
        for key, value in facts.items():
            (tmp_path / name / key).write_text(f"{value}\n")
    assert survey.on_battery(tmp_path) is expected


def test_the_journal_comes_back_as_it_was_and_a_damaged_one_is_none(tmp_path: Path) -> None:
    added = {"var/x": [0o100644, 3, 5]}
    made = journal.Journal("n-2", "n-2+1", added=added, conflicts=[{"path": "/etc/x"}], done=["image"])
    journal.save(made, tmp_path)
    assert journal.load(tmp_path) == made
    assert (tmp_path / journal.FILE).stat().st_mode & 0o777 == 0o600
    for text in ("", "{", "[]", "{}", '{"format": 1, "image": 3}', '{"format": 1, "image": "x", "done": 3}'):
        (tmp_path / journal.FILE).write_text(text)
        assert journal.load(tmp_path) is None
    journal.remove(tmp_path)
    journal.remove(tmp_path)
    assert journal.load(tmp_path) is None


def test_a_layer_tells_what_was_added_changed_and_deleted(tmp_path: Path) -> None:
    top, tree = tmp_path / "upper", tmp_path / "tree"
    for folder in (top / "usr/bin", tree / "usr/bin", top / "opt/new", top / "etc", top / "var", tree / "usr/share/x"):
        folder.mkdir(parents=True)
    (tree / "usr/bin/tool").write_text("a")
    (top / "usr/bin/tool").write_text("changed")
    (top / "usr/share").mkdir()
    os.mknod(top / "usr/share/x", 0o020000, 0)
    (top / "opt/new/file").write_text("new")
    (top / "etc/passwd").write_text("")
    (top / "var/lib").write_text("")
    found = {(change.path, change.kind.value) for change in upper.outside_etc(top, tree, ["/var"])}
    assert found == {
        ("opt", "added"),
        ("opt/new", "added"),
        ("opt/new/file", "added"),
        ("usr/bin/tool", "changed"),
        ("usr/share/x", "deleted"),
    }
    assert upper.is_kept("opt/new/file", ["/opt"]) and not upper.is_kept("optional", ["/opt"])


def test_a_copy_has_owner_mode_times_links_and_attributes(tmp_path: Path) -> None:
    source, target = tmp_path / "source", tmp_path / "target"
    (source / "deep").mkdir(parents=True)
    (source / "deep/file").write_text("x")
    os.chown(source / "deep/file", 12, 34)
    (source / "deep/file").chmod(0o4751)
    os.setxattr(source / "deep/file", "user.kept", b"yes")
    os.utime(source / "deep/file", (1000, 2000))
    (source / "link").symlink_to("/nowhere")
    os.mkfifo(source / "pipe")
    copying.copy_tree(source, target)
    status = (target / "deep/file").stat()
    assert (status.st_uid, status.st_gid, status.st_mode & 0o7777, status.st_mtime) == (12, 34, 0o4751, 2000)
    assert os.getxattr(target / "deep/file", "user.kept") == b"yes"
    assert os.readlink(target / "link") == "/nowhere"  # noqa: PTH115 - what is written in it
    assert (target / "pipe").is_fifo()
    assert (target / "deep").stat().st_mtime_ns == (source / "deep").stat().st_mtime_ns


@pytest.mark.parametrize(("name", "goes_on"), [("security.selinux", True), ("user.kept", False)])
def test_failures_row_7_a_label_that_the_running_policy_refuses_ends_no_update(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, goes_on: bool
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(errno.EINVAL, "Invalid argument")

    (tmp_path / "source").write_text("x")
    os.setxattr(tmp_path / "source", name, b"of another policy\0")
    monkeypatch.setattr(os, "setxattr", refuse)
    if goes_on:
        copying.copy_one(tmp_path / "source", tmp_path / "target")
        assert (tmp_path / "target").read_text() == "x"
    else:
        with pytest.raises(StorageError, match="could not be copied"):
            copying.copy_one(tmp_path / "source", tmp_path / "target")


def test_shared_volumes_get_what_is_new_and_lose_nothing(tmp_path: Path) -> None:
    new, old, live = (tmp_path / name for name in ("new", "old", "live"))
    for tree in (new, old, live):
        (tree / "var/lib").mkdir(parents=True)
    for name in ("lib/both", "lib/removed"):
        (new / "var" / name).write_text("image")
        (old / "var" / name).write_text("image")
    (live / "var/lib/both").write_text("user")
    (new / "var/lib/fresh").mkdir()
    (new / "var/lib/fresh/state").write_text("new")
    (new / "var/lib/taken").write_text("image")
    (live / "var/lib/taken").write_text("user")
    (new / "var/out").mkdir()
    (new / "var/out/evil").write_text("x")
    (live / "var/out").symlink_to(tmp_path)
    found = shared.additions(new, old, live, ["/var"])
    assert found == ["var/lib/fresh", "var/lib/fresh/state"]
    marks = shared.marks(new, found)
    shared.add(new, live, found, IdMap(uids={0: 77}))
    assert (live / "var/lib/fresh/state").stat().st_uid == 77
    assert (live / "var/lib/taken").read_text() == "user"
    assert not (live / "var/lib/removed").exists() and not (tmp_path / "evil").exists()
    shared.take_back(live, marks)
    assert not (live / "var/lib/fresh").exists()


@pytest.mark.parametrize("stopped_at", ["copy_one", "fsync"])
def test_what_was_half_copied_to_a_shared_volume_is_not_there_and_goes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stopped_at: str
) -> None:
    new, live = tmp_path / "new", tmp_path / "live"
    name = "x" * 250
    for tree in (new, live):
        (tree / "var").mkdir(parents=True)
    (new / "var" / name).write_text("whole")
    found = shared.additions(new, tmp_path, live, ["/var"])

    def cut(*told: object) -> NoReturn:
        if stopped_at == "copy_one":
            Path(str(told[1])).write_text("wh")
        raise InterruptedError

    with monkeypatch.context() as patch, pytest.raises(InterruptedError):
        patch.setattr(shared if stopped_at == "copy_one" else os, stopped_at, cut)
        shared.add(new, live, found, IdMap())
    assert not (live / "var" / name).exists() and len(list((live / "var").iterdir())) == 1
    # Run again, and taken back without that.
    assert shared.additions(new, tmp_path, live, ["/var"]) == found
    shared.take_back(live, shared.marks(new, found))
    assert not list((live / "var").iterdir())
    shared.add(new, live, found, IdMap())
    assert [path.read_text() for path in (live / "var").iterdir()] == ["whole"]


def test_home_follows_what_the_user_added_and_deleted(tmp_path: Path) -> None:
    places = Places(live=tmp_path / "live", run=tmp_path / "run")
    home, root = places.upper / "root", tmp_path / "new"
    (home / "dir").mkdir(parents=True)
    (root / "root/dir").mkdir(parents=True)
    (root / "root/gone").write_text("image")
    (root / "root/stays").write_text("image")
    os.mknod(home / "gone", 0o020000, 0)
    (home / "dir/mine").write_text("mine")
    home.chmod(0o700)
    carry.carry(places, root, ())
    assert not (root / "root/gone").exists()
    assert (root / "root/stays").read_text() == "image"
    assert (root / "root/dir/mine").read_text() == "mine"
    assert (root / "root").stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize("path", ["relative", "/", "/etc/x", "/opt/../etc", "/nothing"])
def test_a_keep_that_makes_no_sense_is_refused(tmp_path: Path, path: str) -> None:
    with pytest.raises(NodeError, match="--keep"):
        carry.check_keep(Places(live=tmp_path), [path])

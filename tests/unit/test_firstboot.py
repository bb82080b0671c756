"""The first boot of a copied disk: what grows, which ids change in which texts, and what a person is asked."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Optional, cast

import pytest

from org_ovirt_node.boot import efi
from org_ovirt_node.errors import KickstartProblem, NodeError, StorageError
from org_ovirt_node.firstboot import answers, disks, growth, partitions, record, uuids
from org_ovirt_node.firstboot import system as first_system
from org_ovirt_node.kickstart.standard import load, load_system
from org_ovirt_node.layout import policy
from org_ovirt_node.layout.model import GIB, MIB, Disk, Firmware
from org_ovirt_node.layout.plan import plan
from org_ovirt_node.node import lvm, rootfacts
from org_ovirt_node.node.places import Places
from org_ovirt_node.payload.facts import ImageFacts
from org_ovirt_node.progress import Silent
from org_ovirt_node.run import run

PROJECT = Path(__file__).resolve().parents[2]
IMAGE = ImageFacts("node-1.0-1", 200 * MIB)
OTHER = "0a6ce1b2-1111-4222-8333-000000000003"
OLD, NEW = "0a6ce1b2-aaaa-4bbb-8ccc-000000000001", "0a6ce1b2-dddd-4eee-8fff-000000000002"
KICKSTART = "autopart --type=thinp\n%addon org_ovirt_node --image=file:/a.squashfs --nosignature\n{}%end\n{}"


def request_of(section: str = "", more: str = "") -> record.Record:
    text = KICKSTART.format(section, more)
    request = load("a.ks", fetch=lambda _name: text)
    layout = plan((Disk("vda", 10 * GIB),), request.storage, request.node, IMAGE, (Firmware.BIOS,))
    return record.of(layout, layout.layer.name, request)


def found_on(disk: int, first: int = 10 * GIB) -> tuple[growth.Found, record.Record]:
    """A node installed to ``first`` bytes on a disk of ``disk`` bytes, once its PV has grown."""
    request = load("a.ks", fetch=lambda _name: KICKSTART.format("", ""))
    layout = plan((Disk("vda", first),), request.storage, request.node, IMAGE, (Firmware.BIOS,))
    more = disk - first
    taken = sum(volume.size for volume in layout.volumes if not volume.thin)
    pool = layout.pool
    size = layout.reserved + more + pool.size + 2 * pool.metadata_size + layout.image.size + taken
    thin = {volume.name: volume.size for volume in layout.volumes if volume.thin}
    found = growth.Found(size, layout.reserved + more, policy.EXTENT, pool, thin)
    return found, record.of(layout, layout.layer.name, request)


def test_a_disk_four_times_as_large_gives_the_pool_what_it_won_but_for_the_reserve() -> None:
    found, kept = found_on(40 * GIB)
    grown = growth.plan(found, kept)
    assert grown.pool is not None
    taken = grown.pool.size + 2 * grown.pool.metadata_size - found.pool.size - 2 * found.pool.metadata_size
    left = found.free - taken
    assert kept.reserved <= left < kept.reserved + policy.free_room(found.vg_size) + 2 * policy.EXTENT
    assert grown.pool.size > found.pool.size + 25 * GIB
    assert grown.pool.chunk_size == found.pool.chunk_size
    assert grown.pool.size % policy.EXTENT == 0


def test_volumes_grow_with_the_pool_up_to_their_usual_sizes_and_a_layer_counts_for_every_slot() -> None:
    found, kept = found_on(40 * GIB)
    grown = growth.plan(found, kept)
    assert grown.pool is not None
    sizes = {**found.thin, **grown.volumes}
    assert all(sizes[name] >= size for name, size in found.thin.items())
    assert all(sizes[name] <= max(kept.usual[name], found.thin[name]) for name in sizes)
    total = sum(size * (kept.layers if name == kept.layer else 1) for name, size in sizes.items())
    assert 0.9 * grown.pool.size < total <= grown.pool.size
    large = growth.plan(*found_on(400 * GIB))
    assert large.volumes["var"] == 5 * GIB
    assert large.volumes[kept.layer] == 6 * GIB


def test_a_disk_of_the_same_size_changes_nothing() -> None:
    found, kept = found_on(10 * GIB)
    assert growth.plan(found, replace(kept, usual={})) == growth.Growth(None, {})
    assert growth.plan(found, kept).pool is None


def test_a_size_from_the_kickstart_stays() -> None:
    kept = request_of("volume /var --size=2GiB\n")
    assert "var" not in kept.usual and "var_log" in kept.usual
    assert "node-1.0-1+1" in kept.usual


@pytest.mark.parametrize(
    ("more", "open_"),
    [
        ("", ("hostname", "network", "password")),
        ("rootpw --lock\nnetwork --bootproto=dhcp\n", ("hostname",)),
        ("network --hostname=a.example\nuser --name=admin\n", ("network",)),
        ("rootpw x\nnetwork --bootproto=dhcp --hostname=a\n", ()),
    ],
)
def test_what_a_kickstart_does_not_say_is_open(more: str, open_: tuple[str, ...]) -> None:
    assert request_of(more=more).open == open_


def test_the_record_is_read_as_it_was_written_and_nothing_else_is() -> None:
    kept = request_of()
    assert record.parse(kept.render()) == kept
    for text in ("", "[]", json.dumps({"format": 2}), kept.render().replace('"vg"', '"group"')):
        with pytest.raises(NodeError, match="cannot be read"):
            record.parse(text)


FSTAB = f"""# comment
UUID={OLD} /boot ext4 nodev 0 2
UUID=12AB-34CD /boot/efi vfat umask=0077 0 2
UUID={OLD}0 /var ext4 discard 0 2
"""


def test_fstab_gets_the_new_ids_once_and_for_whole_words_only() -> None:
    assert uuids.in_fstab(FSTAB) == {OLD: "ext4", "12AB-34CD": "vfat", f"{OLD}0": "ext4"}
    changes = {OLD: NEW, "12AB-34CD": "55AA-1234"}
    text = uuids.with_new(FSTAB, changes)
    assert f"UUID={NEW} /boot " in text and "UUID=55AA-1234 " in text and f"UUID={OLD}0 /var" in text
    assert uuids.with_new(text, changes) == text
    decided = uuids.decide(FSTAB)
    assert len(set(decided.values()) | set(decided)) == 6
    assert len(decided["12AB-34CD"]) == 9


def test_the_stub_finds_boot_by_either_id_while_it_changes() -> None:
    stub, changes = efi.render_stub(OLD, "grub"), {OLD: NEW, "12AB-34CD": "55AA-1234"}
    between = uuids.stub_on_the_way(stub, changes)
    assert between.index(f"root {OLD}\n") < between.index(f"root {NEW}\n") < between.index("set prefix")
    for text in (stub, between):
        assert uuids.stub_at_the_end(text, changes) == efi.render_stub(NEW, "grub")
    end = efi.render_stub(NEW, "grub")
    assert uuids.stub_on_the_way(end, changes) == uuids.stub_at_the_end(end, changes) == end


def test_a_file_system_is_found_by_its_old_or_its_new_id_and_only_once() -> None:
    one, other = uuids.FileSystem("/dev/vda2", "ext4", OLD), uuids.FileSystem("/dev/vdb2", "ext4", OLD)
    assert uuids.find({OLD: NEW}, (one,)) == {OLD: one}
    assert uuids.find({OLD: NEW}, (replace(one, uuid=NEW),))[OLD].uuid == NEW
    for there, why in (((), "none of the node's disks"), ((one, other), "more than once")):
        with pytest.raises(StorageError, match=why):
            uuids.find({OLD: NEW}, there)


@pytest.mark.parametrize("fstype", ["ext4", "vfat", "swap"])
def test_the_tools_give_an_id(tmp_path: Path, fstype: str) -> None:
    file = tmp_path / "fs"
    file.touch()
    subprocess.run(["truncate", "-s", "40M", file], check=True)
    make = {"ext4": ["mke2fs", "-q", "-t", "ext4"], "vfat": ["mkfs.vfat"], "swap": ["mkswap", "-q"]}[fstype]
    subprocess.run([*make, file], check=True, capture_output=True)
    wanted = uuids.new_uuid(fstype)
    for argv in uuids.commands(uuids.FileSystem(str(file), fstype, ""), wanted):
        subprocess.run(argv, check=True, capture_output=True)
    shown = subprocess.run(["blkid", "-p", "-s", "UUID", "-o", "value", file], capture_output=True, text=True)
    assert shown.stdout.strip() == wanted


def test_a_partition_table_gets_new_guids_and_its_last_partition_the_rest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = str(tmp_path / "disk")
    subprocess.run(["truncate", "-s", "64M", disk], check=True)
    subprocess.run(["sfdisk", "-q", disk], input="label: gpt\nsize=1M\nsize=20M\n", text=True, check=True)
    subprocess.run(["truncate", "-s", "256M", disk], check=True)
    before = table(disk)
    ran: list[list[str]] = []
    real = run

    def seen(argv: list[str], input: Optional[str] = None) -> object:
        ran.append(argv)
        # A file has no partitions that a kernel could be told about.
        return real(["true"]) if argv[0] == "partx" else real(argv, input=input)

    monkeypatch.setattr(partitions, "run", seen)
    read = partitions.parse(subprocess.run(["sfdisk", "--json", disk], capture_output=True, text=True).stdout, disk)
    assert [part.number for part in read.partitions] == [1, 2] and read.last == 2
    partitions.grow_last(read)
    partitions.renew_guids(read)
    after = table(disk)
    assert ran[1] == ["partx", "--update", "--nr", "2", disk]
    assert after["partitions"][1]["size"] * 512 > 230 * MIB
    assert after["partitions"][0]["size"] == before["partitions"][0]["size"]
    assert after["partitions"][1]["start"] == before["partitions"][1]["start"]
    old = {before["id"], *(part["uuid"] for part in before["partitions"])}
    assert not old & {after["id"], *(part["uuid"] for part in after["partitions"])}


def table(disk: str) -> dict[str, Any]:
    shown = subprocess.run(["sfdisk", "--json", disk], capture_output=True, text=True, check=True).stdout
    found: dict[str, Any] = json.loads(shown)["partitiontable"]
    return found


@pytest.mark.parametrize(
    ("node", "disk", "number"), [("/dev/vda3", "/dev/vda", 3), ("/dev/nvme0n1p12", "/dev/nvme0n1", 12)]
)
def test_partition_numbers(node: str, disk: str, number: int) -> None:
    assert partitions.number_of(node, disk) == number
    with pytest.raises(ValueError):
        partitions.number_of("/dev/sdb1", disk)


def terminal(*said: str) -> tuple[answers.Terminal, list[str]]:
    lines: Iterator[str] = iter(said)
    shown: list[str] = []

    def ask(prompt: str) -> str:
        shown.append(prompt)
        try:
            return next(lines)
        except StopIteration:
            raise EOFError from None

    return answers.Terminal(ask, ask, shown.append), shown


def asked(*said: str, open_: tuple[str, ...] = ("hostname", "network", "password")) -> tuple[list[str], list[str]]:
    made, shown = terminal(*said)
    lines = answers.dialogue(open_, made, lambda line: void(load_system("x", fetch=lambda _name: line + "\n")))
    return lines, shown


def void(_value: object) -> None:
    pass


def test_answers_become_lines_that_a_kickstart_may_have() -> None:
    lines, _ = asked(
        "node7.example.org", "2", "192.0.2.10/24", "192.0.2.1", "192.0.2.2, 192.0.2.3", 'it\'s "mine"', 'it\'s "mine"'
    )
    request = load_system("x", fetch=lambda _name: "\n".join(lines) + "\n").system
    assert request.hostname == "node7.example.org"
    (network,) = request.networks
    assert (network.ip, network.address, network.netmask) == ("static", "192.0.2.10", "255.255.255.0")
    assert (network.gateway, network.nameservers) == ("192.0.2.1", ("192.0.2.2", "192.0.2.3"))
    assert request.root is not None and request.root.encrypted and request.root.password.startswith("$6$")
    assert "mine" not in "".join(lines)


def test_a_wrong_answer_is_asked_again_with_the_reason() -> None:
    lines, shown = asked(
        "bad_name!",
        "node7",
        "9",
        "2",
        "192.0.2.10",
        "",
        "",
        "2",
        "2001:db8::7/64",
        "2001:db8::1",
        "",
        "a",
        "b",
        "x",
        "x",
    )
    said = "\n".join(shown)
    for reason in ("is not a host name", "none of the choices", "has no prefix", "two passwords differ"):
        assert reason in said, reason
    assert lines[0] == "network --hostname=node7" and "--ipv6=2001:db8::7/64" in lines[1]


def test_enter_takes_the_defaults_and_nobody_there_is_an_end() -> None:
    assert asked("", "", open_=("hostname", "network"))[0] == ["network --device=link --bootproto=dhcp"]
    assert asked("3", open_=("network",))[0] == []
    with pytest.raises(EOFError):
        asked("only-a-name")


@pytest.mark.parametrize("line", ["clearpart --all", "bootloader --timeout=3", "reboot", "selinux --disabled"])
def test_a_kickstart_for_a_first_boot_says_nothing_about_the_installation(line: str) -> None:
    with pytest.raises(KickstartProblem, match=r"x:2: .*about the installation"):
        load_system("x", fetch=lambda _name: f"lang en_US.UTF-8\n{line}\n")
    with pytest.raises(KickstartProblem, match=r"x:1: .*about the installation"):
        load_system("x", fetch=lambda _name: "%addon org_ovirt_node --image=file:/a --nosignature\n%end\n")
    with pytest.raises(KickstartProblem, match="Write %post"):
        load_system("x", fetch=lambda _name: "%pre\ntrue\n%end\n")


def ext4(file: Path, uuid: str) -> Path:
    subprocess.run(["truncate", "-s", "16M", file], check=True)
    subprocess.run(["mke2fs", "-q", "-t", "ext4", "-U", uuid, file], check=True)
    return file


def uuid_of(file: Path) -> str:
    return subprocess.run(
        ["blkid", "-p", "-s", "UUID", "-o", "value", file], capture_output=True, text=True, check=True
    ).stdout.strip()


@pytest.mark.parametrize("cut", range(6))
def test_a_first_boot_that_is_cut_short_goes_on_where_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cut: int
) -> None:
    """After ``cut`` programs the power goes; the second try ends with an fstab that names what is on the disks."""
    live = tmp_path / "live"
    (live / "etc/ovirt-node").mkdir(parents=True)
    devices = {OLD: ext4(tmp_path / "boot", OLD), OTHER: ext4(tmp_path / "var", OTHER)}
    (live / "etc/fstab").write_text(f"UUID={OLD} /boot ext4 nodev 0 2\nUUID={OTHER} /var ext4 discard 0 2\n")
    path = live / "etc/ovirt-node/first-boot.json"
    path.write_text(request_of().render())
    places = Places(live=live, work=tmp_path / "work")
    left = [cut]

    class PowerCut(Exception):
        pass

    def failing(argv: list[str], **options: Any) -> object:
        if left[0] == 0:
            raise PowerCut
        left[0] -= 1
        return run(argv, **options)

    def attempt() -> None:
        doing = disks.FirstBoot(Silent(), places, path)
        if not doing.record.uuids:
            doing._keep(replace(doing.record, uuids=uuids.decide((live / "etc/fstab").read_text())))
        there = tuple(uuids.FileSystem(str(file), "ext4", uuid_of(file)) for file in devices.values())
        doing.found = uuids.find(doing.record.uuids, there)
        doing.file_systems()

    monkeypatch.setattr(disks, "run", failing)
    with pytest.raises(PowerCut):
        attempt()
    left[0] = -1
    attempt()
    named = uuids.in_fstab((live / "etc/fstab").read_text())
    assert set(named) == {uuid_of(file) for file in devices.values()}
    assert not set(named) & {OLD, OTHER}
    attempt()
    assert uuids.in_fstab((live / "etc/fstab").read_text()) == named


BLKID = """#!/bin/sh
case "$*" in
    *"--match-token UUID=$OLD --output device") cat {there} ;;
    "-p -o export "*) echo TYPE=ext4; echo UUID=$OLD ;;
esac
"""


def test_boot_on_a_disk_without_a_pv_is_found_and_a_second_one_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/fstab").write_text(f"UUID={OLD} /boot ext4 nodev 0 2\n")
    path, there = tmp_path / "first-boot.json", tmp_path / "there"
    path.write_text(replace(request_of(), uuids={OLD: NEW}).render())
    (tmp_path / "vgchange").symlink_to("/bin/true")
    (tmp_path / "blkid").write_text(BLKID.replace("$OLD", OLD).format(there=there))
    (tmp_path / "blkid").chmod(0o755)
    monkeypatch.setenv("OVIRT_NODE_PATH", f"{tmp_path}:/usr/bin:/bin")
    monkeypatch.setattr(rootfacts, "physical_volumes", lambda _vg: ["/dev/vdb1"])
    monkeypatch.setattr(partitions, "parent", lambda name: (name[:-1], 1) if name[-1].isdigit() else ("", 0))
    monkeypatch.setattr(disks.FirstBoot, "_candidates", lambda _self: [])
    doing = disks.FirstBoot(Silent(), Places(live=tmp_path, work=tmp_path / "work"), path)
    # A whole disk with a file system is none that an installation has made.
    there.write_text("/dev/vda1\n/dev/vdc\n")
    doing.look()
    assert doing.found == {OLD: uuids.FileSystem("/dev/vda1", "ext4", OLD)}
    assert doing.disks == ("/dev/vda", "/dev/vdb")
    there.write_text("/dev/vda1\n/dev/vdc1\n")
    with pytest.raises(StorageError, match="more than once"):
        doing.look()
    there.write_text("")
    with pytest.raises(StorageError, match="none of the node's disks"):
        doing.look()


def test_a_file_system_that_says_it_has_errors_is_mended_before_it_grows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And is mounted then: resize2fs wants no check of one that is, and goes on where it was cut short."""
    file = ext4(tmp_path / "var", OTHER)
    subprocess.run(["debugfs", "-w", "-R", "ssv state 3", file], check=True, capture_output=True)
    assert state_of(file) == "clean with errors"
    (tmp_path / "first-boot.json").write_text(request_of().render())
    doing = disks.FirstBoot(Silent(), Places(live=tmp_path, work=tmp_path / "work"), tmp_path / "first-boot.json")
    seen: list[tuple[str, bool]] = []
    monkeypatch.setattr(disks, "_grow", lambda one, place: seen.append((state_of(Path(one.device)), place.is_mount())))
    doing._grow_file_systems([cast("lvm.LogicalVolume", SimpleNamespace(name="var", path=str(file)))])
    assert seen == [("clean", True)]


def state_of(file: Path) -> str:
    shown = subprocess.run(["dumpe2fs", "-h", file], capture_output=True, text=True, check=True).stdout
    return next(line.partition(":")[2].strip() for line in shown.splitlines() if line.startswith("Filesystem state"))


def renewing(tmp_path: Path, file: Path, fstype: str) -> str:
    """Give what is in ``file`` a new UUID, as a first boot does; returns that."""
    (tmp_path / "first-boot.json").write_text(request_of().render())
    doing = disks.FirstBoot(Silent(), Places(live=tmp_path, work=tmp_path / "work"), tmp_path / "first-boot.json")
    doing._renew(uuids.FileSystem(str(file), fstype, uuid_of(file)), NEW)
    return uuid_of(file)


@pytest.fixture
def interrupted(tmp_path: Path) -> Path:
    """An xfs whose journal was not replayed: for it xfs_admin would change nothing, and end with 0."""
    file, place = tmp_path / "xfs", tmp_path / "place"
    subprocess.run(["truncate", "-s", "320M", file], check=True)
    subprocess.run(["mkfs.xfs", "-q", file], check=True)
    place.mkdir()
    subprocess.run(["mount", "-o", "loop", file, place], check=True)
    try:
        (place / "written").touch()
        subprocess.run(["xfs_io", "-x", "-c", "shutdown -f", place], check=True)
    finally:
        subprocess.run(["umount", place], check=True)
    return file


def test_an_xfs_whose_journal_was_not_replayed_gets_its_id(tmp_path: Path, interrupted: Path) -> None:
    assert renewing(tmp_path, interrupted, "xfs") == NEW


def renewed_by_initramfs(file: Path, fstype: str, place: Path, more: str = "") -> bool:
    place.mkdir(exist_ok=True)
    hook = PROJECT / "data/dracut/90ovirt-node/ovirt-node-prepare.sh"
    script = f"getarg() {{ :; }}; ovirt_node_stop() {{ exit 9; }}; ovirt_node_is_root() {{ false; }}; . {hook}; {more}"
    call = 'ovirt_node_new_uuid "$@"'
    return subprocess.run(["sh", "-c", f"{script} {call}", "sh", file, fstype, place], check=False).returncode == 0


def test_the_layer_gets_an_id_in_the_initramfs(tmp_path: Path, interrupted: Path) -> None:
    for file, fstype in ((interrupted, "xfs"), (ext4(tmp_path / "fs", OLD), "ext4")):
        before = uuid_of(file)
        assert renewed_by_initramfs(file, fstype, tmp_path / "layer")
        assert uuid_of(file) != before
    assert not renewed_by_initramfs(interrupted, "xfs", tmp_path / "layer", "xfs_admin() { :; };")


def test_an_id_that_does_not_change_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = ext4(tmp_path / "fs", OLD)
    monkeypatch.setattr(uuids, "commands", lambda _one, _uuid: [["echo", "it refuses"]])
    with pytest.raises(StorageError, match=f"has the UUID {OLD} and not its new one {NEW}: it refuses"):
        renewing(tmp_path, file, "ext4")


@pytest.mark.parametrize("open_", [(), ("hostname",)])
def test_a_kickstart_that_cannot_be_taken_leaves_the_questions(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, open_: tuple[str, ...]
) -> None:
    path = tmp_path / "first-boot.json"
    path.write_text(replace(request_of(), open=open_).render())
    half = first_system.SystemHalf(Silent(), Places(live=tmp_path), path)
    said: list[str] = []

    def wrong() -> None:
        raise NodeError("line 3 is wrong")

    monkeypatch.setattr(half, "_register", lambda: None)
    monkeypatch.setattr(half, "_take_kickstart", wrong)
    monkeypatch.setattr(half, "_ask", lambda _terminal: half._keep(()))
    terminal = answers.Terminal(lambda _prompt: "", lambda _prompt: "", said.append)
    if not open_:
        with pytest.raises(NodeError, match="line 3 is wrong"):
            half.run(terminal)
        assert path.exists()
        return
    assert half.run(terminal)
    assert "line 3 is wrong" in said[0] and not path.exists()

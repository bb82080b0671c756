"""Would this layer reach its root?  One fact is taken away at a time, and the answer must name it."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from org_ovirt_node.boot import cpio, hostfiles, hostinitrd, reachable, trial
from org_ovirt_node.boot.hostinitrd import HostFile
from org_ovirt_node.boot.reachable import DEVICES_FILE, INITIATOR, MULTIPATH_CONF, MULTIPATH_WWIDS, RootFacts
from org_ovirt_node.errors import BootError
from org_ovirt_node.node import rootfacts

KERNEL = "6.12.0"
MODULES = ("squashfs", "overlay", "dm-mod", "dm-thin-pool", "ext4", "virtio_blk", "virtio_pci")
PROGRAMS = ("usr/sbin/lvm", "usr/sbin/thin_check", "usr/sbin/e2fsck", "usr/lib/ovirt-node-lib.sh")
UUID = "AbCdEf-1234-5678-9abc-def0-1234-GhIjKl"
DEVICES = f"# LVM uses devices listed in this file.\nIDTYPE=sys_wwid IDNAME=a PVID={UUID.replace('-', '')} PART=3\n"
FACTS = RootFacts(
    options=(
        "root=ovirt-node ovirt_node.vg=onn ovirt_node.image=n-2 ovirt_node.layer=n-2+1 "
        "rd.lvm.lv=onn/n-2 rd.lvm.lv=onn/n-2+1"
    ),
    vg="onn",
    volumes=frozenset({"pool00", "n-2", "n-2+1"}),
    pvs={"/dev/vda3": UUID},
    initramfs=frozenset(
        [
            *(f"usr/lib/modules/{KERNEL}/kernel/x/{name}.ko.xz" for name in MODULES),
            *PROGRAMS,
            f"usr/lib/modules/{KERNEL}",
        ]
    ),
    host={DEVICES_FILE: HostFile(DEVICES.encode(), 0o600)},
    drivers=("virtio_blk", "virtio_pci"),
    uses_devices_file=True,
    kernel=KERNEL,
)
STACKED = replace(
    FACTS,
    options=FACTS.options + " netroot=iscsi:10.0.0.1::3260:1:iqn.x",
    stack=frozenset({"multipath", "iscsi"}),
    maps=("360000",),
    initramfs=FACTS.initramfs
    | {f"usr/sbin/{name}" for name in ("multipathd", "multipath", "kpartx", "iscsiadm", "iscsid", "iscsiroot")}
    # Folders with the names of programs, as a real one has them.
    | {"etc/lvm", "etc/multipath", "usr/lib/x86_64-linux-gnu/cryptsetup", "usr/lib/net-lib.sh"}
    | {f"usr/lib/udev/rules.d/{name}" for name in ("62-multipath.rules", "66-kpartx.rules", "11-dm-mpath.rules")}
    | {"m/dm-multipath.ko", "m/iscsi_tcp.ko.zst", "etc/multipath.conf"},
    host={**FACTS.host, INITIATOR: HostFile(b"x"), MULTIPATH_WWIDS: HostFile(b"# x\n/360000/\n")},
)
#: The same by a record in host.img instead of netroot=.
RECORD = "/var/lib/iscsi/nodes/iqn.x/10.0.0.1,3260"
RECORDED = replace(
    STACKED,
    options=FACTS.options + " rd.neednet=1 ip=ens3:dhcp",
    initramfs=STACKED.initramfs | {"var/lib/dracut/hooks/initqueue/settled/50-ovirt-node-iscsi.sh"},
    host={**STACKED.host, RECORD: HostFile(b"x", 0o600)},
)
#: The same by what the firmware names.
FIRMWARE = replace(
    STACKED,
    options=FACTS.options + " rd.iscsi.firmware=1",
    initramfs=STACKED.initramfs | {"m/drivers/firmware/iscsi_ibft.ko.xz"},
)
CRYPT = replace(
    FACTS,
    options=FACTS.options + " rd.luks.uuid=x",
    stack=frozenset({"crypt"}),
    initramfs=FACTS.initramfs | {"m/dm-crypt.ko", "usr/bin/systemd-cryptsetup", "usr/lib/x86_64-linux-gnu/cryptsetup"},
)


def without(name: str) -> Callable[[RootFacts], RootFacts]:
    return lambda facts: replace(facts, initramfs=frozenset(one for one in facts.initramfs if name not in one))


def said(**values: object) -> Callable[[RootFacts], RootFacts]:
    return lambda facts: replace(facts, **values)  # type: ignore[arg-type]


def options(old: str, new: str = "") -> Callable[[RootFacts], RootFacts]:
    return lambda facts: replace(facts, options=facts.options.replace(old, new))


def host(path: str) -> Callable[[RootFacts], RootFacts]:
    return lambda facts: replace(facts, host={name: file for name, file in facts.host.items() if name != path})


def test_a_complete_layer_lacks_nothing() -> None:
    assert reachable.missing(FACTS) == ()
    assert reachable.missing(STACKED) == ()
    assert reachable.missing(RECORDED) == ()
    assert reachable.missing(FIRMWARE) == ()


@pytest.mark.parametrize(
    ("said", "on"),
    [
        ("rd.iscsi.firmware", True),
        ("rd.iscsi.firmware=1", True),
        ("rd.iscsi.firmware=yes", True),
        ("rd.iscsi.firmware=0", False),
        ("rd.iscsi.firmware rd.iscsi.firmware=0", False),
        ("rd.iscsi.firmware=no rd.iscsi.firmware", True),
        ("rd.iscsi.firmwares=1", False),
    ],
)
def test_a_switch_is_read_as_dracut_reads_it(said: str, on: bool) -> None:
    facts = replace(FIRMWARE, options=f"{FACTS.options} {said}")
    assert ("host.img has no record of a target" in "; ".join(reachable.missing(facts))) != on


CASES = [
    (options("root=ovirt-node "), "lacks root=ovirt-node"),
    (options("ovirt_node.vg=onn", "ovirt_node.vg=other"), "does not name the volume group onn"),
    (options("ovirt_node.layer=n-2+1 "), "names no layer"),
    (options("ovirt_node.image=n-2 ", "ovirt_node.image=n-3 "), "image onn/n-3 does not exist"),
    (options("rd.lvm.lv=onn/n-2 ", "rd.lvm.lv=onn/gone "), "rd.lvm.lv=onn/gone .* does not exist"),
    (said(options=FACTS.options + " rd.lvm=0"), "rd.lvm=0"),
    (said(options=FACTS.options + " rd.lvm.vg=other"), "hides the volume group onn"),
    (without("virtio_blk"), "the driver virtio_blk"),
    (without("squashfs"), "the kernel module squashfs"),
    (without("dm-thin-pool"), "the kernel module dm_thin_pool"),
    (said(layer_fstype="xfs"), "the kernel module xfs; .*program xfs_repair"),
    (said(liveos=True), "the kernel module loop"),
    (without("thin_check"), "the program thin_check"),
    (without("sbin/lvm"), "the program lvm"),
    (without("ovirt-node-lib"), "the ovirt-node dracut module"),
    (said(kernel="6.13.0"), "is for the kernel 6.12.0, not 6.13.0"),
    (host(DEVICES_FILE), "host.img has no /etc/lvm/devices/system.devices"),
    (said(pvs={"/dev/vda3": UUID, "/dev/vdb1": "Z" + UUID[1:]}), "does not name /dev/vdb1"),
    (said(stack=frozenset({"crypt"})), "dm_crypt; .*neither /etc/crypttab"),
    (said(stack=frozenset({"raid1"})), "module raid1; .*program mdadm"),
    (said(stack=frozenset({"verity"})), "module dm_verity; .*program veritysetup"),
]
STACK_CASES = [
    (without("multipathd"), "the program multipathd"),
    (without("sbin/kpartx"), "the program kpartx"),
    (without("62-multipath.rules"), "lacks udev's multipath.rules"),
    (without("66-kpartx.rules"), "lacks udev's kpartx.rules"),
    (without("dm-multipath"), "the kernel module dm_multipath"),
    (without("multipath.conf"), f"host.img has no {MULTIPATH_CONF}"),
    (host(MULTIPATH_WWIDS), f"host.img has no {MULTIPATH_WWIDS}"),
    (said(maps=("360000", "370000")), "does not name the map 370000"),
    (said(options=STACKED.options + " rd.multipath=0"), "rd.multipath=0"),
    (host(INITIATOR), f"host.img has no {INITIATOR}"),
    (options(" netroot=iscsi:10.0.0.1::3260:1:iqn.x"), "has neither netroot= nor rd.iscsi.firmware=1"),
    (without("iscsiadm"), "the program iscsiadm"),
    (without("iscsid"), "the program iscsid"),
    (without("sbin/multipath"), "the program multipath"),
    (without("sbin/lvm"), "the program lvm"),
]
RECORD_CASES = [
    (host(RECORD), "host.img has no record of a target"),
    (without("ovirt-node-iscsi.sh"), "lacks ovirt-node-iscsi.sh"),
    (options(" rd.neednet=1"), "lacks rd.neednet=1"),
]


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (without("iscsi_ibft"), "the kernel module iscsi_ibft"),
        (without("iscsiroot"), "dracut's iscsi module"),
        (without("net-lib.sh"), "dracut's network modules"),
        (without("iscsi_tcp"), "the kernel module iscsi_tcp"),
        (said(drivers=("ixgbe",)), "the driver ixgbe"),
        (said(host={**FIRMWARE.host, RECORD: HostFile(b"x")}), "lacks ovirt-node-iscsi.sh"),
    ],
)
def test_failures_row_1_what_iscsi_by_the_firmware_needs_is_named(
    change: Callable[[RootFacts], RootFacts], text: str
) -> None:
    with pytest.raises(BootError, match=text):
        reachable.check(change(FIRMWARE), "n-2+1")


def test_failures_row_1_an_encrypted_disk_needs_a_program_that_opens_it() -> None:
    assert reachable.missing(CRYPT) == ()
    plain = replace(CRYPT, initramfs=CRYPT.initramfs - {"usr/bin/systemd-cryptsetup"} | {"usr/sbin/cryptsetup"})
    assert reachable.missing(plain) == ()
    with pytest.raises(BootError, match="the program systemd-cryptsetup or cryptsetup"):
        reachable.check(without("bin/systemd-cryptsetup")(CRYPT), "n-2+1")


@pytest.mark.parametrize(("change", "text"), RECORD_CASES)
def test_failures_row_1_what_a_record_of_iscsi_needs_is_named(
    change: Callable[[RootFacts], RootFacts], text: str
) -> None:
    with pytest.raises(BootError, match=text):
        reachable.check(change(RECORDED), "n-2+1")


@pytest.mark.parametrize(("change", "text"), CASES)
def test_failures_row_1_what_is_missing_is_named(change: Callable[[RootFacts], RootFacts], text: str) -> None:
    with pytest.raises(BootError, match=text):
        reachable.check(change(FACTS), "n-2+1")


@pytest.mark.parametrize(
    ("added", "initramfs", "text"),
    [
        ("fips=1 boot=UUID=x", (), "dracut's fips module"),
        ("fips=1", ("usr/sbin/fips.sh",), "no boot= that says where /boot is"),
        ("fips=1 boot=UUID=x", ("usr/sbin/fips.sh",), ""),
        ("fips=0", (), ""),
    ],
)
def test_failures_row_16_in_fips_mode_the_initramfs_must_be_able_to_check_the_kernel(
    added: str, initramfs: tuple[str, ...], text: str
) -> None:
    facts = replace(FACTS, options=f"{FACTS.options} {added}", initramfs=FACTS.initramfs | set(initramfs))
    found = "; ".join(reachable.missing(facts))
    assert bool(found) == bool(text) and text in found


@pytest.mark.parametrize(("change", "text"), STACK_CASES)
def test_failures_row_1_what_multipath_and_iscsi_lack_is_named(
    change: Callable[[RootFacts], RootFacts], text: str
) -> None:
    with pytest.raises(BootError, match=text):
        reachable.check(change(STACKED), "n-2+1")


def test_a_driver_that_the_new_kernel_has_built_in_is_not_missing() -> None:
    facts = without("virtio_blk")(FACTS)
    assert reachable.missing(replace(facts, builtin=frozenset({"virtio-blk"}))) == ()


def test_lsblk_tells_the_stack_and_sysfs_the_drivers(tmp_path: Path) -> None:
    device = tmp_path / "sys/devices/pci0/virtio1/block/sda"
    device.mkdir(parents=True)
    for place, name in ((device.parents[1], "virtio_scsi"), (device.parents[2], "virtio_pci")):
        (place / "driver").mkdir()
        (tmp_path / "sys/module" / name).mkdir(parents=True)
        (place / "driver/module").symlink_to(tmp_path / "sys/module" / name)
    (tmp_path / "class").mkdir()
    (tmp_path / "class/sda").symlink_to(device)
    disk = {"kname": "sda", "type": "disk", "tran": "iscsi"}
    tree = [{"kname": "dm-1", "type": "crypt", "children": [{"kname": "dm-0", "type": "mpath", "children": [disk]}]}]
    assert rootfacts.stack_of(tree) == {"crypt", "multipath", "iscsi"}
    assert rootfacts.drivers_of(tree, tmp_path / "class", tmp_path / "sys") == ("virtio_scsi", "virtio_pci")
    (tmp_path / "class/dm-0/dm").mkdir(parents=True)
    (tmp_path / "class/dm-0/dm/uuid").write_text("mpath-360000\n")
    assert rootfacts.maps_of(tree, tmp_path / "class") == ("360000",)


def test_sysfs_tells_the_drivers_of_cards_with_a_link(tmp_path: Path) -> None:
    for name, state, driver in (("ens3", "up", "virtio_net"), ("ens4", "down", "ixgbe"), ("br0", "up", "")):
        card = tmp_path / "net" / name
        card.mkdir(parents=True)
        (card / "operstate").write_text(state + "\n")
        if driver:
            (tmp_path / "sys/module" / driver).mkdir(parents=True)
            device = tmp_path / "sys/devices" / name
            (device / "driver").mkdir(parents=True)
            (device / "driver/module").symlink_to(tmp_path / "sys/module" / driver)
            (card / "device").symlink_to(device)
    assert rootfacts.drivers_of_cards(tmp_path / "net", tmp_path / "sys") == ("virtio_net",)


@pytest.mark.parametrize("padding", [0, 512])
@pytest.mark.parametrize("packer", [["cat"], ["gzip", "-c"], ["xz", "-c"], ["zstd", "-c", "-q"]])
def test_names_in_an_initramfs_of_several_archives(tmp_path: Path, packer: list[str], padding: int) -> None:
    early = hostinitrd.build({"/kernel/x86/microcode/a.bin": HostFile(b"m" * 1000)})
    main = hostinitrd.build({f"/usr/lib/{number}.ko": HostFile(bytes(number)) for number in range(50)})
    packed = subprocess.run(packer, input=main, capture_output=True, check=True).stdout
    file = tmp_path / "initramfs.img"
    file.write_bytes(early + bytes(512) + packed + bytes(padding))
    found = cpio.names(file)
    assert {"kernel/x86/microcode/a.bin", "usr/lib/0.ko", "usr/lib/49.ko"} <= found
    assert hostinitrd.TRAILER not in found


def test_dracuts_own_archive_tool_agrees(tmp_path: Path) -> None:
    archive = hostinitrd.build({"/etc/a": HostFile(b"1", 0o600), "/etc/b/c": HostFile(b"22")})
    listed = subprocess.run(["cpio", "-t", "--quiet"], input=archive, capture_output=True, check=True).stdout.decode()
    (tmp_path / "x").write_bytes(archive)
    assert cpio.names(tmp_path / "x") == set(listed.split())


def test_the_listing_beside_an_initramfs_is_used_for_that_initramfs_alone(tmp_path: Path) -> None:
    file = tmp_path / "initramfs.img"
    file.write_bytes(hostinitrd.build({"/etc/a": HostFile(b"1")}))
    listing = cpio.write_listing(file)
    assert cpio.listed_names(file, listing) == cpio.names(file)
    copy = tmp_path / "copy.img"
    # No archive at all: were it unpacked, it would be an error.
    copy.write_bytes(bytes(file.stat().st_size - 1) + b"x")
    assert cpio.listed_names(copy, listing) == cpio.names(file)
    file.write_bytes(hostinitrd.build({"/etc/b": HostFile(b"2" * 1000)}))
    assert "etc/b" in cpio.listed_names(file, listing)


@pytest.mark.parametrize("length", [0, 3, 50, 109, 111, 130, 200])
def test_a_damaged_archive_is_an_error_and_no_traceback(length: int) -> None:
    archive = hostinitrd.build({"/etc/a": HostFile(b"1" * 40)})
    with pytest.raises(BootError):
        cpio.read_host_initrd(archive[:length])


def test_host_files_follow_the_host_and_forget_nothing(tmp_path: Path) -> None:
    (tmp_path / "etc/lvm/devices").mkdir(parents=True)
    (tmp_path / DEVICES_FILE.lstrip("/")).write_text("new")
    (tmp_path / "etc/multipath.conf").write_text("m")
    previous = {DEVICES_FILE: HostFile(b"old"), "/etc/cmdline.d/x.conf": HostFile(b"kept", 0o644)}
    found = hostfiles.collect(tmp_path, previous, {"multipath"})
    assert found[DEVICES_FILE].content == b"new"
    assert found["/etc/cmdline.d/x.conf"].content == b"kept"
    assert found["/etc/multipath.conf"].content == b"m"
    assert hostfiles.collect(tmp_path, {}, ()).keys() == {DEVICES_FILE}


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("root=x panic=10", "root=x panic=10"),
        ("root=x user=1", "root=x user=1"),
        ('root=x dyndbg="file a.c +p"', 'root=x dyndbg="file a.c +p"'),
    ],
)
def test_trial_arguments_come_last_and_go_without_the_users(before: str, after: str) -> None:
    tried = trial.with_trial(before, watchdog=True)
    assert tried.startswith(before) and tried.endswith("systemd.watchdog_sec=120")
    assert trial.on_trial(tried) and not trial.on_trial(before)
    assert trial.with_trial(tried, watchdog=True) == tried
    assert trial.without_trial(tried + " later=1") == after + " later=1"
    assert trial.WATCHDOG not in trial.with_trial(before, watchdog=False)


@pytest.mark.parametrize("cut", [10, 100, -20])
def test_a_compressed_initramfs_that_is_cut_short_is_an_error(tmp_path: Path, cut: int) -> None:
    main = hostinitrd.build({f"/usr/lib/{number}.ko": HostFile(os.urandom(500)) for number in range(50)})
    packed = subprocess.run(["zstd", "-c", "-q"], input=main, capture_output=True, check=True).stdout
    (tmp_path / "x").write_bytes(packed[:cut])
    with pytest.raises(BootError):
        cpio.names(tmp_path / "x")


def test_host_files_are_those_of_the_system_however_its_folders_are_linked(tmp_path: Path) -> None:
    root, foreign = tmp_path / "root", tmp_path / "foreign"
    for folder in (root / "etc", root / "data/multipath", foreign):
        folder.mkdir(parents=True)
    (root / "etc/multipath").symlink_to("/data/multipath")
    (root / "data/multipath/wwids").write_text("own")
    (root / "etc/ovirt-node").symlink_to(foreign)
    (foreign / "first-boot.json").write_text("the installer's")
    found = hostfiles.collect(root, {}, {"multipath"})
    assert {path: file.content for path, file in found.items()} == {MULTIPATH_WWIDS: b"own"}

"""Which disks are used and what may be wiped."""

from __future__ import annotations

from dataclasses import replace

import pytest

from org_ovirt_node.errors import KickstartProblem, LayoutError
from org_ovirt_node.kickstart.model import DiskSelection
from org_ovirt_node.layout.model import GIB, Disk, ExistingPartition
from org_ovirt_node.layout.plan import plan
from org_ovirt_node.layout.select import check_vg_name, check_wiping, select_disks
from tests.unit.layouts import ADDON, ALL, AUTO, BIOS, IMAGE, NODE, automatic, disk, read

SDA = disk("sda", serial="S3Z8NB0K1", wwn="0x5002538d40a1b2c3", links=("by-id/ata-one", "by-path/pci-1"))
SDB = disk("sdb", serial="S3Z8NB0K2", wwn="naa.6001405abc", links=("by-id/ata-two",))
SDC = disk("sdc", serial="OTHER", size=8 * GIB)
THREE = (SDA, SDB, SDC)
PATHS = (disk("sdx", serial="LUN"), disk("sdy", serial="LUN"))
MPATH = disk("mpatha", kind="multipath", members=("sdx", "sdy"), links=("by-id/dm-uuid-mpath-1",), serial="LUN")


def names(disks: tuple[Disk, ...]) -> list[str]:
    return [found.name for found in disks]


@pytest.mark.parametrize(
    ("patterns", "found"),
    [
        (["sdb"], ["sdb"]),
        (["/dev/sdb", "sda"], ["sdb", "sda"]),
        (["disk/by-id/ata-two"], ["sdb"]),
        (["/dev/disk/by-path/pci-1"], ["sda"]),
        (["by-id/ata-*"], ["sda", "sdb"]),
        (["S3Z8NB0K2"], ["sdb"]),
        (["S3Z8*"], ["sda", "sdb"]),
        (["0x5002538d40a1b2c3"], ["sda"]),
        (["5002538d*"], ["sda"]),
        (["naa.6001405*"], ["sdb"]),
        (["sd[ac]"], ["sda", "sdc"]),
        (["sd*", "sda"], ["sda", "sdb", "sdc"]),
    ],
)
def test_disks_are_named_by_name_link_serial_and_wwn(patterns: list[str], found: list[str]) -> None:
    assert names(select_disks(THREE, DiskSelection(only_use=tuple(patterns)))) == found


@pytest.mark.parametrize("selection", ["only_use", "ignored", "clear_drives"])
@pytest.mark.parametrize("pattern", ["sdz", "X*", "sd", ""])
def test_a_name_that_means_no_disk_says_what_there_is(selection: str, pattern: str) -> None:
    with pytest.raises(LayoutError) as caught:
        select_disks(THREE, DiskSelection(**{selection: (pattern,)}))  # type: ignore[arg-type]
    assert repr(pattern) in str(caught.value)
    assert "sda (64 GiB, serial S3Z8NB0K1); sdb (64 GiB, serial S3Z8NB0K2); sdc (8 GiB, serial OTHER)" in str(
        caught.value
    )


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("ignoredisk --only-use=sdz", "ignoredisk --only-use names the disk 'sdz'"),
        ("ignoredisk --drives=sdz", "ignoredisk --drives names the disk 'sdz'"),
        ("clearpart --all --drives=sdz", "clearpart --drives names the disk 'sdz'"),
        ("bootloader --boot-drive=sdz", "bootloader --boot-drive names the disk 'sdz'"),
        ("bootloader --boot-drive=S3Z8*", "means more than one disk"),
        ("ignoredisk --only-use=sdd", "the disk sdd (64 GiB) cannot be used: "),
    ],
)
@pytest.mark.parametrize("how", ["autopart", "part /boot --size=1024"])
def test_what_names_no_disk_is_refused_by_its_line(line: str, said: str, how: str) -> None:
    request = read(f"\n{line}\n{how}\n{ADDON}\n%end\n")
    disks = (*THREE, disk("sdd", readonly=True))
    with pytest.raises(KickstartProblem) as caught:
        plan(disks, request.storage, request.node, IMAGE, BIOS, request.bootloader.boot_drive)
    assert caught.value.message.startswith("ks.cfg:2: ")
    assert said in caught.value.message


def test_without_a_command_all_disks_are_used_that_can_be() -> None:
    others = (disk("sr0", readonly=True), disk("sdd", size=0), disk("sde", protected="the image is read from it"))
    assert names(select_disks((*THREE, *others), DiskSelection())) == ["sda", "sdb", "sdc"]
    assert names(select_disks(THREE, DiskSelection(ignored=("sdb",)))) == ["sda", "sdc"]
    drives = DiskSelection(clear="all", clear_drives=("sdb", "sdc"))
    assert names(select_disks(THREE, drives)) == ["sdb", "sdc"]


@pytest.mark.parametrize("facts", [{"readonly": True}, {"protected": "the image is read from it"}, {"size": 0}])
def test_a_disk_that_cannot_be_used_is_refused_when_it_is_named(facts: dict[str, object]) -> None:
    with pytest.raises(LayoutError, match=r"the disk sdd .*cannot be used: "):
        select_disks((*THREE, disk("sdd", **facts)), DiskSelection(only_use=("sdd",)))  # type: ignore[arg-type]


def test_no_disk_at_all() -> None:
    with pytest.raises(LayoutError, match="there is no disk to install on"):
        select_disks((), DiskSelection())
    with pytest.raises(LayoutError, match=r"no disk to install on \(sda .*: ignored by the kickstart"):
        select_disks((SDA,), DiskSelection(ignored=("sda",)))


@pytest.mark.parametrize("pattern", ["sdx", "/dev/sdy", "mpatha", "/dev/mapper/mpatha", "LUN", "by-id/dm-uuid-mpath-*"])
@pytest.mark.parametrize("listed", [True, False])
def test_row_31_a_path_means_its_multipath_device(pattern: str, listed: bool) -> None:
    disks = (SDA, MPATH, *(PATHS if listed else ()))
    assert names(select_disks(disks, DiskSelection(only_use=(pattern,)))) == ["mpatha"]


def test_paths_are_never_used_by_themselves() -> None:
    assert names(select_disks((*PATHS, SDA, MPATH), DiskSelection())) == ["sda", "mpatha"]


def test_the_boot_drive_comes_first() -> None:
    assert names(select_disks(THREE, DiskSelection(), "disk/by-id/ata-two")) == ["sdb", "sda", "sdc"]
    with pytest.raises(LayoutError, match=r"--boot-drive=sdc is sdc .*not among the disks"):
        select_disks(THREE, DiskSelection(only_use=("sda",)), "sdc")
    with pytest.raises(LayoutError, match="--boot-drive names the disk 'sdz'"):
        select_disks(THREE, DiskSelection(), "sdz")
    with pytest.raises(LayoutError, match="more than one"):
        select_disks(THREE, DiskSelection(), "S3Z8*")


LINUX = (ExistingPartition("sda1", GIB, "ext4"), ExistingPartition("sda2", GIB, "lvmpv"))
WINDOWS = (ExistingPartition("sda1", GIB, "ext4"), ExistingPartition("sda2", GIB, "ntfs", "Windows"))
GARBAGE = replace(disk("sda"), blank=False)
ZEROMBR = DiskSelection(zerombr=True)


def clear(kind: str, *drives: str, initlabel: bool = True, zerombr: bool = False) -> DiskSelection:
    return DiskSelection(clear=kind, clear_drives=drives, initlabel=initlabel, zerombr=zerombr)


WIPING = [
    (disk("sda"), DiskSelection(), ""),
    (disk("sda", partitions=LINUX), DiskSelection(), "clearpart --all --initlabel --drives=sda"),
    (disk("sda", partitions=LINUX), ZEROMBR, "clearpart --all"),
    (disk("sda", partitions=LINUX), clear("none"), "clearpart --all"),
    (disk("sda", partitions=LINUX), clear("linux"), ""),
    (disk("sda", partitions=WINDOWS), clear("linux"), r"--linux leaves sda2, ntfs"),
    (disk("sda", partitions=WINDOWS), clear("all"), ""),
    (disk("sda", partitions=WINDOWS), clear("all", "sda"), ""),
    (disk("sda", vgs=("vg",)), clear("all"), ""),
    (disk("sda", vgs=("vg",)), clear("all", initlabel=False), "--initlabel"),
    (disk("sda", fstype="xfs"), ZEROMBR, "clearpart --all"),
    (disk("sda", fstype="xfs"), clear("all"), ""),
    (GARBAGE, DiskSelection(), "zerombr"),
    (GARBAGE, ZEROMBR, ""),
    (GARBAGE, clear("all"), ""),
]


@pytest.mark.parametrize(("used", "selection", "permit"), WIPING)
def test_what_may_be_wiped(used: Disk, selection: DiskSelection, permit: str) -> None:
    if permit:
        with pytest.raises(LayoutError, match=rf"the disk sda .*is not empty: .*say .*{permit}"):
            check_wiping([used], [used], selection)
    else:
        assert check_wiping([used], [used], selection) == (() if used.blank else ("sda",))


def test_clearpart_drives_permits_no_other_disk() -> None:
    full = disk("sdb", partitions=(ExistingPartition("sdb1", GIB, "ntfs", "Windows"),))
    selection = replace(clear("all", "sda"), only_use=("sda", "sdb"))
    with pytest.raises(LayoutError, match=r"the disk sdb .*partitions sdb1 Windows"):
        select_disks((SDA, full), selection)


def test_row_31_a_reinstall_over_a_volume_group_of_the_same_name_is_planned() -> None:
    layout = automatic(disk("sda", vgs=("onn",), partitions=LINUX), request=AUTO)
    assert layout.wiped == ("sda",)
    assert layout.vg.name == "onn"


def test_row_31_a_volume_group_of_the_same_name_on_a_disk_that_stays_is_refused() -> None:
    foreign = disk("sdb", vgs=("onn",))
    request = replace(AUTO, selection=replace(ALL, only_use=("sda",)))
    with pytest.raises(LayoutError, match=r"there is a volume group onn already, on sdb .*--vg=NAME"):
        automatic(SDA, foreign, request=request)
    assert automatic(SDA, foreign, request=request, node=replace(NODE, vg="onn2")).vg.name == "onn2"


def test_row_31_half_of_a_foreign_volume_group_is_not_wiped() -> None:
    first, second = disk("sda", vgs=("data",)), disk("sdb", vgs=("data",))
    with pytest.raises(LayoutError, match=r"the volume group data is on sda .* and also on sdb"):
        select_disks((first, second), replace(ALL, only_use=("sda",)))
    assert names(select_disks((first, second), ALL)) == ["sda", "sdb"]


MEDIUM = disk(
    "sdb",
    partitions=(ExistingPartition("sdb1", GIB, links=("by-uuid/1-2", "by-partlabel/images", "by-id/usb-1-part1")),),
)


def test_a_path_of_our_own_multipath_device_is_no_foreign_disk() -> None:
    mpath = replace(MPATH, vgs=("onn",), blank=False)
    paths = [replace(path, vgs=("onn",), blank=False) for path in PATHS]
    check_vg_name("onn", [mpath], [mpath, *paths])
    assert check_wiping([mpath], [mpath, *paths], ALL) == ("mpatha",)


@pytest.mark.parametrize(
    ("image", "medium"),
    [
        ("hd:LABEL=OVIRTNODE:/a", disk("sdb", partitions=(ExistingPartition("sdb1", GIB, "ext4", "OVIRTNODE"),))),
        ("hd:LABEL=OVIRTNODE:/a", disk("sdb", fstype="ext4", label="OVIRTNODE")),
        ("hd:sdb1:/a", disk("sdb", partitions=(ExistingPartition("sdb1", GIB, "ext4"),))),
        ("hd:/dev/sdb:/a", disk("sdb", fstype="ext4")),
        ("hd:/dev/disk/by-id/ata-two:/a", disk("sdb", fstype="ext4", links=("by-id/ata-two",))),
        *((f"hd:{device}:/a", MEDIUM) for device in ("UUID=1-2", "PARTLABEL=images", "disk/by-id/usb-1-part1")),
    ],
)
@pytest.mark.parametrize("what", ["image", "later mirror", "manifest"])
def test_the_disk_that_holds_the_image_is_never_wiped(image: str, medium: Disk, what: str) -> None:
    images = {"image": (image,), "later mirror": ("http://h/a", image), "manifest": ("http://h/a",)}[what]
    node = replace(NODE, images=images, manifest=image if what == "manifest" else "")
    assert names(automatic(SDA, medium, node=node).disks) == ["sda"]
    with pytest.raises(LayoutError, match="the image is read from it"):
        automatic(SDA, medium, node=node, request=replace(AUTO, selection=replace(ALL, only_use=("sdb",))))

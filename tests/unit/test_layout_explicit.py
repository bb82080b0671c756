"""part, volgroup and logvol lines, and a layout told in words."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from org_ovirt_node.errors import LayoutError, NodeError
from org_ovirt_node.kickstart.standard import load
from org_ovirt_node.layout.describe import as_dict, as_kickstart, as_text
from org_ovirt_node.layout.model import GIB, MIB, Disk, Firmware, Layout, Role
from org_ovirt_node.layout.plan import plan
from tests.unit.layouts import ADDON, AUTO, BIOS, BOTH, EFI, IMAGE, automatic, check, disk, read, sizes

KICKSTARTS = Path(__file__).parents[2] / "kickstarts"
CLEAR = "zerombr\nclearpart --all --initlabel\n"
LINES = """\
part biosboot --fstype=biosboot --size=1
part /boot/efi --fstype=efi --size=600
part /boot --fstype=ext4 --size=1024
part pv.01 --size=1 --grow
volgroup onn pv.01
logvol none --vgname=onn --name=pool00 --thinpool --size=20000 --grow
logvol / --vgname=onn --name=root --thin --poolname=pool00 --size=4000
logvol /var --vgname=onn --name=var --thin --poolname=pool00 --size=5000 --fstype=xfs
logvol swap --vgname=onn --name=swap --size=1000
"""


def explicit(text: str, *disks: Disk, firmware: tuple[Firmware, ...] = BIOS, boot_drive: str = "") -> Layout:
    request = read(f"{text}{CLEAR}{ADDON}\n%end\n")
    return plan(disks or [disk()], request.storage, request.node, IMAGE, firmware, boot_drive, file="ks.cfg")


def test_lines_become_a_layout() -> None:
    layout = explicit(LINES, firmware=BOTH)
    check(layout)
    assert [part.role for part in layout.partitions] == [Role.BIOSBOOT, Role.ESP, Role.BOOT, Role.PV]
    assert sizes(layout) == {"/": 4000 * MIB, "/var": 5000 * MIB, "swap": 1000 * MIB}
    assert layout.layer.name == f"{IMAGE.nvr}+1"
    assert layout.pool.size > 55 * GIB


def test_two_disks_are_used_where_the_lines_say() -> None:
    text = LINES.replace("part pv.01 --size=1 --grow\n", "part pv.02 --size=30000 --ondisk=sda\n")
    text = text.replace("part biosboot", "part pv.01 --size=1 --grow --maxsize=40000 --ondisk=sdc\npart biosboot")
    text = text.replace("volgroup onn pv.01", "volgroup onn pv.01 pv.02")
    layout = explicit(text, disk("sda"), disk("sdb"), disk("sdc"), boot_drive="sda")
    check(layout)
    assert [used.name for used in layout.disks] == ["sda", "sdc"]
    assert layout.vg.disks == ("sdc", "sda")
    assert {part.disk: part.size for part in layout.partitions if part.role is Role.PV} == {
        "sda": 30000 * MIB,
        "sdc": 40000 * MIB,
    }


def test_only_the_disks_that_are_used_must_be_wipeable() -> None:
    text = LINES.replace("pv.01 --size=1", "pv.01 --ondisk=sdb --size=1").replace("/boot --", "/boot --ondisk=sdb --")
    request = read(f"{text}{ADDON}\n%end\n")
    full = disk("sda", fstype="ntfs")
    layout = plan([full, disk("sdb")], request.storage, request.node, IMAGE, BIOS)
    assert [used.name for used in layout.disks] == ["sdb"]
    with pytest.raises(LayoutError, match=r"sda .*not empty"):
        plan([full, disk("sdb")], read(f"{LINES}{ADDON}\n%end\n").storage, request.node, IMAGE, BIOS)


def test_what_grows_in_the_pool_promises_nothing_twice() -> None:
    text = LINES.replace("--size=4000", "--size=4000 --grow").replace(
        "--size=5000", "--size=5000 --grow --maxsize=6000"
    )
    layout = explicit(text)
    check(layout)
    assert sizes(layout)["/var"] == 6000 * MIB
    assert sizes(layout)["/"] > 4000 * MIB


def test_row_19_discard_is_added_to_options_and_nodiscard_is_refused() -> None:
    layout = explicit(LINES.replace("--size=5000", "--size=5000 --fsoptions=defaults,noatime"))
    assert next(volume.options for volume in layout.volumes if volume.name == "var") == ("discard", "noatime")
    with pytest.raises(NodeError, match=r"ks\.cfg:8: logvol /var --fsoptions=nodiscard"):
        explicit(LINES.replace("--size=5000", "--size=5000 --fsoptions=nodiscard"))


def test_swap_as_recommended() -> None:
    layout = explicit(LINES.replace("--name=swap --size=1000", "--name=swap --recommended"))
    check(layout)
    assert 256 * MIB <= sizes(layout)["swap"] <= 8 * GIB


#: What is replaced, by what, the line that is named, and what is said.
REFUSED = [
    ("part /boot --fstype=ext4 --size=1024\n", "", 1, "there is no /boot partition"),
    ("part biosboot --fstype=biosboot --size=1\n", "", 2, "no BIOS boot partition"),
    ("part /boot --fstype=ext4", "part /boot --fstype=xfs", 3, "part /boot --fstype=xfs"),
    ("--size=1024", "--size=100", 3, "too small"),
    ("part /boot --fs", "part /boot --grow --fs", 3, "--grow"),
    ("part /boot --fs", "part /boot --encrypted --passphrase=x --fs", 3, "--encrypted"),
    ("part pv.01", "part pv.01 --label=x", 4, "--label=x"),
    ("part pv.01", "part pv.01 --fstype=ext4", 4, "--fstype=ext4"),
    ("part pv.01 --size=1 --grow", "part pv.01 --size=99999", 4, "and 64.0 GiB fit on it"),
    ("part pv.01 --size=1 --grow", "part pv.01 --size=100 --maxsize=200", 4, "--maxsize"),
    ("part pv.01 --size=1 --grow", "part pv.01 --size=1 --grow --ondisk=sdz", 4, "--ondisk=sdz"),
    ("part pv.01", "part raid.01 --size=1\npart pv.01", 4, "belongs to no raid line"),
    ("part pv.01", "part swap --size=1\npart pv.01", 4, "logvol swap"),
    ("part pv.01", "part / --size=1\npart pv.01", 4, "logvol / --thin"),
    ("part pv.01", "part /home --size=1\npart pv.01", 4, "logvol --thin"),
    ("part pv.01", "part pv.02 --size=100\npart pv.01", 5, "second physical volume on sda"),
    ("part pv.01", "part biosboot --size=1\npart pv.01", 4, "given twice"),
    ("volgroup onn pv.01\n", "", 4, "there is no volume group"),
    ("volgroup onn pv.01", "volgroup onn pv.02", 5, "no part pv.02"),
    ("volgroup onn pv.01", "volgroup onn pv.01 pv.01", 5, "twice"),
    ("volgroup onn pv.01", "volgroup onn pv.01\nvolgroup data pv.01", 6, "second volume group"),
    ("volgroup onn pv.01", "volgroup onn pv.01 --pesize=3000", 5, "--pesize=3000"),
    ("logvol none", "#logvol none", 5, "there is no thin pool"),
    ("logvol none", "logvol none --fstype=ext4", 6, "--fstype means nothing"),
    ("logvol none", "logvol none --chunksize=100", 6, "--chunksize=100"),
    ("logvol none", "logvol none --metadatasize=1", 6, "--metadatasize"),
    ("logvol none", "logvol none --metadatasize=4", 6, "4 MiB is too small for a pool of"),
    ("--size=20000 --grow", "--size=64000", 5, "0 B stay free"),
    ("--size=20000 --grow", "--size=61200", 5, "2 more images"),
    ("--size=20000 --grow", "--size=9000", 7, "16.6 GiB together, with 3 layers"),
    ("logvol / --", "logvol /data --", 5, "no thin volume for /"),
    (
        "logvol / --vgname=onn --name=root --thin --poolname=pool00",
        "logvol / --vgname=onn --name=root",
        7,
        "not a thin",
    ),
    ("logvol / --vgname=onn", "logvol / --vgname=other", 7, "--vgname=other"),
    ("--thin --poolname=pool00 --size=4000", "--thin --poolname=other --size=4000", 7, "--poolname=other"),
    ("--size=4000", "--size=100", 7, "too small"),
    ("--size=4000", "--percent=10", 7, "needs --size"),
    ("logvol /var --vgname=onn --name=var", "logvol /srv --vgname=onn --name=srv", 7, "/var would be on the root"),
    ("logvol /var ", "logvol /usr ", 8, "belongs to the image"),
    ("logvol /var ", "logvol /boot ", 8, "boot"),
    ("--fstype=xfs", "--fstype=btrfs", 8, "btrfs"),
    ("--name=var", "--name=root", 8, "--name=root was given on line 7 already"),
    ("--name=var", "--name=pool00", 8, "--name=pool00 was given on line 6 already"),
    ("--name=swap", "--name=var", 9, "--name=var was given on line 8 already"),
    ("--name=var", "--name=ovirt-node-ng-4.5.5-0.20240101.0", 8, "the image or its layer has this name"),
    ("logvol swap", "logvol swap --thin --poolname=pool00", 9, "cannot be thin"),
    ("logvol swap", "logvol swap --grow", 9, "--grow"),
    ("logvol swap", "logvol swap --vgname=onn --name=s2 --size=1000\nlogvol swap", 5, ""),
    ("logvol swap", "logvol /var/ --vgname=onn --name=x --size=1000 --thin --poolname=pool00\nlogvol swap", 9, "/var"),
]


@pytest.mark.parametrize(
    ("old", "new", "line", "said"), REFUSED, ids=[new[:40] or old[:40] for old, new, *_ in REFUSED]
)
def test_row_32_what_is_no_layout_of_a_node_is_refused_by_its_line(old: str, new: str, line: int, said: str) -> None:
    assert old in LINES
    with pytest.raises(NodeError) as caught:
        explicit(LINES.replace(old, new, 1))
    message = str(caught.value)
    if said:
        assert message.startswith(f"ks.cfg:{line}: "), message
        assert any(part in message for part in said.split("|")), message


@pytest.mark.parametrize("reserved", ["--reserved-percent=99", "--reserved-space=60000"])
def test_a_reserve_that_leaves_no_room_is_to_blame_itself(reserved: str) -> None:
    growing = LINES.replace("--size=20000", "--size=1")
    check(explicit(growing))
    with pytest.raises(NodeError, match=r"^ks\.cfg:5: .*keeps .* free.*Give a smaller --reserved-space"):
        explicit(growing.replace("volgroup onn pv.01", f"volgroup onn pv.01 {reserved}"))


def test_efi_needs_its_partition() -> None:
    without = LINES.replace("part /boot/efi --fstype=efi --size=600\n", "")
    with pytest.raises(NodeError, match=r"ks\.cfg:2: there is no EFI system partition"):
        explicit(without, firmware=EFI)
    check(explicit(without))


@pytest.mark.parametrize(
    ("addon", "said"),
    [
        ("--vg=other", r"volgroup onn: .*--vg=other"),
        ("--pool=other", r"--name=pool00: .*--pool=other"),
        ("--layer-size=9GiB", r"logvol / .*--layer-size"),
    ],
)
def test_the_section_and_the_lines_must_not_contradict_each_other(addon: str, said: str) -> None:
    request = read(f"{LINES}{CLEAR}{ADDON} {addon}\n%end\n")
    with pytest.raises(NodeError, match=said):
        plan([disk()], request.storage, request.node, IMAGE, BIOS)


@pytest.mark.parametrize("line", ["volume /data --size=1GiB", "novolume /home"])
def test_volume_lines_belong_to_autopart(line: str) -> None:
    request = read(f"{LINES}{CLEAR}{ADDON}\n{line}\n%end\n")
    with pytest.raises(NodeError, match=r"kickstart:1[23]: .*there are logvol lines"):
        plan([disk()], request.storage, request.node, IMAGE, BIOS)


def again(layout: Layout, disks: list[Disk]) -> Layout:
    """The layout planned once more from its own kickstart lines."""
    lines = as_kickstart(layout, passphrases=True)
    only = ",".join(used.name for used in layout.disks)
    request = read(f"{lines}ignoredisk --only-use={only}\n{CLEAR}{ADDON}\n%end\n")
    drive = layout.boot_disk.name
    return plan(disks, request.storage, request.node, IMAGE, layout.firmware, drive)


@settings(max_examples=25)
@given(
    st.lists(st.integers(9 * GIB, 300 * GIB), min_size=1, max_size=3),
    st.sampled_from([BIOS, EFI, BOTH]),
    st.booleans(),
    st.booleans(),
    st.sampled_from(["ext4", "xfs"]),
)
def test_the_kickstart_lines_of_a_layout_give_the_same_layout(
    sizes_of: list[int], firmware: tuple[Firmware, ...], encrypted: bool, noswap: bool, fstype: str
) -> None:
    request = replace(AUTO, encrypted=encrypted, passphrase="a 'b" if encrypted else "", noswap=noswap, fstype=fstype)
    disks = [disk(f"sd{index}", size) for index, size in enumerate(sizes_of)]
    layout = automatic(*disks, request=request, firmware=firmware)
    assert again(layout, disks) == layout


def test_the_lines_of_an_explicit_layout_give_the_same_layout() -> None:
    request = load(str(KICKSTARTS / "custom-partition.ks"), run_pre=False)
    disks = [disk("sda", 100 * GIB), disk("sdb", 80 * GIB)]
    layout = plan(disks, request.storage, request.node, IMAGE, BIOS, request.bootloader.boot_drive)
    check(layout)
    assert again(layout, disks) == layout


def test_passphrases_are_told_only_when_asked_for() -> None:
    layout = automatic(request=replace(AUTO, encrypted=True, passphrase="geheim"))
    told = [as_text(layout), as_kickstart(layout), json.dumps(as_dict(layout)), repr(layout)]
    assert not any("geheim" in text for text in told)
    assert "--passphrase=geheim" in as_kickstart(layout, passphrases=True)


def test_the_table_says_what_is_lost_and_what_is_made() -> None:
    layout = automatic(disk("sda", 64 * GIB, vgs=("old",), serial="S1"), firmware=BOTH)
    text = as_text(layout)
    assert "sda: 64 GiB, serial S1; its content is LOST, boots by BIOS and EFI" in text
    for name in [IMAGE.nvr, "pool00", "(free)", *(volume.name for volume in layout.volumes)]:
        assert f"\n  {name} " in text
    assert max(map(len, text.splitlines())) <= 120


def test_the_json_has_every_size_in_bytes() -> None:
    layout = automatic(disk("sda", 64 * GIB), firmware=BOTH)
    found = json.loads(json.dumps(as_dict(layout)))
    assert found["format"] == 1 and found["firmware"] == ["bios", "efi"]
    assert found["disks"] == [
        {"name": "sda", "size": 64 * GIB, "model": "", "serial": "", "wwn": "", "boot": True, "wiped": False}
    ]
    assert found["pool"]["size"] == layout.pool.size and found["reserved"] == layout.reserved
    assert [volume["size"] for volume in found["volumes"]] == [volume.size for volume in layout.volumes]
    assert found["volumes"][0]["layer"] is True

"""raid lines: a node of which either disk alone has all."""

from __future__ import annotations

from pathlib import Path

import pytest

from org_ovirt_node.boot import files, grubcfg, grubenv
from org_ovirt_node.errors import BootError, NodeError
from org_ovirt_node.install import system
from org_ovirt_node.layout.describe import as_dict, as_kickstart, as_text
from org_ovirt_node.layout.model import MIB, Disk, Firmware, Layout, Role
from org_ovirt_node.layout.plan import plan
from org_ovirt_node.node import survey
from org_ovirt_node.node.check import Facts, judge
from tests.unit.layouts import ADDON, BIOS, EFI, IMAGE, disk, read, roles, sizes

CLEAR = "zerombr\nclearpart --all --initlabel\n"
LINES = """\
part biosboot --fstype=biosboot --size=1 --ondisk=sda
part biosboot --fstype=biosboot --size=1 --ondisk=sdb
part raid.01 --size=1024 --ondisk=sda
part raid.02 --size=1024 --ondisk=sdb
part raid.11 --size=1 --grow --ondisk=sda
part raid.12 --size=1 --grow --ondisk=sdb
raid /boot --level=1 --device=boot --fstype=ext4 raid.01 raid.02
raid pv.01 --level=1 --device=pv raid.11 raid.12
volgroup onn pv.01
logvol none --vgname=onn --name=pool00 --thinpool --size=20000 --grow
logvol / --vgname=onn --name=root --thin --poolname=pool00 --size=4000
logvol /var --vgname=onn --name=var --thin --poolname=pool00 --size=5000 --fstype=xfs
"""


def mirrored(text: str = LINES, *disks: Disk, firmware: tuple[Firmware, ...] = BIOS) -> Layout:
    request = read(f"{text}{CLEAR}{ADDON}\n%end\n")
    return plan(disks or [disk("sda"), disk("sdb")], request.storage, request.node, IMAGE, firmware, file="ks.cfg")


def test_both_disks_have_all_of_it() -> None:
    layout = mirrored()
    expected = [Role.BIOSBOOT, Role.ENVIRONMENT, Role.BOOT, Role.PV]
    assert roles(layout, "sda") == roles(layout, "sdb") == expected
    assert [(array.name, array.role, array.mountpoint) for array in layout.arrays] == [
        ("boot", Role.BOOT, "/boot"),
        ("pv", Role.PV, ""),
    ]
    assert {part.array for part in layout.partitions if part.role is Role.PV} == {"pv"}
    assert [part.mountpoint for part in layout.partitions if part.role is Role.ENVIRONMENT] == [
        "/boot/env1",
        "/boot/env2",
    ]
    assert layout.vg.disks == ("sda", "sdb")
    assert sizes(layout)["/"] == 4000 * MIB


def test_a_mirror_is_as_large_as_its_smallest_disk() -> None:
    small, large = disk("sda"), disk("sdb", size=disk().size * 2)
    layout = mirrored(LINES, small, large)
    room = min(part.size for part in layout.partitions if part.role is Role.PV)
    taken = layout.image.size + layout.pool.size + 2 * layout.pool.metadata_size + layout.reserved
    # md(4) keeps at most 128 MiB of a member for itself.
    assert room - 160 * MIB < taken < room


def test_its_lines_give_the_same_layout_again() -> None:
    layout = mirrored()
    assert mirrored(as_kickstart(layout)) == layout


def test_it_is_told() -> None:
    layout = mirrored()
    assert "in the mirror boot" in as_text(layout) and "sda, sdb" in as_text(layout)
    assert [array["name"] for array in as_dict(layout)["arrays"]] == ["boot", "pv"]


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("raid /boot --level=1", "raid /boot --level=0", r"--level=0 is not supported"),
        ("raid /boot --level=1", "raid /boot --level=1 --encrypted", r"--encrypted is not supported"),
        ("raid pv.01", "raid /data", r"/data cannot be an array"),
        (" --device=boot --fstype=ext4", " --device=boot --fstype=xfs", r"--fstype=xfs is not supported"),
        ("--device=pv ", "--device=boot ", r"--device=boot is given twice|already been defined"),
        ("--device=pv ", "--device=p/v ", r"cannot be its name"),
        ("raid.01 raid.02\n", "raid.01\n", r"has 1 member"),
        ("raid.01 raid.02\n", "raid.01 raid.09\n", r"there is no part raid\.09"),
        ("raid.11 raid.12\n", "raid.11 raid.02\n", r"raid\.02 is in raid /boot already|belongs to no raid line"),
        ("raid /boot --level=1 --device=boot --fstype=ext4 raid.01 raid.02\n", "", r"there is no raid /boot"),
        (
            "raid.12 --size=1 --grow --ondisk=sdb",
            "raid.12 --size=1 --grow --ondisk=sda",
            r"two members|second physical",
        ),
        ("part biosboot --fstype=biosboot --size=1 --ondisk=sdb\n", "", r"sdb has a half of /boot and no BIOS boot"),
        ("--size=1024 --ondisk=sdb", "--size=1024", r"raid\.02 says no disk"),
        ("--size=1024 --ondisk=sdb", "--size=1024 --ondisk=sdb --label=x", r"belongs to the raid line"),
        ("volgroup", "part pv.02 --size=5000 --ondisk=sda\nvolgroup", r"pv\.02 would be on one disk alone"),
        ("part biosboot --fstype=biosboot --size=1 --ondisk=sda\n", "", r"no BIOS boot partition"),
    ],
)
def test_half_a_mirror_is_refused(old: str, new: str, message: str) -> None:
    assert old in LINES
    with pytest.raises(NodeError, match=message) as refused:
        mirrored(LINES.replace(old, new, 1))
    assert "ks.cfg" in str(refused.value)


def test_a_part_of_no_array_is_refused() -> None:
    text = "\n".join(line for line in LINES.splitlines() if not line.startswith("raid ")) + "\n"
    with pytest.raises(NodeError, match=r"raid\.01 belongs to no raid line"):
        mirrored(text)


def test_efi_is_refused() -> None:
    with pytest.raises(NodeError, match="boots by EFI is not supported yet"):
        mirrored(LINES + "part /boot/efi --fstype=efi --size=600 --ondisk=sda\n", firmware=EFI)


def test_grub_keeps_its_block_on_the_disk_that_it_was_started_from() -> None:
    config = grubcfg.render_config(1, "", environment=2)
    assert 'set node_env="(${node_disk},gpt2)/grubenv"' in config
    assert 'save_env --file "$node_env" trial_tries trial_failed' in config
    assert "load_env\n" not in config
    assert "node_env" not in grubcfg.render_config(1, "")


@pytest.fixture
def boot(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """/boot with two environment blocks; what is "mounted" has a file that says so."""
    for number in (1, 2):
        (tmp_path / f"env{number}").mkdir()
        (tmp_path / f"env{number}/.mounted").touch()
    monkeypatch.setattr(Path, "is_mount", lambda place: (place / ".mounted").exists())
    return tmp_path


def test_every_block_is_written_and_one_is_read(boot: Path) -> None:
    (boot / "env3-1.0-1+1").mkdir()
    files.write_environment(boot, "grub", {"saved_entry": "a", "trial_entry": "b", "trial_tries": "3"})
    assert not (boot / "grub").exists()
    assert (boot / "env1/grubenv").read_bytes() == (boot / "env2/grubenv").read_bytes()
    assert not files.differing_blocks(boot, "grub")
    # GRUB counts on the disk that it was started from.
    (boot / "env2/grubenv").write_bytes(grubenv.render({"saved_entry": "a", "trial_entry": "b", "trial_tries": "2"}))
    assert files.differing_blocks(boot, "grub")
    assert files.read_environment(boot, "grub")["trial_tries"] == "2"
    (boot / "env1/grubenv").write_bytes(
        grubenv.render({"saved_entry": "a", "trial_entry": "b", "trial_tries": "3", "trial_failed": "b"})
    )
    assert files.read_environment(boot, "grub")["trial_failed"] == "b"
    (boot / "env1/grubenv").write_bytes(b"")
    assert files.read_environment(boot, "grub")["trial_tries"] == "2"


def test_a_disk_that_is_gone_is_left_out(boot: Path) -> None:
    (boot / "env1/.mounted").unlink()
    files.write_environment(boot, "grub", {"saved_entry": "a"})
    assert not (boot / "env1/grubenv").exists()
    assert files.read_environment(boot, "grub") == {"saved_entry": "a"}
    (boot / "env2/.mounted").unlink()
    with pytest.raises(BootError, match="no partition with GRUB's environment block is mounted"):
        files.write_environment(boot, "grub", {"saved_entry": "b"})


def test_mdadm_knows_the_arrays(tmp_path: Path) -> None:
    (tmp_path / "etc/mdadm").mkdir(parents=True)
    (tmp_path / "etc/mdadm/mdadm.conf").write_text("HOMEHOST <system>\nARRAY /dev/md/old UUID=0:0:0:0\n")
    system.mdadm_config(tmp_path, {"boot": "1:2:3:4"})
    assert (tmp_path / "etc/mdadm/mdadm.conf").read_text() == "HOMEHOST <system>\nARRAY /dev/md/boot UUID=1:2:3:4\n"
    system.mdadm_config(tmp_path / "fedora", {})
    assert not (tmp_path / "fedora").exists()
    system.mdadm_config(tmp_path / "fedora", {"pv": "5:6:7:8"})
    assert (tmp_path / "fedora/etc/mdadm.conf").read_text() == "ARRAY /dev/md/pv UUID=5:6:7:8\n"


def test_a_mirror_that_lacks_a_disk_is_a_warning(tmp_path: Path) -> None:
    for name, lacking in (("md126", 0), ("md127", 1)):
        (tmp_path / name / "md").mkdir(parents=True)
        (tmp_path / name / "md/degraded").write_text(f"{lacking}\n")
    found = survey.arrays(tmp_path)
    assert found == {"/dev/md126": 0, "/dev/md127": 1}
    (group,) = [group for group in judge(Facts(arrays=found)) if group.key == "mirrors"]
    assert group.warns and "/dev/md127 lacks 1 of its disks" in group.results[0].reason
    assert "md126" not in group.results[0].reason
    assert not [group for group in judge(Facts()) if group.key == "mirrors"]

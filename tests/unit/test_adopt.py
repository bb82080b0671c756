"""What is taken over from an installer that has partitioned and mounted: facts in, a layout out."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from org_ovirt_node.errors import BootError, StorageError
from org_ovirt_node.install import adopt
from org_ovirt_node.install.handover import adopt_fstab
from org_ovirt_node.layout.model import ImageVolume, Layout, Role, ThinPool, Volume, VolumeGroup
from org_ovirt_node.node import lvm
from org_ovirt_node.node.lvm import Group, LogicalVolume

#: From an Anaconda in a virtual machine: the root with its bind below /mnt/sysroot.
MOUNTINFO = """\
21 1 0:20 / / rw,relatime shared:1 - overlay overlay rw
90 21 253:4 / /mnt/sysimage rw,relatime shared:50 - ext4 /dev/mapper/cs_node1-root rw
91 90 254:2 / /mnt/sysimage/boot rw,relatime shared:51 - ext4 /dev/vda2 rw
92 90 0:5 / /mnt/sysimage/dev rw shared:2 - devtmpfs dev rw
93 90 253:6 / /mnt/sysimage/var rw,relatime shared:52 - ext4 /dev/mapper/cs_node1-var rw
94 93 253:7 / /mnt/sysimage/var/log rw,relatime shared:53 - ext4 /dev/mapper/cs_node1-var_log rw
95 21 253:4 / /mnt/sysroot rw,relatime shared:50 - ext4 /dev/mapper/cs_node1-root rw
96 95 254:2 / /mnt/sysroot/boot rw,relatime shared:51 - ext4 /dev/vda2 rw
99 90 0:44 / /mnt/sysimage/a\\040b rw - tmpfs tmpfs rw
"""


def _device(**fields: object) -> dict[str, object]:
    base: dict[str, object] = dict.fromkeys(
        ("name", "kname", "path", "type", "fstype", "uuid", "partuuid", "parttype", "pttype")
    )
    return {**base, "size": 1 << 30, **fields}


LSBLK = json.dumps(
    {
        "blockdevices": [
            _device(
                name="vda",
                kname="vda",
                path="/dev/vda",
                type="disk",
                pttype="gpt",
                children=[
                    _device(
                        name="vda1",
                        kname="vda1",
                        path="/dev/vda1",
                        type="part",
                        parttype=adopt.BIOSBOOT_GUID.upper(),
                        pttype="gpt",
                    ),
                    _device(
                        name="vda2", kname="vda2", path="/dev/vda2", type="part", fstype="ext4", uuid="b", pttype="gpt"
                    ),
                ],
            ),
            _device(
                name="sda",
                kname="sda",
                path="/dev/sda",
                type="disk",
                children=[
                    _device(
                        name="mpatha",
                        kname="dm-0",
                        path="/dev/mapper/mpatha",
                        type="mpath",
                        children=[_device(name="mpatha1", kname="dm-1", path="/dev/mapper/mpatha1", type="part")],
                    )
                ],
            ),
        ]
    }
)


def test_mountinfo() -> None:
    found = adopt.parse_mountinfo(MOUNTINFO)
    assert adopt.top_mount(found, Path("/mnt/sysroot")).source == "/dev/mapper/cs_node1-root"
    below = adopt.children(found, adopt.top_mount(found, Path("/mnt/sysimage")))
    assert [str(mount.target) for mount in below] == [
        "/mnt/sysimage/boot",
        "/mnt/sysimage/dev",
        "/mnt/sysimage/var",
        "/mnt/sysimage/a b",
    ]
    with pytest.raises(StorageError, match="/mnt/elsewhere"):
        adopt.top_mount(found, Path("/mnt/elsewhere"))


def test_lsblk() -> None:
    found = adopt.parse_lsblk(LSBLK)
    assert found["/dev/vda2"].disks == ("/dev/vda",)
    assert found["/dev/vda2"].table == "gpt"
    assert found["/dev/vda1"].part_type == adopt.BIOSBOOT_GUID
    assert found["/dev/mapper/mpatha1"].disks == ("/dev/mapper/mpatha",)


@pytest.mark.parametrize("text", ["", "[]", '{"blockdevices": [{}]}', '{"blockdevices": 3}'])
def test_lsblk_that_is_none(text: str) -> None:
    with pytest.raises(StorageError, match="lsblk"):
        adopt.parse_lsblk(text)


def test_fstab() -> None:
    written = """
#
# /etc/fstab
UUID=1 / ext4 defaults 1 1
UUID=2 /boot                   ext4    defaults        1 2
UUID=3 /var ext4 defaults,noatime 1 2
UUID=4 none swap defaults 0 0
"""
    made = adopt_fstab(written, {"/": ("discard",), "/var": ("discard", "noatime")})
    lines = [line for line in made.splitlines() if line and not line.startswith("#")]
    assert lines == [
        "UUID=2 /boot ext4 defaults 1 2",
        "UUID=3 /var ext4 noatime,discard 1 2",
        "UUID=4 none swap defaults 0 0",
    ]


def test_carry_over(tmp_path: Path) -> None:
    bare, tree = tmp_path / "bare", tmp_path / "tree"
    for folder in ("etc/lvm/devices", "etc/sysconfig", "root", "upper", "work", "lost+found"):
        (bare / folder).mkdir(parents=True)
    (bare / "etc/fstab").write_text("fstab")
    (bare / "etc/lvm/devices/system.devices").write_text("devices")
    (bare / "etc/resolv.conf").write_text("nameserver")
    (bare / "etc/link").symlink_to("fstab")
    (bare / "etc/folder-link").symlink_to("sysconfig")
    (bare / "lost+found/x").write_text("x")
    (tree / "etc").mkdir(parents=True)
    (tree / "etc").chmod(0o711)
    (tree / "etc/resolv.conf").symlink_to("/run/resolv.conf")
    moved = adopt.carry_over(bare, bare / "upper", tree, leave=("etc/resolv.conf",))
    assert moved == ("etc/folder-link", "etc/fstab", "etc/link", "etc/lvm/devices/system.devices")
    assert (bare / "upper/etc/lvm/devices/system.devices").read_text() == "devices"
    assert (bare / "upper/etc").stat().st_mode & 0o777 == 0o711
    assert (bare / "upper/etc/link").readlink() == Path("fstab")
    assert not (bare / "upper/etc/sysconfig").exists()
    adopt.prune(bare)
    assert sorted(path.name for path in bare.iterdir()) == ["lost+found", "upper", "work"]


def test_an_installers_own_file_is_kept_where_the_image_has_none(tmp_path: Path) -> None:
    bare, tree = tmp_path / "bare", tmp_path / "tree"
    (bare / "etc").mkdir(parents=True)
    (bare / "upper").mkdir()
    tree.mkdir()
    (bare / "etc/resolv.conf").write_text("nameserver")
    assert adopt.carry_over(bare, bare / "upper", tree, leave=("etc/resolv.conf",)) == ("etc/resolv.conf",)


def test_boot_partition(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "vda2").mkdir()
    (tmp_path / "vda2/partition").write_text("2\n")
    monkeypatch.setattr(adopt, "SYS_BLOCK", tmp_path)
    mount = adopt.top_mount(adopt.parse_mountinfo(MOUNTINFO), Path("/mnt/sysroot/boot"))
    made = adopt._partition(mount, adopt.parse_lsblk(LSBLK), Role.BOOT, "/boot")
    assert (made.disk_path, made.path, made.number, made.uuid) == ("/dev/vda", "/dev/vda2", 2, "b")
    assert made.request.disk == "vda"


def test_boot_on_what_is_no_partition(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(adopt, "SYS_BLOCK", tmp_path)
    mount = adopt.top_mount(adopt.parse_mountinfo(MOUNTINFO), Path("/mnt/sysroot/boot"))
    with pytest.raises(BootError, match="/dev/vda2, which is no partition"):
        adopt._partition(mount, adopt.parse_lsblk(LSBLK), Role.BOOT, "/boot")


@pytest.mark.parametrize(
    ("uuid", "number"), [("part3-mpath-3600140500", 3), ("part12-oem", 12), ("LVM-part1-x", 0), ("mpath-part1", 0)]
)
def test_a_partition_of_device_mapper(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, uuid: str, number: int) -> None:
    monkeypatch.setattr(adopt, "SYS_BLOCK", tmp_path)
    (tmp_path / "dm-1/dm").mkdir(parents=True)
    (tmp_path / "dm-1/dm/uuid").write_text(uuid + "\n")
    assert adopt.partition_number("dm-1") == number


def test_the_volume_of_the_image(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is made by LVM; a name that is taken, the image's or its layer's, is refused before that."""
    made: list[tuple[str, str, int]] = []
    there = ["root", "pool00"]
    monkeypatch.setattr(lvm, "group", lambda name: group(name, there))
    monkeypatch.setattr(lvm, "create_linear", lambda vg, name, size, tags: made.append((vg, name, size)))
    monkeypatch.setattr(adopt, "settle", lambda: None)
    layout = Layout((), (), (), (), VolumeGroup("cs_node1"), ImageVolume("n-1", 4096), 0, ThinPool("p", 1, 0, 0), ())
    adopt.make_image_volume(layout)
    assert made == [("cs_node1", "n-1", 4096)]
    for name in ("n-1", "n-1+1"):
        there.append(name)
        with pytest.raises(StorageError, match=re.escape(f"volume group cs_node1 has a volume {name} already")):
            adopt.make_image_volume(layout)
        there.pop()
    assert len(made) == 1


def test_the_roots_volume_may_have_the_layers_name_already(monkeypatch: pytest.MonkeyPatch) -> None:
    """So ovirt-node-install prints it, for %include."""
    made: list[str] = []
    monkeypatch.setattr(lvm, "group", lambda name: group(name, ["n-1+1", "p"]))
    monkeypatch.setattr(lvm, "create_linear", lambda vg, name, size, tags: made.append(name))
    monkeypatch.setattr(adopt, "settle", lambda: None)
    root = Volume("n-1+1", 4096, "ext4", "/")
    vg, image, pool = VolumeGroup("onn"), ImageVolume("n-1", 4096), ThinPool("p", 1, 0, 0)
    adopt.make_image_volume(Layout((), (), (), (), vg, image, 0, pool, (root,)))
    assert made == ["n-1"]
    other = Volume("n-1+1", 4096, "ext4", "/srv")
    with pytest.raises(StorageError, match="has a volume"):
        adopt.make_image_volume(Layout((), (), (), (), vg, image, 0, pool, (other,)))


def group(vg: str, names: list[str]) -> Group:
    """A VG with LVs of these names."""
    volumes = (LogicalVolume(name, vg, 1, "", (), "", "", None, None, "", True) for name in names)
    return Group(vg, "", 1, 1, 1, (), tuple(volumes))

"""The installer medium's program: which kickstart it takes, what answers mean; and what is on a medium."""

from __future__ import annotations

import hashlib
import subprocess
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest

from org_ovirt_node.cli import image as program
from org_ovirt_node.errors import ImageError, NodeError, PayloadError, WrongUsage
from org_ovirt_node.image import publish
from org_ovirt_node.kickstart.standard import load
from org_ovirt_node.media import checksum, early, finish, grub, iso, layers
from org_ovirt_node.progress import Silent
from org_ovirt_node.setup import source
from org_ovirt_node.setup.answers import Answers, Disk, Image, disks_of
from org_ovirt_node.setup.network import Network
from org_ovirt_node.setup.source import Kickstart, from_command_line
from org_ovirt_node.storage import ibft
from tests.support.packages import squashfs

SHA = hashlib.sha256(b"image").hexdigest()
IMAGE = Image("/run/install/repo/ovirt-node/node-1.0-1.squashfs", "node-1.0-1", SHA)


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("quiet console=ttyS0", None),
        ("inst.ks=http://10.0.2.2/a.ks quiet", Kickstart("http://10.0.2.2/a.ks")),
        ('ovirt-node.ks="https://h/a b.ks"', Kickstart("https://h/a b.ks")),
        ("inst.ks", Kickstart("/run/install/repo/ks.cfg")),
        ("inst.ks=/my.ks", Kickstart("/run/install/repo/my.ks")),
        ("inst.ks=file:///x/my.ks", Kickstart("/run/install/repo/x/my.ks")),
        ("inst.ks=cdrom:/my.ks", Kickstart("/run/install/repo/my.ks")),
        ("inst.ks=cdrom:/../../etc/shadow", Kickstart("/run/install/repo/etc/shadow")),
        ("inst.ks=hd:LABEL=STICK:/dir/my.ks", Kickstart("/dir/my.ks", "STICK")),
        ("ovirt-node.ks=hd:LABEL=OEMDRV:/ks.cfg", Kickstart("/ks.cfg", "OEMDRV")),
        ("inst.ksdevice=eth0", None),
    ],
)
def test_the_kernel_command_line_names_a_kickstart(line: str, expected: Kickstart) -> None:
    assert from_command_line(line) == expected


@pytest.mark.parametrize(
    "line", ["inst.ks=ftp://h/a", "inst.ks=my.ks", "inst.ks=hd:sda1:/ks", "inst.ks=/a ovirt-node.ks=/b"]
)
def test_a_kickstart_that_cannot_be_is_refused(line: str) -> None:
    with pytest.raises(WrongUsage):
        from_command_line(line)


@pytest.mark.parametrize("line", ["storage_init=/dev/sda inst.ks", "quiet uninstall", "stateless=1"])
def test_what_an_earlier_installer_took_there_is_refused_by_name(line: str) -> None:
    with pytest.raises(WrongUsage, match=r"^(storage_init|uninstall|stateless) on the kernel command line"):
        from_command_line(line)


def test_a_password_in_an_address_is_not_shown() -> None:
    assert "secret" not in Kickstart("https://user:secret@host/ks").shown
    assert Kickstart("https://host/ks").web and not Kickstart("/ks.cfg", "OEMDRV").web


@pytest.fixture
def started(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What programs were run to start the network, one a line; in this machine no firmware names iSCSI targets."""
    said = tmp_path / "programs"
    said.touch()
    folder = tmp_path / "bin"
    folder.mkdir()
    for name in ("systemctl", "nm-online"):
        (folder / name).write_text(f'#!/bin/sh\necho "{name} $*" >> {said}\n')
        (folder / name).chmod(0o755)
    (folder / "modprobe").symlink_to("/bin/false")
    monkeypatch.setenv("OVIRT_NODE_PATH", f"{folder}:/usr/bin:/bin")
    monkeypatch.setattr(ibft, "FIRMWARE", tmp_path / "ibft")
    return said


def asked_of(image: str, more: str = "") -> str:
    return f"autopart\n{more}%addon org_ovirt_node --image={image} --nosignature\n%end\n"


PROFILE = "etc/NetworkManager/system-connections/wired.nmconnection"
FIXED = "network --device=link --bootproto=static --ip=192.0.2.10 --netmask=255.255.255.0 --onboot=no\n"
PORTAL = "iscsi --ipaddr=192.0.2.1 --target=iqn.2024-01.org.example:a\n"


@pytest.mark.parametrize(
    ("image", "more", "needed"),
    [
        ("file:/run/install/repo/a.squashfs", FIXED, False),
        ("hd:LABEL=X:/a.squashfs", "", False),
        ("cdrom:/a.squashfs", "", False),
        ("http://h/a.squashfs", "", True),
        ("https://h/a.json", FIXED, True),
        ("nfs:h:/a.squashfs", "", True),
        ("docker://h/a:1", "", True),
        ("file:/a --image=http://h/a", "", True),
        ("file:/a", PORTAL, True),
    ],
)
def test_the_network_is_there_for_what_comes_over_it(
    started: Path, tmp_path: Path, image: str, more: str, needed: bool
) -> None:
    """Wherever the kickstart itself comes from."""
    network = Network(Silent(), tmp_path)
    network.prepare(load("a.ks", fetch=lambda _name: asked_of(image, more)))
    programs = ["systemctl start NetworkManager.service", "nm-online --quiet --timeout 120"]
    assert started.read_text().splitlines() == (programs if needed else [])
    assert (tmp_path / PROFILE).exists() == (needed and more == FIXED)
    if needed and more == FIXED:
        profile = (tmp_path / PROFILE).read_text()
        assert "address1=192.0.2.10/24" in profile and "autoconnect=false" not in profile


def test_the_network_is_up_before_an_include_from_a_server_and_is_started_once(started: Path, tmp_path: Path) -> None:
    network = Network(Silent(), tmp_path)
    (tmp_path / "ks.cfg").write_text(asked_of("http://h/a", "%include http://127.0.0.1:9/disks.ks\n"))
    with pytest.raises(NodeError, match="disks"):
        load(str(tmp_path / "ks.cfg"), fetch=network.fetch)
    network.start()
    assert len(started.read_text().splitlines()) == 2


@pytest.mark.parametrize("image", ["http://h/a", "file:/a"])
def test_a_network_that_does_not_come_up_ends_it_only_where_it_must(started: Path, tmp_path: Path, image: str) -> None:
    """Firmware that has started over the network has an iBFT too, and the disks may be local."""
    nm_online = tmp_path / "bin/nm-online"
    nm_online.write_text("#!/bin/sh\nexit 1\n")
    (tmp_path / "ibft/initiator").mkdir(parents=True)
    network = Network(Silent(), tmp_path)
    request = load("a.ks", fetch=lambda _name: asked_of(image))
    if image.startswith("file"):
        network.prepare(request)
        assert started.read_text()
        return
    with pytest.raises(NodeError, match="no network card came up"):
        network.prepare(request)


def test_answers_become_a_kickstart_that_the_installation_reads() -> None:
    lines = {"hostname": ("network --hostname=a.example",), "password": ("rootpw --iscrypted '$6$x$y'",)}
    answers = Answers((IMAGE,), disks=(Disk("vda", 20 << 30),), lines=lines)
    assert answers.missing == ()
    request = load("answers", fetch=lambda _name: answers.kickstart())
    assert request.node.images == (f"file:{IMAGE.path}",) and request.node.sha256 == SHA
    assert request.storage.selection.only_use == ("vda",) and request.storage.selection.clear == "all"
    assert request.system.hostname == "a.example"
    assert request.system.root is not None and request.system.root.password == "$6$x$y"
    assert [network.ip for network in request.system.networks] == ["dhcp"]
    assert Answers((IMAGE,)).missing == ("disk", "password")


def test_disks_that_cannot_be_installed_to_are_not_offered() -> None:
    def disk(name: str, **more: object) -> dict[str, object]:
        return {
            "name": name,
            "size": 1 << 34,
            "model": None,
            "type": "disk",
            "ro": False,
            "mountpoints": [None],
            **more,
        }

    report: dict[str, Any] = {
        "blockdevices": [
            disk("vda", model=" QEMU "),
            disk("vdb", mountpoints=["/run/install/repo"]),
            disk("vdc", children=[disk("vdc1", type="part", mountpoints=["/mnt"])]),
            disk("sdb", ro=True),
            disk("sdc", size=0),
            disk("sr0", type="rom"),
            disk("loop0", type="loop"),
        ]
    }
    assert disks_of(report) == (Disk("vda", 1 << 34, " QEMU "),)
    assert disks_of(report)[0].shown == "vda 16 GiB QEMU"


@pytest.fixture
def volume(tmp_path: Path) -> Path:
    tree = tmp_path / "tree"
    tree.mkdir()
    (tree / "data").write_bytes(bytes(range(256)) * 8192)
    image = tmp_path / "small.iso"
    subprocess.run(["xorriso", "-as", "mkisofs", "-quiet", "-V", "SMALL", "-o", image, tree], check=True)
    return image


def test_an_implanted_checksum_is_checked_as_isomd5sum_does(volume: Path) -> None:
    seen: list[int] = []
    assert not checksum.check(volume, lambda done, total: seen.append(done))
    checksum.implant(volume)
    subprocess.run(["checkisomd5", volume], check=True, capture_output=True)
    assert checksum.check(volume, lambda done, total: seen.append(done))
    assert seen[-1] > 2 << 20
    # A medium is longer than the image that was copied to it.
    with volume.open("ab") as stream:
        stream.write(b"x" * 100000)
    assert checksum.check(volume, lambda done, total: None)


@pytest.mark.parametrize("place", [100, 16 * 2048 + 60, 1 << 20])
def test_one_wrong_bit_on_a_medium_is_found(volume: Path, place: int) -> None:
    checksum.implant(volume)
    with volume.open("r+b") as stream:
        stream.seek(place)
        byte = stream.read(1)[0]
        stream.seek(place)
        stream.write(bytes([byte ^ 1]))
    with pytest.raises(PayloadError, match="damaged"):
        checksum.check(volume, lambda done, total: None)


def test_a_medium_that_ends_early_or_is_none_is_refused(volume: Path, tmp_path: Path) -> None:
    checksum.implant(volume)
    with volume.open("r+b") as stream:
        stream.truncate(1 << 20)
    with pytest.raises(PayloadError, match="damaged"):
        checksum.check(volume, lambda done, total: None)
    (tmp_path / "no").write_bytes(b"x" * 65536)
    with pytest.raises(PayloadError, match="no ISO image"):
        checksum.check(tmp_path / "no", lambda done, total: None)


def test_a_finished_iso_has_its_name_its_checksum_and_its_digest(volume: Path, tmp_path: Path) -> None:
    output = tmp_path / "out" / "node.iso"
    output.parent.mkdir()
    with publish.unfinished(output) as partial:
        volume.rename(partial)
        made = finish.finish(partial, output)
    assert sorted(path.name for path in output.parent.iterdir()) == ["node.iso", "node.iso.sha256"]
    subprocess.run(["sha256sum", "--check", "--quiet", "node.iso.sha256"], cwd=output.parent, check=True)
    assert (made.path, made.size) == (output, output.stat().st_size)
    assert checksum.check(output, lambda done, total: None)


def test_what_cannot_be_finished_leaves_nothing_behind(tmp_path: Path) -> None:
    with pytest.raises(ImageError), publish.unfinished(tmp_path / "node.iso") as partial:
        partial.write_bytes(b"half a medium")
        raise ImageError("the other half cannot be made")
    assert not list(tmp_path.iterdir())


def test_modules_are_loaded_after_what_they_need() -> None:
    dependencies = (
        "a/isofs.ko.xz: a/cdrom.ko.xz\na/cdrom.ko.xz:\n"
        "a/sr_mod.ko.xz: a/cdrom.ko.xz a/scsi-mod.ko.xz\na/scsi-mod.ko.xz:\n"
    )
    order = early.load_order(dependencies, "kernel/loop.ko\n", ("isofs", "loop"), ("sr_mod", "usb_storage"))
    assert order == ["a/cdrom.ko.xz", "a/isofs.ko.xz", "a/scsi-mod.ko.xz", "a/sr_mod.ko.xz"]
    with pytest.raises(ImageError, match="no module squashfs"):
        early.load_order(dependencies, "", ("squashfs",), ())


def test_the_menu_is_one_that_grub_reads(tmp_path: Path) -> None:
    text = grub.render(grub.entries("OVIRT_NODE", ["ovirt-node/layers", "ovirt-node/a.squashfs"]))
    (tmp_path / "grub.cfg").write_text(text)
    subprocess.run(["grub-script-check", tmp_path / "grub.cfg"], check=True)
    assert "newc:ovirt-node/a.squashfs:/ovirt-node/a.squashfs" in text
    keys = [entry.key for entry in grub.entries("X", [])]
    assert len(set(keys)) == len(keys)
    (tmp_path / "stub.cfg").write_text(grub.stub())
    subprocess.run(["grub-script-check", tmp_path / "stub.cfg"], check=True)


def test_what_cannot_become_a_medium_is_refused(tmp_path: Path) -> None:
    image = tmp_path / "a.squashfs"
    with pytest.raises(ImageError, match="no image"):
        iso.check(iso.Request(image, tmp_path / "a.iso"))
    image.touch()
    iso.check(iso.Request(image, tmp_path / "a.iso"))
    with pytest.raises(ImageError, match="volume label"):
        iso.check(iso.Request(image, tmp_path / "a.iso", "no spaces"))
    (tmp_path / "a.iso").touch()
    with pytest.raises(ImageError, match="there already"):
        iso.check(iso.Request(image, tmp_path / "a.iso"))


def test_an_installer_runs_on_a_root_tree_alone(tmp_path: Path) -> None:
    tree, inner = tmp_path / "tree", tmp_path / "inner"
    (tree / "usr/lib/ovirt-node").mkdir(parents=True)
    (inner / "LiveOS").mkdir(parents=True)
    (inner / "LiveOS/rootfs.img").write_bytes(b"x" * 4096)
    layers.check_image(squashfs(tree, tmp_path / "a-1-1.squashfs"))
    with pytest.raises(ImageError, match="form liveos"):
        layers.check_image(squashfs(inner, tmp_path / "b-1-1.squashfs"))
    (tmp_path / "c").write_bytes(b"none" * 999)
    argv = ["--log", str(tmp_path / "log"), "iso", str(tmp_path / "c"), "--output", str(tmp_path / "c.iso")]
    assert program.main(argv) == 1
    assert not (tmp_path / "c.iso").exists()


@pytest.mark.parametrize("there", [True, False])
def test_a_medium_with_the_label_is_only_asked_for_a_kickstart_that_it_has(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, there: bool
) -> None:
    (tmp_path / "OEMDRV").touch()
    if there:
        (tmp_path / "ks.cfg").touch()
    monkeypatch.setattr(source, "LABELS", tmp_path)
    monkeypatch.setattr(source, "run", lambda *_argv, **_more: None)
    monkeypatch.setattr(source, "mounted", lambda *_where, **_more: nullcontext(tmp_path))
    assert source.wanted("quiet") == (Kickstart("/ks.cfg", "OEMDRV") if there else None)

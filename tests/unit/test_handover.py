"""The node's root in the place of Anaconda's: real file systems and mounts, everything but LVM."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest

from org_ovirt_node.errors import BootError
from org_ovirt_node.install import adopt, handover, system
from org_ovirt_node.install.handover import Handover
from org_ovirt_node.install.options import Options
from org_ovirt_node.kickstart.model import (
    BootloaderRequest,
    InstallRequest,
    NodeSection,
    StorageRequest,
    SystemRequest,
)
from org_ovirt_node.layout.model import ImageVolume, Layout, Partition, Role, ThinPool, Volume, VolumeGroup
from org_ovirt_node.mounts import bound, loop_device, mounted
from org_ovirt_node.node import rootfacts
from org_ovirt_node.payload.facts import ImageFacts
from org_ovirt_node.progress import Silent
from org_ovirt_node.steps import run_steps
from org_ovirt_node.storage.execute import Created, MadePartition, MadeVolume

NVR = "node-1.0-1"
KERNEL = "6.1"


def file_system(stack: ExitStack, file: Path, megabytes: int) -> str:
    """An ext4 in a loop device."""
    with file.open("wb") as out:
        out.truncate(megabytes << 20)
    subprocess.run(["mkfs.ext4", "-q", "-F", str(file)], check=True)
    return stack.enter_context(loop_device(file))


def image(folder: Path, *, kernel: bool = True) -> Path:
    """A node image with next to nothing in it."""
    tree = folder / "tree"
    for path in ("usr/bin", "usr/sbin", "etc", "boot", "var/lib", "dev", "proc", "sys", "run"):
        (tree / path).mkdir(parents=True)
    (tree / "usr/bin/grub-mkimage").touch()
    (tree / "usr/sbin/useradd").write_text("a program")
    (tree / "etc/os-release").write_text("NAME=node\n")
    (tree / "var/lib/brought").write_text("by the image")
    if kernel:
        (tree / "usr/lib/modules" / KERNEL).mkdir(parents=True)
        for name in ("vmlinuz", "initramfs.img"):
            (tree / "usr/lib/modules" / KERNEL / name).write_text(name)
    file = folder / "image.squashfs"
    subprocess.run(["mksquashfs", str(tree), str(file), "-quiet", "-no-progress", "-all-root"], check=True)
    return file


@dataclass
class Anaconda:
    """What Anaconda has mounted: the bare root, and the same bound to its sysroot."""

    bare: Path
    root: Path
    devices: tuple[str, str, str]


@pytest.fixture
def anaconda(tmp_path: Path) -> Iterator[Anaconda]:
    with ExitStack() as stack:
        devices = tuple(
            file_system(stack, tmp_path / f"{name}.raw", size)
            for name, size in (("root", 64), ("boot", 64), ("var", 64))
        )
        bare, root = tmp_path / "sysimage", tmp_path / "sysroot"
        stack.enter_context(mounted(devices[0], bare, fstype="ext4"))
        for name, device in zip(("boot", "var"), devices[1:]):
            stack.enter_context(mounted(device, bare / name, fstype="ext4"))
        (bare / "run").mkdir()
        stack.enter_context(bound(Path("/run"), bare / "run"))
        root.mkdir()
        subprocess.run(["mount", "--rbind", str(bare), str(root)], check=True)
        stack.callback(lambda: root.is_mount() and subprocess.run(["umount", "--recursive", str(root)], check=True))
        (root / "etc/sysconfig").mkdir(parents=True)
        (root / "etc/fstab").write_text(
            "UUID=1 / ext4 defaults 1 1\nUUID=2 /boot ext4 defaults 1 2\nUUID=3 /var ext4 defaults 1 2\n"
        )
        (root / "etc/crypttab").write_text("luks-1 UUID=1 none\n")
        yield Anaconda(bare, root, (devices[0], devices[1], devices[2]))


@pytest.fixture
def service(tmp_path: Path) -> Iterator[int]:
    """A service that was there before Anaconda mounted anything, with mounts of its own (systemd: PrivateMounts=)."""
    subprocess.run(["mount", "--bind", str(tmp_path), str(tmp_path)], check=True)
    subprocess.run(["mount", "--make-shared", str(tmp_path)], check=True)
    argv = ["unshare", "--mount", "--propagation", "slave", "sh", "-c", "echo; exec sleep infinity"]
    try:
        with subprocess.Popen(argv, stdout=subprocess.PIPE) as process:
            assert process.stdout is not None and process.stdout.readline() == b"\n"
            yield process.pid
            process.kill()
    finally:
        subprocess.run(["umount", str(tmp_path)], check=True)


class WithoutLvm(Handover):
    """The image is in a file instead of a volume."""

    file: Path

    def _image_device(self) -> Path:
        return self.file


@pytest.fixture
def installation(anaconda: Anaconda, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[WithoutLvm]:
    monkeypatch.setattr(system, "lvm_devices_file", lambda root, pvs: True)
    monkeypatch.setattr(rootfacts, "below", lambda vg: rootfacts.Below({}, frozenset(), (), ()))
    section = NodeSection(images=("file:/x",), nosignature=True)
    request = InstallRequest("test", section, StorageRequest(), BootloaderRequest(location="none"), SystemRequest())
    with ExitStack() as stack:
        made = WithoutLvm(
            request, Options(root=anaconda.root, work=tmp_path / "work"), Silent(), stack, bare=anaconda.bare
        )
        made.facts = ImageFacts(NVR, 1)
        boot = MadePartition(
            Partition("loop", Role.BOOT, 1, "ext4", "/boot"), 1, anaconda.devices[1], "2", anaconda.devices[1]
        )
        volumes = (
            MadeVolume(Volume("root", 1, "ext4", "/"), anaconda.devices[0], "1"),
            MadeVolume(Volume("var", 1, "ext4", "/var"), anaconda.devices[2], "3"),
        )
        layout = Layout(
            firmware=(),
            disks=(),
            wiped=(),
            partitions=(boot.request,),
            vg=VolumeGroup("vg"),
            image=ImageVolume(NVR, 1),
            reserved=0,
            pool=ThinPool("pool00", 1, 0, 0),
            volumes=tuple(volume.request for volume in volumes),
        )
        made.adopted = adopt.Adopted(Created(layout, (boot,), volumes), "root", "gpt", False)
        made.created, made.layout, made.layer = made.adopted.created, layout, f"{NVR}+1"
        yield made
        made.cover.close()


def mounts_below(folder: Path) -> list[Path]:
    """Mount points of this test; other programs of the machine mount and unmount meanwhile."""
    return [mount.target for mount in adopt.mounts() if folder in mount.target.parents]


WRITE = handover.WRITE[2:]
#: What needs a volume group.
WITH_LVM = ("rename", "reachable", "seal")
FINISH = tuple(step for step in handover.FINISH if step.name not in WITH_LVM)


def test_the_overlay_takes_the_place_of_the_root(installation: WithoutLvm, anaconda: Anaconda, tmp_path: Path) -> None:
    installation.file = image(tmp_path)
    run_steps(installation, WRITE)
    root = anaconda.root
    assert (root / "etc/os-release").read_text() == "NAME=node\n"
    assert (root / "etc/crypttab").read_text() == "luks-1 UUID=1 none\n"
    # Anaconda's network module writes there and does not make it; Debian's images have none.
    assert (root / "etc/sysconfig").is_dir()
    assert " / " not in (root / "etc/fstab").read_text()
    assert "UUID=3 /var ext4 discard 1 2" in (root / "etc/fstab").read_text()
    assert (root / "var/lib/brought").read_text() == "by the image"
    assert os.path.ismount(root / "run")
    assert (anaconda.bare / "upper/etc/fstab").is_file()
    assert not (anaconda.bare / "etc").exists()
    # Anaconda's own steps look for this program, and later ones run others of that folder.
    assert (root / "usr/sbin/new-kernel-pkg").is_file()
    assert (root / "usr/sbin/useradd").read_text() == "a program"
    (root / "etc/hostname").write_text("node1\n")
    (root / "etc/machine-id").write_text("0123456789abcdef" * 2 + "\n")
    run_steps(installation, FINISH)
    assert not (root / "usr/sbin/new-kernel-pkg").exists()
    assert not (anaconda.bare / "upper/usr").exists()
    entry = (root / f"boot/loader/entries/{NVR}+1.conf").read_text()
    assert "machine-id 0123456789abcdef0123456789abcdef" in entry
    assert f"linux /{NVR}+1/vmlinuz" in entry
    assert (root / f"boot/{NVR}+1/host.img").is_file()
    assert (anaconda.bare / "upper/etc/hostname").read_text() == "node1\n"


def test_a_failure_leaves_anacondas_mounts_as_they_were(
    installation: WithoutLvm, anaconda: Anaconda, tmp_path: Path
) -> None:
    before = mounts_below(tmp_path)
    installation.file = image(tmp_path, kernel=False)
    with pytest.raises(BootError, match="no kernel"):
        run_steps(installation, WRITE)
    installation.stack.close()
    assert mounts_below(tmp_path) == before
    assert not list((anaconda.root / "boot").glob("*/vmlinuz"))


def test_a_disk_image_is_let_go_of_with_all_that_is_mounted(
    service: int, installation: WithoutLvm, anaconda: Anaconda, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tools = tmp_path / "tools"
    tools.mkdir()
    program = tools / "vgchange"
    program.write_text(f'#!/bin/sh\necho "$*" > {tmp_path}/asked\n')
    program.chmod(0o755)
    monkeypatch.setenv("OVIRT_NODE_PATH", f"{tools}:{os.environ['PATH']}")
    installation.file = image(tmp_path)
    run_steps(installation, (*WRITE, *FINISH))
    (anaconda.root / "var/lib/late").write_text("of a %post script")
    installation.let_go()
    theirs = adopt.parse_mountinfo(Path(f"/proc/{service}/mountinfo").read_text(encoding="utf-8"))
    assert {mount.fstype for mount in theirs if tmp_path in mount.target.parents} == {"ramfs"}
    # Anaconda unmounts what it mounted by its path, and would stop at what is not mounted there.
    for place in ("run", "var", "boot", ""):
        subprocess.run(["umount", anaconda.bare / place], check=True)
    assert mounts_below(tmp_path) == []
    assert (tmp_path / "asked").read_text() == "--activate n vg\n"
    with mounted(anaconda.devices[2], tmp_path / "look") as var:
        assert (var / "lib/late").read_text() == "of a %post script"

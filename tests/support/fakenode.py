"""A node in a folder: real images, file systems, mounts and merges; LVM and a few programs are stand-ins.

What cannot be had where device-mapper is missing is faked (tests/support/fakelvm.py), everything else is the real
thing, so that an update can be run, killed and run again in a second.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from org_ovirt_node.boot import bls, files, grubcfg, hostinitrd, trial
from org_ovirt_node.boot.hostinitrd import HostFile
from org_ovirt_node.kickstart.model import NodeSection
from org_ovirt_node.node import bootstate, journal, lvm
from org_ovirt_node.node.places import Places
from org_ovirt_node.node.update import Request
from tests.support import fakelvm

MIB = 1 << 20
VG, PVID = "onn", "AbCdEf-1234-5678-9abc-def0-1234-GhIjKl"
DEVICES = f"IDTYPE=sys_wwid IDNAME=x DEVNAME=/dev/vda3 PVID={PVID.replace('-', '')} PART=3\n"
KERNEL = "6.12.0-test"
OLDER, OLD, NEW = "node-0.9-1", "node-1.0-1", "node-1.0-2"
#: What a generic initramfs has at the least.
MODULES = ("squashfs", "overlay", "virtio_blk", "xfs", "dm-verity")
INITRAMFS = (
    *(
        f"usr/lib/modules/{KERNEL}/kernel/{name}.ko.xz"
        for name in ("squashfs", "overlay", "virtio_blk", "xfs", "dm-verity")
    ),
    "usr/sbin/lvm",
    "usr/sbin/thin_check",
    "usr/sbin/e2fsck",
    "usr/sbin/veritysetup",
    "usr/lib/ovirt-node-lib.sh",
)
BUILTIN = ("dm-mod", "dm-thin-pool", "ext4", "loop")
LAYER_SIZE = 32 * MIB
VOLUMES = ("/var", "/var/log")


@dataclass
class FakeNode:
    """The folder's parts, and what the stand-ins remember."""

    home: Path
    places: Places

    @property
    def lvm(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads((self.home / "lvm.json").read_text())
        return found

    def set(self, **values: Any) -> None:
        """Change what the stand-ins say."""
        (self.home / "lvm.json").write_text(json.dumps({**self.lvm, **values}))

    @property
    def volumes(self) -> dict[str, list[str]]:
        """The LVs with their tags."""
        return {name: one["tags"] for name, one in self.lvm["lvs"].items()}

    @property
    def calls(self) -> list[str]:
        """The command lines of the stand-ins."""
        return (self.home / "calls.log").read_text().splitlines()

    @property
    def grubenv(self) -> dict[str, str]:
        return files.read_environment(self.places.boot, "grub")

    @property
    def menu(self) -> list[str]:
        text = (self.places.boot / "grub/entries.cfg").read_text()
        return [line.split("'")[3] for line in text.splitlines() if line.startswith("menuentry")]

    def booted(self, layer: str) -> None:
        """The machine was rebooted into ``layer``, as far as the kernel command line tells."""
        entry = next(entry for entry in bls.read_all(self.places.boot) if entry.name == layer)
        self.places.cmdline.write_text(f"BOOT_IMAGE=(hd0,gpt2){entry.linux} {entry.options}\n")
        self.places.good.unlink(missing_ok=True)

    def add_layer(self, nvr: str, created: int, tags: list[str]) -> None:
        """An image with one layer, boot files and entry, as an installation leaves them."""
        state = self.lvm
        base = {"pool": "", "readonly": True, "created": created, "kind": "linear", "size": 4 * MIB}
        state["lvs"][nvr] = {**base, "tags": [lvm.TAG_BASE, *tags]}
        thin = {"pool": "pool00", "readonly": False, "kind": "thin", "size": LAYER_SIZE, "created": created}
        state["lvs"][f"{nvr}+1"] = {**thin, "tags": [lvm.TAG_LAYER, *tags]}
        (self.home / "lvm.json").write_text(json.dumps(state))
        for name in (nvr, f"{nvr}+1"):
            (self.places.dev / VG).mkdir(parents=True, exist_ok=True)
            (self.places.dev / VG / name).write_bytes(b"")
        layer, boot = f"{nvr}+1", self.places.boot
        (boot / layer).mkdir(parents=True)
        (boot / layer / bls.KERNEL).write_bytes(b"kernel")
        (boot / layer / bls.INITRAMFS).write_bytes(b"initramfs")
        host = hostinitrd.build({"/etc/lvm/devices/system.devices": HostFile(DEVICES.encode(), 0o600)})
        (boot / layer / bls.HOST_INITRD).write_bytes(host)
        options = (
            f"root=ovirt-node ovirt_node.vg={VG} ovirt_node.image={nvr} ovirt_node.layer={layer} rd.lvm.lv={VG}/{nvr} "
            f"rd.lvm.lv={VG}/{layer} console=tty0 old_image=1 user=second user=first"
        )
        entry = bls.layer_entry(layer, nvr, KERNEL, options, "0" * 32)
        files.write_durably(bls.entry_path(boot, layer), entry.render().encode())
        files.write_durably(boot / "grub" / grubcfg.ENTRIES_FILE, files.render_menu(boot).encode())


def make_tree(root: Path, nvr: str, boot_args: str, etc: dict[str, str], var: dict[str, str]) -> None:
    """The root tree of a small image."""
    modules = root / "usr/lib/modules" / KERNEL
    modules.mkdir(parents=True)
    (modules / "vmlinuz").write_bytes(nvr.encode())
    (modules / "initramfs.img").write_bytes(hostinitrd.build({f"/{name}": HostFile(b"") for name in INITRAMFS}))
    (modules / "modules.builtin").write_text("".join(f"kernel/{name}.ko\n" for name in BUILTIN))
    record = {"format": 1, "nvr": nvr, "kernel": KERNEL, "boot_args": boot_args}
    (root / "usr/lib/ovirt-node").mkdir()
    (root / "usr/lib/ovirt-node/image.json").write_text(json.dumps(record))
    for folder in ("etc", "usr/lib/ovirt-node/etc"):
        for name, text in etc.items():
            (root / folder / name).parent.mkdir(parents=True, exist_ok=True)
            (root / folder / name).write_text(text)
    for name, text in var.items():
        (root / "var" / name).parent.mkdir(parents=True, exist_ok=True)
        (root / "var" / name).write_text(text)
    (root / "root").mkdir(mode=0o700)
    (root / "root/.profile").write_text("profile\n")


def squash(tree: Path, target: Path) -> Path:
    subprocess.run(["mksquashfs", str(tree), str(target), "-quiet", "-no-progress"], check=True, capture_output=True)
    return target


def make_node(home: Path) -> FakeNode:
    """A node that runs OLD+1, with the image NEW to go to at ``home/new.squashfs``."""
    home.mkdir(exist_ok=True)
    places = Places(
        live=home / "live",
        boot=home / "boot",
        run=home / "run",
        work=home / "work",
        temporary=home / "live/var",
        state=home / "live/var/lib/ovirt-node",
        cmdline=home / "cmdline",
        config=home / "live/etc/ovirt-node/node.json",
        lock=home / "lock",
        dev=home / "dev",
        power=home / "power",
        watchdog=home / "watchdog",
        motd=home / "motd/ovirt-node",
        good=home / "good",
    )
    _programs(home)
    same = {"motd": "old\n", "list": "a\nb\nc\nd\ne\n", "machine-id": ""}
    make_tree(home / "run/image", OLD, "console=tty0 old_image=1", {**same, "gone": "gone\n"}, {"lib/old": "old\n"})
    make_tree(home / "new", NEW, "console=tty0 new_image=1", {**same, "list": "a\nb\nc\nd\ne, new\n", "motd": "new\n"},
              {"lib/old": "new\n", "lib/new/state": "new\n", "log/new": "new\n"})  # fmt: skip
    squash(home / "new", home / "new.squashfs")
    shutil.copytree(home / "run/image/etc", home / "live/etc", symlinks=True)
    shutil.copytree(home / "run/image/var", home / "live/var", symlinks=True)
    (home / "live/var/log").mkdir()
    (home / "live/etc/list").write_text("a, mine\nb\nc\nd\ne\n")
    (home / "live/etc/motd").write_text("mine\n")
    (home / "live/etc/machine-id").write_text("0" * 32 + "\n")
    (home / "live/etc/lvm/devices").mkdir(parents=True)
    (home / "live/etc/lvm/devices/system.devices").write_text(DEVICES)
    places.config.parent.mkdir(parents=True)
    places.config.write_text(json.dumps({"format": 1, "vg": VG, "image_slots": 3, "boot_tries": 3}))
    (home / "run/layer/upper/root").mkdir(parents=True)
    (home / "run/layer/upper/root/mine").write_text("mine\n")
    (home / "boot/grub").mkdir(parents=True)
    (home / "boot/grub/grub.cfg").write_text("")
    node = FakeNode(home, places)
    node.add_layer(OLD, 100, [])
    files.write_environment(places.boot, "grub", {grubcfg.SAVED: f"{OLD}+1"})
    node.booted(f"{OLD}+1")
    (home / "calls.log").write_text("")
    return node


def make_node_on_trial(home: Path) -> FakeNode:
    """A node with three images that runs OLD+1, and NEW+1 on trial with three tries; the stand-ins must be on PATH."""
    node = make_node(home)
    node.add_layer(OLDER, 50, [])
    node.add_layer(NEW, 200, [])
    path = bls.entry_path(node.places.boot, f"{NEW}+1")
    path.write_text(path.read_text().replace("user=first", "user=first " + " ".join(trial.ARGUMENTS)))
    bootstate.start_trial(node.places.boot, f"{NEW}+1", 3, f"{OLD}+1")
    update = journal.Journal(NEW, f"{NEW}+1", f"{OLD}+1", finished="2026-01-01T00:00:00Z")
    journal.save(update, node.places.state)
    return node


def tries_used(node: FakeNode, used: int) -> None:
    """What GRUB leaves after ``used`` boots of a layer that had three tries, as boot/grubcfg.py writes it."""
    left = 3 - used
    values = {**node.grubenv, "trial_tries": str(max(left, 0))}
    if left < 0:
        values["trial_failed"] = node.grubenv["trial_entry"]
    files.write_environment(node.places.boot, "grub", values)


def entry_options(node: FakeNode, layer: str) -> str:
    """The kernel arguments of the layer's entry."""
    return next(entry.options for entry in bls.read_all(node.places.boot) if entry.name == layer)


def _programs(home: Path) -> None:
    """The stand-ins on PATH, and their state."""
    (home / "bin").mkdir()
    # Isolated and without site: three dozen of them run in an update.
    script = f"#!{sys.executable} -IS\n" + Path(fakelvm.__file__).read_text().split("\n", 1)[1]
    for name in (*fakelvm.PROGRAMS, "chroot"):
        quiet = f'#!/bin/sh\necho "{name} $*" >> {home}/calls.log\n'
        (home / "bin" / name).write_text(quiet if name in fakelvm.QUIET else script)
        (home / "bin" / name).chmod(0o755)
    layer = f"/dev/mapper/{VG}-layer"
    mounts = [{"target": str(home / "run/layer"), "source": layer, "fstype": "ext4", "options": "rw,discard"}]
    mounts += [
        {"target": target, "source": f"/dev/mapper/{VG}-{target[1:]}", "fstype": "xfs", "options": "rw,discard"}
        for target in VOLUMES
    ]
    state = {
        "vg": VG,
        "dev": str(home / "dev"),
        "size": 400 * MIB,
        "extent": 4 * MIB,
        "tags": [lvm.TAG_VG],
        "pv_uuid": PVID,
        "data_percent": 20.0,
        "metadata_percent": 10.0,
        "metadata_size": 16 * MIB,
        "clock": 1000,
        "mounts": mounts,
        "disks": [{"kname": "vda", "type": "disk", "tran": None}],
        "lvmconfig": {"use_devicesfile": 1, "thin_pool_autoextend_threshold": 80},
        "failing": [],
        "lvs": {
            "pool00": {
                "kind": "pool", "size": 200 * MIB, "tags": [lvm.TAG_POOL], "pool": "", "readonly": False, "created": 1,
            },
        },
    }  # fmt: skip
    (home / "lvm.json").write_text(json.dumps(state))
    (home / "calls.log").write_text("")


def path_with_fakes(home: Path) -> str:
    """What OVIRT_NODE_PATH is set to."""
    return f"{home / 'bin'}:{os.environ['PATH']}:/usr/sbin:/sbin"


@contextmanager
def updatable(home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeNode]:
    """A node with its programs in PATH; at the end nothing of it may be left mounted."""
    made = make_node(home)
    monkeypatch.setenv("OVIRT_NODE_PATH", path_with_fakes(home))
    yield made
    assert str(home) not in Path("/proc/self/mountinfo").read_text(), "something is left mounted"


def update_request(node: FakeNode, **more: object) -> Request:
    """An update to the image NEW."""
    data = (node.home / "new.squashfs").read_bytes()
    section = NodeSection(images=(f"file://{node.home}/new.squashfs",), sha256=hashlib.sha256(data).hexdigest())
    return Request(section, inhibit=False, **more)  # type: ignore[arg-type]

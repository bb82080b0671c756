"""Boots the disk of a cut by its own boot loader, and runs the interrupted operation again to its end."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

from tests.crash.cuts import Cut
from tests.crash.judge import NODE
from tests.crash.record import BUSY
from tests.crash.run import Opened
from tests.vm import artefacts
from tests.vm.errors import ScenarioFailed, check, check_equal
from tests.vm.installer import PLUG, running_installer
from tests.vm.qemu import Disk
from tests.vm.scenario import Context
from tests.vm.steps import Node, booted_node, install_node, kickstart, provide_payload
from tests.vm.upgrades import DISK, MEDIUM, environment, state

#: Seconds for a boot, and for the operation after it.
LIMIT = 3000.0


def booted(one: Opened, cut: Cut, folder: Path) -> str:
    """Boot ``cut`` and finish what it interrupted; what went wrong, or "".

    A disk with nothing to boot is installed to; then that is booted.
    """
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    try:
        with one.replay.cut(cut):
            verdict = one.verdict(cut)
            disk = _overlay(one.replay.work, folder)
            if verdict.state != NODE:
                _install(one, disk, folder)
                _boot(one, disk, next(iter(one.recording.images)) + "+1", folder)
            elif one.recording.name in ("install", "reinstall"):
                _boot(one, disk, verdict.next, folder)
            else:
                _boot_and_finish(one, disk, verdict.next, folder)
    except ScenarioFailed as exc:
        return str(exc).splitlines()[0]
    shutil.rmtree(folder, ignore_errors=True)
    return ""


def _overlay(below: Path, folder: Path) -> Disk:
    """A disk whose writes go elsewhere than to the replay's."""
    file = folder / "disk.qcow2"
    argv = ["qemu-img", "create", "-q", "-f", "qcow2", "-F", "raw", "-b", str(below), str(file)]
    subprocess.run(argv, check=True, stdout=subprocess.DEVNULL)
    return Disk(file, DISK, format="qcow2")


def _install(one: Opened, disk: Disk, folder: Path) -> None:
    image = artefacts.node_image()
    with running_installer(folder, limit=LIMIT) as installer:
        url = provide_payload(installer, image.path, folder)
        installer.attach(disk)
        install_node(installer, Context(folder), kickstart(url, check_line=f"--sha256={image.sha256}"), timeout=BUSY)
        installer.power_off()


def _boot(one: Opened, disk: Disk, layer: str, folder: Path) -> None:
    with booted_node(Context(folder), disk, login=False, limit=LIMIT) as node:
        _check(node, layer)
        node.power_off(BUSY)


def _check(node: Node, layer: str) -> None:
    """The node has come up whole in ``layer``."""
    node.await_login(BUSY)
    node.check_running()
    check_equal(state(node)["current_layer"], layer, "the layer that was booted")
    found = node.shell.json("nodectl check --machine-readable", BUSY)
    check(found["status"] in ("ok", "warn"), f"nodectl check says {found}")


def _boot_and_finish(one: Opened, disk: Disk, layer: str, folder: Path) -> None:
    """Boot, and upgrade where the old layer came up; the newer layer must be what is booted next."""
    old, new = one.recording.images
    image = artefacts.node_image("2")
    medium = Disk(artefacts.files_disk(folder, "medium", {f"{new}.squashfs": image.path}), "medium", readonly=True)
    with booted_node(Context(folder), disk, login=False, limit=LIMIT) as node:
        _check(node, layer)
        if layer == f"{old}+1":
            node.machine.attach(medium)
            node.shell.run(
                f"udevadm wait --timeout={PLUG:.0f} /dev/disk/by-id/virtio-medium && mkdir -p {MEDIUM} && "
                f"mount -o ro /dev/disk/by-id/virtio-medium {MEDIUM}",
                2 * PLUG,
            )
            _upgrade_again(node, new, image.sha256)
        check_equal(state(node)["bootloader"]["default"], f"{new}+1", "what is booted next")
        if layer == f"{new}+1":
            check_equal(environment(node).get("saved_entry"), layer, "the layer that is marked good")
        node.power_off(BUSY)


def _upgrade_again(node: Node, nvr: str, sha256: str) -> None:
    if nvr in state(node)["layers"] and f"{nvr}+1" in state(node)["layers"][nvr]:
        # It was finished: what was interrupted is the way back from it.
        node.shell.run(f"nodectl rollback --to {nvr}", BUSY)
    else:
        node.shell.run(f"nodectl update {MEDIUM}/{nvr}.squashfs --sha256 {sha256}", BUSY)

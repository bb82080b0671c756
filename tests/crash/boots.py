"""Boots the disk of a cut by its own boot loader, and runs the interrupted operation again to its end."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

from tests.crash.cuts import Cut
from tests.crash.judge import LVM, NODE
from tests.crash.record import BUSY, Recording
from tests.crash.run import Opened
from tests.vm.artefacts import NodeImage
from tests.vm.errors import ScenarioFailed, check, check_equal
from tests.vm.installer import running_installer
from tests.vm.qemu import Disk
from tests.vm.scenario import Context
from tests.vm.steps import Node, booted_node, install_node, kickstart, provide_payload
from tests.vm.upgrades import DISK, environment, medium, prepare, state, update

#: Seconds for a boot, and for the operation after it.
LIMIT = 3000.0
#: What is said of a cut that is not booted, for LVM has lost its metadata in it.
LEFT = "left to LVM"


def booted(one: Opened, cut: Cut, folder: Path) -> str:
    """Boot ``cut`` and finish what it interrupted; what went wrong, or "", or LEFT.

    A disk with nothing to boot is installed to; then that is booted.
    """
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    try:
        with one.replay.cut(cut):
            verdict = one.verdict(cut)
            if verdict.wrong:
                return f"it is not sound: {verdict.wrong[0]}"
            if any(one.startswith(LVM) for one in verdict.left):
                return LEFT
            disk = _overlay(one.replay.work, folder)
            if verdict.state != NODE:
                _install(one.recording, disk, folder)
                _boot(disk, next(iter(one.recording.images)) + "+1", folder)
            elif one.recording.name in ("install", "reinstall"):
                _boot(disk, verdict.next, folder)
            else:
                _boot_and_finish(one.recording, disk, verdict.next, folder)
    except ScenarioFailed as exc:
        (folder / "failure.log").write_text(f"{exc}\n")
        return str(exc).splitlines()[0]
    shutil.rmtree(folder, ignore_errors=True)
    return ""


def _overlay(below: Path, folder: Path) -> Disk:
    """A disk whose writes go elsewhere than to the replay's."""
    file = folder / "disk.qcow2"
    argv = ["qemu-img", "create", "-q", "-f", "qcow2", "-F", "raw", "-b", str(below), str(file)]
    subprocess.run(argv, check=True, stdout=subprocess.DEVNULL)
    return Disk(file, DISK, format="qcow2")


def _image(recording: Recording, nvr: str) -> NodeImage:
    digest, size = recording.images[nvr]
    return NodeImage(recording.image(nvr), nvr, size, digest)


def _install(recording: Recording, disk: Disk, folder: Path) -> None:
    image = _image(recording, next(iter(recording.images)))
    with running_installer(folder, limit=LIMIT) as installer:
        url = provide_payload(installer, image.path, folder)
        installer.attach(disk)
        install_node(installer, Context(folder), kickstart(url, check_line=f"--sha256={image.sha256}"), timeout=BUSY)
        installer.power_off()


def _boot(disk: Disk, layer: str, folder: Path) -> None:
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


def _boot_and_finish(recording: Recording, disk: Disk, layer: str, folder: Path) -> None:
    """Boot, and go on where the operation was cut short; the newer layer must be what is booted next."""
    old, new = recording.images
    context = Context(folder)
    image = _image(recording, new)
    with booted_node(context, disk, login=False, limit=LIMIT) as node:
        _check(node, layer)
        if layer == f"{new}+1":
            check_equal(environment(node).get("saved_entry"), layer, "the layer that is marked good")
        elif recording.name == "upgrade":
            node.machine.attach(medium(context, image))
            prepare(node)
            update(node, image)
        else:
            # The upgrade was finished before: what was cut short is the way back from it, or forth again.
            node.shell.run(f"nodectl rollback --to {new}", BUSY)
        found = state(node)
        check_equal(found["bootloader"]["default"], f"{new}+1", "what is booted next")
        if recording.name == "trial" and layer == f"{new}+1" and old in found["layers"]:
            # Also what was left of a removal.
            node.shell.run(f"nodectl remove {old}", BUSY)
            check_equal(list(state(node)["layers"]), [new], "the images after a removal")
        node.power_off(BUSY)

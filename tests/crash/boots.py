"""Boots the disk of a cut by its own boot loader, and runs the interrupted operation again to its end."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

from tests.crash import lean
from tests.crash.cuts import Cut
from tests.crash.filesystems import SUPERBLOCK_TORN
from tests.crash.judge import LOST, NODE
from tests.crash.lean import LeanNode
from tests.crash.record import BUSY, VENDOR_SIZE, Recording
from tests.crash.run import Opened
from tests.vm.artefacts import NodeImage
from tests.vm.errors import ScenarioFailed, check, check_equal
from tests.vm.installer import running_installer
from tests.vm.qemu import Disk
from tests.vm.scenario import Context
from tests.vm.steps import VG, install_node, kickstart, provide_payload
from tests.vm.upgrades import DISK, environment, medium, prepare, update

#: Seconds for a boot, and for the operation after it.
LIMIT = 1800.0
#: What is said of a cut that is not booted, for the disk or LVM has lost in it what every boot needs.
LEFT = "left to the disk or LVM"
#: How what is said of a cut begins that is not booted because the judge finds it wrong.
UNSOUND = "it is not sound: "


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
                return f"{UNSOUND}{verdict.wrong[0]}"
            if any(said.startswith(LOST) or said.endswith(SUPERBLOCK_TORN) for said in verdict.left):
                return LEFT
            disk = _overlay(one.replay.work, folder)
            layer = verdict.next
            if verdict.state != NODE:
                _install(one.recording, disk, folder)
                layer = next(iter(one.recording.images)) + "+1"
            with lean.booted(disk, folder, LIMIT) as node:
                _look(node, layer)
                _finish(one.recording, node, layer, folder)
    except ScenarioFailed as exc:
        (folder / "failure.log").write_text(f"{exc}\n")
        return str(exc).splitlines()[0]
    shutil.rmtree(folder, ignore_errors=True)
    return ""


def judged(said: str) -> bool:
    """True for what :func:`booted` says of a cut that no machine has been started with."""
    return said == LEFT or said.startswith(UNSOUND)


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


def _look(node: LeanNode, layer: str) -> None:
    """The node has come up whole in ``layer``."""
    node.check_running()
    info, found = node.facts()
    check_equal(info["current_layer"], layer, "the layer that was booted")
    check(found["status"] in ("ok", "warn"), f"nodectl check says {found}")


def _finish(recording: Recording, node: LeanNode, layer: str, folder: Path) -> None:
    """Go on where the operation was cut short, up to its end."""
    if recording.name in ("install", "reinstall"):
        return
    if recording.name == "first-boot":
        _grown(node)
        return
    old, new = recording.images
    if layer == f"{new}+1":
        check_equal(environment(node).get("saved_entry"), layer, "the layer that is marked good")
    elif recording.name == "upgrade":
        image = _image(recording, new)
        node.machine.attach(medium(Context(folder), image))
        prepare(node)
        # There is no logind to hold a shutdown off.
        update(node, image, "--no-inhibit")
    else:
        # The upgrade was finished before: what was cut short is the way back from it, or forth again.
        node.calls(("rollback", "--to", new))
    info, _ = node.facts()
    check_equal(info["bootloader"]["default"], f"{new}+1", "what is booted next")
    if recording.name == "trial" and layer == f"{new}+1" and old in info["layers"]:
        # Also what was left of a removal.
        node.calls(("remove", old))
        info, _ = node.facts()
        check_equal(list(info["layers"]), [new], "the images after a removal")


def _grown(node: LeanNode) -> None:
    """The first boot has come to its end: nothing is open, and the pool has the larger disk."""
    said = node.shell.text("test -e /etc/ovirt-node/first-boot.json; echo $?")
    check_equal(said, "1", "a first boot that is not over")
    size = int(node.shell.text(f"lvs --noheadings --nosuffix --units b -o lv_size {VG}/pool00"))
    check(size > VENDOR_SIZE, f"the pool has {size} bytes, and has not grown")

"""Installer media for machines, and the machines that are started from them."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from org_ovirt_node.image.cache import key_of, key_of_files
from org_ovirt_node.media import iso
from org_ovirt_node.progress import TextProgress
from tests.vm import artefacts
from tests.vm.artefacts import NodeImage
from tests.vm.errors import ScenarioFailed
from tests.vm.qemu import Disk, Machine, Spec
from tests.vm.scenario import Context

#: Seconds from power-on to the installer's first word: firmware, boot loader, and an installer that starts.
START = 400.0
#: Room for the medium's files and the tmpfs over them.
MEMORY = 1536
#: With the medium in memory as well.
MEMORY_FOR_ALL = 2048
SECTOR = 2048


def demo_iso(image: NodeImage) -> Path:
    """The installer ISO of ``image``, from today's code."""
    installer = artefacts.installer()
    code = [*artefacts.PROJECT.glob("org_ovirt_node/**/*.py"), *artefacts.PROJECT.glob("data/media/*")]
    key = key_of(image.sha256, key_of_files([installer.delta]), key_of_files(sorted(code)))

    def make(folder: Path) -> None:
        folder.mkdir()
        iso.make(iso.Request(image.path, folder / "demo.iso"), installer, folder / "work", TextProgress())
        shutil.rmtree(folder / "work")

    return artefacts.cache().get("demo-iso", key, make) / "demo.iso"


def place_of(medium: Path, path: str) -> int:
    """Where the file ``path`` begins in the ISO image ``medium``, in bytes."""
    argv = ["xorriso", "-indev", str(medium), "-find", path, "-exec", "report_lba"]
    shown = subprocess.run(argv, capture_output=True, text=True, check=True).stdout
    # xorriso(1), -find, report_lba: "File data lba: extent , start , blocks , size , path"
    for line in shown.splitlines():
        if line.startswith("File data lba:"):
            return int(line.split(":")[1].split(",")[1]) * SECTOR
    raise ScenarioFailed(f"{path} is not on {medium}: {shown}")


def as_cd(medium: Path) -> Disk:
    """The medium in a CD drive, started from when no disk can be."""
    return Disk(medium, "medium", "cdrom", readonly=True, properties={"bootindex": 2})


def as_stick(context: Context, medium: Path, order: int = 2) -> Disk:
    """The medium copied to a disk, as to a USB stick, which can be written to.

    A BIOS tries the first disk alone: there the stick's ``order`` has to be 1, as when somebody chooses it in the
    firmware's menu.
    """
    stick = context.folder / "stick.raw"
    shutil.copyfile(medium, stick)
    return Disk(stick, "medium", "scsi", properties={"bootindex": order})


def with_kickstart(context: Context, text: str) -> Disk:
    """A medium that says how to install, by its label."""
    folder = context.folder / "oemdrv.d"
    folder.mkdir()
    (folder / "ks.cfg").write_text(text)
    file = artefacts.blank_disk(context.folder / "oemdrv.raw", 8 << 20)
    subprocess.run(["mke2fs", "-q", "-F", "-L", "OEMDRV", "-d", str(folder), str(file)], check=True)
    return Disk(file, "oemdrv", "scsi", readonly=True, controller=1)


@contextmanager
def started(context: Context, *disks: Disk, menu: str = "s", memory: int = MEMORY, **spec: Any) -> Iterator[Machine]:
    """A machine started from a medium; ``menu`` is the key for GRUB's menu, empty where there is none."""
    described = Spec("medium", memory=memory, disks=disks, reboots=True, **spec)
    with Machine(described, context.folder / "medium") as machine:
        if menu:
            machine.serial.wait_for("Install oVirt Node on the serial console", START)
            machine.serial.send(menu)
        machine.serial.wait_for("oVirt Node installer", START)
        context.figures["installer_seconds"] = round(machine.seconds, 1)
        yield machine

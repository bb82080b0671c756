"""``make demo``: from packages to a booted node, unattended, as its maker ships it and its owner switches it on."""

from __future__ import annotations

import re
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager

from org_ovirt_node.run import run
from tests.vm import artefacts
from tests.vm.console import Shell
from tests.vm.errors import ScenarioFailed
from tests.vm.installer import running_installer
from tests.vm.qemu import Disk, Machine, Spec
from tests.vm.steps import GIB, INSTALL, Node

KICKSTART = "oem-preinstall.ks"
#: What the kickstart says.
LABEL = "OVIRTNODE"
FILE = "ovirt-node-demo.squashfs"
PASSWORD = "ovirt-node"
DISK_SIZE = 20 * GIB
LOOK = ("lsblk", "findmnt /", "lvs", "nodectl info")
#: Of what a booting node says: who speaks (firmware, boot loader, kernel, systemd's milestones).
SHOWN = re.compile(r"SeaBIOS|Booting|GNU GRUB|Linux version|Reached target|Welcome|login:|ovirt-node|oVirt")


@contextmanager
def stage(text: str) -> Iterator[None]:
    """Say what comes, and how long it took."""
    print(f"\n== {text}", flush=True)
    started = time.monotonic()
    yield
    print(f"== done in {time.monotonic() - started:.0f} s", flush=True)


def show(line: str) -> None:
    if line.strip() and not line.startswith("@@"):
        print(f"   {line[:110]}", flush=True)


def show_boot(line: str) -> None:
    if SHOWN.search(line):
        show(line)


def payload_medium() -> Disk:
    """The disk that the kickstart takes the image from."""
    image = artefacts.node_image()
    folder = artefacts.BUILD / "demo" / "medium"
    subprocess.run(["rm", "-rf", folder.parent], check=True)
    folder.mkdir(parents=True)
    run(["cp", "--reflink=auto", image.path, folder / FILE])
    file = artefacts.blank_disk(folder.parent / "medium.raw", image.size + (64 << 20))
    run(["mke2fs", "-q", "-F", "-t", "ext4", "-L", LABEL, "-d", folder, file])
    return Disk(file, "medium")


def install(medium: Disk, target: Disk) -> None:
    with running_installer(target.file.parent) as installer:
        installer.attach(medium)
        installer.attach(target)
        installer.machine.shell.listener = show
        installer.shell.run(
            f"ovirt-node-install --kickstart /opt/ovirt-node/kickstarts/{KICKSTART} --no-reboot", INSTALL
        )
        installer.machine.shell.listener = None
        installer.power_off()


def look(target: Disk) -> None:
    spec = Spec("node", memory=1024, disks=(target,), reboots=True)
    with Machine(spec, target.file.parent / "node") as machine:
        machine.serial.listener = show_boot
        node = Node(machine)
        node.await_login(password=PASSWORD)
        machine.serial.listener = None
        shell: Shell = node.shell
        node.check_running()
        for command in LOOK:
            print(f"\nroot@node# {command}\n{shell.run(command).output}", flush=True)
        node.power_off()


def main() -> int:
    """Run the demonstration; the exit status says whether the node came up."""
    started = time.monotonic()
    try:
        with stage("Building the demo image and the installer (kept for the next time)"):
            artefacts.installer()
            medium = payload_medium()
        target = Disk(artefacts.blank_disk(medium.file.parent / "disk.raw", DISK_SIZE), "disk")
        with stage(f"Installing from kickstarts/{KICKSTART}"):
            install(medium, target)
        with stage("Booting from the disk, by its own boot loader"):
            look(target)
    except ScenarioFailed as exc:
        print(f"\nThe demonstration failed: {exc}\nThe consoles are in {artefacts.BUILD / 'demo'}.", flush=True)
        return 1
    print(f"\nAll of it took {time.monotonic() - started:.0f} s. The disk is {target.file}.")
    return 0

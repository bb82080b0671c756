"""Installations from the demo ISO: by hand on the serial console, and by kickstarts from three places."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

from tests.vm import artefacts
from tests.vm.artefacts import NodeImage
from tests.vm.errors import check, check_equal
from tests.vm.installer import HOST_ADDRESS
from tests.vm.media import MEMORY_FOR_ALL, as_cd, as_stick, demo_iso, place_of, started, with_kickstart
from tests.vm.qemu import Disk, Efi, Machine
from tests.vm.scenario import Context, scenario
from tests.vm.servers import serving
from tests.vm.steps import GIB, HOSTNAME, INSTALL, PASSWORD, Node, booted_node, check_root, kickstart

#: What a kickstart on a medium calls the image beside the installer.
ON_MEDIUM = "file:/run/install/repo/ovirt-node/{}.squashfs"
#: Bytes that the demo ISO may have.
LARGEST = 350 << 20
#: An address that QEMU's own DHCP would not give.
FIXED = "10.0.2.77"
#: Seconds for a question on the screen.
SCREEN = 240.0
KERNEL = "console=tty0 console=ttyS0,115200 ovirt_node.medium=OVIRT_NODE quiet"
END = r"(?s)(Installed [^\n]*\n)|(The installation has failed[^\n]*)"


def target(context: Context, order: int = 1) -> Disk:
    """A blank disk that is started from first: the medium's turn comes while there is nothing on it."""
    file = artefacts.blank_disk(context.folder / "target.raw", 20 * GIB)
    return Disk(file, "target", properties={"bootindex": order})


def on_medium(image: NodeImage, more: str = "") -> str:
    """A kickstart for the image that is on the medium."""
    return kickstart(ON_MEDIUM.format(image.nvr), check_line=f"--sha256={image.sha256}", more=more)


def await_installed(machine: Machine) -> None:
    """Wait for the installation's good end."""
    found = machine.serial.wait_for(END, INSTALL)
    check(bool(found.group(1)), f"the installation has failed:\n{machine.serial.tail(40)}")


def check_node(node: Node, image: NodeImage) -> None:
    node.check_running()
    check_root(node, image)
    check_equal(node.shell.text("hostname"), HOSTNAME, "the host name")


@scenario("iso-bios-text-install", issues=(7,), core=True, limit=1800)
def iso_bios_text_install(context: Context) -> None:
    """The demo ISO in a CD drive (BIOS) installs by what a person types on the serial console."""
    image = artefacts.node_image()
    medium = demo_iso(image)
    context.figures["iso_mib"] = medium.stat().st_size >> 20
    check(medium.stat().st_size <= LARGEST, f"the ISO has {medium.stat().st_size} bytes, more than {LARGEST}")
    with started(context, target(context), as_cd(medium)) as machine:
        serial = machine.serial
        for prompt, said in (
            ("Your choice .*: ", "1"),
            ("Number .*: ", "1"),
            ("Your choice .*: ", "3"),
            ("Host name .*: ", HOSTNAME),
            (r"Network \[1\]: ", ""),
            ("Your choice .*: ", "5"),
            ("(?s)Still to be said: password.*Your choice .*: ", "4"),
            ("Password for root: ", PASSWORD),
            ("The same again: ", PASSWORD),
            ("Your choice .*: ", "5"),
            ("(?s)Volume group onn.*will be lost.*Type 'yes' to install: ", "yes"),
        ):
            serial.wait_for(prompt, SCREEN)
            serial.send(f"{said}\n")
        await_installed(machine)
        serial.wait_for("press ENTER to restart: ", SCREEN)
        serial.send("\n")
        node = Node(machine)
        node.await_login()
        check_node(node, image)
        node.power_off()


@scenario("iso-oemdrv", issues=(7,), limit=1800)
def iso_oemdrv(context: Context) -> None:
    """The demo ISO installs by a kickstart on a second medium, found by its label."""
    image = artefacts.node_image()
    said = with_kickstart(context, on_medium(image, "reboot\n"))
    with started(context, target(context), as_cd(demo_iso(image)), said) as machine:
        await_installed(machine)
        node = Node(machine)
        node.await_login()
        check_node(node, image)
        node.power_off()


@scenario("iso-unattended", issues=(7,), limit=1800)
def iso_unattended(context: Context) -> None:
    """The demo ISO installs by a kickstart from a web server that the kernel command line names."""
    image = artefacts.node_image()
    medium = demo_iso(image)
    disk = target(context)
    served = context.folder / "served"
    served.mkdir()
    (served / "node.ks").write_text(on_medium(image, "poweroff\n"))
    parts = {}
    for name in ("vmlinuz", "initrd.img"):
        parts[name] = context.folder / name
        argv = ["xorriso", "-osirrox", "on", "-indev", str(medium), "-extract", f"/boot/{name}", str(parts[name])]
        subprocess.run(argv, capture_output=True, check=True)
    with serving(served) as server:
        kernel, initrd = parts["vmlinuz"], parts["initrd.img"]
        append = f"{KERNEL} inst.ks={server.base}/node.ks"
        with started(context, disk, as_cd(medium), menu="", kernel=kernel, initrd=initrd, append=append) as machine:
            await_installed(machine)
            machine.wait_off(SCREEN)
        check(bool(server.requests), "the kickstart was not fetched")
    with booted_node(context, disk) as node:
        check_node(node, image)
        node.power_off()


@scenario("iso-efi-usb", issues=(7,), limit=1800)
def iso_efi_usb(context: Context) -> None:
    """The demo ISO on a disk, as on a USB stick, starts from EFI, installs a node that does so too, and stays whole."""
    image = artefacts.node_image()
    efi = Efi(artefacts.firmware_variables(context.folder / "vars.fd"))
    said = with_kickstart(context, on_medium(image, "reboot\n"))
    stick = as_stick(context, demo_iso(image))
    before = artefacts.content(stick.file)
    with started(context, target(context), stick, said, efi=efi) as machine:
        await_installed(machine)
        node = Node(machine)
        node.await_login()
        check_node(node, image)
        check_equal(node.shell.text("test -d /sys/firmware/efi && echo efi"), "efi", "the firmware")
        entries = node.shell.text("efibootmgr")
        check("oVirt Node" in entries, f"the firmware has no entry of ours: {entries}")
        node.power_off()
    check_equal(artefacts.content(stick.file), before, "the content of the stick")


@scenario("iso-memory", issues=(7,), limit=1800)
def iso_memory(context: Context) -> None:
    """The demo ISO on a disk, as on a USB stick, starts from BIOS, is read into memory by GRUB, and installs."""
    image = artefacts.node_image()
    disk, stick = target(context, 2), as_stick(context, demo_iso(image), 1)
    before = artefacts.content(stick.file)
    # Nothing on the stick is in use, so the kickstart has to say what is the node's.
    said = with_kickstart(context, on_medium(image, "ignoredisk --only-use=/dev/disk/by-id/virtio-target\npoweroff\n"))
    with started(context, disk, stick, said, menu="n", memory=MEMORY_FOR_ALL) as machine:
        await_installed(machine)
        check(bool(machine.serial.seen("it was read into memory")), "the medium was not read into memory")
        machine.wait_off(SCREEN)
    check_equal(artefacts.content(stick.file), before, "the content of the stick")
    with booted_node(context, disk) as node:
        check_node(node, image)
        node.power_off()


@scenario("iso-bios-usb", issues=(7,), limit=900)
def iso_bios_usb(context: Context) -> None:
    """The demo ISO on a disk, as on a USB stick, starts from BIOS up to the installer's first question."""
    medium = demo_iso(artefacts.node_image())
    with started(context, target(context, 2), as_stick(context, medium, 1)) as machine:
        machine.serial.wait_for("Your choice .*: ", SCREEN)


@scenario("iso-efi-cd", issues=(7,), limit=900)
def iso_efi_cd(context: Context) -> None:
    """The demo ISO in a CD drive starts from EFI; a kickstart on a second medium has its network started, as it says.

    What it asks a server for is not there, which ends the installation before a disk is written.
    """
    efi = Efi(artefacts.firmware_variables(context.folder / "vars.fd"))
    disk = target(context)
    before = artefacts.content(disk.file)
    served = context.folder / "served"
    served.mkdir()
    fixed = f"--bootproto=static --ip={FIXED} --netmask=255.255.255.0 --gateway={HOST_ADDRESS}"
    with serving(served) as server:
        text = kickstart(f"{server.base}/missing.squashfs").replace("--bootproto=dhcp", fixed)
        medium, said = as_cd(demo_iso(artefacts.node_image())), with_kickstart(context, text)
        with started(context, disk, medium, said, efi=efi) as machine:
            found = machine.serial.wait_for(END, SCREEN)
            check(bool(found.group(2)), "an image that is not there was installed")
            machine.serial.send("ip -brief address\n")
            machine.serial.wait_for(f"{FIXED}/24", SCREEN)
    check(bool(server.requests), "the server was not asked")
    check_equal(artefacts.content(disk.file), before, "the content of the disk")


def damaged(medium: Path, image: NodeImage, copy: Path) -> Path:
    """A copy of the medium with one bit flipped at the end of the image on it."""
    shutil.copyfile(medium, copy)
    place = place_of(medium, f"/ovirt-node/{image.path.name}") + image.size - 64
    with copy.open("r+b") as stream:
        stream.seek(place)
        byte = stream.read(1)[0]
        stream.seek(place)
        stream.write(bytes([byte ^ 1]))
    return copy


@scenario("media-damaged", issues=(7,), limit=1200)
def media_damaged(context: Context) -> None:
    """A medium with one wrong bit is refused, and no disk is written."""
    image = artefacts.node_image()
    disk = target(context)
    before = artefacts.content(disk.file)
    medium = damaged(demo_iso(image), image, context.folder / "damaged.iso")
    said = with_kickstart(context, on_medium(image, "reboot\n"))
    with started(context, disk, as_cd(medium), said) as machine:
        found = machine.serial.wait_for(END, INSTALL)
        check(bool(found.group(2)), "a damaged medium was installed from")
        check(bool(machine.serial.seen("does not match the checksum")), machine.serial.tail(20))
    check_equal(artefacts.content(disk.file), before, "the content of the disk")
    (context.folder / "damaged.iso").unlink()

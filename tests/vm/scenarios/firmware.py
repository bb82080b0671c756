"""Nodes on what firmware can start from: EFI, BIOS and EFI, sectors of 4096 bytes, NVMe."""

from __future__ import annotations

import dataclasses

from tests.vm import artefacts
from tests.vm.artefacts import NodeImage
from tests.vm.console import Shell
from tests.vm.errors import check, check_equal
from tests.vm.installer import running_installer
from tests.vm.qemu import Disk, Efi
from tests.vm.scenario import Context, scenario
from tests.vm.steps import (
    VG,
    booted_node,
    check_root,
    expect_refusal,
    install_node,
    installed,
    kickstart,
    provide_payload,
    run_install,
    target_disk,
)

#: What the installer calls its entry among the firmware's.
ENTRY = "oVirt Node"
#: An entry of somebody else's, and the type of EFI system partitions (UEFI 2.10, table 5.7).
STALE = "Older"
ESP_GUID = "c12a7328-f81f-11d2-ba4b-00a0c93ec93b"
SHIM = r"\EFI\DEBIAN\SHIMX64.EFI"


def new_machine(context: Context, *, secure_boot: bool = False) -> Efi:
    """The firmware of a machine that nobody has used before."""
    return Efi(artefacts.firmware_variables(context.folder / "variables.fd", secure_boot=secure_boot), secure_boot)


def install(context: Context, efi: Efi, image: NodeImage, *targets: Disk) -> list[str]:
    """Install on a machine with ``efi``; returns what efibootmgr says of our entries."""
    with installed(context, image, *targets, efi=efi) as (installer, _):
        return entries(installer.shell)


def entries(shell: Shell) -> list[str]:
    """efibootmgr's lines about our entries."""
    return [line for line in shell.text("efibootmgr -v").splitlines() if ENTRY in line]


def check_booted_by_entry(shell: Shell) -> None:
    """The firmware has one entry of ours, and has just used it."""
    found = entries(shell)
    check_equal(len(found), 1, f"the number of boot entries of ours: {found}")
    check(SHIM in found[0].upper(), f"the boot entry does not start shim: {found[0]}")
    current = shell.text("efibootmgr | sed -n 's/^BootCurrent: //p'")
    check(found[0].startswith(f"Boot{current}*"), f"the firmware used {current}, not our entry {found[0]}")


@scenario("install-efi", issues=(4,), core=True)
def install_efi(context: Context) -> None:
    """A node installed under EFI boots by its own entry, and by the fallback path where the entries are lost."""
    image = artefacts.node_image()
    target = target_disk(context)
    efi = new_machine(context)
    check_equal(len(install(context, efi, image, target)), 1, "the number of boot entries of ours")
    with booted_node(context, target, efi=efi) as node:
        node.check_running()
        check_root(node, image)
        check_booted_by_entry(node.shell)
        check_equal(node.shell.text("findmnt -no FSTYPE /boot/efi"), "vfat", "the type of /boot/efi")
        node.power_off()
    # The disk in another machine: its firmware knows no entry.
    with booted_node(context, target, name="moved", efi=new_machine(context)) as node:
        node.check_running()
        check_root(node, image)
        node.power_off()


@scenario("install-efi-reinstall", issues=(4,))
def install_efi_reinstall(context: Context) -> None:
    """However often a machine is installed, its firmware has one boot entry of ours, and other entries stay.

    But for one that leads to a partition which the installation removes.
    """
    image = artefacts.node_image()
    target = target_disk(context)
    efi = new_machine(context)
    check_equal(len(install(context, efi, image, target)), 1, "the number of boot entries of ours")
    with running_installer(context.folder, efi=efi) as installer:
        shell = installer.shell
        url = provide_payload(installer, image.path, context.folder)
        disk = installer.attach(target)
        shell.run("udevadm settle --timeout=60", 120)
        rows = [row.split() for row in shell.text(f"lsblk --noheadings --list -o PARTN,PARTTYPE {disk}").splitlines()]
        (part,) = [row[0] for row in rows if row[-1:] == [ESP_GUID]]
        shell.run(f"efibootmgr --create --disk $(realpath {disk}) --part {part} --label {STALE} --loader '{SHIM}'")
        check(STALE in shell.text("efibootmgr"), "the firmware has not taken an entry")
        install_node(installer, context, kickstart(url, check_line=f"--sha256={image.sha256}"))
        found = entries(shell)
        check_equal(len(found), 1, f"the number of boot entries of ours after the second installation: {found}")
        left = shell.text("efibootmgr")
        check(STALE not in left, f"an entry for the old system partition is left: {left}")
        installer.power_off()
    with booted_node(context, target, efi=efi) as node:
        check_booted_by_entry(node.shell)
        check("UiApp" in node.shell.text("efibootmgr"), "the firmware's own entries are gone")
        node.power_off()


@scenario("install-efi-secureboot", issues=(4,))
def install_efi_secureboot(context: Context) -> None:
    """With secure boot on, from installer to node: shim, the signed GRUB and the signed kernel."""
    image = artefacts.node_image()
    target = target_disk(context, bus="scsi")
    # The installer is started without the check: its kernel comes from outside, and no firmware looks at it.
    install(context, new_machine(context), image, target)
    enrolled = Efi(artefacts.firmware_variables(context.folder / "enrolled.fd", secure_boot=True), True)
    with booted_node(context, target, efi=enrolled) as node:
        node.check_running()
        check_root(node, image)
        check_equal(node.shell.text("mokutil --sb-state"), "SecureBoot enabled", "the state of secure boot")
        check("[integrity]" in node.shell.text("cat /sys/kernel/security/lockdown"), "the kernel is not locked down")
        node.power_off()


@scenario("install-bios-and-efi", issues=(4,))
def install_bios_and_efi(context: Context) -> None:
    """One disk boots by BIOS and by EFI; making it touches no firmware's variables."""
    image = artefacts.node_image()
    target = target_disk(context)
    with installed(context, image, target, options="--firmware=both"):
        pass
    for name, efi in (("bios", None), ("efi", new_machine(context))):
        with booted_node(context, target, name=name, efi=efi) as node:
            node.check_running()
            check_root(node, image)
            node.power_off()


@scenario("install-4k", issues=(4,))
def install_4k(context: Context) -> None:
    """A disk with sectors of 4096 bytes is refused on BIOS before it is written, and boots by EFI."""
    image = artefacts.node_image()
    blank = target_disk(context)
    target = dataclasses.replace(blank, properties={"logical_block_size": 4096, "physical_block_size": 4096})
    with running_installer(context.folder) as installer:
        url = provide_payload(installer, image.path, context.folder)
        installer.attach(target)
        expect_refusal(run_install(installer, kickstart(url, check_line=f"--sha256={image.sha256}")), "4096", "EFI")
        installer.power_off()
    check_equal(artefacts.allocated(target.file), 0, "bytes written to the disk that was refused")
    efi = new_machine(context)
    install(context, efi, image, target)
    with booted_node(context, target, efi=efi) as node:
        node.check_running()
        check_root(node, image)
        size = node.shell.text(f"blockdev --getss /dev/{VG}/{image.nvr}")
        check_equal(size, "4096", "the sector size of the image LV")
        node.power_off()


@scenario("install-nvme", issues=(4,))
def install_nvme(context: Context) -> None:
    """A node on an NVMe disk."""
    image = artefacts.node_image()
    target = target_disk(context, bus="nvme")
    with installed(context, image, target):
        pass
    with booted_node(context, target) as node:
        node.check_running()
        check_root(node, image)
        node.power_off()

"""Whole installations by Anaconda in a virtual machine, and the nodes that they leave."""

from __future__ import annotations

import subprocess
from contextlib import ExitStack

from org_ovirt_node.mounts import loop_device, mounted
from tests.anaconda.machine import KICKSTART, anaconda_machine, keep_logs
from tests.anaconda.steps import (
    AUTOMATIC,
    CLEAR,
    DISK,
    EXPLICIT,
    LIMIT,
    ONLY,
    VOLUMES,
    booted,
    check_node,
    install,
    kickstart,
    section,
    tree,
)
from tests.vm import artefacts
from tests.vm.errors import ScenarioFailed, check, check_equal
from tests.vm.qemu import Disk, Efi
from tests.vm.scenario import Context, scenario
from tests.vm.steps import GIB, provide_payload, target_disk

PASSPHRASE = "open-sesame-7"
#: A cheap key derivation: what is shown is that the disks are opened, not how hard it is to guess.
LUKS = f"--encrypted --luks-version=luks2 --pbkdf=pbkdf2 --pbkdf-iterations=2000 --passphrase={PASSPHRASE}"
FIRST, SECOND = "disk/by-id/virtio-target", "disk/by-id/virtio-second"
TWO_DISKS = f"""\
ignoredisk --only-use={FIRST},{SECOND}
{CLEAR}part biosboot --fstype=biosboot --size=1 --ondisk={FIRST}
part /boot --fstype=ext4 --size=1024 --ondisk={FIRST}
part pv.01 --size=6144 --grow --ondisk={FIRST} {LUKS}
part pv.02 --size=6144 --grow --ondisk={SECOND} {LUKS}
volgroup onn pv.01 pv.02 --reserved-space=2048
{VOLUMES}"""
INCLUDE = f"""\
%pre --erroronfail
ovirt-node-install --kickstart {KICKSTART} --plan --format kickstart > /tmp/node-layout.ks
%end
{CLEAR}%include /tmp/node-layout.ks
"""
IMAGE_FILE = "/scratch/oem.raw"


def _installs(context: Context, disks: str, *, size: int = DISK, lines: str = "", vg: str = "") -> None:
    image = artefacts.node_image()
    target = target_disk(context, size=size)
    with anaconda_machine(tree(), context.folder) as installer:
        url = provide_payload(installer, image.path, context.folder)
        installer.attach(target)
        install(installer, context, kickstart(section(url, image, lines), ONLY + disks))
        installer.power_off()
    with booted(context, target) as node:
        node.check_running()
        check_node(node, image)
        if vg:
            check_equal(node.shell.text("vgs --noheadings -o vg_name"), vg, "the VG's name")
        node.reboot()
        node.check_running()
        node.power_off()


@scenario("anaconda-auto", issues=(3,), limit=LIMIT)
def automatic(context: Context) -> None:
    """Anaconda partitions by the profile; the node boots from its disk with all that the kickstart says."""
    _installs(context, AUTOMATIC)


@scenario("anaconda-explicit", issues=(3,), limit=LIMIT)
def explicit(context: Context) -> None:
    """The same with part, volgroup and logvol lines, xfs, and a volume that the section requires."""
    _installs(context, EXPLICIT, size=20 * GIB, lines="volume /data --size=1GiB\n", vg="onn")


@scenario("anaconda-include", issues=(3,), limit=LIMIT)
def include(context: Context) -> None:
    """What ovirt-node-install plans in %pre is included, and made by Anaconda; the VG is the planner's."""
    _installs(context, INCLUDE, vg="onn")


@scenario("anaconda-efi", issues=(3,), limit=LIMIT)
def on_efi(context: Context) -> None:
    """Automatic partitioning in a machine with UEFI; the firmware starts the node by an entry of its own."""
    image = artefacts.node_image()
    target = target_disk(context, size=DISK)
    efi = Efi(artefacts.firmware_variables(context.folder / "variables.fd"))
    with anaconda_machine(tree(), context.folder, efi=efi) as installer:
        url = provide_payload(installer, image.path, context.folder)
        installer.attach(target)
        install(installer, context, kickstart(section(url, image), ONLY + AUTOMATIC))
        installer.power_off()
    with booted(context, target, efi=efi) as node:
        node.check_running()
        check_node(node, image)
        entries = node.shell.text("efibootmgr")
        check(entries.count("oVirt Node") == 1, f"the firmware's entries: {entries}")
        current = next(line for line in entries.splitlines() if line.startswith("BootCurrent:")).split()[1]
        check(f"Boot{current}* oVirt Node" in entries, f"the node was not started by its own entry: {entries}")
        node.power_off()


@scenario("anaconda-two-disks-luks", issues=(3,), limit=LIMIT)
def two_disks(context: Context) -> None:
    """A VG on two disks, both encrypted: the node asks for the passphrase when it boots, and boots from it."""
    image = artefacts.node_image()
    disks = target_disk(context, size=16 * GIB), target_disk(context, "second", size=10 * GIB)
    with anaconda_machine(tree(), context.folder) as installer:
        url = provide_payload(installer, image.path, context.folder)
        for disk in disks:
            installer.attach(disk)
        install(installer, context, kickstart(section(url, image), TWO_DISKS))
        installer.power_off()
    with booted(context, *disks, passphrase=PASSPHRASE) as node:
        node.check_running()
        check_node(node, image)
        # lsblk calls the verified image "crypt" too: both are made by cryptsetup.
        maps = node.shell.text("dmsetup info -c --noheadings -o uuid").split()
        check_equal(sum(uuid.startswith("CRYPT-LUKS") for uuid in maps), 2, "encrypted disks that are open")
        node.power_off()


@scenario("anaconda-image-target", issues=(3,), limit=LIMIT)
def image_target(context: Context) -> None:
    """``anaconda --image`` installs into a file, and a machine boots from that file."""
    image = artefacts.node_image()
    scratch = artefacts.blank_disk(context.folder / "scratch.raw", 24 * GIB)
    subprocess.run(["mke2fs", "-q", "-F", "-t", "ext4", str(scratch)], check=True)
    with anaconda_machine(tree(), context.folder) as installer:
        url = provide_payload(installer, image.path, context.folder)
        link = installer.attach(Disk(scratch, "scratch"))
        installer.shell.run(f"mkdir -p /scratch && mount {link} /scratch && truncate -s {20 * GIB} {IMAGE_FILE}")
        install(installer, context, kickstart(section(url, image), EXPLICIT), options=f"--image {IMAGE_FILE}")
        if installer.shell.run("umount /scratch", 120, check=False).status:
            keep_logs(installer, installer.machine.folder / "logs.tar.gz")
            held = installer.shell.run("findmnt -R; dmsetup ls --tree; losetup; fuser -vm /scratch", check=False).text
            raise ScenarioFailed(f"the disk image was not let go of:\n{held}")
        installer.power_off()
    with ExitStack() as stack:
        loop = stack.enter_context(loop_device(scratch))
        folder = stack.enter_context(mounted(loop, context.folder / "mnt"))
        node = stack.enter_context(booted(context, Disk(folder / "oem.raw", "target")))
        node.check_running()
        check_node(node, image, network=False)
        node.power_off()

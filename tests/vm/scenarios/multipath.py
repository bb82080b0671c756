"""Root on a disk with two paths."""

from __future__ import annotations

import dataclasses

from tests.vm import artefacts
from tests.vm.artefacts import NodeImage
from tests.vm.console import Shell
from tests.vm.errors import check, check_equal
from tests.vm.installer import InstallerMachine, running_installer
from tests.vm.qemu import Disk
from tests.vm.scenario import Context, scenario
from tests.vm.scenarios.firmware import check_booted_by_entry, new_machine
from tests.vm.steps import (
    READ_IMAGE,
    VG,
    await_step,
    booted_node,
    check_root,
    end_install,
    install_node,
    kickstart,
    provide_payload,
    start_install,
    target_disk,
)

WWN = 0x5000C500A0B0C0D0
WWID = f"3{WWN:x}"
#: Seconds for what a disk does while a path goes or comes.
IO = 240.0


def two_paths(context: Context) -> tuple[Disk, Disk]:
    """One disk at two controllers."""
    disk = target_disk(context, bus="scsi")
    properties = {"wwn": WWN, "device_id": disk.serial}
    first = dataclasses.replace(disk, path="-a", properties=properties)
    return first, dataclasses.replace(first, path="-b", controller=1)


ONLY = "ignoredisk --only-use={}\n"


def attach(installer: InstallerMachine, *disks: Disk) -> list[str]:
    """Plug the paths in; returns their kernel names."""
    for disk in disks:
        installer.machine.attach(disk)
    names = [f"sd{letter}" for letter in "abcdefgh"[: len(disks)]]
    installer.shell.run("udevadm wait --timeout=60 " + " ".join(f"/dev/{name}" for name in names), 120)
    return names


def check_multipath(shell: Shell, paths: int) -> None:
    """The one PV is a partition of the map, which has ``paths`` working paths."""
    pv = shell.text(f"pvs --noheadings -o pv_name -S vg_name={VG}").strip()
    kinds = shell.text(f"lsblk --noheadings --inverse --list -o TYPE {pv}").split()
    check_equal(kinds, ["part", "mpath", "disk", "disk"][: 2 + paths], "what the PV is on")
    shown = shell.text("multipathd show paths raw format '%w %t %o'")
    working = [line for line in shown.splitlines() if line.startswith(WWID) and "active" in line]
    check_equal(len(working), paths, f"the number of working paths: {shown}")


def await_paths(shell: Shell, count: int) -> None:
    """Wait until ``count`` paths work: multipathd looks at each of them every few seconds."""
    shell.run(f"until multipathd show paths raw format '%t' | grep -c active | grep -qx {count}; do sleep 1; done", IO)


def install_on_paths(context: Context, image: NodeImage, *paths: Disk) -> None:
    """Install ``image`` to the disk with ``paths``, the first of which the kickstart names."""
    with running_installer(context.folder) as installer:
        url = provide_payload(installer, image.path, context.folder)
        first, _ = attach(installer, *paths)
        text = kickstart(url, check_line=f"--sha256={image.sha256}", more=ONLY.format(first))
        install_node(installer, context, text)
        installer.power_off()


@scenario("install-multipath", issues=(4,), core=True)
def install_multipath(context: Context) -> None:
    """A disk with two paths is one disk: naming a path means the map, and the node boots on it."""
    image = artefacts.node_image()
    paths = two_paths(context)
    install_on_paths(context, image, *paths)
    with booted_node(context, *paths) as node:
        node.check_running()
        check_root(node, image)
        check_multipath(node.shell, 2)
        for mountpoint in ("/boot", "/var"):
            source = node.shell.text(f"findmnt -no SOURCE {mountpoint}")
            kinds = node.shell.text(f"lsblk --noheadings --inverse --list -o TYPE {source}").split()
            check_equal("mpath" in kinds, True, f"{mountpoint} is on the map: {kinds}")
        node.power_off()


@scenario("multipath-path-loss", issues=(4,))
def path_loss(context: Context) -> None:
    """A path goes in the middle of the transfer, the other one on the running node: both go on, nothing is lost.

    The firmware is EFI, and has one entry for the two paths.
    """
    image = artefacts.node_image()
    first, second = two_paths(context)
    efi = new_machine(context)
    with running_installer(context.folder, efi=efi) as installer:
        url = provide_payload(installer, image.path, context.folder)
        name, _ = attach(installer, first, second)
        start_install(installer, kickstart(url, check_line=f"--sha256={image.sha256}", more=ONLY.format(name)))
        await_step(installer, "transfer")
        installer.machine.detach(second)
        check_equal(end_install(installer).done["sha256"], image.sha256, "the digest of what was installed")
        installer.power_off()
    with booted_node(context, first, second, efi=efi) as node:
        node.check_running()
        check_booted_by_entry(node.shell)
        check_root(node, image)
        check_multipath(node.shell, 2)
        # Writes that last until the path has gone, each of them on the disk before the next.
        node.shell.run(
            "rm -f /var/tmp/gone /var/tmp/status; ( n=0; while [ ! -e /var/tmp/gone ] || [ $n -lt 20 ]; do "
            "n=$((n + 1)); dd if=/dev/urandom of=/var/tmp/data.$n bs=64k count=8 oflag=direct conv=fsync || break; "
            "sha256sum /var/tmp/data.$n >> /var/tmp/sums; done 2>/var/tmp/said; "
            "tail -n 1 /var/tmp/said > /var/tmp/status ) &"
        )
        node.machine.detach(first)
        node.shell.run("touch /var/tmp/gone; until test -s /var/tmp/status; do sleep 0.5; done", IO)
        written = node.shell.text(
            "sync; echo 3 > /proc/sys/vm/drop_caches; sha256sum --check --quiet /var/tmp/sums", IO
        )
        check_equal(written, "", "what was written while a path went")
        check(int(node.shell.text("wc -l < /var/tmp/sums")) >= 20, "the writing stopped when the path went")
        await_paths(node.shell, 1)
        check_multipath(node.shell, 1)
        node.machine.attach(first)
        await_paths(node.shell, 2)
        check_multipath(node.shell, 2)
        node.shell.run("nodectl verify", READ_IMAGE)
        node.power_off()

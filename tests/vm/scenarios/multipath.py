"""Root on a disk with two paths."""

from __future__ import annotations

import dataclasses

from tests.vm import artefacts
from tests.vm.console import Shell
from tests.vm.errors import check_equal
from tests.vm.installer import InstallerMachine, running_installer
from tests.vm.qemu import Disk
from tests.vm.scenario import Context, scenario
from tests.vm.steps import VG, booted_node, check_root, install_node, kickstart, provide_payload, target_disk

WWN = 0x5000C500A0B0C0D0
WWID = f"3{WWN:x}"


def two_paths(context: Context) -> tuple[Disk, Disk]:
    """One disk at two controllers."""
    disk = target_disk(context, bus="scsi")
    properties = {"wwn": WWN, "device_id": disk.serial}
    first = dataclasses.replace(disk, path="-a", properties=properties)
    return first, dataclasses.replace(first, path="-b", controller=1)


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


@scenario("install-multipath", issues=(4,))
def install_multipath(context: Context) -> None:
    """A disk with two paths is one disk: naming a path means the map, and the node boots on it."""
    image = artefacts.node_image()
    paths = two_paths(context)
    with running_installer(context.folder) as installer:
        url = provide_payload(installer, image.path, context.folder)
        first, _ = attach(installer, *paths)
        only = f"ignoredisk --only-use={first}\n"
        install_node(installer, context, kickstart(url, check_line=f"--sha256={image.sha256}", more=only))
        installer.power_off()
    with booted_node(context, *paths) as node:
        node.check_running()
        check_root(node, image)
        check_multipath(node.shell, 2)
        for mountpoint in ("/boot", "/var"):
            source = node.shell.text(f"findmnt -no SOURCE {mountpoint}")
            kinds = node.shell.text(f"lsblk --noheadings --inverse --list -o TYPE {source}").split()
            check_equal("mpath" in kinds, True, f"{mountpoint} is on the map: {kinds}")
        node.power_off()

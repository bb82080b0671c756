"""Installing to a disk image file, as a vendor does, and looking at the plan before."""

from __future__ import annotations

import json
import subprocess

from org_ovirt_node.mounts import loop_device, mounted
from tests.vm import artefacts
from tests.vm.errors import check, check_equal
from tests.vm.installer import InstallerMachine, running_installer
from tests.vm.qemu import Disk
from tests.vm.scenario import Context, scenario
from tests.vm.steps import GIB, KICKSTART, booted_node, check_root, install_node, kickstart, provide_payload

IMAGE_SIZE = 10 * GIB
FILE = "/scratch/oem.raw"


def plans(installer: InstallerMachine, text: str) -> None:
    """All three forms of the plan speak of the image file's disk, and nothing is written to it."""
    installer.shell.put(KICKSTART, text.encode())
    command = f"ovirt-node-install --kickstart {KICKSTART} --disk-image {FILE} --plan"
    installer.shell.run(f"truncate -s {IMAGE_SIZE} {FILE}")
    check("pool00" in installer.shell.text(command, 240), "the plan as text does not name the pool")
    shown = json.loads(installer.shell.text(f"{command} --format json 2>/dev/null", 240))
    check_equal(shown["disks"][0]["name"], "oem", "the disk in the plan as JSON")
    lines = installer.shell.text(f"{command} --format kickstart 2>/dev/null", 240).splitlines()
    check(any(line.startswith("volgroup onn ") for line in lines), f"no volgroup line in {lines}")
    check_equal(installer.shell.text(f"du -k {FILE} | cut -f1"), "0", "what planning wrote to the image file (KiB)")


@scenario("install-disk-image", issues=(2,))
def install_disk_image(context: Context) -> None:
    """A node is installed to a disk image file, and a machine boots from that file."""
    image = artefacts.node_image()
    scratch = artefacts.blank_disk(context.folder / "scratch.raw", 12 * GIB)
    subprocess.run(["mke2fs", "-q", "-F", "-t", "ext4", str(scratch)], check=True)
    with running_installer(context.folder) as installer:
        url = provide_payload(installer, image.path, context.folder)
        text = kickstart(url)
        link = installer.attach(Disk(scratch, "scratch"))
        installer.shell.run(f"mkdir -p /scratch && mount {link} /scratch")
        plans(installer, text)
        install_node(installer, context, text, options=f"--disk-image {FILE},{IMAGE_SIZE // GIB}GiB")
        check_equal(installer.shell.text("losetup -nl -O BACK-FILE | grep -c oem; true"), "0", "loop devices left")
        installer.shell.run("umount /scratch", 120)
        installer.power_off()
    with loop_device(scratch) as loop, mounted(loop, context.folder / "mnt") as folder:
        file = Disk(folder / "oem.raw", "target")
        with booted_node(context, file) as node:
            node.check_running()
            check_root(node, image)
            node.power_off()

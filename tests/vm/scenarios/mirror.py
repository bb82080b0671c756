"""A node on a mirror of two disks, each of which boots it alone and falls back alone."""

from __future__ import annotations

from tests.vm import artefacts
from tests.vm.artefacts import NodeImage
from tests.vm.errors import check, check_equal
from tests.vm.qemu import Disk
from tests.vm.scenario import Context, scenario
from tests.vm.steps import BOOT, VG, booted_node, check_root, installed, stuttering, target_disk

GIB = 1 << 30
NAMES = ("target", "second")
#: Seconds for the halves to become the same.
RESYNC = 900.0
LINES = """\
zerombr
clearpart --all --initlabel
part biosboot --fstype=biosboot --size=1 --ondisk=disk/by-id/virtio-target
part biosboot --fstype=biosboot --size=1 --ondisk=disk/by-id/virtio-second
part raid.01 --size=512 --ondisk=disk/by-id/virtio-target
part raid.02 --size=512 --ondisk=disk/by-id/virtio-second
part raid.11 --size=1 --grow --ondisk=disk/by-id/virtio-target
part raid.12 --size=1 --grow --ondisk=disk/by-id/virtio-second
raid /boot --level=1 --device=boot --fstype=ext4 raid.01 raid.02
raid pv.01 --level=1 --device=pv raid.11 raid.12
volgroup onn pv.01
logvol none --vgname=onn --name=pool00 --thinpool --size=5000 --grow
logvol / --vgname=onn --name=root --thin --poolname=pool00 --size=1600
logvol /var --vgname=onn --name=var --thin --poolname=pool00 --size=2000
"""
#: Puts a layer on trial that ends in a panic at once: the kernel finds no init in its initramfs.
BREAK = """\
from dataclasses import replace
from pathlib import Path
from org_ovirt_node.boot import bls, trial
from org_ovirt_node.node import bootstate
boot = Path("/boot")
good = bls.read_all(boot)[0]
options = trial.with_trial(good.options + " rdinit=/none", watchdog=False)
bootstate.write_entry(boot, replace(good, name="broken", title="broken", options=options), good.name)
bootstate.start_trial(boot, "broken", 1, good.name)
"""


@scenario("install-raid1", issues=(4,), limit=3600.0)
def install_raid1(context: Context) -> None:
    """/boot and the PV on md RAID1: the node boots from both disks, and from either alone, and falls back there."""
    image = artefacts.node_image()
    disks = [target_disk(context, name, 10 * GIB) for name in NAMES]
    with installed(context, image, *disks, memory=2048, options="", disks=LINES) as (installer, _):
        left = installer.shell.text("cat /proc/mdstat")
        check("active" not in left, f"an array is still assembled: {left}")
    with booted_node(context, *disks) as node:
        node.check_running()
        check_root(node, image)
        pv = node.shell.text(f"pvs --noheadings -o pv_name -S vg_name={VG}").strip()
        check_equal(node.shell.text(f"lsblk -dno TYPE {pv}"), "raid1", "what the PV is on")
        check_equal(node.shell.text("lsblk -dno TYPE $(findmnt -no SOURCE /boot)"), "raid1", "what /boot is on")
        node.shell.run("mdadm --wait /dev/md/boot /dev/md/pv || true", RESYNC)
        check_equal(node.shell.text("grep -c '\\[UU\\]' /proc/mdstat"), "2", "arrays with both halves")
        node.power_off()
    for number, disk in enumerate(disks, start=1):
        _alone(context, image, disk, number)


def _alone(context: Context, image: NodeImage, disk: Disk, number: int) -> None:
    """The node on ``disk`` alone: it runs, and comes back from a layer that panics."""
    with booted_node(context, disk, name=f"node{number}") as node:
        node.check_running()
        check_root(node, image)
        blocks = node.shell.text("findmnt -rno TARGET | grep ^/boot/env")
        check_equal(blocks, f"/boot/env{number}", "the environment blocks that are mounted")
        node.shell.put("/root/break.py", BREAK.encode())
        node.shell.run("python3 /root/break.py", BOOT)
        # A panic is what is wanted from here on, and not the end of it.
        node.machine.serial.fatal = None
        node.machine.shell.send("systemctl reboot\n")
        node.machine.serial.wait_for(stuttering("Kernel panic - not syncing"), BOOT)
        node.await_login()
        node.check_running()
        check_root(node, image)
        said = node.shell.text(f"grub-editenv /boot/env{number}/grubenv list")
        check("trial_failed=broken" in said, f"GRUB does not say that the trial failed: {said}")

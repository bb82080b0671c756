"""The installer's environment by itself."""

from __future__ import annotations

from tests.vm import artefacts
from tests.vm.errors import check, check_equal
from tests.vm.installer import InstallerMachine, running_installer
from tests.vm.qemu import Disk
from tests.vm.scenario import Context, scenario

GIB = 1 << 30


def _exercise(installer: InstallerMachine, context: Context) -> None:
    shell = installer.shell
    check("LVM version" in shell.text("lvm version"), "lvm does not say its version")
    check_equal(
        shell.text("python3 -c 'import blivet; print(blivet.__version__)' 2>/dev/null", 120),
        "3.14.2",
        "blivet's version",
    )
    check_equal(shell.text("systemctl --failed --no-legend --plain"), "", "failed units")
    target = installer.attach(Disk(artefacts.blank_disk(context.folder / "target.raw", 4 * GIB), "target"))
    check_equal(shell.text(f"lsblk -bdno SIZE {target}"), str(4 * GIB), "the size of the plugged disk")
    scsi = installer.attach(Disk(artefacts.blank_disk(context.folder / "scsi.raw", GIB), "second", bus="scsi"))
    check_equal(shell.text(f"lsblk -bdno SIZE {scsi}"), str(GIB), "the size of the plugged SCSI disk")
    shell.run(f"pvcreate -y {target} && vgcreate onn {target}")
    shell.run(
        "lvcreate -y -L 1g -T onn/pool00 && lvcreate -y -V 2g -T onn/pool00 -n thin && mkfs.ext4 -q /dev/onn/thin"
    )
    volumes = shell.json("lvs --reportformat json -o lv_name,segtype onn")["report"][0]["lv"]
    kinds = {volume["lv_name"]: volume["segtype"] for volume in volumes}
    check_equal(kinds, {"pool00": "thin-pool", "thin": "thin"}, "the volumes made with lvm")
    scan = "import blivet; b = blivet.Blivet(); b.reset(); print(sorted(d.name for d in b.devices))"
    found = shell.text(f"python3 -c '{scan}' 2>/dev/null", 180)
    check("onn-thin" in found, f"blivet's scan does not see the thin volume: {found}")
    for module in ("dm_multipath", "iscsi_tcp", "dm_verity", "vfat", "xfs"):
        shell.run(f"modprobe {module}")
    installer.power_off()


@scenario("installer-boot", issues=(2,))
def installer_boot(context: Context) -> None:
    """The installer's environment boots, and lvm and blivet work in it."""
    with running_installer(context.folder, fresh=True) as installer:
        context.figures["seconds_to_shell"] = round(installer.machine.seconds, 1)
        _exercise(installer, context)


@scenario("installer-shell", issues=(2,))
def installer_shell(context: Context) -> None:
    """The installer's environment goes on from its saved state, and lvm and blivet work in it."""
    with running_installer(context.folder) as installer:
        context.figures["seconds_to_shell"] = round(installer.machine.seconds, 1)
        _exercise(installer, context)

"""A node whose PV is encrypted."""

from __future__ import annotations

from tests.vm import artefacts
from tests.vm.errors import check, check_equal
from tests.vm.scenario import Context, scenario
from tests.vm.steps import BOOT, VG, booted_node, check_root, installed, target_disk

PASSPHRASE = "opens-the-node-17"
LOG = "/var/log/ovirt-node/ovirt-node-install.log"


@scenario("install-luks", issues=(4,))
def install_luks(context: Context) -> None:
    """The PV is a LUKS container whose passphrase is asked for at boot, and is in no log."""
    image = artefacts.node_image()
    target = target_disk(context)
    disks = f"clearpart --all --initlabel\nzerombr\nautopart --type=thinp --encrypted --passphrase={PASSPHRASE}\n"
    with installed(context, image, target, memory=2560, disks=disks) as (installer, result):
        check(PASSPHRASE not in result.stderr, "the passphrase is in what the installer says")
        found = installer.shell.run(f"grep -l {PASSPHRASE} {LOG} /tmp/install.out /tmp/*.log", check=False)
        check_equal(found.text.replace("grep: /tmp/*.log: No such file or directory", ""), "", "logs with a passphrase")
    with booted_node(context, target, memory=2048, login=False) as node:
        serial = node.machine.serial
        serial.wait_for(r"passphrase for disk .*:", BOOT)
        serial.send(f"{PASSPHRASE}\n")
        node.await_login()
        node.check_running()
        check_root(node, image)
        pv = node.shell.text(f"pvs --noheadings -o pv_name -S vg_name={VG}").strip()
        check_equal(node.shell.text(f"lsblk -dno TYPE {pv}"), "crypt", "what the PV is on")
        swap = node.shell.text("swapon --noheadings --show=NAME")
        kinds = node.shell.text(f"lsblk --noheadings --inverse --list -o TYPE {swap}").split()
        check("crypt" in kinds, f"swap is not encrypted: {swap} is on {kinds}")
        held = node.shell.run(
            f"grep -rl {PASSPHRASE} /etc /boot /root /var/log /run/ovirt-node/layer", 120, check=False
        )
        check_equal(held.text, "", "files of the node with the passphrase")
        node.power_off()

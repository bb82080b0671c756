"""A node whose PV is encrypted."""

from __future__ import annotations

from tests.vm import artefacts
from tests.vm.errors import check, check_equal
from tests.vm.installer import running_installer
from tests.vm.scenario import Context, scenario
from tests.vm.steps import BOOT, VG, booted_node, check_root, install_node, kickstart, provide_payload, target_disk

PASSPHRASE = "opens-the-node-17"
LOG = "/var/log/ovirt-node/ovirt-node-install.log"


@scenario("install-luks", issues=(4,))
def install_luks(context: Context) -> None:
    """The PV is a LUKS container whose passphrase is asked for at boot, and is in no log."""
    image = artefacts.node_image()
    target = target_disk(context)
    disks = f"clearpart --all --initlabel\nzerombr\nautopart --type=thinp --encrypted --passphrase={PASSPHRASE}\n"
    with running_installer(context.folder, memory=2560) as installer:
        url = provide_payload(installer, image.path, context.folder)
        installer.attach(target)
        result = install_node(installer, context, kickstart(url, check_line=f"--sha256={image.sha256}", disks=disks))
        check(PASSPHRASE not in result.stderr, "the passphrase is in what the installer says")
        found = installer.shell.run(f"grep -l {PASSPHRASE} {LOG} /tmp/install.out /tmp/*.log", check=False)
        check_equal(found.text.replace("grep: /tmp/*.log: No such file or directory", ""), "", "logs with a passphrase")
        installer.power_off()
    with booted_node(context, target, memory=2048, login=False) as node:
        serial = node.machine.serial
        serial.wait_for(r"passphrase for disk .*:", BOOT)
        serial.send(f"{PASSPHRASE}\n")
        node.await_login()
        node.check_running()
        check_root(node, image)
        pv = node.shell.text(f"pvs --noheadings -o pv_name -S vg_name={VG}").strip()
        check_equal(node.shell.text(f"lsblk -dno TYPE {pv}"), "crypt", "what the PV is on")
        held = node.shell.run(
            f"grep -rl {PASSPHRASE} /etc /boot /root /var/log /run/ovirt-node/layer", 120, check=False
        )
        check_equal(held.text, "", "files of the node with the passphrase")
        node.power_off()

"""Machines that install themselves over the network."""

from __future__ import annotations

from pathlib import Path
from typing import Optional

from org_ovirt_node.media import pxe
from org_ovirt_node.progress import Silent
from tests.vm import artefacts
from tests.vm.errors import check, check_equal
from tests.vm.qemu import Efi
from tests.vm.scenario import Context, scenario
from tests.vm.servers import Served, serving
from tests.vm.steps import booted_node, check_root, kickstart, target_disk

#: Seconds until the installer is fetched and runs, and until the node has been installed and has started.
FETCH, UNATTENDED = 900.0, 1500.0
LIMIT = 3600.0
#: What iPXE says when it starts a disk of the machine.
FROM_DISK = "Booting from SAN device 0x80"


def make_tree(context: Context, server: Served, folder: Path) -> artefacts.NodeImage:
    """The tree in ``folder``, which ``server`` serves."""
    image = artefacts.node_image()
    template = context.folder / "template.ks"
    template.write_text(kickstart("file:/none", more="reboot\n"))
    request = pxe.Request(image.path, folder, server.base, template)
    pxe.make(request, artefacts.installer(), context.folder / "work", Silent())
    return image


def fetches(server: Served) -> int:
    """How often the installer was asked for, from its beginning."""
    return sum(1 for line in server.requests if line.rstrip() == f"GET /{pxe.INITRAMFS}")


def install_by_network(context: Context, *, efi: Optional[Efi] = None) -> None:
    """A machine with an empty disk is switched on, becomes a node by itself, and stays one.

    A BIOS asks the network first at every start.
    """
    folder = context.folder / "tree"
    folder.mkdir()
    disk = target_disk(context)
    with serving(folder) as server:
        image = make_tree(context, server, folder)
        network = (f"tftp={folder}", f"bootfile={pxe.IPXE}")
        with booted_node(
            context,
            disk,
            memory=2560,
            login=False,
            efi=efi,
            network=network,
            boots_from_network=True,
            network_first=efi is None,
            limit=LIMIT,
        ) as node:
            node.machine.serial.wait_for("Writing the image", FETCH)
            context.figures["fetched_seconds"] = round(node.machine.seconds, 1)
            if efi is None:
                node.machine.serial.wait_for(FROM_DISK, UNATTENDED)
            node.await_login(UNATTENDED)
            context.figures["seconds_to_login"] = round(node.machine.seconds, 1)
            node.check_running()
            check_root(node, image)
            check("inst.ks=" not in node.shell.text("cat /proc/cmdline"), "the installer's kernel runs")
            node.machine.shell.send("systemctl reboot\n")
            node.await_login(UNATTENDED)
            node.check_running()
            check_equal(fetches(server), 1, f"how often the installer was fetched: {server.requests}")
            node.power_off()


@scenario("pxe-bios", issues=(4,), limit=LIMIT)
def pxe_bios(context: Context) -> None:
    """A BIOS that asks the network first installs an empty disk by iPXE once, and starts from it from then on."""
    install_by_network(context)


@scenario("pxe-efi", issues=(4,), limit=LIMIT)
def pxe_efi(context: Context) -> None:
    """The same by EFI and iPXE."""
    install_by_network(context, efi=Efi(artefacts.firmware_variables(context.folder / "variables.fd")))

"""Upgrades of nodes whose root is on more than a local disk: the new layer finds it as the old one did."""

from __future__ import annotations

from tests.vm import artefacts
from tests.vm.artefacts import NodeImage
from tests.vm.errors import check_equal
from tests.vm.iscsitarget import Target, running
from tests.vm.scenario import Context, scenario
from tests.vm.scenarios.iscsi import (
    ACCOUNT,
    NETWORK_BOOT,
    OUTGOING,
    check_secrets,
    check_sessions,
    install_chap,
    iscsi_node,
)
from tests.vm.scenarios.multipath import check_multipath, install_on_paths, two_paths
from tests.vm.steps import BOOT, Node, booted_node, target_disk
from tests.vm.upgrades import MEDIUM, check_health, check_runs, environment, medium, prepare, update

#: Seconds: an installation, an update and two boots, all of them over a network.
LIMIT = 3600.0


def go_to(context: Context, node: Node, image: NodeImage, timeout: float) -> None:
    """Update to ``image``, boot it within ``timeout`` seconds, and look whether it is good."""
    node.check_running()
    disk = medium(context, image)
    node.machine.attach(disk)
    prepare(node)
    context.figures["update_seconds"] = update(node, image)["seconds"]
    # The firmware is to find the node's disk, and nothing else that looks like one.
    node.shell.run(f"umount {MEDIUM}")
    node.machine.detach(disk)
    node.machine.shell.send("systemctl reboot\n")
    node.await_login(timeout)
    node.check_running()
    check_runs(node, f"{image.nvr}+1")
    check_equal(environment(node), {"saved_entry": f"{image.nvr}+1"}, "GRUB's variables once it is good")
    check_health(node)


@scenario("upgrade-on-multipath", issues=(5,), limit=LIMIT)
def upgrade_on_multipath(context: Context) -> None:
    """The new layer of a node on a disk with two paths assembles the map, and boots on both of them."""
    paths = two_paths(context)
    install_on_paths(context, artefacts.node_image(), *paths)
    with booted_node(context, *paths, limit=LIMIT) as node:
        go_to(context, node, artefacts.node_image("2"), BOOT)
        check_multipath(node.shell, 2)
        node.power_off()


@scenario("upgrade-on-iscsi", issues=(5,), limit=LIMIT)
def upgrade_on_iscsi(context: Context) -> None:
    """The new layer of a node on a LUN with mutual CHAP logs in by what its host.img brings."""
    disk = target_disk(context)
    with running(Target(disk.file, context.folder, account=ACCOUNT, outgoing=OUTGOING)) as target:
        old, new = artefacts.node_image(), artefacts.node_image("2")
        install_chap(context, target, old)
        with iscsi_node(context, old, target) as node:
            go_to(context, node, new, NETWORK_BOOT)
            check_sessions(node, 1)
            check_secrets(node)

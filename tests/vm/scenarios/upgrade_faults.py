"""Upgrades on a disk that answers with errors: an honest sentence, and the old layer as it was."""

from __future__ import annotations

from tests.vm import artefacts, faults
from tests.vm.artefacts import NodeImage
from tests.vm.errors import check_equal
from tests.vm.qemu import Disk
from tests.vm.scenario import Context, scenario
from tests.vm.scenarios.upgrade_interrupted import snapshot
from tests.vm.steps import Node
from tests.vm.upgrades import DISK, check_health, check_runs, node_with, reboot, refused, state, update

#: Seconds: a settled node where none is cached, five updates that fail, one that does not, and a boot.
LIMIT = 3600.0


@scenario("upgrade-disk-errors", issues=(8,), limit=LIMIT)
def upgrade_disk_errors(context: Context) -> None:
    """An upgrade on a disk with errors in /boot, the image's place or the pool says so and changes nothing."""
    old, new = artefacts.node_image(), artefacts.node_image("2")
    with node_with(context, new, limit=LIMIT) as node:
        node.check_running()
        context.figures["faults"] = fail_each(context, node, old, new)
        update(node, new)
        reboot(node)
        node.check_running()
        check_runs(node, f"{new.nvr}+1")
        check_health(node)
        node.power_off()


def fail_each(context: Context, node: Node, old: NodeImage, new: NodeImage) -> int:
    """An update with each of the faults; returns their number."""
    shell = node.shell
    cases = (
        (
            "/boot, written",
            "write",
            faults.of_boot(shell),
            ("Copying kernel and initramfs failed", "Input/output error"),
        ),
        (
            "/boot, read",
            "read",
            faults.of_file(shell, f"/boot/loader/entries/{old.nvr}+1.conf"),
            ("Input/output error",),
        ),
        ("the image, written", "write", faults.of_free_extents(shell), ("Input/output error",)),
        ("the image, read back", "read", faults.of_free_extents(shell), ("Input/output error",)),
        ("the pool, written", "write", faults.of_pool(shell, used=False), ("",)),
    )
    disk = Disk(context.folder / f"{DISK}.raw", DISK)
    before = snapshot(node)
    for name, kind, places, words in cases:
        # What is in memory would be read from there.
        shell.run("sync; echo 3 > /proc/sys/vm/drop_caches")
        with faults.errors(node.machine, disk, kind, places):
            said = refused(node, new, *words)
        context.say(f"{name}: {said.strip().splitlines()[-1]}")
        check_equal(snapshot(node), before, f"the node after an update with errors of {name}")
        check_equal(state(node)["current_layer"], f"{old.nvr}+1", "what runs")
    return len(cases)

"""Upgrades on a disk that answers with errors: an honest sentence, and the old layer as it was."""

from __future__ import annotations

from collections.abc import Callable

from tests.vm import artefacts, faults
from tests.vm.artefacts import NodeImage
from tests.vm.errors import check_equal
from tests.vm.qemu import Disk
from tests.vm.scenario import Context, scenario
from tests.vm.scenarios.upgrade_interrupted import snapshot
from tests.vm.steps import Node
from tests.vm.upgrades import DISK, check_health, check_runs, node_with, reboot, refused, state, update

#: Seconds: a settled node where none is cached, five updates that fail, a boot, and an update that does not.
LIMIT = 3600.0
EIO = "Input/output error"


@scenario("upgrade-disk-errors", issues=(8,), limit=LIMIT)
def upgrade_disk_errors(context: Context) -> None:
    """An upgrade on a disk with errors in /boot, the image's place or the pool says so and changes nothing."""
    old, new = artefacts.node_image(), artefacts.node_image("2")
    with node_with(context, new, limit=LIMIT) as node:
        node.check_running()
        context.figures["faults"] = fail_each(context, node, old, new)
        # The last of them may also have met what the running node wrote: it must come up again as it was.
        reboot(node)
        node.check_running()
        check_runs(node, f"{old.nvr}+1")
        check_health(node)
        update(node, new)
        check_equal(state(node)["bootloader"]["default"], f"{new.nvr}+1", "what is booted next")
        node.power_off()


def fail_each(context: Context, node: Node, old: NodeImage, new: NodeImage) -> int:
    """An update with each of the faults; returns their number."""
    shell = node.shell
    entry = f"/boot/loader/entries/{old.nvr}+1.conf"
    cases: tuple[tuple[str, str, Callable[[], list[int]], tuple[str, ...]], ...] = (
        ("/boot, written", "write", lambda: faults.of_boot(shell), ("Copying kernel and initramfs failed", EIO)),
        ("/boot, read", "read", lambda: faults.of_file(shell, entry), (EIO,)),
        ("the image, written", "write", lambda: faults.of_free_extents(shell), (EIO,)),
        ("the image, read back", "read", lambda: faults.of_free_extents(shell), (EIO,)),
        ("the pool, written", "write", lambda: faults.of_pool(shell, used=False), ()),
    )
    disk = Disk(context.folder / f"{DISK}.raw", DISK)
    before = snapshot(node)
    for name, kind, places, words in cases:
        # What is in memory would be read from there.
        shell.run("sync; echo 3 > /proc/sys/vm/drop_caches")
        with faults.errors(node.machine, disk, kind, places()):
            said = refused(node, new, *words)
        for line in said.splitlines():
            if line.startswith("nodectl: "):
                context.say(f"{name}: {line}")
        check_equal(snapshot(node), before, f"the node after an update with errors of {name}")
        check_equal(state(node)["current_layer"], f"{old.nvr}+1", "what runs")
    return len(cases)

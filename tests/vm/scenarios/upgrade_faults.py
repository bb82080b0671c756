"""Upgrades on a disk that answers with errors: an honest sentence, and the old layer as it was."""

from __future__ import annotations

from collections.abc import Callable

from tests.vm import artefacts, faults
from tests.vm.artefacts import NodeImage
from tests.vm.errors import check, check_equal
from tests.vm.qemu import Disk
from tests.vm.scenario import Context, scenario
from tests.vm.scenarios.upgrade_interrupted import FILL, pool_room, snapshot
from tests.vm.steps import VG, Node
from tests.vm.upgrades import (
    DISK,
    MEDIUM,
    UPDATE,
    check_health,
    check_runs,
    node_with,
    reboot,
    refused,
    state,
    update,
)

#: Seconds: a settled node where none is cached, six updates that fail, a boot, and an update that does not.
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
        ("LVM's metadata, written", "write", lambda: faults.of_metadata(shell), ()),
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


#: Runs an update; before the merge of /etc takes its first look it fills the pool.
FILLER = """
import dataclasses, subprocess, sys
from org_ovirt_node.kickstart.model import NodeSection
from org_ovirt_node.node import update_run
from org_ovirt_node.node.places import Places
from org_ovirt_node.node.update import Request
from org_ovirt_node.progress import TextProgress
from org_ovirt_node.errors import NodeError
image, sha256, *fill = sys.argv[1:]
def filling(action):
    def act(update):
        subprocess.run(fill, check=True)
        action(update)
    return act
steps = tuple(dataclasses.replace(s, action=filling(s.action)) if s.name == "merge" else s for s in update_run.STEPS)
update_run.run_steps.__defaults__ = (steps,)
try:
    update_run.update(Request(NodeSection(images=(f"file://{image}",), sha256=sha256)), TextProgress(), Places())
except NodeError as exc:
    print(f"refused: {exc}")
    sys.exit(1)
"""
#: Bytes of the pool that are free before the update: enough for its preflight, little to fill.
FREE = 1 << 30


@scenario("upgrade-pool-fills", issues=(8,), limit=LIMIT)
def upgrade_pool_fills(context: Context) -> None:
    """A thin pool that fills in the middle of the merge ends the update, and the node boots what it booted before."""
    old, new = artefacts.node_image(), artefacts.node_image("2")
    with node_with(context, new, limit=LIMIT) as node:
        shell = node.shell
        # At once, and not after a minute in which all writes wait (lvmthin(7)).
        shell.run(f"lvchange --errorwhenfull y {VG}/pool00")
        shell.put("/root/fill.py", FILL.encode())
        shell.put("/root/filler.py", FILLER.encode())
        size, chunk, free = pool_room(node)
        shell.run(f"lvchange --zero n {VG}/pool00 && lvcreate -y -V {size}b -n filler --thin {VG}/pool00", UPDATE)
        most = (free - FREE) // chunk
        shell.run(f"python3 /root/fill.py /dev/{VG}/filler {chunk} {most}", LIMIT / 2)
        before = snapshot(node)
        # More than there is: the last write is refused, and that is what fills the pool to its last chunk.
        fill = f"sh -c 'python3 /root/fill.py /dev/{VG}/filler {chunk} {size // chunk} {most} 2>/dev/null; true'"
        image = f"{MEDIUM}/{new.nvr}.squashfs {new.sha256}"
        done = shell.run(f"python3 /root/filler.py {image} {fill}", LIMIT / 2, check=False)
        check_equal(done.status, 1, f"the status of an update whose pool fills:\n{done.output}\n")
        check("Traceback" not in done.output and "refused: " in done.output, f"no honest error:\n{done.output}")
        context.say(done.text.splitlines()[-1])
        shell.run(f"lvremove -y {VG}/filler", UPDATE)
        check_equal(snapshot(node), before, "the node after an update whose pool filled")
        reboot(node)
        node.check_running()
        check_runs(node, f"{old.nvr}+1")
        update(node, new)
        check_equal(state(node)["bootloader"]["default"], f"{new.nvr}+1", "what is booted next")
        node.power_off()

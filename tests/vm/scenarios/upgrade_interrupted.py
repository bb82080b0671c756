"""Upgrades that cannot start, that are stopped, or that are killed: the node stays as bootable as it was."""

from __future__ import annotations

from org_ovirt_node.node.update_run import COMMITTED, STEPS
from tests.vm import artefacts
from tests.vm.artefacts import NodeImage
from tests.vm.errors import check, check_equal
from tests.vm.scenario import Context, scenario
from tests.vm.steps import READ_IMAGE, VG, Node, lvs
from tests.vm.upgrades import (
    MEDIUM,
    UPDATE,
    check_health,
    check_runs,
    environment,
    node_with,
    reboot,
    refused,
    state,
    update,
)

#: Seconds: a settled node where none is cached, and what the scenario does.
LIMIT = 2400.0
#: Kills itself before or after a step of the list in code; started with the step, "before" or "after", and the image.
KILLER = """
import dataclasses, os, signal, sys
from org_ovirt_node.kickstart.model import NodeSection
from org_ovirt_node.node import update_run
from org_ovirt_node.node.places import Places
from org_ovirt_node.node.update import Request
from org_ovirt_node.progress import Silent
name, where, image, sha256 = sys.argv[1:]
def deadly(action):
    def act(update):
        if where == "after":
            action(update)
        os.kill(os.getpid(), signal.SIGKILL)
    return act
steps = tuple(dataclasses.replace(s, action=deadly(s.action)) if s.name == name else s for s in update_run.STEPS)
update_run.run_steps.__defaults__ = (steps,)
update_run.update(Request(NodeSection(images=(f"file://{image}",), sha256=sha256)), Silent(), Places())
"""


def snapshot(node: Node) -> dict[str, str]:
    """What must not change: volumes, what is on /boot, what GRUB would do."""
    return {
        "volumes": " ".join(sorted(lvs(node.shell))),
        "boot": node.shell.text(
            "cd /boot && find . -type f ! -name grubenv ! -name filler ! -path './grub/i386-pc/*' | sort | "
            "xargs sha256sum",
            READ_IMAGE,
        ),
        "default": state(node)["bootloader"]["default"],
    }


@scenario("upgrade-no-space-vg", issues=(5,), limit=LIMIT)
def upgrade_no_space_vg(context: Context) -> None:
    """An upgrade for which the volume group has no room is refused before the first write."""
    new = artefacts.node_image("2")
    with node_with(context, new, limit=LIMIT) as node:
        no_space_vg(node, new)


def no_space_vg(node: Node, new: NodeImage) -> None:
    node.shell.run(f"lvcreate -y -n filler -l 100%FREE {VG}")
    before = snapshot(node)
    refused(node, new, "has no room for the image", "are missing")
    check_equal(snapshot(node), before, "the node after a refused update")
    node.shell.run(f"lvremove -y {VG}/filler")


@scenario("upgrade-no-space-boot", issues=(5,), limit=LIMIT)
def upgrade_no_space_boot(context: Context) -> None:
    """An upgrade for which /boot has no room is refused before the first write."""
    new = artefacts.node_image("2")
    with node_with(context, new, limit=LIMIT) as node:
        no_space_boot(node, new)


def no_space_boot(node: Node, new: NodeImage) -> None:
    node.shell.run("fallocate -l $(($(stat -f -c '%a*%S' /boot) - 20000000)) /boot/filler")
    before = snapshot(node)
    refused(node, new, "/boot has no room for kernel and initramfs", "are missing")
    check_equal(snapshot(node), before, "the node after a refused update")
    node.shell.run("rm /boot/filler")


#: Provisions chunks of a thin pool up to ``count``: one page in each, past the page cache, which has no room for it.
#: Several threads, so that the pool always has more than one to look at.
FILL = """
import mmap, os, sys
from concurrent.futures import ThreadPoolExecutor
path, chunk, count = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
begin = int(sys.argv[4]) if len(sys.argv) > 4 else 0
device = os.open(path, os.O_WRONLY | os.O_DIRECT)
page = mmap.mmap(-1, 4096)
THREADS = 4
def fill(first):
    for number in range(begin + first, count, THREADS):
        os.pwrite(device, page, number * chunk)
with ThreadPoolExecutor(THREADS) as pool:
    list(pool.map(fill, range(THREADS)))
os.fsync(device)
"""
#: Bytes that stay free in the pool: less than a layer needs.
LEFT = 32 << 20


def pool_room(node: Node) -> tuple[int, int, int]:
    """The pool's size, the size of a chunk, and what is free, in bytes."""
    fields = "lv_size,data_percent,chunk_size"
    command = f"lvs --reportformat json --units b --nosuffix -o {fields} {VG}/pool00"
    found = node.shell.json(command)["report"][0]["lv"][0]
    size = int(found["lv_size"])
    return size, int(found["chunk_size"]), int(size * (100 - float(found["data_percent"])) / 100)


@scenario("upgrade-no-space-pool", issues=(5,), limit=LIMIT)
def upgrade_no_space_pool(context: Context) -> None:
    """An upgrade for which the thin pool has no room is refused before the first write, and works once there is."""
    new = artefacts.node_image("2")
    with node_with(context, new, limit=LIMIT) as node:
        shell = node.shell
        shell.put("/root/fill.py", FILL.encode())
        size, chunk, free = pool_room(node)
        count = (free - LEFT) // chunk
        shell.run(f"lvchange --zero n {VG}/pool00 && lvcreate -y -V {size}b -n filler --thin {VG}/pool00", UPDATE)
        shell.run(f"python3 /root/fill.py /dev/{VG}/filler {chunk} {count}", LIMIT / 2)
        before = snapshot(node)
        refused(node, new, "thin pool pool00 has no room for the layer", "are missing")
        check_equal(snapshot(node), before, "the node after a refused update")
        found = shell.json("nodectl check --machine-readable")
        check_equal(found["thin_storage"]["status"], "failed", "what nodectl check says of a full pool")
        shell.run(f"lvremove -y {VG}/filler && lvchange --zero y {VG}/pool00", UPDATE)
        update(node, new)
        check_equal(state(node)["bootloader"]["default"], f"{new.nvr}+1", "what is booted next")


@scenario("upgrade-cancel", issues=(5,), limit=LIMIT)
def upgrade_cancel(context: Context) -> None:
    """An upgrade that runs, and one that awaits its reboot, can be cancelled, and leave nothing."""
    new = artefacts.node_image("2")
    with node_with(context, new, limit=LIMIT) as node:
        cancel(node, new)


def cancel(node: Node, new: NodeImage) -> None:
    before = snapshot(node)
    command = f"nodectl update {MEDIUM}/{new.nvr}.squashfs --sha256 {new.sha256}"
    node.shell.run(f"{command} >/tmp/out 2>&1 & echo $! > /tmp/pid")
    node.shell.run("until lvs onn | grep -q 1.0-2; do sleep 0.2; done", UPDATE)
    said = node.shell.text("nodectl update --cancel", UPDATE)
    check("was stopped and undone" in said, f"cancelling says: {said}")
    check_equal(snapshot(node), before, "the node after the cancelled update")
    node.shell.run("tail --pid=$(cat /tmp/pid) -f /dev/null")
    check("undone" in node.shell.text("cat /tmp/out"), "the cancelled update does not say so")
    update(node, new)
    said = node.shell.text("nodectl update --cancel", UPDATE)
    check("was undone" in said, f"cancelling says: {said}")
    check_equal(snapshot(node), before, "the node after the cancelled update")
    check_equal(environment(node), {"saved_entry": before["default"]}, "GRUB's variables")
    check_equal(node.shell.text("findmnt -rno TARGET | grep ovirt-node-update || true"), "", "what is still mounted")


@scenario("upgrade-kill", issues=(5,), limit=2 * LIMIT)
def upgrade_kill(context: Context) -> None:
    """An upgrade that is killed in each of its steps leaves the node as it was, and can be run again to its end."""
    new = artefacts.node_image("2")
    with node_with(context, new, limit=2 * LIMIT) as node:
        context.figures["kills"] = kill(node, new)
        reboot(node)
        node.check_running()
        check_runs(node, f"{new.nvr}+1")
        check_health(node)


def check_unfinished(node: Node, new: NodeImage, before: bool) -> None:
    """``nodectl check`` names what a killed update has made, as long as it is ``before`` its commit."""
    found = node.shell.json("nodectl check --machine-readable || true")
    check(found["status"] != "bad", f"nodectl check says {found}")
    made = new.nvr in node.shell.text("lvs --noheadings -o lv_name")
    said = found["updates"]["no_unfinished_update"]
    check_equal(said["status"], "failed" if made and before else "ok", f"what nodectl check says of an update: {said}")


def kill(node: Node, new: NodeImage) -> int:
    """Kill the update in every step, each time running it again; returns the number of kills."""
    before = state(node)["bootloader"]["default"]
    node.shell.put("/root/killer.py", KILLER.encode())
    names = [step.name for step in STEPS]
    # After a step, when its work is done and the journal does not know yet; the unit tests kill before each as well.
    chosen = [(name, "after") for name in names[: names.index(COMMITTED)]] + [(COMMITTED, "before")]
    for name, where in [*chosen, (COMMITTED, "after")]:
        arguments = f"{name} {where} {MEDIUM}/{new.nvr}.squashfs {new.sha256}"
        done = node.shell.run(f"python3 /root/killer.py {arguments}", UPDATE, check=False)
        check_equal(done.status, 137, f"the status of an update killed {where} {name}:\n{done.output}\n")
        # From the last one on it has happened: the next boot tries the new layer, and clears up.
        expected = before if (name, where) in chosen else f"{new.nvr}+1"
        check_equal(state(node)["bootloader"]["default"], expected, f"what is booted after a kill {where} {name}")
        check_unfinished(node, new, (name, where) in chosen)
    return len(chosen) + 1


@scenario("upgrade-grubenv-broken", issues=(5,), limit=LIMIT)
def upgrade_grubenv_broken(context: Context) -> None:
    """With a lost environment block the good layer is booted, says that nothing was tried, and mends the block."""
    old, new = artefacts.node_image(), artefacts.node_image("2")
    with node_with(context, new, limit=LIMIT) as node:
        node.check_running()
        node.shell.run("truncate -s 100 /boot/grub/grubenv")
        update(node, new)
        node.shell.run("printf garbage > /boot/grub/grubenv && fsfreeze -f /boot && fsfreeze -u /boot")
        reboot(node)
        node.check_running()
        check_runs(node, f"{old.nvr}+1")
        check_equal(environment(node), {"saved_entry": f"{old.nvr}+1"}, "the environment block")
        found = check_health(node, "warn")
        check("environment block was lost" in found["updates"]["no_fallback"]["reason"], f"no reason is given: {found}")

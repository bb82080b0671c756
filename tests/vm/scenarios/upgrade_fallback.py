"""Upgrades whose new layer is no good: GRUB takes the old one again by itself, and the node says so."""

from __future__ import annotations

from tests.vm import artefacts
from tests.vm.errors import check, check_equal
from tests.vm.scenario import Context, scenario
from tests.vm.steps import BOOT, Node, stuttering
from tests.vm.upgrades import (
    check_health,
    check_runs,
    environment,
    node_with,
    prepare,
    update,
)

#: Seconds: a settled node where none is cached, an update, and the boots until GRUB falls back.
LIMIT = 2400.0


def _fall_back(
    context: Context,
    breaking: str,
    ends_with: str,
    reason: str,
    *,
    tries: int = 1,
    endings: int = 0,
    health: str = "warn",
) -> None:
    """Update, run the command ``breaking``, reboot until GRUB falls back, and look at what the node says.

    ``ends_with`` is what the serial console says ``endings`` times until then (0: once for each try), ``health`` what
    nodectl check finds afterwards.
    """
    old, new = artefacts.node_image(), artefacts.node_image("2")
    before, after = f"{old.nvr}+1", f"{new.nvr}+1"
    with node_with(context, new, limit=LIMIT) as node:
        node.check_running()
        update(node, new, f"--boot-tries {tries}")
        node.shell.run(breaking.format(layer=after))
        _expect_failures(node)
        node.machine.shell.send("systemctl reboot\n")
        for _ in range(endings or tries):
            node.machine.serial.wait_for(stuttering(ends_with), 2 * BOOT)
            # A layer that starts and is given up then has asked for a login already.
            node.machine.shell.forget()
        node.await_login()
        prepare(node)
        node.check_running()
        check_runs(node, before)
        found = check_health(node, health)
        said = found["updates"]["no_fallback"]["reason"]
        check(after in said and reason in said, f"the fallback is not explained: {said}")
        check(reason in node.shell.text("nodectl motd"), "the fallback is not in motd")
        journal = node.shell.text("journalctl --no-pager -b -u ovirt-node-boot-good -p err -o cat")
        check(after in journal, f"the fallback is not an error in the journal: {journal!r}")
        check_equal(environment(node).get("saved_entry"), before, "the default after the fallback")
        check("trial_entry" not in environment(node), "the trial goes on")


def _expect_failures(node: Node) -> None:
    """From here on a panic is what the scenario wants to see, not the end of it."""
    node.machine.serial.fatal = None


@scenario("upgrade-fallback-kernel-panic", issues=(5,), core=True, limit=LIMIT)
def upgrade_fallback_kernel_panic(context: Context) -> None:
    """A new layer whose kernel panics uses up its tries, and the old one is booted again."""
    _fall_back(
        context,
        "truncate -s 4096 /boot/{layer}/initramfs.img && fsfreeze -f /boot && fsfreeze -u /boot",
        "Kernel panic - not syncing",
        "its boots came to no end",
        tries=2,
    )


@scenario("upgrade-fallback-no-root", issues=(5,), limit=LIMIT)
def upgrade_fallback_no_root(context: Context) -> None:
    """A new layer whose volume is not found reboots by itself, and the old one is booted again."""
    _fall_back(
        context,
        "lvrename onn {layer} elsewhere",
        "reboot in 10 s, as rd.emergency=reboot asks for",
        "its boots came to no end",
        # Its boot entry leads to a volume that is gone.
        health="bad",
    )


@scenario("upgrade-fallback-unhealthy", issues=(5,), limit=LIMIT)
def upgrade_fallback_unhealthy(context: Context) -> None:
    """A new layer whose health check fails reboots by itself, and the old one says which check it was."""
    folder = "/mnt/layer/upper/etc/ovirt-node/health.d/required.d"
    breaking = (
        "mkdir -p /mnt/layer && mount /dev/onn/{layer} /mnt/layer && "
        f"mkdir -p {folder} && printf '#!/bin/sh\\necho no; exit 1\\n' > {folder}/10-no && "
        f"chmod +x {folder}/10-no && umount /mnt/layer"
    )
    _fall_back(
        context,
        breaking,
        "reboot: Restarting system",
        "10-no",
        # The administrator's reboot, and the failed boot's.
        endings=2,
    )

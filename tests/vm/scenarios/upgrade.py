"""Upgrades that succeed, and the way back."""

from __future__ import annotations

from pathlib import Path

from tests.vm import artefacts
from tests.vm.errors import check, check_equal
from tests.vm.scenario import Context, scenario
from tests.vm.steps import Node
from tests.vm.upgrades import (
    changed_image,
    check_health,
    check_runs,
    edit,
    environment,
    node_with,
    reboot,
    state,
    update,
)

#: The requirement: bytes written to the disk beside the image itself.
WRITTEN_MORE, WRITTEN_SHARE = 100 << 20, 1.05
SECTOR = 512
#: Seconds: a settled node where none is cached, an update, and up to four boots.
LIMIT = 2400.0
#: Files of the image's /etc that both sides change: at both ends, and in the same place.
BOTH, CONFLICT = "security/limits.conf", "motd"


def new_content(root: Path) -> None:
    """What the second image brings: files, a user, a unit, a default of its own."""
    (root / "usr/share/ovirt-node-marker").write_text("second\n")
    edit(root, "second.conf", "from the second image\n")
    edit(root, BOTH, "# by the image\n" + (root / "etc" / BOTH).read_text())
    edit(root, CONFLICT, "the image's\n")
    (root / "var/lib/second").mkdir()
    (root / "var/lib/second/state").write_text("new\n")


def users_changes(node: Node) -> None:
    """What a user does to a node before an upgrade."""
    shell = node.shell
    shell.run("useradd --uid 4321 --create-home ann && echo ann:secret | chpasswd")
    shell.run(
        "echo 'by the user' > /etc/kept.conf && mkdir -p /etc/own.d && install -m 600 /etc/kept.conf /etc/own.d/y"
    )
    shell.run(f"echo '# by the user' >> /etc/{BOTH} && echo \"the user's\" > /etc/{CONFLICT}")
    shell.run("systemctl mask nvmf-autoconnect.service; rm /etc/issue.net")
    shell.run("echo kept > /root/kept && mkdir -p /opt/tool && echo tool > /opt/tool/file && echo gone > /srv/left")
    shell.run("echo 'shared' > /var/lib/kept && echo mine > /var/lib/own")


def check_changes(node: Node) -> None:
    """What must be there after it."""
    shell = node.shell
    for path, expected in (
        ("/etc/kept.conf", "by the user"),
        ("/etc/own.d/y", "by the user"),
        ("/etc/second.conf", "from the second image"),
        (f"/etc/{CONFLICT}", "the user's"),
        ("/root/kept", "kept"),
        ("/opt/tool/file", "tool"),
        ("/var/lib/kept", "shared"),
        ("/var/lib/second/state", "new"),
        ("/usr/share/ovirt-node-marker", "second"),
    ):
        check_equal(shell.text(f"cat {path}"), expected, f"the content of {path}")
    check_equal(shell.text(f"sed -n '1p;$p' /etc/{BOTH}"), "# by the image\n# by the user", f"the merged {BOTH}")
    check_equal(shell.text("stat -c %a /etc/own.d/y"), "600", "the mode of a user's file")
    check_equal(shell.text("id -u ann"), "4321", "the user's id")
    check_equal(shell.text("stat -c %U /home/ann"), "ann", "the owner of a home")
    check_equal(shell.text("readlink /etc/systemd/system/nvmf-autoconnect.service"), "/dev/null", "a masked unit")
    for path in ("/etc/issue.net", "/srv/left"):
        check_equal(shell.text(f"test -e {path}; echo $?"), "1", f"that {path} is not there")


@scenario("upgrade", issues=(5,), core=True, limit=LIMIT)
def upgrade(context: Context) -> None:
    """An upgrade takes along what the user changed, boots on trial, and is marked good."""
    old, new = artefacts.node_image(), changed_image("2", "upgrade", new_content)
    with node_with(context, new, limit=LIMIT) as node:
        node.check_running()
        check_runs(node, f"{old.nvr}+1")
        users_changes(node)
        identity = node.shell.text("cat /etc/machine-id /etc/ssh/ssh_host_ed25519_key.pub /etc/hostname")
        written = _written(node)
        done = update(node, new, "--keep /opt/tool")
        context.figures["update_seconds"] = done["seconds"]
        context.figures.update({name: done[name] for name in ("own_seconds", "command_seconds", "host_share")})
        context.figures["written"] = written = _written(node) - written
        check_equal(done["layer"], f"{new.nvr}+1", "the new layer")
        check_equal([one["path"] for one in done["conflicts"]], [f"/etc/{CONFLICT}"], "the conflicts")
        check_equal(environment(node)["trial_entry"], f"{new.nvr}+1", "the layer on trial")
        reboot(node)
        node.check_running()
        check_runs(node, f"{new.nvr}+1")
        check_equal(state(node)["verity"][f"{new.nvr}+1"], new.roothash, "the root hash of the new image")
        check_changes(node)
        check_equal(
            node.shell.text("cat /etc/machine-id /etc/ssh/ssh_host_ed25519_key.pub /etc/hostname"), identity, "identity"
        )
        check("panic=30" in node.shell.text("cat /proc/cmdline").split(), "the user's kernel argument is lost")
        check_equal(environment(node), {"saved_entry": f"{new.nvr}+1"}, "GRUB's variables once it is good")
        check("ovirt_node.trial" not in node.shell.text(f"cat /boot/loader/entries/{new.nvr}+1.conf"), "still on trial")
        found = check_health(node, "warn")
        check(CONFLICT in found["updates"]["no_conflicts_in_etc"]["reason"], f"the conflict is not shown: {found}")
        check_equal(sorted(state(node)["layers"]), [old.nvr, new.nvr], "the images")
        node.power_off()
    check(written <= WRITTEN_SHARE * new.size + WRITTEN_MORE, f"{written} bytes were written for {new.size}")


def _written(node: Node) -> int:
    """Bytes written to the node's disk since it was started."""
    return int(node.shell.text("sync; awk '{print $7}' /sys/block/vda/stat")) * SECTOR


@scenario("rollback", issues=(5,), core=True, limit=LIMIT)
def rollback(context: Context) -> None:
    """A rollback boots the old layer and back again; on the oldest it says so."""
    old, new = artefacts.node_image(), artefacts.node_image("2")
    with node_with(context, new, limit=LIMIT) as node:
        node.check_running()
        output = node.shell.run("nodectl rollback", check=False)
        check(output.status == 1 and "is the oldest layer" in output.output, f"rollback on the oldest: {output}")
        update(node, new)
        reboot(node)
        node.check_running()
        node.shell.run("echo later > /etc/later.conf; echo later > /var/lib/later")
        said = node.shell.json("nodectl rollback --machine-readable")
        check_equal(said["target"], f"{old.nvr}+1", "where the rollback leads")
        check("later.conf" in said["etc_differs"], f"the change in /etc is not shown: {said}")
        reboot(node)
        node.check_running()
        check_runs(node, f"{old.nvr}+1")
        check_equal(node.shell.text("test -e /etc/later.conf; cat /var/lib/later"), "later", "what is shared")
        output = node.shell.run("nodectl rollback", check=False)
        check(output.status == 1 and "is the oldest layer" in output.output, f"rollback on the oldest: {output}")
        node.shell.run(f"nodectl rollback --to {new.nvr}")
        reboot(node)
        node.check_running()
        check_runs(node, f"{new.nvr}+1")
        check_equal(node.shell.text("cat /etc/later.conf"), "later", "the layer's own /etc")
        check_health(node)
        node.power_off()

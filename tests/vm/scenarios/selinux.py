"""A node whose policy is enforced: labels after an installation, an upgrade and a rollback, and what is denied."""

from __future__ import annotations

from tests.vm import artefacts
from tests.vm.errors import check, check_equal
from tests.vm.scenario import Context, scenario
from tests.vm.scenarios.upgrade_images import check_package, make_package
from tests.vm.steps import AUTOMATIC, READ_IMAGE, Node, booted_node, installed, target_disk
from tests.vm.upgrades import MEDIUM, check_health, check_runs, medium, planned, prepare, reboot, update

#: Seconds: an installation, an update, a rollback, and three boots with a policy.
LIMIT = 3600.0
#: Everything whose labels are on a disk; what is left out is labelled by the kernel or is a medium of the test.
LABELLED = "/boot /etc /home /opt /root /srv /usr /var"
#: Without them the kernel leaves denials out where many come at once (audit_backlog_limit, printk_ratelimit).
EVERY_DENIAL = "audit_backlog_limit=8192 sysctl.kernel.printk_ratelimit=0"
#: The test's medium has no labels of its own.
AS_USR = f"umount {MEDIUM} && mount -o ro,context=system_u:object_r:usr_t:s0 /dev/disk/by-id/virtio-medium {MEDIUM}"


def check_enforced(node: Node, layer: str) -> None:
    """The node runs from ``layer`` with its policy enforced, denies nothing, and has no wrong label."""
    shell = node.shell
    node.check_running()
    check_runs(node, layer)
    check_equal(shell.text("cat /sys/fs/selinux/enforce"), "1", "that the policy is enforced")
    denied = shell.text("journalctl --no-pager -o cat | grep -E 'avc: +denied' || true")
    check(not denied, f"denied on {layer}:\n{denied}")
    check_equal(shell.text("journalctl --no-pager -o cat | grep audit_lost || true"), "", "denials that were left out")
    wrong = shell.text(f"restorecon -Rnv {LABELLED}", READ_IMAGE)
    check(not wrong, f"labels on {layer}:\n{wrong}")


@scenario("selinux-enforcing", issues=(5,), limit=LIMIT)
def selinux_enforcing(context: Context) -> None:
    """With the policy enforced a node installs, upgrades and rolls back: nothing is denied, and labels are right."""
    old, new = artefacts.node_image(), artefacts.node_image("2")
    package = make_package(context.folder)
    target = target_disk(context)
    with installed(context, old, target, disks=f"{AUTOMATIC}selinux --enforcing\n", arguments=EVERY_DENIAL):
        pass
    with booted_node(context, target, limit=LIMIT) as node:
        node.machine.attach(medium(context, new, more={package.name: package}))
        prepare(node)
        node.shell.run(AS_USR)
        check_enforced(node, f"{old.nvr}+1")
        node.shell.run("echo mine > /etc/mine.conf && mkdir -p /opt/tool && echo tool > /opt/tool/file")
        node.shell.run("useradd --create-home ann")
        node.shell.run(f"install -D -t /var/lib/ovirt-node/packages {MEDIUM}/{package.name}")
        plan = planned(node, new, "--keep /opt/tool")
        check_equal((plan["problems"], plan["packages"], plan["packages_changed"]), ([], ["kept-tool 1.0"], []), "it")
        check("/opt/tool/file" in plan["kept"] and plan["etc"]["known"], f"the plan: {plan}")
        update(node, new, "--keep /opt/tool")
        reboot(node)
        check_enforced(node, f"{new.nvr}+1")
        check_equal(node.shell.text("cat /etc/mine.conf /opt/tool/file"), "mine\ntool", "the user's files")
        check_package(node)
        node.shell.run(AS_USR)
        (changed,) = planned(node, new)["packages_changed"]
        check_equal((changed["name"], changed["here"], changed["kept"]), ("kept-tool.all", "1.0", True), "a package")
        check_health(node)
        node.shell.run("nodectl rollback")
        reboot(node)
        check_enforced(node, f"{old.nvr}+1")
        node.power_off()

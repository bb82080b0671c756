"""Root on iSCSI."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from tests.vm import artefacts
from tests.vm.artefacts import NodeImage
from tests.vm.errors import check, check_equal
from tests.vm.installer import HOST_ADDRESS, InstallerMachine, kernel_script, running_installer
from tests.vm.iscsitarget import IQN, RECEIVE, ROOM, Account, Target, Way, boot_script, make_room, running
from tests.vm.scenario import Context, scenario
from tests.vm.scenarios.multipath import await_paths
from tests.vm.servers import serving
from tests.vm.steps import (
    INSTALL,
    VG,
    Node,
    await_step,
    booted_node,
    check_released,
    check_root,
    end_install,
    expect_refusal,
    install_node,
    kickstart,
    provide_payload,
    run_install,
    start_install,
    target_disk,
)

INITIATOR = "iqn.2024-01.org.example:node1"
ACCOUNT = Account("node1", "we-are-node-17")
OUTGOING = Account("storage", "we-are-storage")
LOG = "/var/log/ovirt-node/ovirt-node-install.log"
#: The host, and a machine, as QEMU's user network has them.
HOST_ADDRESS6, OWN_ADDRESS6 = "fec0::2", "fec0::15/64"
#: Without records the sessions of a node are as its iscsid.conf says.
KEEP_ROOM = f"""%pre-install --erroronfail
echo 'node.conn[0].tcp.window_size = {RECEIVE}' >> $ANA_INSTALL_PATH/etc/iscsi/iscsid.conf
%end
"""
#: tgt cannot write zeros by itself: each volume's journal goes over the network.
FEW_VOLUMES = "novolume /home\nnovolume /tmp\nnovolume /var/crash\nnovolume /var/log/audit\nnovolume /var/tmp\n"
#: Seconds that the target is away.
DROP = 20.0
#: Seconds until an installation gives up whose target does not come back: 60 for the session, and what comes after
#: (66 in all on 2026-11-23).
GIVEN_UP = 180.0
#: Seconds for a write that meets the loss of a path.
PATH_LOSS = 120.0
#: Seconds for an installation, whose disk is slower than a local one.
INSTALLED = 2 * INSTALL
#: Seconds from power-on to the login prompt: GRUB reads kernel and initramfs through iPXE.
NETWORK_BOOT = 900.0
#: Seconds for an installation over the network, and a boot or two.
LIMIT = 3000.0
#: Seconds in which a login that is refused must be over.
AT_ONCE = 60.0


def iscsi_lines(target: Target, *ports: int, host: str = HOST_ADDRESS) -> str:
    """The kickstart's lines for ``target`` at ``ports`` (else at its first), with all of its accounts."""
    lines = f"iscsiname {INITIATOR}\n"
    for port in ports or (target.port,):
        lines += f"iscsi --ipaddr={host} --port={port} --target={IQN}"
        if target.account:
            lines += f" --user={target.account.user} --password={target.account.password}"
        if target.outgoing:
            lines += f" --reverse-user={target.outgoing.user} --reverse-password={target.outgoing.password}"
        lines += "\n"
    return lines


def connect(installer: InstallerMachine) -> None:
    """The network of the installer, as sessions need it."""
    installer.start_network()
    make_room(installer)


def node_kickstart(url: str, image: NodeImage, more: str) -> str:
    """A kickstart for a node on iSCSI."""
    return kickstart(url, check_line=f"--sha256={image.sha256}", more=more, arguments=ROOM, node_lines=FEW_VOLUMES)


@contextmanager
def iscsi_node(
    context: Context, image: NodeImage, target: Target, *, describe: bool = False, sessions: int = 1
) -> Iterator[Node]:
    """The node on ``target``, started by the network card of a machine without a disk: it runs, its root is ``image``.

    ``describe``: the firmware leaves an iBFT.  The node is switched off at the end of the block.
    """
    network = boot_script(context.folder, target, INITIATOR, describe=describe)
    with booted_node(context, login=False, network=network, boots_from_network=True) as node:
        node.await_login(NETWORK_BOOT)
        context.figures.setdefault("boot_seconds", round(node.machine.seconds, 1))
        node.check_running()
        check_root(node, image)
        check_sessions(node, sessions)
        check_network(node)
        yield node
        node.power_off()


def check_sessions(node: Node, count: int) -> None:
    """The node has ``count`` sessions that work, under its own name, and open-iscsi looks after them."""
    shell = node.shell
    shown = shell.text("iscsiadm -m session -P 1")
    check_equal(shown.count("iSCSI Connection State: LOGGED IN"), count, f"the number of sessions:\n{shown}")
    check_equal(shown.count(f"Iface Initiatorname: {INITIATOR}"), count, f"the initiator's name:\n{shown}")
    check_equal(shell.text("cat /etc/iscsi/initiatorname.iscsi"), f"InitiatorName={INITIATOR}", "the file with it")
    check_equal(shell.text("systemctl is-active iscsid.service"), "active", "open-iscsi's daemon")
    patience = shell.text("cat /sys/class/iscsi_session/session*/recovery_tmo").split()
    wanted = ["86400"] if count == 1 else ["5"] * count
    check_equal(patience, wanted, "seconds that a lost session may take to come back")


def check_network(node: Node) -> None:
    """Somebody renews the card's lease and hears its routers: it is not one that NetworkManager only looks at."""
    shown = node.shell.text("nmcli -t -f TYPE,STATE device")
    check("ethernet:connected" in shown.splitlines(), f"NetworkManager has not taken the card over: {shown}")


def check_secrets(node: Node) -> None:
    """The secrets are where open-iscsi keeps them, for root alone, and nowhere else."""
    shell = node.shell
    for secret in (ACCOUNT.password, OUTGOING.password):
        check(secret not in shell.text("cat /proc/cmdline"), "a secret is on the kernel's command line")
        found = shell.text(f"grep -rlF -e {secret} /etc /boot /root /var/lib /var/log /run/ovirt-node* || true", 120)
        for path in found.splitlines():
            kept = path.startswith("/var/lib/iscsi/nodes/") or path.endswith("/host.img")
            check(kept, f"{path} has a secret in it")
            check_equal(shell.text(f"stat -c %a '{path}'"), "600", f"the mode of {path}")
        logged = shell.run(f"journalctl --no-pager | grep -F -e {secret}", 120, check=False)
        check_equal(logged.text, "", "lines of the journal with a secret")


def install_chap(context: Context, target: Target, image: NodeImage) -> None:
    """Install ``image`` to the LUN of ``target``, whose accounts are ACCOUNT and OUTGOING; no secret is told."""
    with running_installer(context.folder) as installer:
        connect(installer)
        url = provide_payload(installer, image.path, context.folder)
        only = f"ignoredisk --only-use={target.link()}\n"
        text = node_kickstart(url, image, only + iscsi_lines(target))
        result = install_node(installer, context, text, timeout=INSTALLED)
        for secret in (ACCOUNT.password, OUTGOING.password):
            check(secret not in result.stderr, "a secret is in what the installer says")
            found = installer.shell.run(f"grep -lF -e {secret} {LOG} /tmp/install.out", check=False)
            check_equal(found.text, "", "logs with a secret")
        check_equal(installer.shell.run("iscsiadm -m session", check=False).status, 21, "sessions that are left")
        installer.power_off()


@scenario("install-iscsi-chap", issues=(4,), core=True, limit=LIMIT)
def install_iscsi_chap(context: Context) -> None:
    """A node on a LUN with mutual CHAP, without an iBFT: its initramfs logs in by what host.img brings."""
    image = artefacts.node_image()
    disk = target_disk(context)
    with running(Target(disk.file, context.folder, account=ACCOUNT, outgoing=OUTGOING)) as target:
        install_chap(context, target, image)
        with iscsi_node(context, image, target) as node:
            check_equal(node.shell.text("test -d /sys/firmware/ibft; echo $?"), "1", "an iBFT")
            check_secrets(node)
            pv = node.shell.text(f"pvs --noheadings -o pv_name -S vg_name={VG}").strip()
            check_equal(node.shell.text(f"lsblk -dno TRAN $(lsblk -npo PKNAME {pv})"), "iscsi", "what the PV is on")
            node.shell.run("echo kept > /root/kept && sync")
            node.machine.shell.send("systemctl reboot\n")
            node.await_login(NETWORK_BOOT)
            node.check_running()
            check_equal(node.shell.text("cat /root/kept"), "kept", "what was written before the reboot")
            check_sessions(node, 1)


@scenario("iscsi-wrong-password", issues=(4,), limit=LIMIT)
def iscsi_wrong_password(context: Context) -> None:
    """A login that is refused, a target that is not there and a dead portal: a sentence each, at once, and no write."""
    image = artefacts.node_image()
    disk = target_disk(context)
    with (
        running(Target(disk.file, context.folder, account=ACCOUNT, outgoing=OUTGOING)) as target,
        running_installer(context.folder) as installer,
    ):
        connect(installer)
        url = provide_payload(installer, image.path, context.folder)
        right = iscsi_lines(target)
        closed = right.replace(f"--port={target.port}", "--port=9")
        for name, lines, words in (
            ("password", right.replace(ACCOUNT.password, "not-the-password"), (IQN, "refuses the user node1")),
            ("user", right.replace("--user=node1", "--user=nobody"), (IQN, "refuses the user nobody")),
            ("none", right.partition(" --user")[0] + "\n", (IQN, "--user and --password")),
            ("reverse", right.replace(OUTGOING.password, "not-the-secret"), (IQN, "reverse user storage")),
            ("target", right.replace(f"--target={IQN}", f"--target={IQN}-two"), (f"{IQN}-two", "not there")),
            ("portal", closed, (f"{HOST_ADDRESS}:9", "cannot be reached")),
        ):
            before = installer.machine.seconds
            result = run_install(installer, kickstart(url, more=lines))
            context.figures[f"{name}_seconds"] = round(installer.machine.seconds - before, 1)
            context.say(f"{name}: {result.stderr}")
            expect_refusal(result, *words)
            check(context.figures[f"{name}_seconds"] < AT_ONCE, f"{name}: it took {context.figures}")
            for secret in (ACCOUNT.password, OUTGOING.password, "not-the-"):
                check(secret not in result.stderr, f"{name}: a secret is in {result.stderr!r}")
        installer.power_off()
    check_equal(artefacts.allocated(disk.file), 0, "bytes written to the disk")


@scenario("install-iscsi-ibft", issues=(4,), limit=LIMIT)
def install_iscsi_ibft(context: Context) -> None:
    """The firmware says where the disk is (iBFT): neither the kickstart nor the node has a word about it."""
    image = artefacts.node_image()
    disk = target_disk(context)
    served = context.folder / "served"
    served.mkdir()
    with running(Target(disk.file, context.folder, account=ACCOUNT, outgoing=OUTGOING)) as target:
        with serving(served) as server:
            lines = kernel_script(served, server.base)
            network = boot_script(context.folder, target, INITIATOR, describe=True, then=lines)
            with running_installer(context.folder, from_network=network) as installer:
                connect(installer)
                url = provide_payload(installer, image.path, context.folder)
                only = f"ignoredisk --only-use={target.link()}\n"
                install_node(installer, context, node_kickstart(url, image, only + KEEP_ROOM), timeout=INSTALLED)
                installer.power_off()
        with iscsi_node(context, image, target, describe=True) as node:
            arguments = node.shell.text("cat /proc/cmdline").split()
            check("rd.iscsi.firmware=1" in arguments, f"the kernel's command line: {arguments}")
            check_equal(node.shell.text("find /var/lib/iscsi/nodes -type f 2>/dev/null || true"), "", "records")
            for secret in (ACCOUNT.password, OUTGOING.password):
                found = node.shell.text(f"grep -rlF -e {secret} /etc /boot /root /var/lib /var/log || true", 120)
                check_equal(found, "", "files of the node with a secret")
                logged = node.shell.run(f"journalctl --no-pager | grep -F -e {secret}", 120, check=False)
                check_equal(logged.text, "", "lines of the journal with a secret")


@scenario("install-iscsi-ipv6", issues=(4,), limit=LIMIT)
def install_iscsi_ipv6(context: Context) -> None:
    """The initramfs and the node reach their LUN by IPv6; the firmware alone, which may have none, by IPv4."""
    image = artefacts.node_image()
    disk = target_disk(context)
    with running(Target(disk.file, context.folder, addresses=("127.0.0.1", "::1"), account=ACCOUNT)) as target:
        port = target.ports[1]
        with running_installer(context.folder) as installer:
            connect(installer)
            installer.shell.run(f"ip addr add {OWN_ADDRESS6} dev $(ls /sys/class/net | grep -v lo) nodad")
            url = provide_payload(installer, image.path, context.folder)
            only = f"ignoredisk --only-use={target.link(HOST_ADDRESS6, port)}\n"
            lines = iscsi_lines(target, port, host=HOST_ADDRESS6)
            install_node(installer, context, node_kickstart(url, image, only + lines), timeout=INSTALLED)
            installer.power_off()
        with iscsi_node(context, image, target) as node:
            shown = node.shell.text("iscsiadm -m session")
            check(f"[{HOST_ADDRESS6}]:{port}" in shown, f"the session does not go to the portal: {shown}")


@scenario("install-iscsi-multipath", issues=(4,), limit=LIMIT)
def install_iscsi_multipath(context: Context) -> None:
    """A LUN with two portals is one multipath device for installer and node, which loses a path and goes on."""
    image = artefacts.node_image()
    disk = target_disk(context)
    with ExitStack() as stack:
        target = stack.enter_context(running(Target(disk.file, context.folder, account=ACCOUNT, outgoing=OUTGOING)))
        second = stack.enter_context(Way(target.port))
        with running_installer(context.folder) as installer:
            connect(installer)
            url = provide_payload(installer, image.path, context.folder)
            only = f"ignoredisk --only-use={target.link(port=second.port)}\n"
            lines = iscsi_lines(target, target.port, second.port)
            install_node(installer, context, node_kickstart(url, image, only + lines), timeout=INSTALLED)
            installer.power_off()
        shell = stack.enter_context(iscsi_node(context, image, target, sessions=2)).shell
        pv = shell.text(f"pvs --noheadings -o pv_name -S vg_name={VG}").strip()
        kinds = shell.text(f"lsblk --noheadings --inverse --list -o TYPE {pv}").split()
        check_equal(kinds, ["part", "mpath", "disk", "disk"], "what the PV is on")
        second.cut()
        shell.run("dd if=/dev/zero of=/root/written bs=1M count=64 conv=fsync status=none", PATH_LOSS)
        await_paths(shell, 1)


@scenario("iscsi-drop", issues=(4,), limit=LIMIT)
def iscsi_drop(context: Context) -> None:
    """The target goes away in the transfer: the installation survives 20 s, and ends in a sentence if it stays away."""
    image = artefacts.node_image()
    disk = target_disk(context)
    with (
        running(Target(disk.file, context.folder, account=ACCOUNT)) as target,
        running_installer(context.folder) as installer,
    ):
        connect(installer)
        url = provide_payload(installer, image.path, context.folder)
        text = node_kickstart(url, image, iscsi_lines(target))
        start_install(installer, text)
        await_step(installer, "transfer", INSTALLED)
        target.stop()
        time.sleep(DROP)
        target.start()
        result = end_install(installer, INSTALLED)
        check_equal(result.done["sha256"], image.sha256, "the digest of what was installed")
        lost = installer.shell.run("dmesg | grep -E 'connection[0-9]+:0: detected conn error'", check=False)
        check(lost.ok, "the session was never lost: the target went away too late")
        check_released(installer)
        start_install(installer, text)
        await_step(installer, "transfer", INSTALLED)
        target.stop()
        before = installer.machine.seconds
        result = end_install(installer, INSTALLED)
        context.figures["given_up_seconds"] = round(installer.machine.seconds - before, 1)
        context.say(result.stderr)
        expect_refusal(result, f"the iSCSI target {IQN} is gone", status=1)
        check(context.figures["given_up_seconds"] < GIVEN_UP, f"it took {context.figures['given_up_seconds']} s")
        check_released(installer)
        installer.power_off()

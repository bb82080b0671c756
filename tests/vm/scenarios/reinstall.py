"""Installing where something is already: an older node, a foreign VG of the same name; and after an interruption."""

from __future__ import annotations

from tests.vm import artefacts
from tests.vm.errors import check, check_equal
from tests.vm.installer import InstallerMachine, running_installer
from tests.vm.scenario import Context, scenario
from tests.vm.steps import (
    INSTALL,
    KICKSTART,
    VG,
    booted_node,
    check_released,
    check_root,
    expect_refusal,
    install_node,
    kickstart,
    lvs,
    provide_payload,
    run_install,
    target_disk,
)

#: A kickstart that allows nothing to be wiped.
KEEP = "clearpart --none\nautopart --type=thinp\n"
#: Seconds for a scenario with that many, on a busy host.
FOUR_INSTALLATIONS = 3600.0


def make_foreign(installer: InstallerMachine, link: str) -> None:
    """A VG of our name with somebody's data, made without us."""
    installer.shell.run(
        f"echo 'label: gpt\n,,V' | sfdisk -q {link} && udevadm settle && pvcreate -qy {link}-part1 && "
        f"vgcreate -q {VG} {link}-part1 && lvcreate -qy -L 1g -n precious {VG} && "
        f"mkfs.ext4 -q -E lazy_itable_init=0 /dev/{VG}/precious && mount /dev/{VG}/precious /media && "
        f"echo treasure > /media/file && umount /media && vgchange -qan {VG} && udevadm settle",
        240,
    )


def identity(installer: InstallerMachine, link: str) -> str:
    """What tells a node on a disk from another: partition table, ids and sequence of the VG, content of /boot."""
    return installer.shell.text(
        f"sfdisk -d {link}; vgs --noheadings -o vg_uuid,vg_seqno {VG}; "
        f"sha256sum $(lsblk -lnpo NAME,FSTYPE {link} | awk '$2 == \"ext4\" {{print $1; exit}}')",
        240,
    )


@scenario("reinstall", issues=(2,), core=True)
def reinstall(context: Context) -> None:
    """A foreign VG called onn and an older node are kept when the kickstart says so, and replaced when it allows it."""
    image = artefacts.node_image()
    target = target_disk(context)
    with running_installer(context.folder) as installer:
        url = provide_payload(installer, image.path, context.folder)
        link = installer.attach(target)
        make_foreign(installer, link)
        before = artefacts.content(target.file)
        expect_refusal(run_install(installer, kickstart(url, disks=KEEP)), "clearpart")
        installer.shell.run(f"vgchange -qan {VG}", check=False)
        check_equal(artefacts.content(target.file), before, "the disk with the foreign VG after the refusal")
        install_node(installer, context, kickstart(url))
        older = identity(installer, link)
        expect_refusal(run_install(installer, kickstart(url, disks=KEEP)), "clearpart")
        installer.shell.run(f"vgchange -qan {VG}", check=False)
        check_equal(identity(installer, link), older, "the older node after the refusal")
        install_node(installer, context, kickstart(url))
        check(identity(installer, link) != older, "the older node is still there")
        installer.power_off()
    with booted_node(context, target) as node:
        node.check_running()
        check_root(node, image)
        check("precious" not in lvs(node.shell), "a foreign volume is still there")
        check_equal(node.shell.text("vgs --noheadings -o vg_name"), VG, "the VGs of the node")
        node.power_off()


@scenario("install-interrupt", issues=(2,), limit=FOUR_INSTALLATIONS)
def install_interrupt(context: Context) -> None:
    """SIGTERM and SIGINT leave nothing mounted or active and say so; the next run succeeds."""
    image = artefacts.node_image()
    target = target_disk(context)
    with running_installer(context.folder) as installer:
        url = provide_payload(installer, image.path, context.folder)
        installer.attach(target)
        text = kickstart(url)
        installer.shell.put(KICKSTART, text.encode())
        for name, step in (("TERM", "transfer"), ("INT", "partition"), ("TERM", "configure")):
            interrupt(installer, name, step)
            check_released(installer)
        install_node(installer, context, text)
        installer.power_off()
    with booted_node(context, target) as node:
        node.check_running()
        node.power_off()


def interrupt(installer: InstallerMachine, name: str, step: str) -> None:
    """Start an installation, send the signal ``name`` when ``step`` begins, and look at how it ends."""
    done = installer.shell.run(
        f"ovirt-node-install --kickstart {KICKSTART} --json-progress --no-reboot >/tmp/int.out 2>/tmp/int.err & "
        "pid=$!; "
        f'until grep -q \'"name": "{step}"\' /tmp/int.out; do kill -0 $pid || break; sleep 0.1; done; '
        f"kill -{name} $pid; wait $pid; status=$?; cat /tmp/int.err; exit $status",
        INSTALL,
        check=False,
    )
    check(done.status in (130, 143), f"after SIG{name} in {step} the status is {done.status}: {done.output}")
    for word in ("interrupted", "released"):
        check(word in done.output.lower(), f"after SIG{name} in {step} it does not say {word!r}: {done.output}")
    check("Traceback" not in done.output, f"a traceback after SIG{name} in {step}:\n{done.output}")

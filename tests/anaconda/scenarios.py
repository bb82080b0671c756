"""Whole installations by Anaconda in a virtual machine, and the nodes that they leave."""

from __future__ import annotations

import os
from pathlib import Path

from tests.anaconda.machine import anaconda_machine, must_succeed, run_anaconda
from tests.vm import artefacts
from tests.vm.artefacts import NodeImage
from tests.vm.errors import ScenarioFailed, check, check_equal
from tests.vm.scenario import Context, scenario
from tests.vm.steps import (
    GIB,
    HOSTNAME,
    PASSWORD,
    READ_IMAGE,
    Node,
    booted_node,
    check_fstab,
    lvs,
    provide_payload,
    target_disk,
)

#: The volumes of the profile take 38 GiB; the disk is sparse.
DISK = 60 * GIB
#: Seconds: Anaconda's part of an installation under emulation, on a busy host.
LIMIT = 5400.0
AUTOMATIC = "zerombr\nclearpart --all --initlabel --disklabel=gpt\nautopart --type=thinp --fstype=ext4\n"
#: A small node, line by line.
EXPLICIT = """\
zerombr
clearpart --all --initlabel --disklabel=gpt
part biosboot --fstype=biosboot --size=1
part /boot --fstype=ext4 --size=1024
part pv.01 --size=8192 --grow
volgroup onn pv.01 --reserved-space=2048
logvol none --vgname=onn --name=pool00 --thinpool --size=12288
logvol / --vgname=onn --name=root --thin --poolname=pool00 --fstype=xfs --size=4096
logvol /var --vgname=onn --name=var --thin --poolname=pool00 --fstype=xfs --size=4096 --fsoptions="nodev"
logvol /data --vgname=onn --name=data --thin --poolname=pool00 --fstype=ext4 --size=1024
"""
POST = "%post\necho written-by-post > /root/post.txt\necho kept > /var/lib/from-post\n%end\n"


def tree() -> Path:
    """The root tree with Anaconda."""
    given = os.environ.get("ANACONDA_ROOT", "")
    if not given:
        raise ScenarioFailed("no root tree with Anaconda is given: set ANACONDA_ROOT")
    return Path(given)


def kickstart(url: str, image: NodeImage, disks: str, *, node_lines: str = "", more: str = "") -> str:
    """An unattended installation by Anaconda."""
    return (
        "lang en_US.UTF-8\nkeyboard us\ntimezone --utc Europe/Vienna\ntimesource --ntp-disable\n"
        f"network --bootproto=dhcp --hostname={HOSTNAME}\n"
        f"rootpw --plaintext {PASSWORD}\nuser --name=admin --password=geheim --plaintext --groups=adm\n"
        "firewall --disabled\nselinux --permissive\n"
        'bootloader --append="console=ttyS0 panic=30 ovirt.test=1" --timeout=1\n'
        "liveimg --url=file:///usr/share/ovirt-node/skeleton.tar\nreboot\n"
        f"{disks}{more}"
        f"%addon org_ovirt_node --image={url} --sha256={image.sha256}\n{node_lines}%end\n{POST}"
    )


def check_node(node: Node, image: NodeImage) -> None:
    """The node is what the kickstart asked for, on an overlay whose lower side is the image, bit for bit."""
    shell = node.shell
    check_equal(shell.text("findmnt -no FSTYPE /"), "overlay", "the type of /")
    device = shell.text("findmnt -no SOURCE /run/ovirt-node/image")
    digest = shell.text(f"head -c {image.size} {device} | sha256sum", READ_IMAGE).split()[0]
    check_equal(digest, image.sha256, "SHA-256 of the image LV")
    group = shell.text(f"lvs --noheadings -o vg_name {device}")
    volumes = lvs(shell, group)
    for name, tag in ((image.nvr, "imgbased:base"), (f"{image.nvr}+1", "imgbased:layer"), ("var", "imgbased:volume")):
        check(name in volumes, f"the VG {group} has no volume {name}: {sorted(volumes)}")
        check(tag in volumes[name]["lv_tags"], f"{name} lacks the tag {tag}: {volumes[name]['lv_tags']}")
    check("root" not in volumes, "the layer still has Anaconda's name")
    check_fstab(node)
    check_equal(shell.text("hostname"), HOSTNAME, "the host name")
    check_equal(shell.text("realpath /etc/localtime"), "/usr/share/zoneinfo/Europe/Vienna", "the time zone")
    check_equal(shell.text("cat /root/post.txt"), "written-by-post", "what %post wrote in the layer")
    check_equal(shell.text("cat /var/lib/from-post"), "kept", "what %post wrote in /var")
    check("adm" in shell.text("id -nG admin").split(), "the user admin is not in the group adm")
    line = shell.text("cat /proc/cmdline").split()
    for word in ("ovirt.test=1", "root=ovirt-node"):
        check(word in line, f"{word} is not on the kernel command line: {line}")
    check_equal(shell.text("test -e /usr/sbin/new-kernel-pkg; echo $?"), "1", "a trace of what hid the boot entries")


def _installs(context: Context, disks: str, *, size: int = DISK, node_lines: str = "", vg: str = "") -> None:
    image = artefacts.node_image()
    target = target_disk(context, size=size)
    with anaconda_machine(tree(), context.folder) as installer:
        url = provide_payload(installer, image.path, context.folder)
        installer.attach(target)
        ended = run_anaconda(installer, kickstart(url, image, disks, node_lines=node_lines))
        must_succeed(installer, ended)
        written = installer.shell.text("cat /mnt/sysroot/root/anaconda-ks.cfg")
        check(
            f"%addon org_ovirt_node --image={url}" in written, f"the kickstart that is left has no section: {written}"
        )
        check("--disabled" not in written.split("bootloader", 1)[1].splitlines()[0], "the boot loader is left disabled")
        context.figures["steps"] = installer.shell.text(
            "grep -ho 'step [a-z-]* took [0-9.]* s' /tmp/dbus.log | sed 's/step //; s/ took /=/' | tr '\\n' ' '"
        )
        installer.power_off()
    with booted_node(context, target) as node:
        node.check_running()
        check_node(node, image)
        if vg:
            check_equal(node.shell.text("vgs --noheadings -o vg_name"), vg, "the VG's name")
        node.reboot()
        node.check_running()
        node.power_off()


@scenario("anaconda-auto", issues=(3,), limit=LIMIT)
def automatic(context: Context) -> None:
    """Anaconda partitions by the profile; the node boots from its disk with all that the kickstart says."""
    _installs(context, AUTOMATIC)


@scenario("anaconda-explicit", issues=(3,), limit=LIMIT)
def explicit(context: Context) -> None:
    """The same with part, volgroup and logvol lines, xfs, and a volume that the section requires."""
    _installs(context, EXPLICIT, size=20 * GIB, node_lines="volume /data --size=1GiB\n", vg="onn")


@scenario("anaconda-unfit-layout", issues=(3,), limit=LIMIT)
def unfit(context: Context) -> None:
    """A partitioning that is none for a node is refused by name, and nothing is written to the disk."""
    image = artefacts.node_image()
    target = target_disk(context, size=20 * GIB)
    with anaconda_machine(tree(), context.folder) as installer:
        url = provide_payload(installer, image.path, context.folder)
        installer.attach(target)
        lines = EXPLICIT.replace("logvol /var ", "logvol /srv ")
        ended = run_anaconda(installer, kickstart(url, image, lines))
        check("no volume of its own for /var" in ended.words, f"the refusal does not say why:\n{ended.text}")
        check(ended.status != 0, "anaconda ended with 0")
    check_equal(artefacts.allocated(target.file), 0, "bytes written to the disk")

"""Steps that the scenarios with Anaconda share: a kickstart, an installation, and what must hold of the node."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.anaconda.machine import Ended, keep_logs, must_succeed, run_anaconda
from tests.vm.artefacts import NodeImage
from tests.vm.errors import ScenarioFailed, check, check_equal
from tests.vm.installer import InstallerMachine
from tests.vm.qemu import Disk
from tests.vm.scenario import Context
from tests.vm.steps import GIB, HOSTNAME, PASSWORD, READ_IMAGE, Node, booted_node, check_fstab, check_verity, lvs

#: The volumes of the profile take 38 GiB; the disk is sparse.
DISK = 60 * GIB
#: Seconds: Anaconda's part of an installation under emulation, on a busy host.
LIMIT = 5400.0
#: Seconds until a node's login prompt.
BOOT = 900.0
ZONE = "Europe/Vienna"
#: The machine's other disks hold what a boot.iso would.
ONLY = "ignoredisk --only-use=disk/by-id/virtio-target\n"
CLEAR = "zerombr\nclearpart --all --initlabel --disklabel=gpt\n"
AUTOMATIC = CLEAR + "autopart --type=thinp --fstype=ext4\n"
#: systemd(1) calls a host so that has no name (Debian builds it with this one).
UNNAMED = "localhost.localdomain"
#: The volumes of a small node, line by line; the partitions are the scenario's.
VOLUMES = """\
logvol none --vgname=onn --name=pool00 --thinpool --size=12288
logvol / --vgname=onn --name=root --thin --poolname=pool00 --fstype=xfs --size=4096
logvol /var --vgname=onn --name=var --thin --poolname=pool00 --fstype=xfs --size=4096 --fsoptions="nodev"
logvol /data --vgname=onn --name=data --thin --poolname=pool00 --fstype=ext4 --size=1024
"""
EXPLICIT = (
    CLEAR
    + """\
part biosboot --fstype=biosboot --size=1
part /boot --fstype=ext4 --size=1024
part pv.01 --size=8192 --grow
volgroup onn pv.01 --reserved-space=2048
"""
    + VOLUMES
)
POST = "%post\necho written-by-post > /root/post.txt\necho kept > /var/lib/from-post\n%end\n"
#: Steps of the add-on whose time is the transfer's.
TRANSFER = ("transfer", "verify")


@contextmanager
def booted(
    context: Context, *disks: Disk, password: str = PASSWORD, passphrase: str = "", **spec: Any
) -> Iterator[Node]:
    """The node on ``disks``, logged into; ``passphrase`` is typed whenever it asks for one.

    It checks its eight file systems first, which takes its time under emulation.
    """
    with booted_node(context, *disks, login=False, limit=LIMIT, **spec) as node:
        serial = node.machine.serial
        while serial.wait_for(r"(?i)(passphrase)[^\n]*: |login: ", BOOT).group(1):
            check(bool(passphrase), "the node asks for a passphrase")
            serial.send(f"{passphrase}\n")
        node.login(node.machine.shell, "root", password)
        context.figures["boot_seconds"] = round(node.machine.seconds, 1)
        yield node


def tree() -> Path:
    """The root tree with Anaconda."""
    given = os.environ.get("ANACONDA_ROOT", "")
    if not given:
        raise ScenarioFailed("no root tree with Anaconda is given: set ANACONDA_ROOT")
    return Path(given)


def kickstart(section: str, disks: str, *, more: str = "") -> str:
    """An unattended installation by Anaconda; ``section`` is what follows ``%addon org_ovirt_node``."""
    return (
        "lang en_US.UTF-8\nkeyboard us\n"
        f"timezone --utc {ZONE}\ntimesource --ntp-disable\n"
        f"network --bootproto=dhcp --hostname={HOSTNAME}\n"
        f"rootpw --plaintext {PASSWORD}\nuser --name=admin --password=geheim --plaintext --groups=adm\n"
        "firewall --disabled\nselinux --permissive\n"
        'bootloader --append="console=ttyS0 panic=30 ovirt.test=1" --timeout=1\n'
        "liveimg --url=file:///usr/share/ovirt-node/skeleton.tar\nreboot\n"
        f"{disks}{more}%addon org_ovirt_node {section}\n%end\n{POST}"
    )


def section(url: str, image: NodeImage, lines: str = "") -> str:
    """The add-on's section for ``image`` at ``url`` with further ``lines``."""
    return f"--image={url} --sha256={image.sha256}\n{lines}".rstrip("\n")


def install(installer: InstallerMachine, context: Context, text: str, *, options: str = "") -> None:
    """Install by the kickstart ``text``, and note what the add-on's steps took."""
    before = installer.machine.host_share()
    ended = run_anaconda(installer, text, options=options)
    share = installer.machine.host_share().since(before)
    must_succeed(installer, ended)
    note_times(installer, context, share)


def note_times(installer: InstallerMachine, context: Context, share: float) -> None:
    """The add-on's own share of the time, as figures; ``share`` is what the host gave of the processor time wanted."""
    log = "journalctl -b --no-pager -o cat; cat /tmp/*.log"
    lines = installer.shell.text(f"({log}) | grep -aoE 'step [a-z-]+ took [0-9.]+ s' | sort -u", READ_IMAGE)
    seconds = {name: float(value) for name, value in re.findall(r"step (\S+) took (\S+) s", lines)}
    check(bool(seconds), "the add-on's log does not tell what its steps took")
    own = sum(value for name, value in seconds.items() if name not in TRANSFER)
    context.say(f"steps {json.dumps(seconds)}, host share {share:.2f}")
    context.figures["own_seconds"] = round(own * share, 1)
    context.figures["own_seconds_busy"] = round(own, 1)
    context.figures["transfer_seconds"] = round(sum(seconds.get(name, 0.0) for name in TRANSFER), 1)
    context.figures["host_share"] = round(share, 2)


def must_refuse(installer: InstallerMachine, ended: Ended, *words: str) -> None:
    """Anaconda has stopped with a message that has all of ``words``."""
    missing = [word for word in words if word not in ended.words]
    if missing or ended.status == 0 or "Complete!" in ended.text:
        keep_logs(installer, installer.machine.folder / "logs.tar.gz")
        raise ScenarioFailed(f"the refusal (status {ended.status}) does not say {missing}:\n{ended.text[-3000:]}")


def check_node(node: Node, image: NodeImage, *, network: bool = True) -> None:
    """The node is what the kickstart asked for, on an overlay whose lower side is the image, bit for bit.

    ``network``: Anaconda has configured it; in a disk image it does not (its can_configure_network).
    """
    shell = node.shell
    check_image(node, image)
    check_equal(shell.text("hostname"), HOSTNAME if network else UNNAMED, "the host name")
    check_equal(shell.text("realpath /etc/localtime"), f"/usr/share/zoneinfo/{ZONE}", "the time zone")
    check_equal(shell.text("cat /root/post.txt"), "written-by-post", "what %post wrote in the layer")
    check_equal(shell.text("cat /var/lib/from-post"), "kept", "what %post wrote in /var")
    check("adm" in shell.text("id -nG admin").split(), "the user admin is not in the group adm")
    line = shell.text("cat /proc/cmdline").split()
    for word in ("ovirt.test=1", "root=ovirt-node"):
        check(word in line, f"{word} is not on the kernel command line: {line}")
    check(not any(word.startswith("resume=") for word in line), f"the node would wait for its swap: {line}")
    entry = shell.text(f"cat /boot/loader/entries/*{image.nvr}+1*.conf")
    check("ovirt.test=1" in entry, f"the boot entry lacks the kickstart's kernel argument: {entry}")
    written = shell.text("cat /root/anaconda-ks.cfg")
    found = re.search(r"(?m)^%addon org_ovirt_node (.*)$", written)
    check(found is not None, f"the kickstart that is left has no section: {written}")
    assert found is not None
    check(f"--sha256={image.sha256}" in found.group(1), f"the section that is left is another one: {written}")
    loader = re.search(r"(?m)^bootloader .*$", written)
    check(loader is None or "--disabled" not in loader.group(0), "the boot loader is left disabled")


def check_image(node: Node, image: NodeImage) -> None:
    """What holds of every node that Anaconda has installed, whoever answered its questions."""
    shell = node.shell
    check_equal(shell.text("findmnt -no FSTYPE /"), "overlay", "the type of /")
    device = shell.text("realpath -e $(findmnt -no SOURCE /run/ovirt-node/image)")
    if image.roothash:
        # What is seen through dm-verity ends before the hash tree.
        device = check_verity(node, image, device)
    digest = shell.text(f"head -c {image.size} {device} | sha256sum", READ_IMAGE).split()[0]
    check_equal(digest, image.sha256, "SHA-256 of the image LV")
    group = shell.text(f"lvs --noheadings -o vg_name -S lv_name={image.nvr}")
    check_equal(device, shell.text(f"realpath -e /dev/{group}/{image.nvr}"), "the volume that the image is on")
    volumes = lvs(shell, group)
    for name, tag in ((image.nvr, "imgbased:base"), (f"{image.nvr}+1", "imgbased:layer"), ("var", "imgbased:volume")):
        check(name in volumes, f"the VG {group} has no volume {name}: {sorted(volumes)}")
        check(tag in volumes[name]["lv_tags"], f"{name} lacks the tag {tag}: {volumes[name]['lv_tags']}")
    check("root" not in volumes, "the layer still has Anaconda's name")
    check("imgbased:vg" in shell.text(f"vgs --noheadings -o vg_tags {group}"), f"the VG {group} lacks its tag")
    check_fstab(node)
    connections = shell.text("nmcli -g NAME,DEVICE connection show --active")
    check("eth0" in connections or "ens" in connections or "enp" in connections, f"no connection: {connections!r}")
    check_equal(shell.text("test -e /usr/sbin/new-kernel-pkg; echo $?"), "1", "a trace of what hid the boot entries")
    default = shell.json("nodectl --machine-readable info")["bootloader"]["default"]
    check_equal(default, f"{image.nvr}+1", "the default boot entry")
    found = shell.json("nodectl --machine-readable check", READ_IMAGE)
    check_equal(found["status"], "ok", f"what nodectl check says: {found}")

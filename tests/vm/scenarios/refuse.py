"""Installations that must be refused, and what they leave of the disk."""

from __future__ import annotations

import re

from tests.crash import gpt
from tests.vm import artefacts
from tests.vm.errors import check, check_equal
from tests.vm.installer import InstallerMachine, running_installer
from tests.vm.qemu import Disk
from tests.vm.scenario import Context, scenario
from tests.vm.steps import (
    GIB,
    booted_node,
    check_released,
    expect_refusal,
    installed,
    kickstart,
    provide_payload,
    run_install,
    target_disk,
)

MIB = 1 << 20
#: What lies on the disk before: at its start, where /boot will be, and near its end.
BEFORE = b"what was here before "
MESSAGE_SIZE = re.compile(r"\d+(\.\d+)? ?(MiB|GiB|TiB)")


def mark(disk: Disk) -> str:
    """Write something recognisable on a blank disk; returns the digest of its content."""
    with disk.file.open("r+b") as handle:
        size = handle.seek(0, 2)
        for place in (0, 2 * MIB, 700 * MIB, size - 2 * MIB):
            handle.seek(place)
            handle.write(BEFORE * 1000)
    return artefacts.content(disk.file)


@scenario("install-small-disk", issues=(2,))
def install_small_disk(context: Context) -> None:
    """A disk that is too small is refused by name, with what is needed, and stays as it is."""
    image = artefacts.node_image()
    target = target_disk(context, "small", 2 * GIB)
    before = mark(target)
    with running_installer(context.folder) as installer:
        url = provide_payload(installer, image.path, context.folder)
        link = installer.attach(target)
        name = installer.shell.text(f"basename $(realpath {link})")
        result = run_install(installer, kickstart(url))
        expect_refusal(result, name)
        sizes = MESSAGE_SIZE.findall(result.stderr)
        check(len(sizes) >= 2, f"the refusal does not say what is there and what is needed: {result.stderr}")
        check("partition" not in result.steps, "the installation began to write")
        plan = installer.shell.run(f"ovirt-node-install --kickstart {'/root/test.ks'} --plan", 180, check=False)
        check(plan.status != 0 and name in plan.output, f"--plan does not refuse the disk: {plan.output}")
        check_released(installer)
        installer.power_off()
    check_equal(artefacts.content(target.file), before, "the disk's content after the refusal")


@scenario("install-bad-payload", issues=(2,), core=True)
def install_bad_payload(context: Context) -> None:
    """A payload that is truncated, no squashfs, or has another digest is refused, and nothing looks bootable."""
    image = artefacts.node_image()
    target = target_disk(context, "target", 12 * GIB)
    before = mark(target)
    whole = image.path.read_bytes()
    files = {
        "truncated.squashfs": whole[: image.size // 2],
        "text.squashfs": b"This is no squashfs.\n" * 5000,
        "whole.squashfs": whole,
    }
    medium = artefacts.files_disk(context.folder, "payloads", files)
    with running_installer(context.folder) as installer:
        link = installer.attach(Disk(medium, "payloads", readonly=True))
        installer.shell.run(f"mkdir -p /mnt/payloads && mount -o ro {link} /mnt/payloads")
        installer.attach(target)
        for name, word in (("truncated", "truncated"), ("text", "squashfs")):
            result = run_install(installer, kickstart(f"file:/mnt/payloads/{name}.squashfs"))
            expect_refusal(result, word)
            check("partition" not in result.steps, f"the installation of the {name} payload began to write")
            check_released(installer)
            check_equal(artefacts.content(target.file), before, f"the disk's content after the {name} payload")
        wrong = "0" * 64
        url = "file:/mnt/payloads/whole.squashfs"
        result = run_install(installer, kickstart(url, check_line=f"--sha256={wrong}"))
        expect_refusal(result, "sha", image.sha256[:8])
        check("entry" not in result.steps, "a boot entry was written for an image with the wrong digest")
        check_released(installer)
        installer.power_off()
    with target.file.open("rb") as disk:
        check(not gpt.boot_code(disk), "a disk with no node on it has boot code")


@scenario("missing-layer", issues=(2,), core=True)
def missing_layer(context: Context) -> None:
    """A node whose layer is gone stops with a message that names it, and never boots without."""
    image = artefacts.node_image()
    target = target_disk(context)
    with installed(context, image, target) as (installer, _):
        remove_layer(installer, image.nvr)
    with booted_node(context, target, login=False) as node:
        serial = node.machine.serial
        layer = re.escape(f"onn/{image.nvr}+1")
        serial.wait_for(rf"oVirt Node: .*layer {layer} was not found", 400)
        serial.wait_for(r"oVirt Node: the boot ends here", 60)
        check(serial.seen(r"login: |Welcome to .*!\n.*Reached target multi-user") is None, "the node booted anyway")


def remove_layer(installer: InstallerMachine, nvr: str) -> None:
    installer.shell.run(f"lvremove -y onn/{nvr}+1 && vgchange -an onn", 120)

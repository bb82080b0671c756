"""Images that are verified block by block while they run (dm-verity), and what a flipped bit does."""

from __future__ import annotations

import os
from pathlib import Path

from org_ovirt_node.image.cache import key_of
from org_ovirt_node.mounts import mounted
from org_ovirt_node.payload.verity import read_tree
from tests.vm import artefacts
from tests.vm.artefacts import NodeImage
from tests.vm.errors import ScenarioFailed, check, check_equal
from tests.vm.installer import running_installer
from tests.vm.qemu import Disk
from tests.vm.scenario import Context, scenario
from tests.vm.steps import (
    READ_IMAGE,
    Node,
    booted_node,
    check_root,
    install_node,
    kickstart,
    provide_files,
    target_disk,
)

MIB = 1 << 20
#: LVM's default start of extents and its alignment (lvm.conf(5), data_alignment).
ALIGNMENT = MIB
#: So many bytes tell a place in an image from all others.
SAMPLE = 4096
IMAGE_MOUNT = "/run/ovirt-node/image"


def without_tree(image: NodeImage) -> NodeImage:
    """The same squashfs without the hash tree behind it."""
    tree = read_tree(image.path, image.size)
    check(tree is not None, "the test image has no hash tree")
    assert tree is not None

    def make(folder: Path) -> None:
        folder.mkdir()
        data = image.path.read_bytes()[: tree.hash_offset]
        (folder / "image.squashfs").write_bytes(data)

    file = artefacts.cache().get("test-image-plain", key_of(image.sha256), make) / "image.squashfs"
    return artefacts.image_at(file, image.nvr)


def manifest_files(image: NodeImage) -> dict[str, bytes | Path]:
    """Image and manifest under the names that the manifest gives."""
    return {image.path.name: image.path, image.manifest.name: image.manifest}


@scenario("verity-boot", issues=(6,))
def verity_boot(context: Context) -> None:
    """A node installed by a manifest reads its image through dm-verity; one from an image without a tree does not."""
    image = artefacts.node_image()
    check(bool(image.roothash), "the test image has no hash tree")
    target = target_disk(context)
    with running_installer(context.folder) as installer:
        folder = provide_files(installer, manifest_files(image), context.folder)
        installer.attach(target)
        result = install_node(installer, context, kickstart(f"file:{folder}/{image.manifest.name}"))
        check_equal(result.done["sha256"], image.sha256, "the digest of what was installed")
        installer.power_off()
    with booted_node(context, target) as node:
        node.check_running()
        check_root(node, image)
        node.reboot()
        node.check_running()
        check_root(node, image)
        node.power_off()

    plain = without_tree(image)
    other = target_disk(context, "plain")
    with running_installer(context.folder / "second") as installer:
        folder = provide_files(installer, {f"{plain.nvr}.squashfs": plain.path}, context.folder / "second")
        installer.attach(other)
        text = kickstart(f"file:{folder}/{plain.nvr}.squashfs", check_line=f"--sha256={plain.sha256}")
        install_node(installer, context, text)
        installer.power_off()
    with booted_node(context, other, name="plain") as node:
        node.check_running()
        check_root(node, plain)
        told = node.shell.json("nodectl info --machine-readable")["verity"]
        check_equal(told, {f"{plain.nvr}+1": ""}, "what nodectl info tells of an image without a tree")
        node.power_off()


def find_image(disk: Path, image: NodeImage) -> int:
    """Where on ``disk`` the image volume begins, in bytes: linear volumes lie in one piece."""
    start = image.path.open("rb").read(SAMPLE)
    with disk.open("rb") as file:
        end = file.seek(0, os.SEEK_END)
        place = 0
        while place < end:
            place = os.lseek(file.fileno(), place, os.SEEK_DATA) // ALIGNMENT * ALIGNMENT
            if os.pread(file.fileno(), SAMPLE, place) == start:
                return place
            place += ALIGNMENT
    raise ScenarioFailed(f"the image is nowhere on {disk}")


def flip(disk: Path, place: int) -> None:
    """Flip one bit of the byte at ``place``."""
    with disk.open("r+b") as file:
        file.seek(place)
        value = file.read(1)[0]
        file.seek(place)
        file.write(bytes((value ^ 0x10,)))


def seldom_read(image: NodeImage, work: Path) -> tuple[int, str]:
    """A place in the image in the middle of a file that no running node needs; its bytes lie there as they are.

    The initramfs is compressed, so that mksquashfs stores its blocks unchanged, and GRUB reads the copy in /boot.
    """
    with mounted(str(image.path), work, fstype="squashfs", options=["loop", "ro"]) as tree:
        file = next((tree / "usr/lib/modules").glob("*/initramfs.img"))
        name = f"/{file.relative_to(tree)}"
        sample = file.read_bytes()
    middle = len(sample) // 2
    place = image.path.read_bytes().find(sample[middle : middle + SAMPLE])
    check(place > 0, f"{name} is not stored as it is")
    return place, name


def host_digests(image: NodeImage, work: Path) -> dict[str, str]:
    """SHA-256 of every file of the image, as the host reads it."""
    with mounted(str(image.path), work, fstype="squashfs", options=["loop", "ro"]) as tree:
        files = [path for path in tree.rglob("*") if path.is_file() and not path.is_symlink()]
        return {f"./{path.relative_to(tree)}": artefacts.sha256(path) for path in files}


def check_one_file_is_lost(node: Node, lost: str, expected: dict[str, str]) -> None:
    """Reading ``lost`` is an I/O error; every other file is what it was."""
    shell = node.shell
    done = shell.run(f"cat {lost} > /dev/null", check=False)
    check(done.status != 0 and "Input/output error" in done.output, f"reading {lost} gave: {done.output!r}")
    log = shell.text("dmesg | grep 'verity: .* is corrupted' || true")
    check("data block" in log, f"the kernel's log does not name the block: {log!r}")
    told = shell.run(
        f"cd {IMAGE_MOUNT} && find . -xdev -type f -print0 | xargs -0 sha256sum 2>/tmp/errors; true", READ_IMAGE * 2
    )
    found: dict[str, str] = {}
    for line in told.output.splitlines():
        digest, divider, path = line.partition("  ")
        if divider:
            # sha256sum(1) marks a line whose name it had to escape with a backslash.
            found[path.replace("\\\\", "\\")] = digest.lstrip("\\")
    errors = shell.text("cat /tmp/errors").splitlines()
    check_equal(sorted(set(expected) - set(found)), [f".{lost}"], "the files that cannot be read")
    check(all("Input/output error" in line for line in errors), f"other errors: {errors}")
    differing = sorted(path for path, digest in found.items() if expected.get(path) != digest)
    check_equal(differing, [], "files that are read and differ")


@scenario("verity-corrupt", issues=(6,), limit=1800)
def verity_corrupt(context: Context) -> None:
    """A flipped bit on the disk is an I/O error and never wrong data; where the boot needs the block it stops."""
    image = artefacts.node_image()
    target = target_disk(context)
    with running_installer(context.folder) as installer:
        folder = provide_files(installer, manifest_files(image), context.folder)
        installer.attach(target)
        install_node(installer, context, kickstart(f"file:{folder}/{image.manifest.name}"))
        installer.power_off()
    begin = find_image(target.file, image)
    place, lost = seldom_read(image, context.folder / "mount")
    expected = host_digests(image, context.folder / "mount")
    flip(target.file, begin + place)
    with booted_node(context, target) as node:
        node.check_running()
        check_one_file_is_lost(node, lost, expected)
        done = node.shell.run("nodectl verify", READ_IMAGE, check=False)
        check(done.status == 1 and "does not give back what was written" in done.output, f"verify: {done.output}")
        node.power_off()
    flip(target.file, begin + place)

    # The block with the squashfs superblock: nothing can be mounted.
    flip(target.file, begin + 100)
    expect_end(context, target, "superblock", rf"oVirt Node: the image onn/{image.nvr} cannot be mounted")
    flip(target.file, begin + 100)

    # The top of the tree: nothing below it can be trusted.
    tree = read_tree(image.path, image.size)
    assert tree is not None
    flip(target.file, begin + tree.hash_offset + 4096 + 7)
    expect_end(context, target, "tree", rf"oVirt Node: the image onn/{image.nvr} (does not match|cannot be mounted)")
    flip(target.file, begin + tree.hash_offset + 4096 + 7)

    with booted_node(context, target, name="whole") as node:
        node.check_running()
        check_root(node, image)
        node.power_off()


def expect_end(context: Context, target: Disk, name: str, message: str) -> None:
    """The boot stops, and says why."""
    with booted_node(context, target, name=name, login=False) as node:
        serial = node.machine.serial
        serial.wait_for(message, 400)
        serial.wait_for(r"oVirt Node: the boot ends here", 60)
        check(serial.seen(r"login: ") is None, "the node booted anyway")

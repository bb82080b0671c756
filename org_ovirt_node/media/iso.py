"""The ISO image of an installer: bootable on BIOS and EFI, from a CD and, being a disk as well, from a USB stick."""

from __future__ import annotations

import os
import re
import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from org_ovirt_node.errors import ImageError
from org_ovirt_node.image import publish, squash
from org_ovirt_node.image.build import given_epoch
from org_ovirt_node.image.contents import opened
from org_ovirt_node.image.installer import Installer
from org_ovirt_node.kickstart import carried
from org_ovirt_node.kickstart.fetch import MEDIUM_FILE
from org_ovirt_node.media import finish, grub, layers
from org_ovirt_node.media.finish import Made
from org_ovirt_node.media.layers import Parts
from org_ovirt_node.payload.squashfs import read_superblock
from org_ovirt_node.progress import Progress
from org_ovirt_node.run import run
from org_ovirt_node.setup.source import MEDIUM

LABEL = "OVIRT_NODE"
FOLDER = "ovirt-node"
THE_KICKSTART = "the kickstart"
BIOS_IMAGE, EFI_IMAGE = f"{grub.FOLDER}/eltorito.img", f"{grub.FOLDER}/efi.img"
_LABEL = re.compile(r"[A-Z0-9_]{1,32}", re.ASCII)


@dataclass(frozen=True)
class Request:
    """What to make: ``image`` (form ``tree``) is what the medium installs and runs on.

    Without ``kickstart`` (a text) it asks; of that all is kept but which image is installed, and by which digest it is
    checked.
    """

    image: Path
    output: Path
    label: str = LABEL
    kickstart: str = ""
    replace: bool = False


def check(request: Request) -> None:
    """Refuse what cannot work, before anything is made.  Raises ImageError."""
    if not _LABEL.fullmatch(request.label):
        raise ImageError(
            f"{request.label!r} cannot be a volume label", hint="Accepted are 1 to 32 capital letters, digits and _."
        )
    finish.check(request.image, request.output, replace=request.replace)
    if request.kickstart:
        carried.with_image(request.kickstart, "", "", THE_KICKSTART)


def on_medium(image: Path) -> str:
    """How a kickstart names ``image`` when it is on the medium that the installer runs from."""
    return f"file:{MEDIUM}/{FOLDER}/{image.name}"


def arguments(tree: Path, boot: Path, output: Path, label: str, epoch: int) -> list[str]:
    """xorriso's arguments (xorrisofs(1)): ``tree`` is what goes on the medium, ``boot`` the sector for a disk."""
    return [
        *("xorriso", "-as", "mkisofs", "-quiet", "-rational-rock", "-joliet", "-volid", label, "-output", str(output)),
        *("-eltorito-boot", BIOS_IMAGE, "-no-emul-boot", "-boot-load-size", "4", "-boot-info-table"),
        *("--grub2-boot-info", "--grub2-mbr", str(boot)),
        *("--set_all_file_dates", time.strftime("%Y%m%d%H%M%S00", time.gmtime(epoch))),
        *("--efi-boot", EFI_IMAGE, "-efi-boot-part", "--efi-boot-image", "--protective-msdos-label"),
        str(tree),
    ]


def make(request: Request, installer: Installer, work: Path, progress: Progress) -> Made:
    """Make the ISO image; it gets its name when it is complete.  Raises ImageError, BootError and CommandError."""
    check(request)
    kickstart = ""
    if request.kickstart:
        digest = squash.sha256(request.image)
        kickstart = carried.with_image(request.kickstart, on_medium(request.image), digest, THE_KICKSTART)
        carried.warn(kickstart, MEDIUM_FILE, finish.READERS, progress)
    parts = layers.build(request.image, installer, work / "parts", progress)
    progress.step("medium", "Putting the medium together")
    tree = work / "medium"
    epoch = image_epoch(request.image)
    with publish.unfinished(request.output) as partial:
        with opened(request.image) as node:
            lay_out(tree, parts, replace(request, kickstart=kickstart), node, work, epoch)
            environment = {"SOURCE_DATE_EPOCH": str(epoch), "TZ": "UTC"}
            run(arguments(tree, grub.hybrid_boot(node), partial, request.label, epoch), env=environment)
        shutil.rmtree(tree)
        return finish.finish(partial, request.output)


def image_epoch(image: Path) -> int:
    """The time that everything on the medium has: that of the image's squashfs, so that the same parts give the same
    bytes."""
    with image.open("rb") as stream:
        block = stream.read(96)
        read_superblock(block, str(image))
        # Kernel: Documentation/filesystems/squashfs.rst; the superblock's third number is its time.
        return given_epoch() or int.from_bytes(block[8:12], "little")


def lay_out(tree: Path, parts: Parts, request: Request, node: Path, work: Path, epoch: int) -> None:
    """Lay out the medium's files at ``tree``; ``node`` is the mounted image, whose boot loader goes on it.

    ``epoch`` (seconds) is the time of what is made here.
    """
    (tree / grub.FOLDER).mkdir(parents=True)
    (tree / FOLDER).mkdir()
    place(parts.kernel, tree / grub.KERNEL)
    place(parts.initramfs, tree / grub.INITRAMFS)
    for layer in parts.layers:
        place(layer, tree / FOLDER / layer.name)
    beside = companions(request.image)
    for path in beside:
        place(path, tree / FOLDER / path.name)
    names = [layer.name for layer in parts.layers]
    (tree / grub.MARK).write_text("".join(f"{name}\n" for name in names), encoding="ascii")
    paths = [grub.MARK, *(f"{FOLDER}/{name}" for name in (*names, *(path.name for path in beside)))]
    if request.kickstart:
        (tree / MEDIUM_FILE).write_text(request.kickstart, encoding="utf-8")
        paths.append(MEDIUM_FILE)
    menu = grub.entries(request.label, paths, unattended=bool(request.kickstart))
    (tree / grub.FOLDER / "grub.cfg").write_text(grub.render(menu), encoding="ascii")
    grub.bios_image(node, work / "eltorito.img")
    place(work / "eltorito.img", tree / BIOS_IMAGE)
    for config in grub.efi_image(node, tree / EFI_IMAGE, work / "esp", epoch):
        (tree / config).parent.mkdir(parents=True, exist_ok=True)
        (tree / config).write_text(grub.stub(), encoding="ascii")


def companions(image: Path) -> Sequence[Path]:
    """What lies beside an image and belongs to it: digest, manifest and its signature."""
    stem = image.name.removesuffix(".squashfs")
    names = (f"{image.name}.sha256", f"{stem}.json", f"{stem}.json.asc", f"{stem}.json.p7s")
    return [image.with_name(name) for name in names if image.with_name(name).is_file()]


def place(source: Path, target: Path) -> None:
    """Put a file into the medium's folder, without a copy where the file system lets it be."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)
    # xorriso takes the mode along.
    if target.stat().st_nlink == 1:
        target.chmod(0o644)

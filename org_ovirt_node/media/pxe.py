"""A tree from which machines install themselves over the network: by iPXE, or by their firmware's PXE and GRUB.

The installer is what a medium has (media/layers.py), all of it in one initramfs: what can load a kernel can load it,
and nothing has to find the network before the installer itself runs.  Only the kickstart comes from the server.
"""

from __future__ import annotations

import re
import shutil
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from org_ovirt_node.boot.hostinitrd import HostFile
from org_ovirt_node.boot.hostinitrd import build as archive
from org_ovirt_node.errors import ImageError
from org_ovirt_node.image import publish
from org_ovirt_node.image.contents import opened
from org_ovirt_node.image.installer import Installer
from org_ovirt_node.kickstart import carried
from org_ovirt_node.kickstart.fetch import fetch
from org_ovirt_node.media import grub, layers
from org_ovirt_node.media.iso import FOLDER, on_medium
from org_ovirt_node.payload.manifest import Manifest, parse
from org_ovirt_node.progress import Progress
from org_ovirt_node.run import run

KERNEL, INITRAMFS, KICKSTART = "vmlinuz", "initrd.img", "install.ks"
IPXE, GRUB_CONFIG, BIOS_LOADER = "boot.ipxe", "grub/grub.cfg", "grub/core.0"
#: shim and the network's GRUB in an image from Debian packages → their names in the tree: shim starts grubx64.efi.
EFI_LOADERS = {
    "usr/lib/shim/shimx64.efi.signed": "shimx64.efi",
    "usr/lib/grub/x86_64-efi-signed/grubnetx64.efi.signed": "grubx64.efi",
}
#: GRUB for BIOS, all in one file.
BIOS_MODULES = ("pxe", "tftp", "net", "normal", "configfile", "linux", "echo", "test", "serial", "terminal")
#: Seconds for a person to stop GRUB.
TIMEOUT = 5
#: Who can read the kickstart: it is shown to all that ask.
READERS = "whoever can reach the server"


@dataclass(frozen=True)
class Request:
    """What to make: a tree in ``output`` that will be at ``url``, for ``image`` (form ``tree``, with its manifest).

    Of ``kickstart`` all is kept but which image is installed, and by which digest it is checked.
    """

    image: Path
    output: Path
    url: str
    kickstart: Path


def check(request: Request) -> None:
    """Refuse what cannot work, before anything is made.  Raises ImageError and KickstartProblem."""
    parts = urlsplit(request.url)
    if (
        parts.scheme != "http"
        or not parts.hostname
        or parts.query
        or parts.username
        or re.search(r"[\s#]", request.url)
    ):
        raise ImageError(
            f"{request.url!r} is not the address of a folder on a web server",
            hint="Accepted is http://HOST[:PORT]/PATH, which every boot loader can read.",
        )
    for path in (request.image, request.kickstart):
        if not path.is_file():
            raise ImageError(f"{path} is not there")
    carried.with_image(fetch(str(request.kickstart)), "", "", str(request.kickstart))


def arguments(url: str) -> str:
    """What the installer's kernel is told."""
    return f"{grub.SERIAL} inst.ks={url}/{KICKSTART}"


def ipxe_script(url: str) -> str:
    """For iPXE on BIOS and EFI (ipxe.org/cmd); EFI's stub of the kernel wants the initramfs named on its line."""
    return (
        f"#!ipxe\nkernel {url}/{KERNEL} initrd={INITRAMFS} {arguments(url)}\n"
        f"initrd --name {INITRAMFS} {url}/{INITRAMFS}\nboot\n"
    )


def grub_config(url: str, nvr: str) -> str:
    """For GRUB, loaded by the firmware's PXE from the same tree by TFTP (GRUB manual, "Network")."""
    return (
        f"set timeout={TIMEOUT}\n"
        f"menuentry 'Install {nvr}' {{\n  linux /{KERNEL} {arguments(url)}\n  initrd /{INITRAMFS}\n}}\n"
        "menuentry 'Start from the first disk' {\n  exit 1\n}\n"
    )


def manifest_of(image: Path) -> Manifest:
    """What the builder wrote beside ``image``.  Raises ImageError, and PayloadError for an unsound one."""
    path = image.with_suffix(".json")
    if not path.is_file():
        raise ImageError(f"{path}, the image's manifest, is not there", hint="Take an image as it was built.")
    found = parse(path.read_bytes(), str(path))
    if found.file != image.name:
        raise ImageError(f"{path} is the manifest of {found.file}, not of {image.name}")
    return found


def make(request: Request, installer: Installer, work: Path, progress: Progress) -> None:
    """Make the tree.  Raises ImageError and CommandError."""
    check(request)
    manifest = manifest_of(request.image)
    text = carried.with_image(
        fetch(str(request.kickstart)), on_medium(request.image), manifest.sha256, str(request.kickstart)
    )
    carried.warn(text, KICKSTART, READERS, progress)
    publish.make_folder((request.output / GRUB_CONFIG).parent)
    parts = layers.build(request.image, installer, work / "parts", progress)
    url, output = request.url.rstrip("/"), request.output
    progress.step("tree", "Putting the tree together")
    shutil.copyfile(parts.kernel, output / KERNEL)
    write_initramfs(parts, output / INITRAMFS)
    for name, content in (
        (KICKSTART, text),
        (IPXE, ipxe_script(url)),
        (GRUB_CONFIG, grub_config(url, manifest.nvr)),
    ):
        (output / name).write_text(content, encoding="utf-8")
    with opened(request.image) as tree:
        _loaders(tree, output)
    # A web server and a TFTP server read it; what else is in the folder is somebody else's.
    (output / GRUB_CONFIG).parent.chmod(0o755)
    for name in (KERNEL, INITRAMFS, KICKSTART, IPXE, GRUB_CONFIG, *EFI_LOADERS.values(), BIOS_LOADER):
        path = output / name
        if path.is_file() and not path.is_symlink():
            path.chmod(0o644)


def write_initramfs(parts: layers.Parts, target: Path) -> None:
    """The first initramfs, and after it archives with what data/media/init looks for in /ovirt-node.

    Several archives in one file are unpacked one after the other (kernel: early-userspace/buffer-format.rst); each ends
    at a multiple of four bytes.
    """
    names = "".join(f"{layer.name}\n" for layer in parts.layers)
    with target.open("wb") as output:
        output.write(parts.initramfs.read_bytes())
        output.write(archive({f"/{FOLDER}/layers": HostFile(names.encode())}))
        for layer in parts.layers:
            output.write(archive({f"/{FOLDER}/{layer.name}": HostFile(layer.read_bytes())}))


def _loaders(tree: Path, output: Path) -> None:
    """GRUB for the firmware's own PXE, as far as the image at ``tree`` has it."""
    for source, name in EFI_LOADERS.items():
        if (tree / source).is_file():
            shutil.copyfile(tree / source, output / name)
    modules = tree / "usr/lib/grub/i386-pc"
    if (modules / "pxe.mod").is_file():
        places = [f"--directory={modules}", "--prefix=/grub", f"--output={output / BIOS_LOADER}"]
        run(["grub-mkimage", "--format=i386-pc-pxe", *places, *BIOS_MODULES], hint="Install grub-common.")

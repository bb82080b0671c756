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

from org_ovirt_node.boot import efi
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
from org_ovirt_node.run import clean_environment, run

KERNEL, INITRAMFS, KICKSTART = "vmlinuz", "initrd.img", "install.ks"
IPXE, IPXE_ALWAYS, GRUB_CONFIG, BIOS_LOADER = "boot.ipxe", "install.ipxe", "grub/grub.cfg", "grub/core.0"
#: Where a signed GRUB looks for its configuration that does not come from Debian: beside itself.
GRUB_CONFIG_BESIDE = "grub.cfg"
#: shim starts the file grubx64.efi beside it, whatever it is made from.
EFI_LOADERS = (efi.SHIM, efi.GRUB)
#: Debian has a GRUB of its own for the network; Fedora's and CentOS' is one for all.
DEBIAN_NETWORK_GRUB = "usr/lib/grub/x86_64-efi-signed/grubnetx64.efi.signed"
#: GRUB for BIOS, all in one file.
BIOS_MODULES = (
    *("pxe", "tftp", "net", "normal", "configfile", "linux", "echo", "test", "serial", "terminal"),
    *("biosdisk", "part_gpt", "ext2", "search", "search_fs_file", "regexp", "chain"),
)
#: The tool that makes it: Debian's name and Fedora's.
MKIMAGE = ("grub-mkimage", "grub2-mkimage")
#: Seconds for a person to stop GRUB.
TIMEOUT = 5
#: Who can read the kickstart: it is shown to all that ask.
#: The numbers of a BIOS for its disks; one that is not there counts as one with nothing to start.
BIOS_DRIVES = range(0x80, 0x88)
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


def ipxe_script(url: str, *, always: bool = False) -> str:
    """For iPXE on BIOS and EFI (ipxe.org/cmd); EFI's stub of the kernel wants the initramfs named on its line.

    A BIOS that asks the network first would install at every start: there the first of the disks is started that has
    something to start, unless this is to install ``always``.  Under EFI the node's own entry comes before the
    network's.
    """
    drives = " || ".join(f"sanboot --no-describe --drive {drive:#x}" for drive in BIOS_DRIVES)
    disk_first = f"iseq ${{platform}} pcbios || goto install\n{drives} || goto install\n:install\n"
    return (
        f"#!ipxe\n{'' if always else disk_first}kernel {url}/{KERNEL} initrd={INITRAMFS} {arguments(url)}\n"
        f"initrd --name {INITRAMFS} {url}/{INITRAMFS}\nboot\n"
    )


def grub_config(url: str, nvr: str) -> str:
    """For GRUB, loaded by the firmware's PXE from the same tree by TFTP (GRUB manual, "Network").

    On a BIOS it starts a node that is on a disk already, as :func:`ipxe_script` does.
    """
    return (
        f"set timeout={TIMEOUT}\n"
        'if [ "$grub_platform" = pc ]; then\n'
        "  for file in /grub2/entries.cfg /grub/entries.cfg; do\n"
        '    if [ -z "$node" ]; then search --no-floppy --file --set=node $file; fi\n'
        "  done\n"
        "fi\n"
        'if [ -n "$node" ]; then\n'
        "  regexp --set=disk '^(hd[0-9]+)' \"$node\"\n"
        "  menuentry 'Start the node on the disk' {\n    set root=\"$disk\"\n    chainloader +1\n  }\n"
        "fi\n"
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
    config = grub_config(url, manifest.nvr)
    progress.step("tree", "Putting the tree together")
    shutil.copyfile(parts.kernel, output / KERNEL)
    write_initramfs(parts, output / INITRAMFS)
    for name, content in (
        (KICKSTART, text),
        (IPXE, ipxe_script(url)),
        (IPXE_ALWAYS, ipxe_script(url, always=True)),
        (GRUB_CONFIG, config),
    ):
        (output / name).write_text(content, encoding="utf-8")
    with opened(request.image) as tree:
        made = loaders(tree, output, config)
    # A web server and a TFTP server read it; what else is in the folder is somebody else's.
    (output / GRUB_CONFIG).parent.chmod(0o755)
    for name in (KERNEL, INITRAMFS, KICKSTART, IPXE, IPXE_ALWAYS, GRUB_CONFIG, *made):
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


def loaders(tree: Path, output: Path, config: str) -> list[str]:
    """GRUB for the firmware's own PXE, as far as the image at ``tree`` has it; returns what was made.

    Raises BootError for an image with shim and no signed GRUB.
    """
    made: list[str] = []
    vendor, signed = efi.signed_files(tree)
    own = tree / DEBIAN_NETWORK_GRUB
    if signed and (vendor != "debian" or own.is_file()):
        made += EFI_LOADERS
        shutil.copyfile(tree / signed[efi.SHIM], output / efi.SHIM)
        shutil.copyfile(own if vendor == "debian" else tree / signed[efi.GRUB], output / efi.GRUB)
        if vendor != "debian":
            (output / GRUB_CONFIG_BESIDE).write_text(config, encoding="utf-8")
            made.append(GRUB_CONFIG_BESIDE)
    modules = tree / "usr/lib/grub/i386-pc"
    if (modules / "pxe.mod").is_file():
        places = [f"--directory={modules}", "--prefix=/grub", f"--output={output / BIOS_LOADER}"]
        program = next((name for name in MKIMAGE if shutil.which(name, path=clean_environment()["PATH"])), MKIMAGE[0])
        run(
            [program, "--format=i386-pc-pxe", *places, *BIOS_MODULES], hint="Install grub-common (Fedora: grub2-tools)."
        )
        made.append(BIOS_LOADER)
    return made

"""What a BIOS client of a PXE tree starts: a disk that boots, else the installation."""

from __future__ import annotations

from pathlib import Path

from org_ovirt_node.boot import grubcfg
from org_ovirt_node.image.contents import opened
from org_ovirt_node.media import pxe
from org_ovirt_node.run import run
from org_ovirt_node.storage.clear import clear_boot_code
from tests.vm import artefacts
from tests.vm.errors import check_equal
from tests.vm.qemu import Disk, Machine, Spec
from tests.vm.scenario import Context, scenario

#: Seconds until it is known what is started; 5 to 10 on an idle host, 5 of them GRUB's menu.
KNOWN = 120.0
SECTOR = 512
FIRST = 2048
SIZE, PART = 64 << 20, 48 << 20
#: Code that writes what follows at byte 32 to the first serial line, and stops: cld; xor ax,ax; mov ds,ax;
#: mov si,0x7c20; mov dx,0x3f8; lodsb; test al,al; jz +3; out dx,al; jmp -8; hlt; jmp -3.
CODE = bytes.fromhex("fc 31c0 8ed8 be207c baf803 ac 84c0 7403 ee ebf8 f4 ebfd")
SAID = "the disk was started"
#: What SeaBIOS makes of GRUB's screen is single letters at places of it.
ON_SERIAL = "serial --unit=0 --speed=115200\nterminal_input serial\nterminal_output serial\n"
#: The image that the tree would install.
NVR = "node-1.0-1"
#: Nobody serves a kernel: that iPXE asks for it, or that GRUB chooses the entry with it, is enough.
FOUND = rf"({SAID})|(/{pxe.KERNEL}|Booting `Install {NVR}')"


def blank(folder: Path) -> Disk:
    """A disk with nothing on it."""
    return Disk(artefacts.blank_disk(folder / "blank.raw", SIZE), "blank")


def interrupted(folder: Path, name: str = "interrupted") -> Disk:
    """A disk whose installation was cut short: partitions, and boot code that starts nothing."""
    disk = Disk(artefacts.blank_disk(folder / f"{name}.raw", SIZE), name)
    run(["sfdisk", "--quiet", disk.file], input=f"label: gpt\nstart={FIRST}, size={PART // SECTOR}\n")
    clear_boot_code(str(disk.file))
    return disk


def installed(folder: Path) -> Disk:
    """A disk with the menu of a node, and boot code that tells when it is started."""
    disk = interrupted(folder, "installed")
    boot = folder / "boot/grub2"
    boot.mkdir(parents=True, exist_ok=True)
    (boot / grubcfg.ENTRIES_FILE).write_text("# The menu.\n")
    made = folder / "boot.ext4"
    run(["mke2fs", "-q", "-t", "ext4", "-d", boot.parent, made, f"{PART >> 10}k"])
    with disk.file.open("r+b") as file:
        file.write(CODE.ljust(32, b"\0") + f"\r\n{SAID}\r\n\0".encode())
        file.seek(FIRST * SECTOR)
        file.write(made.read_bytes())
    return disk


def starts(context: Context, disks: tuple[Disk, ...], tree: Path, loader: str, *, network_first: bool) -> str:
    """What a machine with ``disks`` starts that ``loader`` is served to: ``disk`` or ``installer``."""
    name = (
        f"{'-'.join(disk.serial for disk in disks)}-{Path(loader).suffix[1:]}-{'network' if network_first else 'disk'}"
    )
    network = (f"tftp={tree}", f"bootfile={loader}")
    spec = Spec(name, memory=256, disks=disks, network=network, boots_from_network=True, network_first=network_first)
    with Machine(spec, context.folder / name) as machine:
        found = machine.serial.wait_for(FOUND, KNOWN)
    return "disk" if found.group(1) else "installer"


@scenario("pxe-which-disk", issues=(4,), limit=1800)
def pxe_which_disk(context: Context) -> None:
    """A BIOS client starts a disk with a node; blank, or left by an interrupted installation, it comes to install."""
    tree = context.folder / "tree"
    (tree / pxe.GRUB_CONFIG).parent.mkdir(parents=True)
    url = "http://10.0.2.2:9/nowhere"
    with opened(artefacts.node_image().path) as root:
        pxe.loaders(root, tree, "")
    (tree / pxe.GRUB_CONFIG).write_text(ON_SERIAL + pxe.grub_config(url, NVR))
    (tree / pxe.IPXE).write_text(pxe.ipxe_script(url))
    disks = [(make(context.folder), expected) for make, expected in (
        (blank, "installer"), (interrupted, "installer"), (installed, "disk"),
    )]  # fmt: skip
    for disk, expected in disks:
        for loader in (pxe.IPXE, pxe.BIOS_LOADER):
            found = starts(context, (disk,), tree, loader, network_first=True)
            check_equal(found, expected, f"what {loader} starts where the disk is {disk.serial}")
        found = starts(context, (disk,), tree, pxe.IPXE, network_first=False)
        check_equal(found, expected, f"what a machine starts that looks at its disk first, which is {disk.serial}")
    # The firmware's first disk need not be the node's.
    for first in (blank, interrupted):
        two = first(context.folder), installed(context.folder)
        for loader in (pxe.IPXE, pxe.BIOS_LOADER):
            found = starts(context, two, tree, loader, network_first=True)
            check_equal(found, "disk", f"what {loader} starts where the node is on the second disk")

"""GRUB on a medium: its menu as text, its image for BIOS, and the EFI system partition as an image of its own."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from org_ovirt_node.boot import efi
from org_ovirt_node.errors import BootError
from org_ovirt_node.mounts import bound
from org_ovirt_node.run import run

FOLDER = "boot/grub"
KERNEL, INITRAMFS = "boot/vmlinuz", "boot/initrd.img"
#: What is searched for to find the medium from the ESP; a file of this name is on no other.
MARK = "ovirt-node/layers"
#: The core has to find the menu on the medium; everything else that the menu uses as well: no modules lie there.
BIOS_MODULES = (
    "biosdisk",
    "part_gpt",
    "part_msdos",
    "iso9660",
    "fat",
    "normal",
    "configfile",
    "search",
    "search_fs_file",
    "test",
    "echo",
    "linux",
    "serial",
    "terminal",
    "halt",
    "reboot",
)
SCREEN, SERIAL = "console=ttyS0,115200 console=tty0", "console=tty0 console=ttyS0,115200"
#: systemd's status lines would run through the installer's questions.
QUIET = "quiet loglevel=3 systemd.show_status=false"
TIMEOUT = 30


@dataclass(frozen=True)
class Entry:
    """A menu entry; ``key`` chooses it at once, ``initrds`` are what the kernel unpacks, in order."""

    title: str
    key: str
    options: str
    initrds: tuple[str, ...] = (f"/{INITRAMFS}",)


def entries(label: str, layers: Sequence[str], *, unattended: bool = False) -> tuple[Entry, ...]:
    """The menu of a medium with the volume ``label`` and the ``layers`` (paths on it).

    An ``unattended`` one has a kickstart at the place where it is looked for without being named.
    """
    ours = f"ovirt_node.medium={label} {'inst.ks ' if unattended else ''}{QUIET}"
    whole = (f"/{INITRAMFS}", *(f"newc:{path}:/{path}" for path in layers))
    return (
        Entry("Install oVirt Node", "i", f"{ours} {SCREEN}"),
        Entry("Install oVirt Node on the serial console", "s", f"{ours} {SERIAL}"),
        # GRUB reads through the firmware what the kernel may have no driver for.
        Entry("Install oVirt Node, with the medium read into memory first", "m", f"{ours} {SCREEN}", whole),
        Entry("The same on the serial console", "n", f"{ours} {SERIAL}", whole),
    )


def render(menu: Sequence[Entry]) -> str:
    """grub.cfg (GRUB manual, "Writing full configuration files directly")."""
    lines = [
        "serial --unit=0 --speed=115200",
        "terminal_input console serial",
        "terminal_output console serial",
        f"set timeout={TIMEOUT}",
        "set default=0",
    ]
    for entry in menu:
        lines += [
            f"menuentry '{entry.title}' --hotkey={entry.key} {{",
            f"  linux /{KERNEL} {entry.options}",
            f"  initrd {' '.join(entry.initrds)}",
            "}",
        ]
    lines += ["menuentry 'Start from the first disk' --hotkey=d {", "  exit 1", "}"]
    return "\n".join(lines) + "\n"


def stub() -> str:
    """The grub.cfg on the ESP: it leads to the medium."""
    return f"search --no-floppy --set=root --file /{MARK}\nset prefix=($root)/{FOLDER}\nconfigfile $prefix/grub.cfg\n"


def bios_image(tree: Path, output: Path) -> None:
    """Write the El Torito image for BIOS, made by the tools of the image at ``tree``.

    The core finds the menu on the drive that it was started from: its prefix names none.
    """
    options = ["--format", "i386-pc-eltorito", "--prefix", f"/{FOLDER}"]
    with bound(output.parent, tree / "tmp"):
        run(
            ["grub-mkimage", *options, "--output", f"/tmp/{output.name}", *BIOS_MODULES],
            root=tree,
            hint="The image needs GRUB for BIOS (Debian: grub-pc-bin).",
        )


def hybrid_boot(tree: Path) -> Path:
    """The boot sector for the medium as a disk."""
    return tree / "usr/lib/grub/i386-pc/boot_hybrid.img"


def efi_image(tree: Path, output: Path, work: Path, epoch: int) -> tuple[str, ...]:
    """Write the EFI system partition with the signed boot loader of the image at ``tree``; where its stubs are.

    Everything on it has the time ``epoch`` (seconds).  GRUB takes a CD for one disk, without that partition: it looks
    for the stub at the same place on the volume itself.  Raises BootError.
    """
    plan = efi.find_efi(tree, "grub")
    if not plan.files:
        raise BootError(
            "the image has no signed boot loader for EFI, which its installer needs",
            hint="Build it with shim and a signed GRUB (Debian: shim-signed, grub-efi-amd64-signed).",
        )
    work.mkdir(parents=True, exist_ok=True)
    wanted = {target: tree / source for target, source in plan.files.items()}
    for config in plan.configs:
        made = work / config.replace("/", "_")
        made.write_text(stub(), encoding="ascii")
        os.utime(made, (epoch, epoch))
        wanted[config] = made
    size = sum(path.stat().st_size for path in wanted.values())
    # FAT12 and FAT16 are what firmware reads from a CD; room for their tables and folders.
    blocks = size // 1024 + 1024
    output.unlink(missing_ok=True)
    run(["mkfs.vfat", "-C", "--invariant", "-n", "OVIRTEFI", output, str(blocks)], hint="Install dosfstools.")
    folders: dict[str, None] = {}
    for target in wanted:
        for parent in reversed(Path(target).parents):
            if str(parent) != ".":
                folders[str(parent)] = None
    environment = {"SOURCE_DATE_EPOCH": str(epoch), "TZ": "UTC"}
    for folder in folders:
        run(["mmd", "-i", output, f"::/{folder}"], env=environment, hint="Install mtools.")
    for target, path in sorted(wanted.items()):
        run(["mcopy", "-m", "-i", output, path, f"::/{target}"], env=environment)
    return plan.configs

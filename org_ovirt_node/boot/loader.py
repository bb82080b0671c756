"""GRUB on BIOS: its modules on /boot, its core in the BIOS boot partition.

grub-install is not used: it probes the root file system, which is an overlay that GRUB does not know.  Its two halves
are called directly (GRUB manual, "Images": grub-mkimage and grub-bios-setup).  The core finds its files on the disk
that it was started from (prefix without a disk), so that a copied disk, or the other disk of a mirror, boots as well.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from org_ovirt_node.errors import BootError
from org_ovirt_node.i18n import _
from org_ovirt_node.run import run
from org_ovirt_node.storage.clear import BOOTS_NOTHING, overwrite

PLATFORM = "i386-pc"
#: What the core needs to reach /boot; everything else is loaded from there.
CORE_MODULES = ("biosdisk", "part_gpt", "ext2", "normal", "test", "loadenv", "echo", "linux")
#: Bytes that GRUB's boot.img begins with: a jump over what a BIOS parameter block would take.
JUMP = 3


@dataclass(frozen=True)
class Grub:
    """GRUB as an image ships it: ``name`` is ``grub`` (Debian) or ``grub2`` (Fedora, CentOS)."""

    name: str

    @property
    def folder(self) -> str:
        """Its folder on /boot."""
        return self.name


def find_grub(root: Path) -> Grub:
    """The GRUB of the image whose root is ``root``.  Raises BootError when it has none."""
    for name in ("grub2", "grub"):
        if (root / "usr/bin" / f"{name}-mkimage").exists():
            return Grub(name)
    raise BootError(_("the image has no GRUB"), hint=_("Build it with grub2-tools (Debian: grub-common)."))


def bios_setup(root: Path, grub: Grub) -> str:
    """The program that writes GRUB's core to a disk, as a path in ``root``.

    Debian keeps it beside the modules unless grub-pc is installed.  Raises BootError when the image cannot boot from
    BIOS.
    """
    name = f"{grub.name}-bios-setup"
    for folder in ("usr/sbin", "usr/bin", f"usr/lib/grub/{PLATFORM}"):
        if (root / folder / name).exists() and (root / "usr/lib/grub" / PLATFORM / "boot.img").is_file():
            return f"/{folder}/{name}"
    raise BootError(
        _("the image has no GRUB for BIOS"), hint=_("Build it with grub2-pc and grub2-tools (Debian: grub-pc-bin).")
    )


def install_bios(root: Path, grub: Grub, disk: str, boot_number: int) -> None:
    """Put GRUB on ``disk``; /boot is mounted below ``root`` and is partition ``boot_number`` of the disk's GPT.

    The BIOS goes on to its next device until :func:`start_bios`.
    """
    modules = root / "usr/lib/grub" / PLATFORM
    target = root / "boot" / grub.folder / PLATFORM
    target.mkdir(parents=True, exist_ok=True)
    wanted = sorted(path for path in modules.iterdir() if path.suffix in (".mod", ".lst") or path.name == "boot.img")
    run(["cp", "--no-preserve=all", *wanted, target], hint=_("Is there room on /boot?"))
    folder = f"/boot/{grub.folder}/{PLATFORM}"
    run(
        [
            f"{grub.name}-mkimage",
            "--format",
            PLATFORM,
            "--prefix",
            f"(,gpt{boot_number})/{grub.folder}",
            "--output",
            f"{folder}/core.img",
            *CORE_MODULES,
        ],
        root=root,
    )
    device_map = target / "device.map"
    device_map.write_text(f"(hd0) {disk}\n", encoding="ascii")
    held = target / "held.img"
    held.write_bytes(BOOTS_NOTHING + (target / "boot.img").read_bytes()[len(BOOTS_NOTHING) :])
    # From the fourth byte on the program keeps what the disk has (util/setup.c: "Copy the possible DOS BPB").
    overwrite(disk, BOOTS_NOTHING)
    run(
        [
            bios_setup(root, grub),
            f"--directory={folder}",
            f"--boot-image={held.name}",
            f"--device-map={folder}/device.map",
            disk,
        ],
        root=root,
        hint=_("Has the disk a BIOS boot partition?"),
    )
    held.unlink()
    device_map.unlink()


def start_bios(root: Path, grub: Grub, disk: str) -> None:
    """Let the BIOS start the GRUB that :func:`install_bios` has put on ``disk``: one sector is written."""
    jump = (root / "boot" / grub.folder / PLATFORM / "boot.img").read_bytes()[:JUMP]
    overwrite(disk, jump.ljust(len(BOOTS_NOTHING), b"\0"))

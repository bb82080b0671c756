"""GRUB on EFI: the files on the EFI system partition (ESP), and the one entry in the firmware's variables.

Specifications: UEFI 2.10, 3.5.1.1 (``\\EFI\\BOOT\\BOOTX64.EFI``, the place that firmware looks at by itself) and 13.3
(the ESP).  A signed GRUB has its prefix built in: Debian's reads ``\\EFI\\debian\\grub.cfg`` whatever folder it was
started from, Fedora's and CentOS' their own vendor folder; a small grub.cfg there leads to the one on /boot.  Where
the image ships shim, shim is what the firmware starts: nothing unsigned is put in front of it.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from org_ovirt_node.boot.files import write_durably
from org_ovirt_node.errors import BootError
from org_ovirt_node.i18n import _
from org_ovirt_node.inside import inside, matching
from org_ovirt_node.run import clean_environment, run

PLATFORM = "x86_64-efi"
FALLBACK = "EFI/BOOT"
LABEL = "oVirt Node"
#: Where the ESP is mounted, without the leading slash.
ESP = "boot/efi"
SHIM, GRUB = "shimx64.efi", "grubx64.efi"
#: Debian's packages keep the signed files beside the places that the firmware knows.
DEBIAN = {
    SHIM: "usr/lib/shim/shimx64.efi.signed",
    "mmx64.efi": "usr/lib/shim/mmx64.efi.signed",
    GRUB: "usr/lib/grub/x86_64-efi-signed/grubx64.efi.signed",
}
#: The firmware's variables (kernel: Documentation/filesystems/efivarfs.rst).
VARIABLES = Path("/sys/firmware/efi/efivars")
#: GRUB's modules in an image of our own making: all that grub.cfg and the way to it use.
MODULES = (
    "part_gpt",
    "fat",
    "ext2",
    "normal",
    "configfile",
    "search",
    "search_fs_uuid",
    "test",
    "loadenv",
    "echo",
    "linux",
    "serial",
    "terminal",
    "all_video",
)


@dataclass(frozen=True)
class EfiFiles:
    """The boot loader of an image: which file goes where on the ESP.

    ``files`` maps a path on the ESP to a path in the image's root; ``start`` is what the firmware starts, ``configs``
    are the places of the small grub.cfg.  Without ``files`` an unsigned GRUB is made, at ``start`` and the fallback.
    """

    vendor: str
    start: str
    files: Mapping[str, str]
    configs: tuple[str, ...]


def signed_files(tree: Path) -> tuple[str, dict[str, str]]:
    """Vendor, and the signed boot loader that the image at ``tree`` ships: name on the ESP → path in the image.

    Fedora's and CentOS' packages put them on the ESP (/boot/efi), or below /usr/lib/efi in a folder for each package
    and version, of which the newest counts.  Empty when there is no shim.  Raises BootError for shim without a GRUB
    that it would start: nothing unsigned is put in its place.
    """
    debian = {name: path for name, path in DEBIAN.items() if inside(tree, path).is_file()}
    found = {"debian": debian} if SHIM in debian else {}
    if not found:
        shipped = sorted(map(Path, matching(tree, "usr/lib/efi/*/*/EFI/*")), key=_by_version)
        for folder in [*shipped, *map(Path, matching(tree, f"{ESP}/EFI/*"))]:
            if folder.name != "BOOT":
                there = [path for path in matching(tree, f"{folder}/*x64.efi") if inside(tree, path).is_file()]
                names = {Path(path).name: path for path in there}
                found[folder.name] = {**found.get(folder.name, {}), **names}
    vendors = [vendor for vendor, files in found.items() if SHIM in files]
    for vendor in vendors:
        if GRUB in found[vendor]:
            return vendor, found[vendor]
    if vendors:
        raise BootError(
            _("the image has shim ({found}) and no signed GRUB for it").format(found=found[vendors[0]][SHIM]),
            hint=_("Build it with grub2-efi-x64 (Debian: grub-efi-amd64-signed), or without shim."),
        )
    return "", {}


def _by_version(path: Path) -> list[tuple[bool, int, str]]:
    parts = re.findall(r"(\d+)|(\D+)", str(path))
    return [(bool(number), int(number or 0), text) for number, text in parts]


def find_efi(tree: Path, name: str) -> EfiFiles:
    """The signed boot loader that the image at ``tree`` ships, or the way to make one with the tools of ``name``.

    ``name`` is ``grub`` or ``grub2``.  Raises BootError when the image has neither.
    """
    vendor, found = signed_files(tree)
    if found:
        return _signed(vendor, found)
    if (tree / "usr/lib/grub" / PLATFORM).is_dir() and (tree / f"usr/bin/{name}-mkimage").exists():
        return EfiFiles("ovirt-node", "EFI/ovirt-node/grubx64.efi", {}, ("EFI/ovirt-node/grub.cfg",))
    raise BootError(
        _("the image has no boot loader for EFI"),
        hint=_("Build it with shim and a signed GRUB, or with GRUB's x86_64-efi modules (Debian: grub-efi-amd64-bin)."),
    )


def _signed(vendor: str, found: Mapping[str, str]) -> EfiFiles:
    files = {f"EFI/{vendor}/{name}": path for name, path in found.items()}
    files.update({f"{FALLBACK}/{name}": path for name, path in found.items() if name != SHIM})
    files[f"{FALLBACK}/BOOTX64.EFI"] = found[SHIM]
    return EfiFiles(vendor, f"EFI/{vendor}/{SHIM}", files, (f"EFI/{vendor}/grub.cfg",))


def render_stub(boot_uuid: str, grub_folder: str) -> str:
    """The grub.cfg on the ESP, which leads to the one on the partition with the file system ``boot_uuid``."""
    return (
        f"search --no-floppy --fs-uuid --set=root {boot_uuid}\n"
        f"set prefix=($root)/{grub_folder}\n"
        "configfile $prefix/grub.cfg\n"
    )


def _started(plan: EfiFiles) -> tuple[str, ...]:
    """The files on the ESP that a firmware starts."""
    return (f"{FALLBACK}/BOOTX64.EFI", plan.start)


def fill_esp(tree: Path, root: Path, plan: EfiFiles, stub: str) -> None:
    """Write the boot loader to the ESP, which is mounted at ESP below ``root``, without what the firmware starts.

    The files come from the image's own tree, in whose root the mounted ESP would hide some of them.
    """
    esp = root / ESP
    for target, source in plan.files.items():
        if target not in _started(plan):
            (esp / target).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(inside(tree, source), esp / target)
    for config in plan.configs:
        (esp / config).parent.mkdir(parents=True, exist_ok=True)
        (esp / config).write_text(stub, encoding="ascii")


def start_esp(tree: Path, root: Path, plan: EfiFiles, name: str) -> None:
    """Add what the firmware starts to an ESP that :func:`fill_esp` has filled, and bring it to the disk."""
    esp = root / ESP
    # All that they load is there before them.
    os.sync()
    for target in _started(plan):
        (esp / target).parent.mkdir(parents=True, exist_ok=True)
    if plan.files:
        for target in _started(plan):
            write_durably(esp / target, inside(tree, plan.files[target]).read_bytes())
        return
    made, prefix = f"/{ESP}/{plan.start}", f"/{Path(plan.configs[0]).parent}"
    run([f"{name}-mkimage", "--format", PLATFORM, "--prefix", prefix, "--output", made, *MODULES], root=root)
    write_durably(esp / FALLBACK / "BOOTX64.EFI", (esp / plan.start).read_bytes())
    os.sync()


def refresh(tree: Path, esp: Path, name: str) -> tuple[str, ...]:
    """Bring the files of the boot loader on the mounted ``esp`` to what the image at ``tree`` ships; returns which.

    Only a signed loader of the same distribution is replaced.  The fallback's folder comes first, and each folder is
    on the disk before the next one is touched: at any moment one of the two is whole.  Raises BootError and OSError.
    """
    plan = find_efi(tree, name)
    if not plan.files or not all((esp / config).is_file() for config in plan.configs):
        return ()
    stale = [target for target, source in plan.files.items() if not _same_file(inside(tree, source), esp / target)]
    for fallback in (True, False):
        chosen = [target for target in stale if target.startswith(f"{FALLBACK}/") is fallback]
        # shim, which loads the others and may refuse old ones, is the last.
        for target in sorted(chosen, key=lambda path: Path(path).name in (SHIM, "BOOTX64.EFI")):
            write_durably(esp / target, inside(tree, plan.files[target]).read_bytes())
    return tuple(stale)


def _same_file(source: Path, target: Path) -> bool:
    return target.is_file() and source.read_bytes() == target.read_bytes()


def stale_entries(listing: str, esp_uuids: Sequence[str]) -> tuple[str, ...]:
    """The numbers of the entries in efibootmgr's ``listing`` that are an earlier installation's.

    They have our label, or lead to one of the partitions ``esp_uuids``: an ESP that this installation makes, or a
    partition that it has removed.
    """
    stale = []
    for line in listing.splitlines():
        found = re.match(r"Boot([0-9A-Fa-f]{4})\*?\s+(.*)", line)
        if not found:
            continue
        number, text = found.groups()
        ours = text.split("\t", 1)[0].strip() == LABEL
        if ours or any(uuid and uuid.lower() in text.lower() for uuid in esp_uuids):
            stale.append(number)
    return tuple(stale)


def check_variables(folder: Path = VARIABLES) -> None:
    """Raise BootError when no boot entry could be made on this machine: asked before a disk is written."""
    why = hint = ""
    if shutil.which("efibootmgr", path=clean_environment()["PATH"]) is None:
        why, hint = _("this installer has no efibootmgr"), _("Use an installer with it.")
    elif not folder.is_dir() or not any(folder.iterdir()):
        why = _("the firmware's variables cannot be read")
        hint = _(
            "Start the installer without noefi or efi=noruntime, and with efivarfs mounted at "
            "/sys/firmware/efi/efivars."
        )
    elif os.statvfs(folder).f_flag & os.ST_RDONLY:
        why = _("{folder} is mounted read-only").format(folder=folder)
        hint = _("Run 'mount -o remount,rw {folder}' and start again.").format(folder=folder)
    if why:
        raise BootError(_("the firmware could be told nothing of the new node: {why}").format(why=why), hint=hint)


def register(disk: str, number: int, start: str, esp_uuids: Sequence[str]) -> None:
    """Make exactly one firmware entry, for the file ``start`` on partition ``number`` of ``disk``, first in the order.

    Raises CommandError when the firmware's variables cannot be written.
    """
    listing = run(["efibootmgr", "--verbose"]).stdout
    for entry in stale_entries(listing, esp_uuids):
        run(["efibootmgr", "--bootnum", entry, "--delete-bootnum"])
    loader = "\\" + start.replace("/", "\\")
    run(
        ["efibootmgr", "--create", "--disk", disk, "--part", str(number), "--label", LABEL, "--loader", loader],
        hint=_("Are the firmware's variables writable, and is there room in them?"),
    )

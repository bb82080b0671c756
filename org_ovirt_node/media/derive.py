"""``make iso``: an oVirt Node ISO from a distribution's boot.iso, with its volume label and ways of booting kept.

What is added: the image with its companions, images/product.img with the add-on, and a kickstart that chooses the image
(or one's own); the menus for BIOS and EFI are changed to use it.  The layout of such an ISO is lorax' (its
x86.tmpl): isolinux or GRUB for BIOS, EFI/BOOT/grub.cfg on the volume and again in the EFI system partition, which is
the file images/efiboot.img and, on newer ones, a partition appended behind the volume as well.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from org_ovirt_node.errors import ImageError
from org_ovirt_node.image import delivery, publish, squash
from org_ovirt_node.install.options import SKELETON
from org_ovirt_node.kickstart import carried
from org_ovirt_node.kickstart.section import ADDON
from org_ovirt_node.media import finish
from org_ovirt_node.media.finish import Made
from org_ovirt_node.media.iso import FOLDER, companions
from org_ovirt_node.progress import Progress
from org_ovirt_node.run import run

#: Menus on the volume; an ISO has some of them.
MENUS = (
    "EFI/BOOT/grub.cfg",
    "EFI/BOOT/BOOT.conf",
    "boot/grub2/grub.cfg",
    "boot/grub/grub.cfg",
    "isolinux/isolinux.cfg",
    "isolinux/grub.conf",
)
#: The same in the EFI system partition.
ESP_MENUS = ("EFI/BOOT/grub.cfg", "EFI/BOOT/BOOT.conf")
ESP = "images/efiboot.img"
PRODUCT = "images/product.img"
KICKSTART = "ovirt-node.ks"
#: The type of an EFI system partition (UEFI 2.10, table 5.7).
ESP_TYPE = "C12A7328-F81F-11D2-BA4B-00A0C93EC93B"
_STAGE2 = re.compile(r"\binst\.stage2=hd:LABEL=(\S+)")
_KERNEL = re.compile(r"^\s*(linux|linuxefi|linux16|append|kernel)\s.*\binst\.stage2=\S+", re.MULTILINE)
_TITLE = re.compile(r"(menuentry\s+['\"]|menu label\s+)(\^?)Install (?!oVirt Node)([^'\"\n]*)")


@dataclass(frozen=True)
class Request:
    """What to make.  Without ``kickstart`` (a text) the installer asks for everything but the image.

    Of ``kickstart`` all is kept but which image is installed, and by which digest it is checked.
    """

    boot_iso: Path
    image: Path
    output: Path
    source: Path
    kickstart: str = ""
    replace: bool = False


@dataclass(frozen=True)
class BootIso:
    """What matters of the distribution's ISO: its label, which files it has, whether the ESP is a partition too."""

    label: str
    files: frozenset[str]
    appended: bool


def patched(menu: str, name: str) -> str:
    """A menu (GRUB's or isolinux') whose installer reads our kickstart; what starts something else stays.

    Raises ImageError for a menu that has a kickstart already.
    """
    if "inst.ks=" in menu:
        raise ImageError(f"{name} of the boot.iso names a kickstart already", hint="Take the distribution's own ISO.")
    found = _STAGE2.search(menu)
    if not found:
        return menu
    argument = f" inst.ks=hd:LABEL={found.group(1)}:/{KICKSTART}"
    changed = _KERNEL.sub(lambda line: line.group(0) + argument, menu)
    return _TITLE.sub(lambda title: f"{title.group(1)}{title.group(2)}Install oVirt Node ({title.group(3)})", changed)


#: A kickstart that chooses the image on the medium and leaves everything else to be asked.
DEFAULT = f"""\
# The image is chosen; disks, network and users are asked for.
liveimg --url=file:///{SKELETON}
firstboot --disable
%addon {ADDON}
%end
"""


def kickstart_for(request: Request, label: str, sha256: str) -> str:
    """The medium's kickstart.  Raises ImageError for one that Anaconda would install something else by."""
    text = request.kickstart or DEFAULT
    if not {"liveimg", "%include"} & {words[0] for _, words in carried.commands(text)}:
        raise ImageError(
            "the kickstart has no liveimg line, so it is not for Anaconda",
            hint="Begin with one that has, such as kickstarts/anaconda-pxe.ks.",
        )
    image = f"hd:LABEL={label}:/{FOLDER}/{request.image.name}"
    return carried.with_image(text, image, sha256, "the kickstart")


def look(boot_iso: Path) -> BootIso:
    """Read the distribution's ISO.  Raises ImageError when it is none that Anaconda starts from."""
    if not boot_iso.is_file():
        raise ImageError(f"there is no ISO image {boot_iso}", hint="Fetch the distribution's boot.iso.")
    shown = run(["xorriso", "-indev", boot_iso, "-report_system_area", "plain", "-find", "/", "-type", "f"])
    # xorriso(1), -indev: what was loaded is told on standard error.
    found = re.search(r"^Volume id\s*: '(.*)'$", shown.stderr, re.MULTILINE)
    system = shown.stdout
    # What -find prints is quoted, and nothing else begins so.
    files = frozenset(line.strip().strip("'").lstrip("/") for line in system.splitlines() if line.startswith("'/"))
    if not found or not any(name in files for name in MENUS):
        raise ImageError(f"{boot_iso} is no boot.iso with Anaconda: it has no menu that is known")
    return BootIso(found.group(1), files, "appended" in system.lower() or _appended(system, files))


def _appended(system: str, files: frozenset[str]) -> bool:
    """True when the partition table has an EFI partition that is no file of the volume."""
    partition = re.search(r"^GPT type GUID\s*:\s*(\d+)\s+28732ac11ff8d211ba4b00a0c93ec93b", system, re.MULTILINE)
    inside = re.search(r"^GPT partition path\s*:\s*\d+\s+/" + re.escape(ESP), system, re.MULTILINE)
    return bool(partition) and not inside and ESP in files


def make(request: Request, progress: Progress) -> Made:
    """Make the ISO; it gets its name when it is complete.  Raises ImageError and CommandError."""
    finish.check(request.image, request.output, replace=request.replace)
    if not (request.source / "data/anaconda").is_dir():
        raise ImageError("the add-on's files are not there", hint="Run it from a checkout: make iso.")
    found = look(request.boot_iso)
    kickstart_for(request, found.label, "")
    publish.make_folder(request.output.parent)
    with (
        publish.unfinished(request.output) as partial,
        tempfile.TemporaryDirectory(prefix=".iso-", dir=request.output.parent) as folder,
    ):
        work = Path(folder)
        progress.step("menus", "Changing the boot menus")
        added = menus(request, found, work)
        added.update(payload(request, found, work, progress))
        progress.step("medium", "Putting the medium together")
        run(arguments(request, found, partial, added, work))
        return finish.finish(partial, request.output)


def menus(request: Request, found: BootIso, work: Path) -> dict[str, Path]:
    """The changed menus: path on the volume → file.  Raises ImageError when no menu starts Anaconda."""
    changed: dict[str, Path] = {}
    for name in sorted(found.files & {*MENUS, ESP}):
        target = work / name.replace("/", "_")
        _extract(request.boot_iso, name, target)
        if name == ESP:
            _patch_esp(target, work)
            changed[name] = target
        elif _patch(target, name):
            changed[name] = target
    if not set(changed) - {ESP}:
        raise ImageError(
            f"no menu of {request.boot_iso} starts Anaconda (inst.stage2=hd:LABEL=…)",
            hint="Take the distribution's boot.iso, not a live one.",
        )
    return changed


def _extract(boot_iso: Path, name: str, target: Path) -> None:
    run(["xorriso", "-osirrox", "on", "-indev", boot_iso, "-extract", f"/{name}", target])
    target.chmod(0o644)


def _patch(file: Path, name: str) -> bool:
    text = file.read_text(encoding="utf-8", errors="surrogateescape")
    new = patched(text, name)
    file.write_text(new, encoding="utf-8", errors="surrogateescape")
    return new != text


def _patch_esp(esp: Path, work: Path) -> None:
    """Change the menus inside the EFI system partition, a FAT file system."""
    for name in ESP_MENUS:
        inside = work / f"esp_{Path(name).name}"
        if run(["mcopy", "-n", "-i", esp, f"::/{name}", inside], check=False).ok and _patch(inside, f"{ESP}: {name}"):
            run(["mcopy", "-o", "-i", esp, inside, f"::/{name}"], hint="Has the EFI system partition any room left?")


def payload(request: Request, found: BootIso, work: Path, progress: Progress) -> dict[str, Path]:
    """What is added: path on the volume → file.  Raises ImageError."""
    product, kickstart = work / "product.img", work / KICKSTART
    ours = list(delivery.items(request.source, interactive=True))
    if PRODUCT in found.files:
        _extract(request.boot_iso, PRODUCT, product)
        product.write_bytes(delivery.archive(ours, over=product))
        progress.detail(f"{PRODUCT} of the boot.iso is kept, with the add-on over it")
    else:
        product.write_bytes(delivery.archive(ours))
    text = kickstart_for(request, found.label, squash.sha256(request.image))
    carried.warn(text, KICKSTART, finish.READERS, progress)
    kickstart.write_text(text, encoding="utf-8")
    added = {PRODUCT: product, KICKSTART: kickstart, f"{FOLDER}/{request.image.name}": request.image}
    added.update({f"{FOLDER}/{path.name}": path for path in companions(request.image)})
    return added


def arguments(request: Request, found: BootIso, output: Path, added: Mapping[str, Path], work: Path) -> Sequence[str]:
    """xorriso's arguments (xorriso(1)): the old volume, what changes, and its boot equipment as it was."""
    argv = ["xorriso", "-indev", str(request.boot_iso), "-outdev", str(output), "-volid", found.label]
    argv += ["-boot_image", "any", "replay", "-joliet", "on", "-compliance", "joliet_long_names", "-padding", "0"]
    for target, file in sorted(added.items()):
        argv += ["-map", str(file), f"/{target}", "-chmod", "0444", f"/{target}", "--"]
    if found.appended and ESP in added:
        # The partition behind the volume is what firmware starts; the file is a copy of it.
        argv += ["-append_partition", "2", ESP_TYPE, str(added[ESP])]
    return [*argv, "-commit"]

"""The project's own part of an image: nodectl, the dracut module, units, and what LVM is told."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import shutil
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Optional

from org_ovirt_node.errors import ImageError
from org_ovirt_node.image import packagedb
from org_ovirt_node.image.chroot import run_in
from org_ovirt_node.image.profile import Profile

PACKAGE = Path(__file__).resolve().parent.parent
#: In a checkout, and where the package is installed.
DATA_FOLDERS = (PACKAGE.parent / "data", Path("/usr/share/ovirt-node"))
DRACUT_MODULE = "90ovirt-node"
NODE_LIB = Path("usr/lib/ovirt-node")
UNITS = Path("usr/lib/systemd/system")
PROGRAMS = {"nodectl": "org_ovirt_node.cli.nodectl"}
PROGRAM = """#!/usr/bin/python3 -I
import sys

from {module} import main

sys.exit(main())
"""
#: blk-availability unmounts everything on LVM when it stops, the layer below / with it, which then is never clean.
#: dracut-shutdown looks for an initramfs that a node keeps elsewhere, and fails.  Others pull both in: so masked.
UNFIT_UNITS = ("blk-availability.service", "dracut-shutdown.service")
DEFAULT_TARGET = "multi-user.target"
#: Not needed on a node.
LEFT_OUT = ("__pycache__", "gui", "tui", "service", "categories", "media", "setup")
KICKSTART_PACKAGE = "pykickstart"
LVM_CONF = "etc/lvm/lvm.conf"
LVM_CONF_PACKAGED = "/etc/lvm/lvm.conf.packaged"


@dataclass(frozen=True)
class ImageRecord:
    """/usr/lib/ovirt-node/image.json (docs/interfaces.md)."""

    nvr: str
    name: str
    version: str
    release: str
    kernel: str
    boot_args: str
    build_date: str
    format: int = 1


def data_folder() -> Path:
    """Where the project's data files are.  Raises :class:`ImageError`."""
    for folder in DATA_FOLDERS:
        if (folder / "dracut" / DRACUT_MODULE).is_dir():
            return folder
    raise ImageError(f"the project's data files are in none of {', '.join(map(str, DATA_FOLDERS))}")


def find_kickstart(name: str) -> Path:
    """The project's own kickstart ``name``: of the source tree, or as installed.  Raises :class:`ImageError`."""
    for folder in (PACKAGE.parent / "kickstarts", *(each / "kickstarts" for each in DATA_FOLDERS)):
        if (folder / name).is_file():
            return folder / name
    raise ImageError(f"the kickstart {name} is not installed", hint="Give one with --kickstart.")


def find_profile(name: str) -> Path:
    """The profile file ``name``, or the one of that name among the project's own.  Raises :class:`ImageError`."""
    own = data_folder() / "profiles"
    for path in (Path(name), own / f"{name}.conf"):
        if path.is_file():
            return path
    known = ", ".join(sorted(path.stem for path in own.glob("*.conf")))
    raise ImageError(f"there is no profile {name}", hint=f"Give a file, or one of: {known}.")


def sources() -> Iterator[Path]:
    """Every file that :func:`install` puts into an image; what a cache key has to cover."""
    data = data_folder()
    for folder in (PACKAGE, data / "dracut", data / "systemd", data / "selinux"):
        for path in sorted(folder.rglob("*")):
            if path.is_file() and not set(path.relative_to(folder).parts) & set(LEFT_OUT):
                yield path


def python_folder(root: Path) -> Path:
    """Where the tree's Python looks for packages of the distribution.  Raises :class:`ImageError`."""
    debian = root / "usr/lib/python3/dist-packages"
    if debian.is_dir():
        return debian
    found = sorted(root.glob("usr/lib/python3.*/site-packages"))
    if not found:
        raise ImageError("the tree has no Python 3, which nodectl needs", hint="Add python3 to the packages.")
    return found[-1]


def copy_tree(source: Path, target: Path) -> None:
    """Copy a folder of the project: plain modes, whatever the checkout's owner and umask are."""
    for path in sorted(source.rglob("*")):
        relative = path.relative_to(source)
        if set(relative.parts) & set(LEFT_OUT):
            continue
        place = target / relative
        if path.is_dir():
            place.mkdir(parents=True, exist_ok=True)
            continue
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, place)
        place.chmod(0o755 if path.stat().st_mode & 0o100 else 0o644)


def install_package(root: Path) -> None:
    """Put the Python package and its programs into the tree, compiled."""
    target = python_folder(root) / PACKAGE.name
    if target.exists():
        shutil.rmtree(target)
    copy_tree(PACKAGE, target)
    for name, module in PROGRAMS.items():
        program = root / "usr/sbin" / name
        program.write_text(PROGRAM.format(module=module), encoding="utf-8")
        program.chmod(0o755)
    # Unchecked: the image is read-only, and time stamps in compiled files would differ from build to build.
    inside = f"/{target.relative_to(root)}"
    run_in(root, ["python3", "-m", "compileall", "-q", "--invalidation-mode", "unchecked-hash", inside])


def kickstart_package() -> Optional[Path]:
    """The folder of this host's pykickstart; None where it has none."""
    found = importlib.util.find_spec(KICKSTART_PACKAGE)
    return Path(found.origin).parent if found is not None and found.origin else None


def install_kickstart(root: Path) -> None:
    """Let the node read kickstarts, as a first boot does: where the tree has no pykickstart, it gets this host's.

    Debian has no package of it.  Without one here either, only the first boot of a copied disk misses something.
    """
    source, target = kickstart_package(), python_folder(root) / KICKSTART_PACKAGE
    if source is None or target.exists():
        return
    copy_tree(source, target)
    inside = f"/{target.relative_to(root)}"
    run_in(root, ["python3", "-m", "compileall", "-q", "--invalidation-mode", "unchecked-hash", inside])


def install_units(root: Path, profile: Profile) -> None:
    """Put our units into the tree and enable them, and set the profile's units as it says."""
    units = data_folder() / "systemd"
    if units.is_dir():
        copy_tree(units, root / UNITS)
    ours = [
        path.name for path in sorted(units.glob("*.*")) if path.is_file() and "[Install]" in path.read_text("utf-8")
    ]
    masked = [*UNFIT_UNITS, *profile.mask]
    run_in(root, ["systemctl", "--quiet", "set-default", DEFAULT_TARGET], env={"SYSTEMD_OFFLINE": "1"})
    for verb, names in (("enable", [*ours, *profile.enable]), ("disable", profile.disable), ("mask", masked)):
        known = [name for name in names if verb == "mask" or unit_exists(root, name)]
        if verb == "enable" and len(known) != len(names):
            raise ImageError(f"units to enable are not in the tree: {', '.join(sorted(set(names) - set(known)))}")
        if known:
            run_in(root, ["systemctl", "--quiet", "--no-warn", verb, *known], env={"SYSTEMD_OFFLINE": "1"})


def unit_exists(root: Path, name: str) -> bool:
    """True when the tree has the unit ``name``."""
    folders = ("etc/systemd/system", "usr/lib/systemd/system", "lib/systemd/system")
    return any(os.path.lexists(root / folder / name) for folder in folders)


def install_dracut_module(root: Path) -> None:
    """Put our dracut module into the tree."""
    target = root / "usr/lib/dracut/modules.d" / DRACUT_MODULE
    if target.exists():
        shutil.rmtree(target)
    copy_tree(data_folder() / "dracut" / DRACUT_MODULE, target)


#: Section, name and value (lvm.conf(5)): only the disks of the devices file (lvmdevices(8)), as Fedora and CentOS have
#: it; and a thin pool that an I/O error has left with lost blocks is mended when it is activated, by LVM's documented
#: default.  Debian's LVM has only -q built in, with which such a pool is refused and the node does not boot.
THIN_CHECK = ("global", "thin_check_options", '[ "-q", "--clear-needs-check-flag" ]')
LVM_SETTINGS = (("devices", "use_devicesfile", "1"), THIN_CHECK)


def with_lvm_settings(text: str) -> str:
    """lvm.conf(5) ``text`` with each of LVM_SETTINGS as the only setting of its name."""
    for section, name, value in LVM_SETTINGS:
        line = f"\t{name} = {value}"
        found = re.compile(rf"^[ \t]*#?[ \t]*{name}[ \t]*=.*$", re.MULTILINE)
        if found.search(text):
            text = found.sub(line, text, count=1)
        else:
            text = f"{text.rstrip()}\n\n{section} {{\n{line}\n}}\n"
    return text


def configure_lvm(root: Path) -> None:
    """Give LVM the settings of a node.

    A changed lvm.conf would fail ``dpkg --verify``, so the packaged one is diverted and ours stands in its place.
    """
    conf = root / LVM_CONF
    if not conf.is_file():
        return
    text = conf.read_text(encoding="utf-8")
    wanted = with_lvm_settings(text)
    if wanted == text:
        return
    if packagedb.is_dpkg(root):
        packagedb.divert(root, f"/{LVM_CONF}", LVM_CONF_PACKAGED)
    conf.write_text(wanted, encoding="utf-8")
    conf.chmod(0o644)


def write_record(root: Path, record: ImageRecord) -> None:
    """Write /usr/lib/ovirt-node/image.json."""
    folder = root / NODE_LIB
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "image.json").write_text(json.dumps(asdict(record), indent=2, sort_keys=True) + "\n", encoding="utf-8")

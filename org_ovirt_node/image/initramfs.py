"""The generic initramfs and the kernel of an image, at /usr/lib/modules/<kernel>/{initramfs.img,vmlinuz}."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Optional

from org_ovirt_node.boot import cpio
from org_ovirt_node.errors import ImageError
from org_ovirt_node.image import packagedb
from org_ovirt_node.image.cache import Cache, key_of, key_of_files
from org_ovirt_node.image.chroot import has_program, run_in
from org_ovirt_node.image.profile import Profile
from org_ovirt_node.image.runtime import DRACUT_MODULE, LVM_CONF, data_folder
from org_ovirt_node.progress import Progress
from org_ovirt_node.rounding import round_up

MODULES = Path("usr/lib/modules")
KIND = "initramfs"
NEEDED_MODULE = DRACUT_MODULE.lstrip("0123456789")
#: Level 19 takes over twenty times as long, for a file that is a fourteenth smaller.
COMPRESS = "zstd -9 -T0 -q"
ALIGNMENT = 512
#: Files of the kernel package in /boot that have their place beside the modules.
FROM_BOOT = {"vmlinuz": "vmlinuz-{0}", "System.map": "System.map-{0}", "config": "config-{0}"}


def kernel_version(root: Path) -> str:
    """The one kernel of the tree.  Raises :class:`ImageError` when there is none, or more than one."""
    found = sorted(path.parent.name for path in (root / MODULES).glob("*/modules.dep"))
    if len(found) != 1:
        raise ImageError(
            f"an image has one kernel, and this tree has {', '.join(found) or 'none'}",
            hint="Add a kernel package to the profile." if not found else "Remove the others.",
        )
    return found[0]


def settle_kernel(root: Path, kernel: str) -> None:
    """Move the kernel from /boot to its modules, where the package database then has it.

    /boot is a file system of its own on a node, and is not part of the image.  Raises :class:`ImageError`.
    """
    folder = f"/{MODULES}/{kernel}"
    for name, pattern in FROM_BOOT.items():
        source = f"/boot/{pattern.format(kernel)}"
        if (root / source.lstrip("/")).is_file() and not (root / folder.lstrip("/") / name).exists():
            packagedb.divert(root, source, f"{folder}/{name}")
    if not (root / folder.lstrip("/") / "vmlinuz").is_file():
        raise ImageError(f"the tree has no kernel {kernel}: neither {folder}/vmlinuz nor /boot/vmlinuz-{kernel}")


def known_modules(root: Path, kernel: str) -> set[str]:
    """The names of all modules that the kernel has, loadable or built in, with _ for - as the kernel sees them."""
    names = set()
    for index in ("modules.dep", "modules.builtin"):
        path = root / MODULES / kernel / index
        for line in path.read_text(encoding="utf-8").splitlines() if path.is_file() else ():
            names.add(line.partition(":")[0].rpartition("/")[2].partition(".ko")[0].replace("-", "_"))
    return names


def dracut_command(profile: Profile, kernel: str, target: str, known: set[str]) -> list[str]:
    """The dracut(8) command for a generic initramfs.

    One profile serves kernels with other drivers built in or left out: what is not in ``known`` is not asked for.
    """
    argv = ["dracut", "--force", "--no-hostonly", "--no-hostonly-cmdline", "--reproducible", "--kver", kernel]
    # LVM must see the tree's lvm.conf, which switches the devices file on; a generic initramfs has none otherwise.
    # hardlink(1) joins files of the same second only, so the same tree gave one initramfs or another.
    argv += ["--lvmconf", "--no-early-microcode", "--nohardlink", "--compress", COMPRESS]
    if profile.initramfs_modules:
        argv += ["--modules", " ".join(profile.initramfs_modules)]
    else:
        argv += ["--add", NEEDED_MODULE]
    drivers = [name for name in profile.initramfs_drivers if name.replace("-", "_") in known]
    if drivers:
        argv += ["--add-drivers", " ".join(drivers)]
    return [*argv, target]


def add_initramfs(
    root: Path,
    profile: Profile,
    kernel: str,
    epoch: int,
    progress: Progress,
    *,
    cache: Optional[Cache] = None,
    tree_key: str = "",
) -> None:
    """Build the initramfs in the tree; ``tree_key`` says which tree it is, and without it nothing is cached.

    Raises :class:`ImageError` and CommandError.
    """
    if not has_program(root, "dracut"):
        raise ImageError("the tree has no dracut, which builds the initramfs", hint="Add dracut to the packages.")
    if profile.initramfs_modules and NEEDED_MODULE not in profile.initramfs_modules:
        raise ImageError(f"the initramfs modules of the profile {profile.name} lack {NEEDED_MODULE}")
    inside = f"/{MODULES}/{kernel}/initramfs.img"
    argv = dracut_command(profile, kernel, inside, known_modules(root, kernel))
    place = root / inside.lstrip("/")

    def make(target: Path) -> None:
        progress.step("initramfs", f"Building the generic initramfs for {kernel}")
        run_in(root, argv, env={"SOURCE_DATE_EPOCH": str(epoch)})
        place.chmod(0o644)
        # Another initrd may follow in the same file or the same memory, at a multiple of four bytes (kernel,
        # early-userspace/buffer-format.rst); zeros between them are skipped.
        os.truncate(place, round_up(place.stat().st_size, ALIGNMENT))
        if target != place:
            shutil.copyfile(place, target)

    if cache is None or not tree_key:
        make(place)
        cpio.write_listing(place)
        return
    hooks = sorted((data_folder() / "dracut" / DRACUT_MODULE).glob("*.sh"))
    lvm = root / LVM_CONF
    key = key_of(tree_key, argv, str(epoch), key_of_files(hooks), lvm.read_bytes() if lvm.is_file() else b"")
    made = cache.get(KIND, key, make)
    if not place.exists():
        progress.step("initramfs", f"Taking the generic initramfs for {kernel} from the cache")
        shutil.copyfile(made, place)
        place.chmod(0o644)
    # What an installation and an update ask for, without unpacking it.
    cpio.write_listing(place)

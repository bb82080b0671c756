"""What of a layer lies on /boot: kernel, initramfs, host.img, entry, and the two files that GRUB reads."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Optional

from org_ovirt_node.boot import bls, grubcfg, grubenv
from org_ovirt_node.errors import BootError
from org_ovirt_node.i18n import _
from org_ovirt_node.inside import inside, matching
from org_ovirt_node.run import run

MODULES = "usr/lib/modules"
#: The extended attribute with a file's SELinux label.
LABEL = "security.selinux"
#: Bytes that a disk writes whole or not at all.
SECTOR = 512
#: GRUB's environment block, beside grub.cfg; and where /boot is an array, which GRUB cannot write to, the mount points
#: of partitions with one each (layout/mirror.py).
BLOCK, ENVIRONMENT = "grubenv", re.compile(r"env[0-9]+")
#: dracut's fips module looks for it beside the kernel that was booted (fips.sh, do_fips).
FIPS_CHECKSUM = f".{bls.KERNEL}.hmac"


@dataclass(frozen=True)
class KernelFiles:
    """Where an image keeps its kernel and its generic initramfs."""

    version: str
    kernel: Path
    initramfs: Path
    #: What a boot in FIPS mode compares the kernel with; not every image has it.
    checksum: Optional[Path] = None


def find_kernel(tree: Path, version: str = "") -> KernelFiles:
    """The kernel of the image mounted at ``tree``: that of ``version``, or the only one there is.

    Links lead nowhere but into the tree.  Raises BootError when there is none, or several and no version to choose by.
    """
    versions = (
        [version] if version else [Path(name).parent.name for name in matching(tree, f"{MODULES}/*/{bls.KERNEL}")]
    )
    if len(versions) != 1:
        wrong = _("the image holds no kernel below /{modules}")
        if versions:
            wrong = _("the image holds several kernels below /{modules}")
        raise BootError(
            wrong.format(modules=MODULES),
            hint=_("Build it with 'ovirt-node-image build': it keeps one."),
        )
    folder = f"{MODULES}/{versions[0]}"
    kernel, initramfs, checksum = (
        inside(tree, f"{folder}/{name}") for name in (bls.KERNEL, bls.INITRAMFS, FIPS_CHECKSUM)
    )
    for name, path in ((bls.KERNEL, kernel), (bls.INITRAMFS, initramfs)):
        if not path.is_file():
            raise BootError(
                _("the image lacks /{path}").format(path=f"{folder}/{name}"),
                hint=_("Build it with 'ovirt-node-image build', which makes a generic initramfs."),
            )
    return KernelFiles(versions[0], kernel, initramfs, checksum)


def make_folder(folder: Path) -> None:
    """Make ``folder`` and what is missing above it, each with the SELinux label of what it is made in."""
    if not folder.is_dir():
        make_folder(folder.parent)
        folder.mkdir(exist_ok=True)
        _inherit_label(folder)


def _inherit_label(path: Path) -> None:
    """Give ``path`` its folder's SELinux label where it has none, as from a kernel without SELinux (an installer's)."""
    with contextlib.suppress(OSError):
        if LABEL not in os.listxattr(path):
            os.setxattr(path, LABEL, os.getxattr(path.parent, LABEL))


def write_durably(path: Path, content: bytes, mode: int = 0o644) -> None:
    """Replace ``path`` by ``content`` so that after a power cut it is whole: the old one or the new one.

    Until it has its name the new one is for its owner alone.  One that was cut short has left nothing but its own file.
    """
    make_folder(path.parent)
    temporary = path.with_name(f".{path.name}.new")
    temporary.unlink(missing_ok=True)
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        _inherit_label(temporary)
        file.write(content)
        os.fchmod(file.fileno(), mode)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Bring a directory's names to the disk."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def make_visible(boot: Path) -> None:
    """Bring the file system of /boot to a state in which GRUB, which replays no journal, sees every change.

    One child does both halves, and no signal cuts it short: whoever ends this program must not leave /boot frozen.
    """
    for place in (boot, *environment_mounts(boot)):
        run(["sh", "-c", 'fsfreeze --freeze "$1" && fsfreeze --unfreeze "$1"', "sh", place], whole=True)


def place_layer(boot: Path, layer: str, kernel: KernelFiles, host_initrd: bytes) -> None:
    """Copy kernel and initramfs and write host.img to /boot/<layer>/.

    host.img may hold what only root may read (initiator secrets), so only root may read it.
    """
    folder = boot / layer
    folder.mkdir(parents=True, exist_ok=True)
    for source, name in ((kernel.kernel, bls.KERNEL), (kernel.initramfs, bls.INITRAMFS)):
        target = folder / name
        with source.open("rb") as reader, target.open("wb") as writer:
            shutil.copyfileobj(reader, writer, 1 << 20)
            writer.flush()
            os.fsync(writer.fileno())
        target.chmod(0o644)
    write_durably(folder / bls.HOST_INITRD, host_initrd, 0o600)
    if kernel.checksum is not None and kernel.checksum.is_file():
        # Its line names the kernel as the package does; what is compared is the file beside it.
        digest = kernel.checksum.read_text(encoding="ascii", errors="replace").split()[:1]
        write_durably(folder / FIPS_CHECKSUM, "".join(f"{one}  {bls.KERNEL}\n" for one in digest).encode())
    sync_folder(boot)


def add_host(boot: Path, entry: bls.Entry, content: bytes) -> bls.Entry:
    """Write a new host.img for ``entry`` and let GRUB see it; returns the entry that names it, which is not written.

    GRUB replays no journal, and a file that is replaced by a rename may be gone for it: what its menus name stays
    until they name the new one (:func:`drop_hosts`).
    """
    named = _menus(boot)
    free = next(name for name in bls.HOST_NAMES if f"/{entry.name}/{name}" not in named)
    write_durably(boot / entry.name / free, content, 0o600)
    make_visible(boot)
    kept = tuple(path for path in entry.initrds if not bls.is_host(entry.name, path))
    return replace(entry, initrds=(*kept, f"/{entry.name}/{free}"))


def drop_hosts(boot: Path, entry: bls.Entry) -> None:
    """Remove each host.img of ``entry``'s layer that neither it nor a menu names."""
    named = {*entry.initrds, *_menus(boot)}
    unused = [boot / entry.name / name for name in bls.HOST_NAMES if f"/{entry.name}/{name}" not in named]
    gone = [path for path in unused if path.is_file()]
    for path in gone:
        path.unlink()
    if gone:
        sync_folder(boot / entry.name)
        # What is written next may get an inode that is free now: GRUB must not see it with a host.img's content.
        make_visible(boot)


def _menus(boot: Path) -> set[str]:
    """The words of both copies of GRUB's menu, the files that they name among them."""
    folder = boot / grub_folder(boot)
    copies = [folder / name for name in (grubcfg.ENTRIES_FILE, grubcfg.SPARE_FILE)]
    return {word for path in copies if path.is_file() for word in path.read_text(errors="replace").split()}


def render_menu(boot: Path, first: str = "") -> str:
    """GRUB's menu from the entries: the layer ``first``, then the newest first.

    GRUB boots the first one when the environment block is lost or names an entry that does not exist, so it has to
    be the last one that is known to be good.
    """
    entries = sorted(bls.read_all(boot), key=lambda entry: (entry.name == first, entry.name), reverse=True)
    return grubcfg.render_entries(entries)


def publish_menu(boot: Path, grub_folder: str, first: str = "") -> None:
    """Write both copies of the menu, each visible to GRUB before the other is touched."""
    content = render_menu(boot, first).encode()
    for name in (grubcfg.ENTRIES_FILE, grubcfg.SPARE_FILE):
        write_durably(boot / grub_folder / name, content)
        make_visible(boot)


def menu_is_stale(boot: Path, grub_folder: str, first: str) -> bool:
    """True when a copy of the menu is not what :func:`publish_menu` would write: a change was cut short."""
    content = render_menu(boot, first).encode()
    copies = [boot / grub_folder / name for name in (grubcfg.ENTRIES_FILE, grubcfg.SPARE_FILE)]
    return any(not path.is_file() or path.read_bytes() != content for path in copies)


def publish_first(boot: Path, grub_folder: str, layer: str, config: str) -> None:
    """Make a new node bootable: menu and environment block, and ``config`` as grub.cfg once GRUB sees both.

    Without grub.cfg GRUB boots nothing, so until then nothing half done can be booted.
    """
    publish_menu(boot, grub_folder, layer)
    write_environment(boot, grub_folder, {grubcfg.SAVED: layer})
    make_visible(boot)
    write_durably(boot / grub_folder / "grub.cfg", config.encode())
    make_visible(boot)


def environment_mounts(boot: Path) -> tuple[Path, ...]:
    """The partitions with an environment block each, where /boot is an array: those whose disks are there."""
    return tuple(place for place in _environments(boot) if place.is_mount())


def _environments(boot: Path) -> list[Path]:
    # A layer's folder is there too, whose name has a dash in it.
    return sorted(place for place in boot.glob("env*") if ENVIRONMENT.fullmatch(place.name))


def environment_blocks(boot: Path, grub_folder: str) -> tuple[Path, ...]:
    """Where GRUB's environment block is: a file, or one on each disk of a mirror."""
    if not _environments(boot):
        return (boot / grub_folder / BLOCK,)
    mounts = environment_mounts(boot)
    if not mounts:
        raise BootError(
            _("no partition with GRUB's environment block is mounted below {boot}").format(boot=boot),
            hint=_("See fstab(5) for {boot}/env1, and mount it.").format(boot=boot),
        )
    return tuple(place / BLOCK for place in mounts)


def read_block(boot: Path, grub_folder: str) -> bytes:
    """GRUB's environment block; empty when it is lost.

    Of several blocks GRUB changes that of the disk that it was started from: it has fewer tries left, or says that a
    trial failed.
    """
    found = [path.read_bytes() for path in environment_blocks(boot, grub_folder) if path.is_file()]
    return min(found, key=_age, default=b"")


def _age(block: bytes) -> tuple[bool, bool, int]:
    values = grubenv.parse(block)
    tries = values.get(grubcfg.TRIES, "")
    # A block that is lost says nothing.
    return not values, not values.get(grubcfg.FELL_BACK), int(tries) if tries.isascii() and tries.isdigit() else 0


def differing_blocks(boot: Path, grub_folder: str) -> bool:
    """True when the disks of a mirror have different environment blocks, or one of them has none."""
    blocks = {path.read_bytes() if path.is_file() else b"" for path in environment_blocks(boot, grub_folder)}
    return len(blocks) > 1


def write_environment(boot: Path, grub_folder: str, values: Mapping[str, str]) -> None:
    """Replace GRUB's environment block, that of every disk of a mirror.  Raises BootError."""
    for path in environment_blocks(boot, grub_folder):
        _write_block(path, values)


def _write_block(path: Path, values: Mapping[str, str]) -> None:
    """Replace one environment block.

    Where the change lies within one sector it is written in place, as GRUB does it: a sector is written whole or not
    at all, and no file system metadata changes that GRUB, which replays no journal, might see half of.
    """
    block = grubenv.render(values)
    old = path.read_bytes() if path.is_file() and not path.is_symlink() else b""
    changed = [number for number in range(0, grubenv.SIZE, SECTOR) if old[number:][:SECTOR] != block[number:][:SECTOR]]
    if len(old) != grubenv.SIZE or len(changed) > 1:
        write_durably(path, block)
        return
    with path.open("r+b") as file:
        file.write(block)
        file.flush()
        os.fsync(file.fileno())


def read_environment(boot: Path, grub_folder: str) -> dict[str, str]:
    """GRUB's variables; empty when the block is lost, truncated or foreign."""
    return grubenv.parse(read_block(boot, grub_folder))


def grub_folder(boot: Path) -> str:
    """The name of GRUB's folder on /boot: ``grub2`` (Fedora, CentOS) or ``grub`` (Debian)."""
    found = [name for name in ("grub2", "grub") if (boot / name / "grub.cfg").is_file()]
    if not found:
        raise BootError(_("{boot} holds no grub.cfg").format(boot=boot), hint=_("Is /boot mounted?"))
    return found[0]

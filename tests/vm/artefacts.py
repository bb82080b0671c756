"""What machines are started from: installer, project code, files; dear ones cached by what they are made from."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import os
import shutil
import subprocess
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Union

from org_ovirt_node.image import runtime
from org_ovirt_node.image.build import BuildRequest, build
from org_ovirt_node.image.cache import Cache, key_of
from org_ovirt_node.image.debian import stage_key, stage_root
from org_ovirt_node.image.installer import Installer, build_installer
from org_ovirt_node.image.mirror import host_mirrors
from org_ovirt_node.image.profile import load
from org_ovirt_node.payload.verity import read_tree
from org_ovirt_node.progress import TextProgress
from org_ovirt_node.run import run
from tests.vm import accel
from tests.vm.qemu import OVMF

PROJECT = Path(__file__).resolve().parents[2]
PROFILE = PROJECT / "data" / "profiles" / "demo-node.conf"
BUILD = PROJECT / "build" / "vm"
#: What of the project goes into a machine.
CODE = ("org_ovirt_node", "data", "kickstarts")


@functools.cache
def cache() -> Cache:
    """The cache; its entries stay locked against pruning as long as this program runs."""
    return Cache()


@functools.cache
def installer() -> Installer:
    """The installer's environment over the demo node's root tree."""
    profile = load(PROFILE)
    tree = stage_root(profile, cache(), TextProgress())
    built = build_installer(tree, stage_key(profile, host_mirrors()), cache(), TextProgress())
    accel.probe(built.kernel, built.initramfs)
    return built


@dataclass(frozen=True)
class NodeImage:
    """A node image to install: its file, its NVR, its size in bytes and SHA-256.

    ``roothash`` is that of its hash tree, empty when it has none.
    """

    path: Path
    nvr: str
    size: int
    sha256: str
    roothash: str = ""

    @property
    def manifest(self) -> Path:
        """What the builder wrote beside it."""
        return self.path.with_name(f"{self.nvr}.json")


def image_at(path: Path, nvr: str) -> NodeImage:
    """The image in the file ``path``."""
    size = path.stat().st_size
    tree = read_tree(path, size)
    return NodeImage(path, nvr, size, sha256(path), tree.roothash if tree else "")


def node_image(release: str = "1", form: str = "tree") -> NodeImage:
    """The demo node as it is built from today's code, packed for speed rather than size.

    ``OVIRT_NODE_TEST_IMAGE`` names a folder of images built before, for trying out tests without a build each time.
    """
    profile = load(PROFILE)
    request = BuildRequest(profile, "1.0", release, Path(), form=form, level=1, cache=cache().folder)
    name = f"{request.nvr}.squashfs"
    given = os.environ.get("OVIRT_NODE_TEST_IMAGE", "")
    if given and (Path(given) / name).exists():
        return image_at(Path(given) / name, request.nvr)
    sources = [*runtime.sources(), PROFILE]
    parts = [f"{file.relative_to(PROJECT)}\0{sha256(file)}" for file in sources]
    key = key_of(stage_key(profile, host_mirrors()), request.nvr, form, parts)

    def make(folder: Path) -> None:
        folder.mkdir()
        build(dataclasses.replace(request, output=folder), TextProgress())

    return image_at(cache().get(f"test-image-{release}-{form}", key, make) / name, request.nvr)


def squash(output: Path, sources: Iterable[Path]) -> Path:
    """A squashfs at ``output`` with ``sources`` in its root, made for speed."""
    output.unlink(missing_ok=True)
    options = ["-noappend", "-quiet", "-no-progress", "-keep-as-directory", "-comp", "lz4", "-all-root"]
    run(["mksquashfs", *sources, output, *options, "-wildcards", "-e", "... __pycache__"])
    return output


def code_disk(folder: Path) -> Path:
    """The project's code as it is now."""
    return squash(folder / "code.squashfs", [PROJECT / name for name in CODE if (PROJECT / name).exists()])


def files_disk(folder: Path, name: str, files: Mapping[str, Union[bytes, Path]]) -> Path:
    """A squashfs with ``files`` (relative path → content, or a file of the host)."""
    tree = folder / f"{name}.d"
    run(["rm", "-rf", tree])
    for path, content in files.items():
        target = tree / path
        target.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(content, bytes):
            target.write_bytes(content)
        else:
            run(["cp", "--reflink=auto", "--sparse=always", content, target])
    return squash(folder / f"{name}.squashfs", sorted(tree.iterdir()))


def blank_disk(file: Path, size: int) -> Path:
    """A sparse raw disk of ``size`` bytes."""
    file.parent.mkdir(parents=True, exist_ok=True)
    file.unlink(missing_ok=True)
    with file.open("wb") as handle:
        handle.truncate(size)
    return file


def firmware_variables(file: Path, *, secure_boot: bool = False) -> Path:
    """Variables of a new machine with EFI; ``secure_boot``: with the keys that vendors put in."""
    shutil.copyfile(OVMF / ("OVMF_VARS_4M.ms.fd" if secure_boot else "OVMF_VARS_4M.fd"), file)
    return file


def allocated(file: Path) -> int:
    """Bytes of a sparse file that something was written to."""
    return file.stat().st_blocks * 512


def sha256(file: Path, length: int = -1) -> str:
    """SHA-256 of the first ``length`` bytes of ``file`` (-1: of all)."""
    digest = hashlib.sha256()
    left = file.stat().st_size if length < 0 else length
    with file.open("rb") as handle:
        while left:
            data = handle.read(min(left, 1 << 20))
            if not data:
                break
            digest.update(data)
            left -= len(data)
    return digest.hexdigest()


#: Bytes that are looked at as one; zeros in all of them count as never written.
BLOCK = 1 << 20


def content(file: Path) -> str:
    """A digest of a sparse file's content; quick, whatever its size.

    What the host's file system calls data and what a hole changes when it writes its cache back, so only the bytes
    count: a block of zeros is the same as a hole.
    """
    digest = hashlib.sha256()
    with file.open("rb") as handle:
        end = handle.seek(0, os.SEEK_END)
        place = 0
        while place < end:
            try:
                place = os.lseek(handle.fileno(), place, os.SEEK_DATA) // BLOCK * BLOCK
            except OSError:
                # ENXIO: nothing but a hole up to the end (lseek(2)).
                break
            data = os.pread(handle.fileno(), BLOCK, place)
            if data.strip(b"\0"):
                digest.update(f"{place}\n".encode() + data)
            place += BLOCK
    return digest.hexdigest()


def qemu_version() -> str:
    """What QEMU says it is: a saved machine only goes on under the same."""
    done = subprocess.run(["qemu-system-x86_64", "--version"], capture_output=True, text=True, check=True)
    return done.stdout.splitlines()[0]

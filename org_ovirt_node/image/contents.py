"""What is in a finished image: its root tree, mounted to look at, and the packages in it."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from org_ovirt_node.errors import ImageError
from org_ovirt_node.image import packagedb
from org_ovirt_node.install.root import image_tree
from org_ovirt_node.payload.squashfs import SUPERBLOCK, read_superblock
from org_ovirt_node.run import Arg, run

DEB, RPM = "deb", "rpm"
#: Keys of the package manager, which rpm keeps among the packages.
NO_PACKAGES = ("gpg-pubkey",)
RPM_FORMAT = "%{NAME}\\t%|EPOCH?{%{EPOCH}:}|%{VERSION}-%{RELEASE}\\t%{ARCH}\\t%{SIZE}\\n"


@dataclass(frozen=True, order=True)
class Package:
    """An installed package; ``size`` in bytes, as its package manager has it; ``kind`` is ``deb`` or ``rpm``."""

    name: str
    arch: str
    version: str
    size: int
    kind: str


@contextmanager
def opened(image: Path) -> Iterator[Path]:
    """The root tree of ``image`` (a file, or a folder that is one), read-only.  Needs root.

    Raises :class:`ImageError`, PayloadError and CommandError.
    """
    if image.is_dir():
        if not (image / "usr").is_dir():
            raise ImageError(f"{image} is not a root tree: it has no /usr", hint="Name an image, or a root tree.")
        yield image
        return
    if os.geteuid() != 0:
        raise ImageError("only root can look into an image", hint="Run it with sudo.")
    try:
        with image.open("rb") as stream:
            read_superblock(stream.read(SUPERBLOCK.size), str(image))
    except OSError as exc:
        raise ImageError(f"{image} cannot be read: {exc.strerror}") from exc
    with (
        tempfile.TemporaryDirectory(prefix="ovirt-node-image-") as work,
        image_tree(os.fspath(image.resolve()), Path(work)) as tree,
    ):
        yield tree


def packages(root: Path) -> tuple[Package, ...]:
    """The packages installed in the tree ``root``, by name.  Raises ImageError where there is no package database."""
    found: list[Package] = []
    known = False
    for folder in (packagedb.DPKG_NEW, packagedb.DPKG_OLD):
        if (root / folder / "status").is_file():
            found += dpkg_packages((root / folder / "status").read_text(encoding="utf-8", errors="replace"))
            known = True
            break
    for folder in (packagedb.RPM_NEW, packagedb.RPM_OLD):
        if (root / folder).is_dir() and any((root / folder).iterdir()):
            found += rpm_packages(root / folder)
            known = True
            break
    if not known:
        raise ImageError("there is no package database in the image", hint="Was it built from packages?")
    return tuple(sorted(found))


def dpkg_packages(status: str) -> Iterator[Package]:
    """The installed packages in dpkg's status file (deb-control(5), dpkg-query(1))."""
    for paragraph in status.split("\n\n"):
        # Further lines of a field begin with a blank.
        lines = [line.partition(":") for line in paragraph.splitlines() if line[:1].strip()]
        fields = {name: value.strip() for name, _, value in lines}
        if fields.get("Status", "").endswith(" installed"):
            # Installed-Size is in KiB.
            size = int(fields.get("Installed-Size", "0")) * 1024
            yield Package(fields["Package"], fields.get("Architecture", ""), fields.get("Version", ""), size, DEB)


def rpm_packages(database: Path) -> Iterator[Package]:
    """The packages in the rpm database ``database``.  Needs rpm on this host; raises CommandError."""
    # Of a copy: SQLite makes files beside a database that is only read, and an image is read-only.
    with tempfile.TemporaryDirectory(prefix="ovirt-node-rpm-") as folder:
        copy = Path(folder, "rpm")
        shutil.copytree(database, copy, symlinks=True)
        argv: list[Arg] = ["rpm", "--query", "--all", "--dbpath", copy, "--queryformat", RPM_FORMAT]
        listing = run(argv, hint="Install rpm on this host.").stdout
    for line in listing.splitlines():
        name, version, arch, size = line.split("\t")
        if name not in NO_PACKAGES:
            yield Package(name, arch, version, int(size), RPM)

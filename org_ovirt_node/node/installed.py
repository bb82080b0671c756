"""The packages that are installed in a root tree, an image's or the running one, and how two trees differ in them."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from org_ovirt_node.errors import ImageError
from org_ovirt_node.node.upper import Kind
from org_ovirt_node.run import Arg, run

#: The package databases, at their usual places and where an image keeps them, beside its files.
DPKG_OLD = Path("var/lib/dpkg")
DPKG_NEW = Path("usr/lib/sysimage/dpkg")
RPM_OLD = Path("var/lib/rpm")
RPM_NEW = Path("usr/lib/sysimage/rpm")
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


@dataclass(frozen=True)
class PackageChange:
    """A package, with its versions in either image; empty where it is not installed."""

    name: str
    before: str
    after: str

    @property
    def kind(self) -> Kind:
        if not self.before:
            return Kind.ADDED
        return Kind.CHANGED if self.after else Kind.DELETED


def packages(root: Path) -> tuple[Package, ...]:
    """The packages installed in the tree ``root``, by name.  Raises ImageError where there is no package database."""
    found: list[Package] = []
    known = False
    for folder in (DPKG_NEW, DPKG_OLD):
        if (root / folder / "status").is_file():
            found += dpkg_packages((root / folder / "status").read_text(encoding="utf-8", errors="replace"))
            known = True
            break
    for folder in (RPM_NEW, RPM_OLD):
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


def packages_of(root: Path) -> tuple[Package, ...]:
    """The packages installed in the tree ``root``; none where it has no package database."""
    try:
        return packages(root)
    except ImageError:
        return ()


def compare_packages(before: Sequence[Package], after: Sequence[Package]) -> tuple[PackageChange, ...]:
    """The packages that differ, by name; one that is there in several versions (kernels) with all of them."""
    first, second = _versions(before), _versions(after)
    names = sorted(set(first) | set(second))
    changes = (PackageChange(name, first.get(name, ""), second.get(name, "")) for name in names)
    return tuple(change for change in changes if change.before != change.after)


def _versions(found: Sequence[Package]) -> dict[str, str]:
    versions: dict[str, list[str]] = {}
    for package in found:
        versions.setdefault(f"{package.name}.{package.arch}", []).append(package.version)
    return {name: ", ".join(sorted(several)) for name, several in versions.items()}

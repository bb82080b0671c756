"""Packages that a node keeps over its updates: the files in /var/lib/ovirt-node/packages.

An image is delivered as a whole, so a package that was installed on the running node is not in the next layer.  Those
whose files (.rpm, .deb) lie in that folder are installed into every new layer, unless the image has the same version
or a newer one.  /var is shared, so the folder is there whatever layer runs.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Optional

from org_ovirt_node.errors import CommandError, NodeError
from org_ovirt_node.install.labels import file_contexts, label_paths, labelled
from org_ovirt_node.mounts import bound, mounted
from org_ovirt_node.node import journal
from org_ovirt_node.node.installed import compare_packages, packages_of
from org_ovirt_node.node.places import Places
from org_ovirt_node.run import run

FOLDER = "packages"
#: Where the new root sees the folder.
SEEN_AT = "mnt"
#: What a package takes on disk, at the most, as a multiple of its file: compression seldom does better.
UNPACKED = 5
RPM, DEB = ".rpm", ".deb"
#: Seconds for all packages together; a script of a package that asks a question gets no answer.
LIMIT = 900.0
#: %{EVR} leaves an epoch out where there is none, and older versions of rpm compare what is written.
EVR = "%|EPOCH?{%{EPOCH}}:{0}|:%{VERSION}-%{RELEASE}"
QUERY = {
    RPM: ["rpm", "--query", "--queryformat", f"%{{NAME}}\\t{EVR}\\n", "--package"],
    DEB: ["dpkg-deb", "--show", "--showformat", "${Package}\\t${Version}\\n"],
}
INSTALLED = {
    RPM: ["rpm", "--query", "--queryformat", f"{EVR}\\n"],
    DEB: ["dpkg-query", "--show", "--showformat", "${db:Status-Status} ${Version}\\n"],
}
#: The administrator's configuration stays: /etc has been merged already (dpkg(1), rpm(8)).
INSTALL = {
    RPM: ["rpm", "--upgrade"],
    DEB: ["dpkg", "--install", "--force-confold", "--force-confdef"],
}
ENVIRONMENT = {"DEBIAN_FRONTEND": "noninteractive"}


@dataclass(frozen=True)
class Package:
    """A package file that is kept; ``size`` of the file in bytes."""

    file: str
    name: str
    version: str
    size: int

    @property
    def kind(self) -> str:
        return Path(self.file).suffix

    def __str__(self) -> str:
        return f"{self.name} {self.version}"


def kept(places: Places) -> tuple[Package, ...]:
    """The packages in the folder, by file name.  Raises NodeError for a file that is no package."""
    folder = places.state / FOLDER
    files = sorted(folder.iterdir()) if folder.is_dir() else []
    return tuple(_package(file) for file in files if file.suffix in QUERY and file.is_file())


def _package(file: Path) -> Package:
    try:
        name, _, version = run([*QUERY[file.suffix], file]).stdout.strip().partition("\t")
    except CommandError as exc:
        raise NodeError(
            f"the kept package {file} cannot be read: {exc.output.strip()}", hint="Replace the file, or remove it."
        ) from exc
    return Package(file.name, name, version, file.stat().st_size)


@dataclass(frozen=True)
class Changed:
    """A package that somebody installed, replaced or removed on the running node.

    ``here`` is its version, ``image`` the running image's, empty where it is not installed; ``new`` the new image's,
    None where that cannot be looked into.  ``kept``: its file is in the folder.
    """

    name: str
    here: str
    image: str
    new: Optional[str]
    kept: bool

    def __str__(self) -> str:
        """What becomes of it."""
        if not self.here:
            comes = "comes back with an image that has it" if self.new is None else "comes back with the new image"
            return f"{self.name} was removed here" + ("" if self.new == "" else f": it {comes}")
        what = f"{self.name} {self.here} was installed here: "
        if self.kept:
            return what + "its file is kept, so it goes along unless the new image has that version or a newer one"
        if self.new == self.here:
            return what + "the new image has it, too"
        has = f"the new image has {self.new}, and this one" if self.new else "it"
        return f"{what}{has} stays in the old layer alone (put its file into {journal.STATE / FOLDER} to take it along)"


def changed(kept: tuple[Package, ...], places: Places, new: Optional[Path]) -> tuple[Changed, ...]:
    """The packages that the running node has otherwise than its image; ``new`` is the new image's root tree."""
    found = compare_packages(packages_of(places.image_tree), packages_of(places.live))
    others = {} if new is None else {one.name: one.after for one in compare_packages((), packages_of(new))}
    names = {package.name for package in kept}
    return tuple(
        Changed(
            one.name,
            one.after,
            one.before,
            None if new is None else others.get(one.name, ""),
            # The name has the architecture behind it.
            one.name.rpartition(".")[0] in names,
        )
        for one in found
    )


def size(packages: tuple[Package, ...]) -> int:
    """Bytes that ``packages`` may take once they are installed."""
    return sum(package.size for package in packages) * UNPACKED


def install(packages: tuple[Package, ...], places: Places, root: Path) -> list[str]:
    """Install ``packages`` into the new layer mounted at ``root``; says what was done.  Raises NodeError."""
    wanted, said = [], []
    with _ready(places.state / FOLDER, root):
        for package in packages:
            has = _installed(package, root)
            if has and not _newer(package, has, root):
                said.append(f"the kept package {package} is left out: the image has {has}")
            else:
                wanted.append(package)
        for kind in QUERY:
            chosen = [package for package in wanted if package.kind == kind]
            if chosen:
                _install(kind, chosen, root)
                said += [f"the kept package {package} was installed" for package in chosen]
    return said


@contextmanager
def _ready(folder: Path, root: Path) -> Iterator[None]:
    """The kernel's file systems for the packages' scripts, and an empty /run: they must not reach the running node."""
    with ExitStack() as stack:
        for name in ("dev", "proc", "sys"):
            stack.enter_context(bound(Path("/") / name, root / name))
        stack.enter_context(mounted("tmpfs", root / "run", fstype="tmpfs"))
        stack.enter_context(bound(folder, root / SEEN_AT, readonly=True))
        yield


def _installed(package: Package, root: Path) -> str:
    """The version of the package in the new layer, empty when it has none."""
    done = run([*INSTALLED[package.kind], package.name], root=root, check=False)
    found = done.stdout.split()
    if not done.ok or not found:
        return ""
    if package.kind == DEB:
        return found[1] if found[0] == "installed" and len(found) > 1 else ""
    return found[-1]


def _newer(package: Package, has: str, root: Path) -> bool:
    """True when the package is newer than the version that the image has, by the package manager's own rule."""
    if package.kind == DEB:
        return run(["dpkg", "--compare-versions", package.version, "gt", has], root=root, check=False).ok
    compare = f"%{{lua:print(rpm.vercmp('{package.version}', '{has}'))}}"
    return run(["rpm", "--eval", compare], root=root).stdout.strip() == "1"


def _install(kind: str, chosen: list[Package], root: Path) -> None:
    files = [f"/{SEEN_AT}/{package.file}" for package in chosen]
    try:
        run([*INSTALL[kind], *files], root=root, env=ENVIRONMENT, timeout=LIMIT)
    except CommandError as exc:
        last = " / ".join(exc.output.strip().splitlines()[-3:])
        names = ", ".join(str(package) for package in chosen)
        raise NodeError(
            f"the kept packages cannot be installed beside the new image ({names}): {last}",
            hint="Get versions that fit it, or take them out of /var/lib/ovirt-node/packages.",
        ) from exc


def marks(upper: Path) -> dict[str, int]:
    """When each path of the layer's upper side was changed last (inode(7), ctime, in ns); for :func:`label`."""
    found = {}
    for folder, names, files in os.walk(upper):
        for name in (*names, *files):
            path = Path(folder, name)
            found[str(path.relative_to(upper))] = path.lstat().st_ctime_ns
    return found


def label(root: Path, upper: Path, before: Mapping[str, int]) -> str:
    """Give what the packages brought and changed in the new layer at ``root`` the SELinux labels of its own policy.

    Their managers saw no SELinux in there: what they made has got the labels of its folders.  ``upper`` is the layer's
    upper side, ``before`` its :func:`marks` from before the installation.  Returns what went wrong: the running policy
    may not know a label, and that is no reason to go without the new image.
    """
    contexts = file_contexts(root)
    if contexts is None or not labelled(root / "usr"):
        return ""
    changed = sorted(path for path, mark in marks(upper).items() if before.get(path) != mark)
    # What is gone from the image is a device in the upper side, and nothing in the root.
    paths = [f"/{path}" for path in changed if os.path.lexists(root / path)]
    done = label_paths(root, contexts, paths, check=False)
    if done.ok:
        return ""
    said = (done.stderr or done.stdout).strip().splitlines()[-1:]
    return f"labels of kept packages were refused ({', '.join(said)}): run 'restorecon -RF /etc /usr' after the reboot"

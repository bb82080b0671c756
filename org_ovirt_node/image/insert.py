"""What ``ovirt-node-image edit`` puts into a tree: packages, files, SSH keys, and what scripts do."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from org_ovirt_node.errors import CommandError, ImageError
from org_ovirt_node.image import debian, packagedb
from org_ovirt_node.image.chroot import has_program, run_in
from org_ovirt_node.image.squash import walk
from org_ovirt_node.inside import inside, place_for_file
from org_ovirt_node.progress import Progress
from org_ovirt_node.run import Arg, run

#: Where the tree sees what is handed to its programs; it is gone when the image is packed.
STAGE = "var/tmp/.ovirt-node-edit"
#: Not part of an image (/boot), or of the running kernel alone.
NOT_IN_AN_IMAGE = ("boot", "dev", "proc", "run", "sys", "tmp")
DEB, RPM = ".deb", ".rpm"
MANAGERS = {DEB: "dpkg", RPM: "rpm"}
#: As a node does it with packages of its own (node/packages.py); dpkg syncs the disk after every package without it.
INSTALL = {
    DEB: ["dpkg", "--install", "--force-confold", "--force-confdef", "--force-unsafe-io"],
    RPM: ["rpm", "--upgrade"],
}
#: No package builds an initramfs for the host that edits, and none asks.
ENVIRONMENT = {"DEBIAN_FRONTEND": "noninteractive", "INITRD": "No"}
#: A service that a package starts would run on the host that edits (invoke-rc.d, /usr/share/doc/init-system-helpers).
NO_SERVICES = "#!/bin/sh\nexit 101\n"
POLICY = "usr/sbin/policy-rc.d"
AUTHORIZED_KEYS = "root/.ssh/authorized_keys"
#: authorized_keys(5): options, type, the key as base64, a comment; options are left to whoever writes that file.
SSH_KEY = re.compile(r"(ssh|ecdsa|sk)-[a-z0-9@.-]+ [A-Za-z0-9+/]{40,}={0,3}( [^\n]*)?")
SAID = 3


@dataclass(frozen=True)
class Copy:
    """A file or folder of this host, and where it goes (absolute); into ``target`` when that ends with a slash."""

    source: Path
    target: str

    @property
    def place(self) -> str:
        """Where it will be, absolute."""
        return f"{self.target}{self.source.resolve().name}" if self.target.endswith("/") else self.target


def parse_copy(text: str) -> Copy:
    """``SOURCE:TARGET``.  Raises :class:`ImageError` for what cannot be copied."""
    source, colon, target = text.rpartition(":")
    if not colon or not source or not target:
        raise ImageError(f"--copy-in {text!r} is not SOURCE:TARGET", hint="Such as ./motd:/etc/motd.")
    parts = PurePosixPath(target).parts
    if not target.startswith("/") or ".." in parts:
        raise ImageError(f"--copy-in: {target} is not an absolute path in the image")
    copy = Copy(Path(source), target)
    where = PurePosixPath(copy.place).parts
    if len(where) < 2 or where[1] in NOT_IN_AN_IMAGE:
        raise ImageError(f"--copy-in: {copy.place} is not part of an image", hint="Choose another place.")
    if not os.path.lexists(copy.source):
        raise ImageError(f"--copy-in: there is no {source}")
    return copy


def read_keys(file: Path) -> tuple[str, ...]:
    """The public keys in ``file``, one a line.  Raises :class:`ImageError` for anything else in it."""
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as exc:
        raise ImageError(f"--ssh-key: {file} cannot be read: {getattr(exc, 'strerror', '') or 'no text'}") from exc
    keys = tuple(line.strip() for line in lines if line.strip() and not line.startswith("#"))
    if not keys or not all(SSH_KEY.fullmatch(key) for key in keys):
        # Not shown: it may be the private key.
        raise ImageError(f"--ssh-key: {file} holds no public key", hint="Name the file that ends with .pub.")
    return keys


def check_package(file: Path, suffix: str) -> None:
    """Refuse what is no package file.  Raises :class:`ImageError`."""
    if file.suffix != suffix:
        raise ImageError(f"{file} is no {suffix} file", hint=f"Download the package, and name the {suffix} file.")
    if not file.is_file():
        raise ImageError(f"there is no package {file}")


def check_script(file: Path) -> None:
    """Refuse what no kernel would run.  Raises :class:`ImageError`."""
    try:
        with file.open("rb") as stream:
            start = stream.read(2)
    except OSError as exc:
        raise ImageError(f"--run: {file} cannot be read: {exc.strerror}") from exc
    if start != b"#!":
        raise ImageError(f"--run: {file} is no script", hint="Begin it with #! and the interpreter in the image.")


@contextmanager
def staged(tree: Path) -> Iterator[Path]:
    """A folder of the tree that is there for the length of the block; and no service is started meanwhile."""
    folder, policy = tree / STAGE, tree / POLICY
    folder.mkdir(parents=True, mode=0o700)
    own = not policy.exists() and packagedb.is_dpkg(tree)
    if own:
        policy.write_text(NO_SERVICES, encoding="utf-8")
        policy.chmod(0o755)
    try:
        yield folder
    finally:
        shutil.rmtree(folder)
        if own:
            policy.unlink(missing_ok=True)


def install_packages(tree: Path, files: Sequence[Path], epoch: int, progress: Progress) -> None:
    """Install package files with the tree's own package manager, those of a kind at once.  Raises ImageError."""
    for suffix, manager in MANAGERS.items():
        chosen = [file for file in files if file.suffix == suffix]
        if not chosen:
            continue
        if not has_program(tree, manager):
            raise ImageError(f"{chosen[0].name} cannot be installed: the image has no {manager}")
        progress.step("packages", f"Installing {', '.join(file.name for file in chosen)}")
        with staged(tree) as folder:
            inside: list[Arg] = []
            for number, file in enumerate(chosen):
                # Of one name in two folders both are meant.
                place = folder / f"{number}{suffix}"
                shutil.copyfile(file, place)
                inside.append(f"/{STAGE}/{place.name}")
            what = "the packages cannot be installed"
            _inside(tree, [*INSTALL[suffix], *inside], what, epoch, "Give what they depend on as well.")
        if suffix == DEB:
            debian.forget_filtered(tree, *_filters(tree))


def _filters(tree: Path) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The paths that the image's dpkg does not unpack, and the exceptions."""
    file = tree / debian.DPKG_FILTERS
    lines = file.read_text(encoding="utf-8").splitlines() if file.is_file() else []
    exclude, include = (
        tuple(line.partition("=")[2] for line in lines if line.startswith(f"{name}="))
        for name in ("path-exclude", "path-include")
    )
    return exclude, include


def copy_in(tree: Path, copies: Sequence[Copy], epoch: int, progress: Progress) -> None:
    """Copy files and folders of this host into the tree, as root's, with the time ``epoch``.  Raises ImageError.

    The tree's own cp places them, so that links in the tree are followed within it.
    """
    with staged(tree) as folder:
        for number, copy in enumerate(copies):
            progress.step("copy-in", f"Copying {copy.source} to {copy.place}")
            name = f"copy-{number}"
            run(["cp", "-a", "--no-preserve=ownership", copy.source, folder / name])
            for entry in walk(folder):
                os.utime(entry.path, (epoch, epoch), follow_symlinks=False)
            place, inside = PurePosixPath(copy.place), f"/{STAGE}/{name}"
            what = f"{copy.source} cannot be copied to {place}"
            _inside(tree, ["mkdir", "-p", str(place.parent)], what, epoch)
            _inside(tree, ["cp", "-a", "-T", inside, str(place)], what, epoch)


def add_keys(tree: Path, keys: Sequence[str]) -> None:
    """Let the owners of ``keys`` log in as root."""
    inside(tree, str(Path(AUTHORIZED_KEYS).parent)).mkdir(mode=0o700, parents=True, exist_ok=True)
    file = place_for_file(tree, AUTHORIZED_KEYS)
    lines = file.read_text(encoding="utf-8").splitlines() if file.is_file() else []
    lines += [key for key in dict.fromkeys(keys) if key not in lines]
    file.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    file.chmod(0o600)


def run_scripts(tree: Path, scripts: Sequence[Path], epoch: int, progress: Progress) -> None:
    """Run scripts in the tree, as root, one after the other.  Raises :class:`ImageError` for the first that fails."""
    for script in scripts:
        progress.step("run", f"Running {script}")
        with staged(tree) as folder:
            place = folder / "script"
            shutil.copyfile(script, place)
            place.chmod(0o755)
            for line in _inside(tree, [f"/{STAGE}/{place.name}"], f"the script {script} failed", epoch):
                progress.detail(line)


def _inside(tree: Path, argv: Sequence[Arg], what: str, epoch: int, hint: str = "") -> list[str]:
    """Run a program of the tree; the lines that it printed.  Raises :class:`ImageError`, which begins with ``what``."""
    try:
        done = run_in(tree, argv, env={**ENVIRONMENT, "SOURCE_DATE_EPOCH": str(epoch)})
    except CommandError as exc:
        said = " / ".join(exc.output.strip().splitlines()[-SAID:]) or f"exit status {exc.exit_status}"
        raise ImageError(f"{what}: {said}", hint=hint) from exc
    return done.stdout.splitlines()

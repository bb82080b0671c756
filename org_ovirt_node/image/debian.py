"""Stage 1 of an image: the root tree, from Debian packages (mmdebstrap)."""

from __future__ import annotations

import fnmatch
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Optional

from org_ovirt_node.errors import ImageError
from org_ovirt_node.image import labels
from org_ovirt_node.image.cache import Cache, key_of, key_of_files
from org_ovirt_node.image.chroot import CONTAINED
from org_ovirt_node.image.mirror import Mirrors, host_mirrors
from org_ovirt_node.image.profile import Profile
from org_ovirt_node.inside import remove_files
from org_ovirt_node.progress import Progress, Silent
from org_ovirt_node.run import run

KIND = "root"
DPKG_INFO = Path("var/lib/dpkg/info")
#: mmdebstrap writes its dpkg options here; the path filters stay, so that a later package is filtered alike.
DPKG_OPTIONS = Path("etc/dpkg/dpkg.cfg.d/99mmdebstrap")
DPKG_FILTERS = Path("etc/dpkg/dpkg.cfg.d/ovirt-node-paths")
#: Only for the build: without it dpkg syncs the disk after every package.
UNSAFE_IO = "force-unsafe-io"
LEFTOVERS = ("boot/initrd.img-*", "initrd.img*", "vmlinuz*", "var/log/apt/*", "var/log/*.log", "var/cache/apt/*")
SOURCE_FILES = ("debian.py", "labels.py")


def stage_key(profile: Profile, mirrors: Mirrors) -> str:
    """What decides the content of stage 1, as far as we decide it (the archive itself moves on; see ``fresh``)."""
    here = Path(__file__).parent
    return key_of(
        profile.suite,
        profile.components,
        sorted(set(profile.packages)),
        profile.exclude,
        profile.include,
        mirrors.sources(profile.suite, profile.components, security=profile.security),
        key_of_files(here / name for name in SOURCE_FILES),
    )


def stage_root(profile: Profile, cache: Cache, progress: Optional[Progress] = None, *, fresh: bool = False) -> Path:
    """The root tree of ``profile``'s packages, made when the cache does not have it.

    It is as the packages leave it, with labels and without files that belong to one host or to the build; the package
    database is at /var/lib/dpkg.  It is shared: put an overlay over it to change it.  ``fresh`` takes new packages
    from the mirror even if the cache has a tree.  Needs root.  Raises :class:`ImageError` and CommandError.
    """
    said = progress if progress is not None else Silent()
    if os.geteuid() != 0:
        raise ImageError("building an image needs root", hint="Run it with sudo.")
    if not profile.suite or not profile.packages:
        raise ImageError(f"the profile {profile.name} names no packages", hint="Set suite and packages in [debian].")
    mirrors = host_mirrors()

    def make(target: Path) -> None:
        bootstrap(profile, mirrors, target, said)

    return cache.get(KIND, stage_key(profile, mirrors), make, fresh=fresh)


def bootstrap(profile: Profile, mirrors: Mirrors, target: Path, progress: Progress) -> None:
    """Install ``profile``'s packages into the new folder ``target``."""
    progress.step("packages", f"Installing {len(profile.packages)} packages of {profile.suite} from {mirrors.archive}")
    filters = [f"path-exclude={path}" for path in profile.exclude] + [
        f"path-include={path}" for path in profile.include
    ]
    run(
        [
            *CONTAINED,
            "mmdebstrap",
            "--mode=root",
            "--format=directory",
            "--variant=apt",
            f"--include={','.join(profile.packages)}",
            *(f"--dpkgopt={option}" for option in [*filters, UNSAFE_IO]),
            profile.suite,
            os.fspath(target),
            *mirrors.sources(profile.suite, profile.components, security=profile.security),
        ],
        # The kernel package would build an initramfs for the machine that we are building on.
        env={"INITRD": "No"},
        hint="Check the host's apt sources and network; with --verbose the whole output is shown.",
    )
    (target / DPKG_OPTIONS).unlink()
    (target / DPKG_FILTERS).write_text("".join(f"{line}\n" for line in filters), encoding="utf-8")
    progress.step("packages-tidy", "Removing what belongs to the build")
    remove_files(target, LEFTOVERS)
    forget_filtered(target, profile.exclude, profile.include)
    labels.apply(target, progress)


def _matches(path: str, patterns: Sequence[str]) -> bool:
    # As dpkg does it (dpkg(1), path-exclude): glob(7), and * matches slashes too.
    return any(fnmatch.fnmatchcase(path, pattern) for pattern in patterns)


def is_filtered(path: str, exclude: Sequence[str], include: Sequence[str]) -> bool:
    """True when dpkg does not unpack ``path`` (absolute); an include wins over an exclude."""
    return _matches(path, exclude) and not _matches(path, include)


def forget_filtered(target: Path, exclude: Sequence[str], include: Sequence[str]) -> int:
    """Take paths that the filters kept out from the lists of what is installed; returns how many.

    dpkg keeps them on its lists, and ``dpkg --verify`` then calls thousands of files missing that nobody wanted, and
    so hides one that really is.  A path that is missing for another reason stays on the lists.
    """
    forgotten = 0
    gone_cache: dict[str, bool] = {}

    def gone(path: str) -> bool:
        if path not in gone_cache:
            gone_cache[path] = is_filtered(path, exclude, include) and not os.path.lexists(f"{target}{path}")
        return gone_cache[path]

    for file in sorted((target / DPKG_INFO).glob("*.list")):
        lines = file.read_text(encoding="utf-8").splitlines()
        kept = [line for line in lines if not gone(line)]
        if len(kept) != len(lines):
            forgotten += len(lines) - len(kept)
            file.write_text("".join(f"{line}\n" for line in kept), encoding="utf-8")
    for file in sorted((target / DPKG_INFO).glob("*.md5sums")):
        lines = file.read_text(encoding="utf-8").splitlines()
        kept = [line for line in lines if not gone("/" + re.split(r"\s+", line, maxsplit=1)[1])]
        if len(kept) != len(lines):
            file.write_text("".join(f"{line}\n" for line in kept), encoding="utf-8")
    return forgotten

"""Stage 1 of an image: the root tree, from RPM packages (dnf --installroot, dnf(8))."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Optional

from org_ovirt_node.errors import ImageError
from org_ovirt_node.image import labels
from org_ovirt_node.image.cache import Cache, key_of, key_of_files
from org_ovirt_node.image.chroot import CONTAINED
from org_ovirt_node.image.profile import Profile
from org_ovirt_node.inside import remove_files
from org_ovirt_node.node.installed import RPM_NEW
from org_ovirt_node.progress import Progress, Silent
from org_ovirt_node.run import Arg, run
from org_ovirt_node.urls import redact_url

KIND = "root"
#: And the repositories: on a node they come with the site's configuration.
LEFTOVERS = (
    "etc/yum.repos.d/*.repo",
    "var/log/dnf*",
    "var/log/hawkey.log",
    "var/cache/dnf/**/*",
    "boot/initramfs-*",
    "boot/loader/entries/*",
)
BOOT_LOADER = "usr/lib/efi/shim/1/EFI"
SOURCE_FILES = ("redhat.py", "labels.py")


def stage_key(profile: Profile) -> str:
    """What decides the content of stage 1, as far as we decide it (a repository moves on; see ``fresh``)."""
    here = Path(__file__).parent
    return key_of(
        profile.releasever,
        profile.repositories,
        profile.keys,
        str(profile.unsigned),
        sorted(set(profile.rpms)),
        profile.rpms_excluded,
        key_of_files(here / name for name in SOURCE_FILES),
    )


def stage_root(profile: Profile, cache: Cache, progress: Optional[Progress] = None, *, fresh: bool = False) -> Path:
    """The root tree of ``profile``'s RPM packages, made when the cache does not have it.

    Shared, like :func:`debian.stage_root`.  ``fresh`` takes new packages even if the cache has a tree.  Needs root and
    dnf.  Raises :class:`ImageError` and CommandError.
    """
    said = progress if progress is not None else Silent()
    check(profile)
    return cache.get(KIND, stage_key(profile), lambda target: bootstrap(profile, target, said), fresh=fresh)


def check(profile: Profile) -> None:
    """Refuse what dnf could not or should not do.  Raises :class:`ImageError`."""
    for what, given in (("release", profile.releasever), ("repositories", profile.repositories)):
        if not given:
            raise ImageError(f"the profile {profile.name} has packages and no {what}", hint=f"Set {what} in [rpm].")
    if profile.keys and profile.unsigned:
        raise ImageError(f"the profile {profile.name} names keys and takes unsigned packages", hint="Leave one out.")
    if not profile.keys and not profile.unsigned:
        raise ImageError(
            f"the profile {profile.name} does not say who signs its packages",
            hint="Set keys in [rpm], or unsigned = yes where nobody signs them.",
        )


def command(profile: Profile, target: Path) -> list[Arg]:
    """dnf's command line: from the profile's repositories alone, whatever this host has."""
    argv: list[Arg] = [
        "dnf",
        "--assumeyes",
        "--quiet",
        f"--installroot={target}",
        f"--releasever={profile.releasever}",
        "--setopt=reposdir=/dev/null",
        "--setopt=install_weak_deps=False",
        "--setopt=keepcache=False",
        f"--setopt=cachedir={target}/var/cache/dnf",
        f"--setopt=gpgcheck={int(not profile.unsigned)}",
        "--noplugins",
    ]
    keys = [key if "://" in key else f"file://{key}" for key in profile.keys]
    for number, url in enumerate(profile.repositories, 1):
        argv.append(f"--repofrompath=node{number},{url}")
        if keys:
            argv.append(f"--setopt=node{number}.gpgkey={' '.join(keys)}")
    argv += [f"--exclude={name}" for name in profile.rpms_excluded]
    return [*argv, "install", *profile.rpms]


def bootstrap(profile: Profile, target: Path, progress: Progress) -> None:
    """Install ``profile``'s packages into the new folder ``target``."""
    where = ", ".join(redact_url(url) for url in profile.repositories)
    progress.step("packages", f"Installing {len(profile.rpms)} packages of {profile.releasever} from {where}")
    target.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="ovirt-node-dnf-") as home:
        # Where this host's rpm has its own database (rpm(8)) is of no concern to the tree.
        Path(home, ".rpmmacros").write_text(f"%_dbpath /{RPM_NEW}\n", encoding="ascii")
        run(
            [*CONTAINED, *command(profile, target)],
            # kernel-install(8): no initramfs for, and no boot entry of, the machine that we are building on.
            env={"HOME": home, "KERNEL_INSTALL_BYPASS": "1"},
            hint="Check the repositories, the keys and the network; with --verbose the whole output is shown.",
        )
    progress.step("packages-tidy", "Removing what belongs to the build")
    remove_files(target, LEFTOVERS)
    keep_boot_loader(target)
    labels.apply(target, progress)


def keep_boot_loader(target: Path) -> None:
    """Copy the vendor's signed boot loader from /boot/efi, which is no part of an image, to where installers look."""
    for vendor in sorted((target / "boot/efi/EFI").glob("*")):
        if vendor.is_dir() and vendor.name != "BOOT":
            kept = target / BOOT_LOADER / vendor.name
            kept.parent.mkdir(parents=True, exist_ok=True)
            run(["cp", "-a", vendor, kept])

"""The root tree from RPM packages, by the real dnf from a repository made here."""

from __future__ import annotations

import os
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from org_ovirt_node.errors import CommandError, ImageError
from org_ovirt_node.image import profile, redhat
from org_ovirt_node.image.cache import Cache
from org_ovirt_node.image.profile import Profile
from org_ovirt_node.node import installed
from tests.support import packages

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="dnf installs as root alone")


BOOT = {"boot/efi/EFI/vendor/shimx64.efi": "signed\n", "boot/efi/EFI/BOOT/BOOTX64.EFI": "signed\n"}


@pytest.fixture
def repository(memory: Path) -> Path:
    """A repository with a package, one that it requires, and one that nobody wants."""
    folder = memory / "repository"
    folder.mkdir()
    release = packages.rpm(folder, "release", "10", {"usr/lib/os-release": "ID=test\n"}, provides="system-release = 10")
    node = packages.rpm(folder, "node", "1.0", {"usr/share/node": "1.0\n", **BOOT}, provides="node-core")
    spec = folder / "needs.spec"
    text = packages.SPEC.format(
        name="needs", version="2", provides="Requires: node-core", tree=folder / "empty", files="/usr/share/needs",
        post="",
    )  # fmt: skip
    packages.write(folder / "empty", {"usr/share/needs": "2\n"})
    spec.write_text(text, encoding="utf-8")
    built = ["rpmbuild", "-bb", "--quiet", "--define", f"_topdir {folder}/rpmbuild", str(spec)]
    subprocess.run(built, check=True, capture_output=True)
    assert release.exists() and node.exists()
    subprocess.run(["createrepo_c", "--quiet", str(folder / "rpmbuild/RPMS")], check=True, capture_output=True)
    return folder / "rpmbuild/RPMS"


def of(repository: Path, *rpms: str) -> Profile:
    return Profile(name="n", releasever="10", repositories=(f"file://{repository}",), unsigned=True, rpms=rpms)


def test_a_tree_of_packages_and_what_they_require(repository: Path, memory: Path) -> None:
    with Cache(memory / "cache") as cache:
        tree = redhat.stage_root(of(repository, "release", "needs"), cache)
        assert (tree / "usr/share/needs").read_text() == "2\n"
        assert (tree / "usr/share/node").read_text() == "1.0\n"
        assert [package.name for package in installed.packages(tree)] == ["needs", "node", "release"]
        left = [path for path in (tree / "var").glob("**/*dnf*") if path.is_file()]
        assert not left, "what belongs to the build is left"
        assert (tree / "usr/lib/efi/shim/1/EFI/vendor/shimx64.efi").read_text() == "signed\n"
        assert not (tree / "usr/lib/efi/shim/1/EFI/BOOT").exists()
        assert redhat.stage_root(of(repository, "needs", "release"), cache) == tree


def test_a_package_that_no_repository_has_ends_with_its_name(repository: Path, memory: Path) -> None:
    with Cache(memory / "cache") as cache, pytest.raises(CommandError, match="nowhere"):
        redhat.stage_root(of(repository, "nowhere"), cache)
    with Cache(memory / "cache") as cache, pytest.raises(CommandError, match="node"):
        redhat.stage_root(replace(of(repository, "needs"), rpms_excluded=("node",)), cache)


def test_packages_that_nobody_signed_are_refused_where_there_are_keys(repository: Path, memory: Path) -> None:
    key = memory / "key"
    key.write_text("-----BEGIN PGP PUBLIC KEY BLOCK-----\n\n-----END PGP PUBLIC KEY BLOCK-----\n")
    signed = replace(of(repository, "needs"), unsigned=False, keys=(str(key),))
    with Cache(memory / "cache") as cache, pytest.raises(CommandError, match=r"(?i)gpg|sign|key"):
        redhat.stage_root(signed, cache)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"releasever": ""}, "no release"),
        ({"repositories": ()}, "no repositories"),
        ({"unsigned": False}, "does not say who signs"),
        ({"keys": ("/key",)}, "names keys and takes unsigned"),
    ],
)
def test_a_profile_that_says_too_little_is_refused(tmp_path: Path, change: dict[str, object], said: str) -> None:
    with pytest.raises(ImageError, match=said):
        redhat.check(replace(of(tmp_path, "a"), **change))  # type: ignore[arg-type]


def test_a_profile_names_one_kind_of_packages() -> None:
    text = "[image]\nname = n\n[rpm]\nrelease = 10\nrepositories = https://a\nunsigned = yes\npackages = a\n"
    found = profile.parse(text)
    assert (found.releasever, found.repositories, found.rpms, found.unsigned) == ("10", ("https://a",), ("a",), True)
    with pytest.raises(ImageError, match=r"both \[debian\] and \[rpm\]"):
        profile.parse(f"{text}[debian]\nsuite = trixie\npackages = b\n")

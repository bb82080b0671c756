"""Profiles: what is read, and what is refused with its place."""

from __future__ import annotations

from pathlib import Path

import pytest

from org_ovirt_node.errors import ImageError
from org_ovirt_node.image import profile
from org_ovirt_node.image.runtime import data_folder

MINIMAL = "[image]\nname = node\n"


def test_the_smallest_profile() -> None:
    parsed = profile.parse(MINIMAL)
    assert parsed == profile.Profile(name="node")
    assert parsed.components == ("main",)


def test_lists_take_several_lines_and_comments() -> None:
    text = (
        MINIMAL
        + "boot_args = a=1\n    b\n[debian]\nsuite = trixie\nsecurity = yes\n"
        + "packages =\n    one two\n    # no\n    three\n"
    )
    parsed = profile.parse(text)
    assert parsed.packages == ("one", "two", "three")
    assert parsed.boot_args == "a=1 b"
    assert parsed.security is True


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "name in [image] is missing"),
        (MINIMAL + "colour = red\n", "unknown option 'colour' in [image]"),
        (MINIMAL + "[fedora]\n", "unknown section [fedora]"),
        (MINIMAL + "[debian]\nsecurity = perhaps\n", "perhaps"),
        ("name = node\n", "p.conf"),
        (MINIMAL + "name = other\n", "p.conf"),
    ],
)
def test_a_wrong_profile_is_refused(text: str, message: str) -> None:
    with pytest.raises(ImageError) as caught:
        profile.parse(text, "p.conf")
    assert message in str(caught.value)
    assert "p.conf" in str(caught.value)


def test_every_option_is_read(tmp_path: Path) -> None:
    """An option that is accepted and then ignored would be a lie."""
    sample = {"security": "yes", "unsigned": "yes", "minimum_disk": "1GiB", "minimum_memory": "1GiB"}
    base = profile.parse(MINIMAL)
    for section, options in profile.OPTIONS.items():
        for option in options:
            text = f"[{section}]\n{option} = {sample.get(option, 'changed')}\n"
            if section != "image":
                text = MINIMAL + text
            elif option != "name":
                text = MINIMAL + text.split("\n", 1)[1]
            assert profile.parse(text) != base, f"[{section}] {option} changes nothing"


def test_our_profiles_are_right() -> None:
    files = sorted((data_folder() / "profiles").glob("*.conf"))
    assert files
    for file in files:
        loaded = profile.load(file)
        assert len(set(loaded.packages)) == len(loaded.packages)
        if loaded.initramfs_modules:
            assert "ovirt-node" in loaded.initramfs_modules


def test_a_missing_profile_is_named(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match=r"none\.conf"):
        profile.load(tmp_path / "none.conf")

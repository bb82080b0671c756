"""The hash tree behind a squashfs: veritysetup's own verification decides."""

from __future__ import annotations

import os
import random
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from org_ovirt_node.errors import CommandError, ImageError, PayloadError
from org_ovirt_node.mounts import mounted
from org_ovirt_node.payload.facts import ImageFacts
from org_ovirt_node.payload.squashfs import read_superblock
from org_ovirt_node.payload.verity import append_tree, read_tree, verify_file, view, with_tree


@pytest.fixture
def image(tmp_path: Path) -> Path:
    (tmp_path / "tree").mkdir()
    (tmp_path / "tree/file").write_bytes(bytes(range(256)) * 4096)
    file = tmp_path / "node.squashfs"
    argv = ["mksquashfs", str(tmp_path / "tree"), str(file), "-quiet", "-no-progress", "-noD", "-nopad"]
    subprocess.run([*argv, "-mkfs-time", "0", "-all-time", "0"], check=True, capture_output=True)
    return file


def test_a_tree_verifies_and_any_flipped_bit_does_not(image: Path, tmp_path: Path) -> None:
    verity = append_tree(image)
    assert verity.hash_offset == verity.data_size == read_superblock(image.read_bytes()).padded
    assert verify_file(image, verity.roothash, verity.hash_offset)
    data = image.read_bytes()
    for at in (0, verity.data_size - 1, verity.data_size // 2, verity.hash_offset + 4096):
        image.write_bytes(data[:at] + bytes((data[at] ^ 1,)) + data[at + 1 :])
        assert not verify_file(image, verity.roothash, verity.hash_offset), at
    image.write_bytes(data)
    assert not verify_file(image, "0" * 64, verity.hash_offset)
    with mounted(str(image), tmp_path / "mnt", fstype="squashfs", options=["loop", "ro"]) as root:
        assert (root / "file").stat().st_size == 1 << 20


def test_a_tree_is_found_with_its_root_hash(image: Path) -> None:
    assert read_tree(image, image.stat().st_size) is None
    verity = append_tree(image)
    size = image.stat().st_size
    assert read_tree(image, size) == verity
    # On a device an older image's bytes can follow; those are not this image's tree.
    assert read_tree(image, verity.data_size) is None
    facts = ImageFacts("node-1.0-1", size)
    found = with_tree(facts, image)
    assert (found.roothash, found.hash_offset) == (verity.roothash, verity.hash_offset)
    assert with_tree(found, image) == found
    assert with_tree(replace(facts, size=verity.data_size), image).roothash == ""


@pytest.mark.parametrize("size", [1, 3 * 4096, 128 * 4096, 3 << 20])
def test_the_root_hash_is_veritysetups(size: int, tmp_path: Path) -> None:
    """From one block of data, over which there is no tree, to a tree of two levels."""
    (tmp_path / "tree").mkdir()
    (tmp_path / "tree/file").write_bytes(random.Random(size).randbytes(size))
    image = tmp_path / "node.squashfs"
    subprocess.run(["mksquashfs", str(tmp_path / "tree"), str(image), "-quiet", "-no-progress"], check=True)
    verity = append_tree(image)
    assert read_tree(image, image.stat().st_size) == verity


def test_a_tree_other_than_the_manifests_is_refused(image: Path) -> None:
    said = ImageFacts("node-1.0-1", image.stat().st_size, roothash="b" * 64, hash_offset=4096)
    with pytest.raises(PayloadError, match="has no hash tree, and its manifest says bbb"):
        with_tree(said, image)
    verity = append_tree(image)
    with pytest.raises(PayloadError, match=f"has the root hash {verity.roothash}, and its manifest says bbb"):
        with_tree(replace(said, size=image.stat().st_size), image)


@pytest.mark.parametrize(
    ("at", "value"),
    [(8, b"\2"), (12, b"\0"), (32, b"md5\0\0\0"), (64, b"\1"), (68, b"\7"), (72, b"\3"), (80, b"\1\1")],
    ids=["version", "type", "algorithm", "data block", "hash block", "blocks", "salt"],
)
def test_a_damaged_tree_is_refused(image: Path, at: int, value: bytes) -> None:
    place = append_tree(image).hash_offset + at
    data = image.read_bytes()
    image.write_bytes(data[:place] + value + data[place + len(value) :])
    with pytest.raises(PayloadError, match="has a damaged hash tree"):
        read_tree(image, len(data))


@pytest.mark.parametrize("left", [8, 511, 512, 4096, -1])
def test_a_tree_that_is_cut_off_is_refused(image: Path, left: int) -> None:
    end = append_tree(image).hash_offset
    os.truncate(image, end + left if left > 0 else image.stat().st_size + left)
    with pytest.raises(PayloadError, match="truncated: it ends in its hash tree"):
        read_tree(image, image.stat().st_size)


def test_the_view_of_a_device_that_is_verified(tmp_path: Path) -> None:
    (tmp_path / "dm-3").touch()
    device, sys = tmp_path / "dm-3", tmp_path / "sys"
    assert view(device, sys) == device
    for name, uuid in (("dm-4", "LVM-abc"), ("dm-7", "CRYPT-VERITY-abc-ovirt-node-image")):
        folder = sys / "dm-3/holders" / name / "dm"
        folder.mkdir(parents=True)
        (folder / "uuid").write_text(uuid + "\n")
        (folder / "name").write_text("ovirt-node-image\n")
        assert view(device, sys) == (device if name == "dm-4" else Path("/dev/mapper/ovirt-node-image"))


def test_the_same_squashfs_gets_the_same_tree(image: Path, tmp_path: Path) -> None:
    other, third = tmp_path / "other", tmp_path / "third"
    other.write_bytes(image.read_bytes())
    third.write_bytes(image.read_bytes())
    verity = append_tree(image)
    assert append_tree(other) == verity
    assert other.read_bytes() == image.read_bytes()
    salted = append_tree(third, salt="00ff", uuid="0c1ea9ad-0000-4000-8000-0000deadbeef")
    assert (salted.salt, salted.uuid) == ("00ff", "0c1ea9ad-0000-4000-8000-0000deadbeef")
    assert salted.roothash != verity.roothash


def test_the_tree_says_its_own_parameters(image: Path) -> None:
    verity = append_tree(image)
    argv = ["veritysetup", "dump", str(image), f"--hash-offset={verity.hash_offset}"]
    shown = subprocess.run(argv, check=True, capture_output=True, text=True).stdout
    fields = {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in shown.splitlines())}
    assert fields["UUID"] == verity.uuid
    assert fields["Salt"] == verity.salt
    assert fields["Hash algorithm"] == verity.algorithm
    assert fields["Data blocks"] == str(verity.data_size // 4096)
    assert fields["Data block size"].split()[0] == str(verity.data_block_size)


def test_a_second_tree_is_refused(image: Path) -> None:
    append_tree(image)
    before = image.read_bytes()
    with pytest.raises(ImageError, match="where its squashfs ends at"):
        append_tree(image)
    assert image.read_bytes() == before


def test_what_is_no_squashfs_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"no squashfs")
    with pytest.raises(PayloadError, match="is not a squashfs"):
        append_tree(tmp_path / "x")
    assert (tmp_path / "x").read_bytes() == b"no squashfs"


def test_a_missing_veritysetup_is_named(image: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OVIRT_NODE_PATH", str(tmp_path))
    with pytest.raises(CommandError, match=r"veritysetup is not installed[.] Install cryptsetup"):
        append_tree(image)

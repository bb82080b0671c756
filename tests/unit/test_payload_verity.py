"""The hash tree behind a squashfs: veritysetup's own verification decides."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from org_ovirt_node.errors import CommandError, ImageError, PayloadError
from org_ovirt_node.mounts import mounted
from org_ovirt_node.payload.squashfs import read_superblock
from org_ovirt_node.payload.verity import append_tree, verify_file


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

"""The squashfs superblock, and what an image says of itself."""

from __future__ import annotations

import json
import os
import struct
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Optional

import pytest
from hypothesis import given
from hypothesis import strategies as st

from org_ovirt_node.errors import PayloadError
from org_ovirt_node.mounts import mounted
from org_ovirt_node.payload.facts import LIVEOS, TREE, ImageFacts
from org_ovirt_node.payload.local import FileSource
from org_ovirt_node.payload.squashfs import inspect, inspect_mounted, nvr_of_name, read_superblock

GOOD_JSON = {"format": 1, "nvr": "ovirt-node-demo-1.0-1", "kernel": "6.12.1-amd64", "boot_args": "quiet"}


def build(folder: Path, files: dict[str, bytes], *options: str, name: str = "node-1.0-1.squashfs.img") -> Path:
    tree, image = folder / "tree", folder / name
    for path, data in files.items():
        (tree / path).parent.mkdir(parents=True, exist_ok=True)
        (tree / path).write_bytes(data)
    argv = ["mksquashfs", str(tree), str(image), "-quiet", "-no-progress", "-noappend", *options]
    subprocess.run(argv, check=True, capture_output=True)
    return image


def with_json(folder: Path, content: object = GOOD_JSON, *options: str) -> Path:
    data = content if isinstance(content, bytes) else json.dumps(content).encode()
    return build(folder, {"usr/lib/ovirt-node/image.json": data}, *options)


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return with_json(tmp_path_factory.mktemp("image")).read_bytes()


@pytest.mark.parametrize(("compression", "block"), [("gzip", 131072), ("xz", 1 << 20), ("zstd", 4096), ("lz4", 65536)])
def test_a_superblock_that_mksquashfs_wrote(tmp_path: Path, compression: str, block: int) -> None:
    file = with_json(tmp_path, GOOD_JSON, "-comp", compression, "-b", str(block), "-mkfs-time", "1234567890")
    superblock = read_superblock(file.read_bytes()[:96])
    assert (superblock.compression, superblock.block_size) == (compression, block)
    assert superblock.created == 1234567890
    assert superblock.inodes == 5
    assert superblock.padded == file.stat().st_size
    assert superblock.padded - 4096 < superblock.bytes_used <= superblock.padded


def damaged(image: bytes, offset: int, form: str, value: int) -> bytes:
    return image[:offset] + struct.pack(form, value) + image[offset + struct.calcsize(form) :]


DAMAGES = [
    ("version", 28, "<H", 3, "is a squashfs of version 3.0, not 4.0"),
    ("block size zero", 12, "<I", 0, "impossible block size"),
    ("block size no power", 12, "<I", 5000, "impossible block size"),
    ("block log", 22, "<H", 60000, "impossible block size"),
    ("compression", 20, "<H", 7, "impossible compression"),
    ("bytes used", 40, "<Q", 95, "impossible size"),
    ("no inodes", 4, "<I", 0, "impossible number of inodes"),
    ("no ids", 26, "<H", 0, "impossible number of inodes"),
    ("id table beyond the end", 48, "<Q", 1 << 40, "impossible tables"),
    ("inode table in the superblock", 64, "<Q", 10, "impossible tables"),
    ("no directory table", 72, "<Q", (1 << 64) - 1, "impossible required tables"),
    ("root inode offset", 32, "<Q", 0xFFFF, "impossible root inode"),
    ("root inode block", 32, "<Q", 1 << 50, "impossible root inode"),
]


@pytest.mark.parametrize(("at", "form", "value", "message"), [row[1:] for row in DAMAGES], ids=[r[0] for r in DAMAGES])
def test_a_damaged_superblock(image: bytes, at: int, form: str, value: int, message: str) -> None:
    with pytest.raises(PayloadError, match=message):
        read_superblock(damaged(image, at, form, value))


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "is not a squashfs image[.]"),
        (b"hsq", "is not a squashfs image"),
        (b"hsqs" + bytes(40), "is truncated: it has 44 bytes"),
        (b"sqsh" + bytes(92), "a big-endian squashfs"),
        (b"\n  <!DOCTYPE html>", "it looks like a web page"),
        (b"QFI\xfb", "it looks like a qcow2 disk"),
        (bytes(96), "is not a squashfs image[.]"),
    ],
)
def test_what_is_no_squashfs(data: bytes, message: str) -> None:
    with pytest.raises(PayloadError, match=message):
        read_superblock(data)


@given(st.binary(max_size=200), st.booleans())
def test_any_bytes_are_read_or_refused(data: bytes, magic: bool) -> None:
    try:
        superblock = read_superblock((b"hsqs" if magic else b"") + data)
    except PayloadError:
        return
    assert superblock.bytes_used > 0


@given(st.integers(0, 95), st.integers(0, 255))
def test_any_flipped_byte_is_read_or_refused(image: bytes, at: int, value: int) -> None:
    try:
        read_superblock(image[:at] + bytes((value,)) + image[at + 1 :])
    except PayloadError as exc:
        assert "damaged" in str(exc) or "not a squashfs" in str(exc) or "version" in str(exc)


def test_facts_of_a_local_image(tmp_path: Path) -> None:
    file = with_json(tmp_path)
    assert inspect(FileSource(file)) == ImageFacts(
        nvr="ovirt-node-demo-1.0-1",
        size=file.stat().st_size,
        form=TREE,
        compression="gzip",
        kernel="6.12.1-amd64",
        boot_args="quiet",
    )


def test_facts_of_a_live_image(tmp_path: Path) -> None:
    facts = inspect(FileSource(build(tmp_path, {"LiveOS/rootfs.img": b"x"})))
    assert (facts.form, facts.nvr) == (LIVEOS, "node-1.0-1")


@pytest.mark.parametrize("tools", ["no unsquashfs", "an old unsquashfs"])
def test_facts_where_unsquashfs_does_not_help(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tools: str) -> None:
    file = with_json(tmp_path)
    (tmp_path / "bin").mkdir()
    if tools == "an old unsquashfs":
        (tmp_path / "bin/unsquashfs").write_text(
            '#!/bin/sh\n[ "$1" = -lls ] && exec /usr/bin/unsquashfs "$@"\nexit 1\n'
        )
        (tmp_path / "bin/unsquashfs").chmod(0o755)
    monkeypatch.setenv("OVIRT_NODE_PATH", str(tmp_path / "bin"))
    assert inspect(FileSource(file)).nvr == "node-1.0-1"


@pytest.mark.parametrize("table", [48, 64, 72, 80], ids=["ids", "inodes", "folders", "fragments"])
def test_damaged_tables_are_found_before_anything_is_written(tmp_path: Path, table: int) -> None:
    file = with_json(tmp_path)
    data = bytearray(file.read_bytes())
    # squashfs 4.0: the superblock has the places of the tables as 64 bits, little endian.
    place = int.from_bytes(data[table : table + 8], "little")
    data[table : table + 8] = (place + 5).to_bytes(8, "little")
    file.write_bytes(data)
    with pytest.raises(PayloadError, match="damaged"):
        inspect(FileSource(file))


class Remote(FileSource):
    """A file that no program can open, as on a web server."""

    def __init__(self, path: Path, size: Optional[int]) -> None:
        super().__init__(path)
        self.path = None  # type: ignore[assignment]
        self.size = size  # type: ignore[assignment]
        self.data = path.read_bytes()

    def read_at(self, offset: int, length: int) -> bytes:
        return self.data[offset : offset + length]


def test_facts_of_a_remote_image(tmp_path: Path) -> None:
    file = with_json(tmp_path)
    size = file.stat().st_size
    expected = ImageFacts(nvr="node-1.0-1", size=size, compression="gzip")
    assert inspect(Remote(file, size)) == expected
    assert inspect(Remote(file, None)) == expected


def test_facts_of_a_manifest_count(tmp_path: Path) -> None:
    file = with_json(tmp_path)
    said = ImageFacts(nvr="other-1-1", size=file.stat().st_size, form=LIVEOS, kernel="5", roothash="ab", sha256="cd")
    assert inspect(FileSource(file), said) == replace(said, compression="gzip")
    with pytest.raises(PayloadError, match="where its manifest says 5"):
        inspect(FileSource(file), replace(said, size=5))


def test_a_truncated_image(tmp_path: Path) -> None:
    file = with_json(tmp_path)
    used = read_superblock(file.read_bytes()).bytes_used
    os.truncate(file, used - 1)
    with pytest.raises(PayloadError, match=f"is truncated: it has {used - 1} of {used} bytes"):
        inspect(FileSource(file))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"{", "is not JSON"),
        (b"[" * 20000, "is not JSON"),
        ([1], "is not of format 1"),
        ({**GOOD_JSON, "format": 2}, "is not of format 1"),
        ({**GOOD_JSON, "nvr": "../../etc"}, "is no usable name-version-release"),
        ({**GOOD_JSON, "nvr": None}, "is no usable name-version-release"),
        ({**GOOD_JSON, "kernel": 6}, "kernel is not a line of text"),
        ({**GOOD_JSON, "boot_args": "a\nb"}, "boot_args is not a line of text"),
    ],
)
def test_an_unsound_image_json(tmp_path: Path, content: object, message: str) -> None:
    file = with_json(tmp_path, content)
    with pytest.raises(PayloadError, match=message):
        inspect(FileSource(file))
    facts = ImageFacts("a", 1)
    with (
        mounted(str(file), tmp_path / "mnt", options=["loop", "ro"]) as root,
        pytest.raises(PayloadError, match=message),
    ):
        inspect_mounted(root, facts)


def test_a_mounted_image(tmp_path: Path) -> None:
    facts = ImageFacts("from-the-name", 1)
    with mounted(str(with_json(tmp_path)), tmp_path / "mnt", options=["loop", "ro"]) as root:
        assert inspect_mounted(root, facts) == replace(
            facts, nvr="ovirt-node-demo-1.0-1", kernel="6.12.1-amd64", boot_args="quiet"
        )


def test_mounted_trees_of_other_kinds(tmp_path: Path) -> None:
    facts = ImageFacts("from-the-name", 1)
    assert inspect_mounted(tmp_path, facts) == facts
    (tmp_path / "LiveOS").mkdir()
    (tmp_path / "LiveOS/rootfs.img").touch()
    assert inspect_mounted(tmp_path, facts) == replace(facts, form=LIVEOS)


@pytest.mark.parametrize("kind", ["link", "large"])
def test_an_image_json_that_is_not_read(tmp_path: Path, kind: str) -> None:
    file = tmp_path / "usr/lib/ovirt-node/image.json"
    file.parent.mkdir(parents=True)
    if kind == "link":
        file.symlink_to("/etc/shadow")
    else:
        file.write_bytes(b" " * (65 << 10))
    with pytest.raises(PayloadError, match="is not a small plain file"):
        inspect_mounted(tmp_path, ImageFacts("a", 1))


@pytest.mark.parametrize(
    ("name", "nvr"),
    [
        ("ovirt-node-ng-4.5.5-0.2024.squashfs", "ovirt-node-ng-4.5.5-0.2024"),
        ("ovirt-node-ng-4.5.5-0.2024.squashfs.img", "ovirt-node-ng-4.5.5-0.2024"),
        ("node-1.0-1.img", "node-1.0-1"),
        ("squashfs.img", "squashfs"),
        ("node-1.0-1", "node-1.0-1"),
    ],
)
def test_names_of_files(name: str, nvr: str) -> None:
    assert nvr_of_name(name) == nvr


@pytest.mark.parametrize("name", ["", ".img", "a b.img", "-x.img", "a/b", "ä.img", "x" * 121])
def test_names_that_are_no_nvr(name: str) -> None:
    with pytest.raises(PayloadError, match="is no usable name-version-release"):
        nvr_of_name(name)

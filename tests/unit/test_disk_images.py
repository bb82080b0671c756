"""Disk images to be handed out: block maps against the sparse file and bmaptool, and the converted forms."""

from __future__ import annotations

import hashlib
import os
import re
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from org_ovirt_node.errors import ImageError
from org_ovirt_node.image import bmap, disks
from org_ovirt_node.progress import Silent

PROJECT = Path(__file__).parents[2]
MIB = 1 << 20
BLOCK = bmap.BLOCK


def sparse(path: Path, size: int, *pieces: tuple[int, bytes]) -> Path:
    with path.open("wb") as stream:
        stream.truncate(size)
        for place, data in pieces:
            stream.seek(place)
            stream.write(data)
    return path


def make_disk(path: Path) -> Path:
    """16 MiB with a partition table and data here and there; the last block is not whole."""
    pieces = [(510, disks.MBR), (512, disks.GPT), (MIB, b"a" * 10000), (5 * MIB + 3, os.urandom(200000))]
    return sparse(path, 16 * MIB + 100, *pieces, (16 * MIB + 90, b"end"))


def test_the_map_is_that_of_the_sparse_file(memory: Path) -> None:
    disk = make_disk(memory / "d.raw")
    found = bmap.read(disk)
    assert (found.size, found.blocks) == (16 * MIB + 100, 4097)
    content = disk.read_bytes()
    covered = bytearray(len(content))
    for one in found.ranges:
        piece = content[one.first * BLOCK : (one.last + 1) * BLOCK]
        assert hashlib.sha256(piece).hexdigest() == one.sha256
        covered[one.first * BLOCK : one.first * BLOCK + len(piece)] = piece
    assert bytes(covered) == content, "what is not in the map is zero"
    # 1 block, 10000 bytes, 200000 bytes that do not begin at a block, and the end.
    assert [(one.first, one.last) for one in found.ranges] == [(0, 0), (256, 258), (1280, 1328), (4096, 4096)]
    assert found.mapped == disk.stat().st_blocks * 512 // BLOCK == 54


def test_what_is_reserved_is_a_hole_whoever_has_read_it(tmp_path: Path) -> None:
    disk = sparse(tmp_path / "d", 8 * MIB, (0, b"x"))
    with disk.open("r+b") as stream:
        os.posix_fallocate(stream.fileno(), MIB, MIB)
    before = bmap.read(disk)
    assert len(disk.read_bytes()) == 8 * MIB
    assert bmap.read(disk) == before
    assert before.mapped < 10


def test_the_file_has_what_the_format_asks_for(memory: Path) -> None:
    text = bmap.as_xml(bmap.read(make_disk(memory / "d.raw")))
    root = ElementTree.fromstring(text)
    assert (root.tag, root.get("version")) == ("bmap", "2.0")
    fields = {child.tag: (child.text or "").strip() for child in root}
    digest = fields.pop("BmapFileChecksum")
    assert fields == {
        "ImageSize": "16777316",
        "BlockSize": "4096",
        "BlocksCount": "4097",
        "MappedBlocksCount": "54",
        "ChecksumType": "sha256",
        "BlockMap": "",
    }
    assert hashlib.sha256(text.replace(digest, "0" * 64).encode()).hexdigest() == digest
    ranges = [(one.text or "").strip() for one in root.iter("Range")]
    assert ranges == ["0", "256-258", "1280-1328", "4096"]
    assert all(re.fullmatch("[0-9a-f]{64}", one.get("chksum", "")) for one in root.iter("Range"))


@given(st.lists(st.integers(0, 200000), max_size=12))
def test_ranges_are_apart_and_cover_what_they_are_made_of(places: list[int]) -> None:
    places = sorted(set(places))
    extents = list(zip(places[::2], places[1::2]))
    ranges = list(bmap.block_ranges(iter(extents)))
    for begin, end in extents:
        assert any(first * BLOCK <= begin and end <= (last + 1) * BLOCK for first, last in ranges)
    for (_, last), (first, _) in zip(ranges, ranges[1:]):
        assert first > last + 1, "neighbours are one range"
    touched = {block for begin, end in extents for block in range(begin // BLOCK, (end - 1) // BLOCK + 1)}
    assert {block for first, last in ranges for block in range(first, last + 1)} == touched


@pytest.mark.parametrize(
    ("size", "pieces", "expected"),
    [(0, [], []), (3 * BLOCK, [], []), (BLOCK, [(0, b"x")], [(0, 0)]), (10, [(0, b"x" * 10)], [(0, 0)])],
)
def test_edges(size: int, pieces: list[tuple[int, bytes]], expected: list[tuple[int, int]], memory: Path) -> None:
    found = bmap.read(sparse(memory / "d", size, *pieces))
    assert [(one.first, one.last) for one in found.ranges] == expected


def converted(disk: Path, output: Path, *formats: str) -> dict[str, Path]:
    made = disks.convert(disk, formats, output, Silent())
    return {one.path.name: one.path for one in made}


@pytest.mark.parametrize("suffix", ["zst", "gz"])
def test_bmaptool_writes_the_same_disk(suffix: str, memory: Path) -> None:
    disk = make_disk(memory / "node.raw")
    made = converted(disk, memory / "out", f"raw.{suffix}")
    assert sorted(made) == ["node.raw.bmap", f"node.raw.{suffix}"]
    target = memory / "target"
    target.write_bytes(bytes(disk.stat().st_size))
    command = ["bmaptool", "copy", str(made[f"node.raw.{suffix}"]), str(target)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0 and "discovered bmap file" in done.stderr, done.stderr
    assert target.read_bytes() == disk.read_bytes()


def test_bmaptool_finds_a_damaged_map_and_a_damaged_disk(memory: Path) -> None:
    disk = make_disk(memory / "node.raw")
    made = converted(disk, memory / "out", "bmap")["node.raw.bmap"]
    command = ["bmaptool", "copy", "--bmap", str(made), str(disk), str(memory / "target")]
    assert subprocess.run(command, capture_output=True, check=False).returncode == 0
    sound = made.read_text()
    made.write_text(sound.replace("4097", "4096"))
    assert subprocess.run(command, capture_output=True, check=False).returncode != 0
    made.write_text(sound)
    with disk.open("r+b") as stream:
        stream.seek(MIB)
        stream.write(b"b")
    assert subprocess.run(command, capture_output=True, check=False).returncode != 0


def test_a_qcow2_has_the_same_content(memory: Path) -> None:
    disk = sparse(memory / "node.raw", 16 * MIB, (512, disks.GPT), (MIB, b"a" * 10000))
    made = converted(disk, memory / "out", "qcow2")["node.qcow2"]
    command = ["qemu-img", "compare", "-f", "raw", "-F", "qcow2", str(disk), str(made)]
    assert subprocess.run(command, capture_output=True, check=False).returncode == 0
    assert made.stat().st_size < 2 * MIB
    digest = (memory / "out/node.qcow2.sha256").read_text()
    assert digest == f"{hashlib.sha256(made.read_bytes()).hexdigest()}  node.qcow2\n"


def test_several_at_once_and_the_same_bytes(memory: Path) -> None:
    disk = make_disk(memory / "node.raw")
    formats = ["raw.zst", "raw.gz", "bmap", "raw.zst"]
    one, two = converted(disk, memory / "one", *formats), converted(disk, memory / "two", *formats)
    assert list(one) == ["node.raw.bmap", "node.raw.zst", "node.raw.gz"]
    assert all(path.read_bytes() == two[name].read_bytes() for name, path in one.items())
    assert {path.name for path in (memory / "one").iterdir()} == {*one, *(f"{name}.sha256" for name in one)}


@pytest.mark.parametrize(
    ("name", "formats", "said"),
    [
        ("none.raw", ["qcow2"], "there is no disk image"),
        ("empty.raw", ["qcow2"], "has no partition table"),
        ("text.raw", ["qcow2"], "has no partition table"),
        ("other.raw", ["qcow2"], "is a qcow2 disk already"),
        ("node.raw", ["vmdk"], "unknown format 'vmdk'"),
        ("there.raw", ["raw.gz"], "there.raw.gz is there already"),
    ],
)
def test_what_cannot_be_converted_is_refused(name: str, formats: list[str], said: str, memory: Path) -> None:
    for good in ("node.raw", "there.raw"):
        make_disk(memory / good)
    (memory / "there.raw.gz").write_text("mine")
    (memory / "empty.raw").write_bytes(b"")
    (memory / "text.raw").write_text("text\n" * 1000)
    (memory / "other.raw").write_bytes(disks.QCOW_MAGIC + bytes(1000))
    before = {path.name for path in memory.iterdir()}
    with pytest.raises(ImageError, match=re.escape(said)):
        disks.convert(memory / name, formats, memory, Silent())
    assert {path.name for path in memory.iterdir()} == before


def test_a_disk_in_use_is_refused(memory: Path) -> None:
    disk = make_disk(memory / "node.raw")
    command = ["losetup", "--find", "--show", "--read-only", str(disk)]
    device = subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    try:
        with pytest.raises(ImageError, match=f"in use: it is attached to {device}"):
            disks.convert(disk, ["qcow2"], memory / "out", Silent())
    finally:
        subprocess.run(["losetup", "--detach", device], check=True)


def test_a_failure_leaves_nothing_half(memory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    disk = make_disk(memory / "node.raw")
    bad = memory / "bin"
    bad.mkdir()
    (bad / "zstd").write_text('#!/bin/sh\nfor last; do :; done\necho half > "$last"\necho full >&2\nexit 1\n')
    (bad / "zstd").chmod(0o755)
    monkeypatch.setenv("OVIRT_NODE_PATH", f"{bad}:/usr/sbin:/usr/bin:/sbin:/bin")
    with pytest.raises(Exception, match="zstd failed with exit status 1: full"):
        disks.convert(disk, ["raw.zst"], memory / "out", Silent())
    assert not list((memory / "out").iterdir())


def test_the_command(memory: Path) -> None:
    disk = make_disk(memory / "node.raw")
    command = [sys.executable, "-m", "org_ovirt_node.cli.image", "disk", str(disk), "--output", str(memory / "out")]
    done = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=False)
    assert done.stdout == f"{memory}/out/node.qcow2\n"
    done = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=False)
    assert done.returncode == 1 and "is there already" in done.stderr and "Traceback" not in done.stderr

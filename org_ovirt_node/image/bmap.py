"""Block maps of sparse files: which blocks of a disk image have to be written, with a digest of each range.

The format is bmap 2.0 (bmap-tools, bmaptools/BmapCreate.py and BmapCopy.py): XML, block numbers in decimal, ranges with
both ends included, and the digest of the file itself, in which that digest's place is filled with zeros.
"""

from __future__ import annotations

import errno
import hashlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO
from xml.etree import ElementTree

from org_ovirt_node.errors import ImageError

BLOCK = 4096
CHUNK = 1 << 20
CHECKSUM = "sha256"
UNSIGNED = "0" * 64


@dataclass(frozen=True)
class Range:
    """Blocks ``first`` to ``last``, both included, and the SHA-256 of what is in them."""

    first: int
    last: int
    sha256: str


@dataclass(frozen=True)
class Bmap:
    """A block map; ``size`` of the image in bytes."""

    size: int
    ranges: tuple[Range, ...]

    @property
    def blocks(self) -> int:
        return -(-self.size // BLOCK)

    @property
    def mapped(self) -> int:
        return sum(one.last - one.first + 1 for one in self.ranges)


def data_extents(stream: BinaryIO) -> Iterator[tuple[int, int]]:
    """Begin and end, in bytes, of what is no hole in an open file (lseek(2), SEEK_DATA and SEEK_HOLE)."""
    descriptor, end = stream.fileno(), 0
    # What was only reserved (fallocate(2)) is a hole for ext4 and xfs until somebody reads it: then it is in the cache,
    # and counts as data.  So the cache is emptied, and a file has one map.
    os.fsync(descriptor)
    os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
    while True:
        try:
            begin = os.lseek(descriptor, end, os.SEEK_DATA)
        except OSError as exc:
            if exc.errno == errno.ENXIO:
                return
            raise
        end = os.lseek(descriptor, begin, os.SEEK_HOLE)
        yield begin, end


def block_ranges(extents: Iterator[tuple[int, int]]) -> Iterator[tuple[int, int]]:
    """First and last block of what ``extents`` touch; what meets in a block, or at its end, is one range."""
    first, last = 0, -2
    for begin, end in extents:
        if begin // BLOCK > last + 1:
            if last >= 0:
                yield first, last
            first = begin // BLOCK
        last = (end - 1) // BLOCK
    if last >= 0:
        yield first, last


def read(image: Path) -> Bmap:
    """Make the block map of ``image``, which is read where it has data.  Raises :class:`ImageError`."""
    try:
        with image.open("rb", buffering=0) as stream:
            size = os.fstat(stream.fileno()).st_size
            ranges = [
                Range(first, last, _digest(stream, first * BLOCK, min((last + 1) * BLOCK, size)))
                for first, last in block_ranges(data_extents(stream))
            ]
    except OSError as exc:
        raise ImageError(f"{image} cannot be read: {exc.strerror}") from exc
    return Bmap(size, tuple(ranges))


def _digest(stream: BinaryIO, begin: int, end: int) -> str:
    digest = hashlib.sha256()
    # pread: the position of the file belongs to the search for data.
    while begin < end:
        data = os.pread(stream.fileno(), min(CHUNK, end - begin), begin)
        if not data:
            raise ImageError("the disk image became shorter while it was read", hint="Is something writing to it?")
        digest.update(data)
        begin += len(data)
    return digest.hexdigest()


def as_xml(bmap: Bmap) -> str:
    """The file's text; the same for the same map."""
    root = ElementTree.Element("bmap", version="2.0")

    def add(parent: ElementTree.Element, name: str, text: object, **attributes: str) -> None:
        ElementTree.SubElement(parent, name, attributes).text = f" {text} "

    add(root, "ImageSize", bmap.size)
    add(root, "BlockSize", BLOCK)
    add(root, "BlocksCount", bmap.blocks)
    add(root, "MappedBlocksCount", bmap.mapped)
    add(root, "ChecksumType", CHECKSUM)
    add(root, "BmapFileChecksum", UNSIGNED)
    table = ElementTree.SubElement(root, "BlockMap")
    for one in bmap.ranges:
        blocks = f"{one.first}-{one.last}" if one.last > one.first else f"{one.first}"
        add(table, "Range", blocks, chksum=one.sha256)
    ElementTree.indent(root, "    ")
    text = f'<?xml version="1.0" ?>\n{ElementTree.tostring(root, encoding="unicode")}\n'
    return text.replace(UNSIGNED, hashlib.sha256(text.encode()).hexdigest(), 1)

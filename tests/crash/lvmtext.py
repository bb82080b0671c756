"""LVM's metadata read from a PV in user space: what the volumes of a group are made of.

Formats (lvm2: lib/format_text/layout.h, lib/label/label.h): a label in one of the first four sectors leads to the PV's
header, that to the metadata area, whose header points to the text of the VG in a ring buffer.
"""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import IO, Any, Optional

SECTOR = 512
LABEL = struct.Struct("<8sQII8s")
LABEL_ID, LABEL_TYPE = b"LABELONE", b"LVM2 001"
#: Sectors that may hold the label, and how much of one its checksum covers.
LABEL_SECTORS = 4
UUID_LENGTH = 32
AREA = struct.Struct("<QQ")
MDA = struct.Struct("<I16sIQQ")
LOCATION = struct.Struct("<QQII")
MDA_MAGIC = b" LVM2 x[5A%r0N*>"
MDA_HEADER = 512
#: What LVM's checksums start from (lib/misc/crc.h).
INITIAL_CRC = 0xF597A6CF
IGNORED = 1


class MetadataError(Exception):
    """The metadata is damaged; LVM would not take the VG."""


def crc(data: bytes) -> int:
    """LVM's checksum: CRC-32 with a start of its own and without the final inversion."""
    return ~zlib.crc32(data, ~INITIAL_CRC & 0xFFFFFFFF) & 0xFFFFFFFF


class LostIds(MetadataError):
    """A new UUID of the PV is half written: the header has no metadata, or they have another UUID than the label.

    On a first boot the initramfs goes back to the newest text (data/dracut/90ovirt-node/ovirt-node-ids.sh).
    """


class TornText(MetadataError):
    """The header has come to the disk before the text that it points to.

    LVM writes both with no flush in between (lib/format_text/format-text.c), so a disk whose cache is lost with the
    power may keep one and not the other.
    """


@dataclass(frozen=True)
class Segment:
    """A piece of an LV, in extents; ``data`` is what LVM's text says of it."""

    start: int
    count: int
    data: dict[str, Any]

    @property
    def kind(self) -> str:
        return str(self.data["type"])


@dataclass(frozen=True)
class Group:
    """A VG with one PV, whose UUID is ``pv`` (without dashes); sizes are bytes, ``first`` is where extents begin."""

    name: str
    seqno: int
    extent: int
    first: int
    tags: tuple[str, ...]
    volumes: dict[str, dict[str, Any]]
    pv: str = ""

    def tags_of(self, volume: str) -> tuple[str, ...]:
        return tuple(self.volumes[volume].get("tags", ()))

    def segments(self, volume: str) -> tuple[Segment, ...]:
        """The segments of an LV in the order of its content."""
        data = self.volumes[volume]
        found = [
            Segment(int(part["start_extent"]), int(part["extent_count"]), part)
            for name, part in data.items()
            if re.fullmatch(r"segment\d+", name)
        ]
        return tuple(sorted(found, key=lambda one: one.start))

    def size(self, volume: str) -> int:
        return sum(segment.count for segment in self.segments(volume)) * self.extent

    def ranges(self, volume: str) -> tuple[tuple[int, int], ...]:
        """Where a linear LV lies on the disk: (start, length) in bytes.  Raises MetadataError for another kind."""
        found = []
        for segment in self.segments(volume):
            if segment.kind != "striped" or segment.data.get("stripe_count", 1) != 1:
                raise MetadataError(f"{volume} is not linear but {segment.kind}")
            _pv, extent = segment.data["stripes"]
            found.append((self.first + int(extent) * self.extent, segment.count * self.extent))
        return tuple(found)


def read(disk: IO[bytes], start: int, *, newest: bool = False) -> Optional[Group]:
    """The VG on the PV that begins at byte ``start``; None without a PV or a VG.  Raises MetadataError.

    ``newest``: where a new UUID of the PV is half written, the newest text in the ring counts.
    """
    header = _label(disk, start)
    if header is None:
        return None
    own = header[:UUID_LENGTH].decode(errors="replace")
    areas = list(_areas(header[UUID_LENGTH + 8 :]))
    data, metadata = areas[: areas.index((0, 0))], areas[areas.index((0, 0)) + 1 :]
    for offset, length in metadata[: metadata.index((0, 0))]:
        text = _text(disk, start + offset, length)
        if text is None and newest:
            text = _newest(disk, start + offset, length)
        if text is not None:
            try:
                return _group(parse(text), start, data, own)
            except LostIds:
                if not newest:
                    raise
                return _group(parse(text), start, data, "")
    return None


_BEGIN = re.compile(rb'[\w.+-]+ \{\nid = "')
_SEQNO = re.compile(r"\nseqno = (\d+)\n")


def _newest(disk: IO[bytes], start: int, length: int) -> Optional[str]:
    """The text with the highest number of those that begin at a sector of a metadata area, as pvck(8) finds it."""
    disk.seek(start)
    area = disk.read(length)
    found: tuple[int, str] = (0, "")
    for place in range(MDA_HEADER, len(area), SECTOR):
        if _BEGIN.match(area, place):
            text = area[place : area.index(b"\0", place)].decode(errors="replace")
            number = _SEQNO.search(text)
            if number is not None:
                found = max(found, (int(number.group(1)), text))
    return found[1] or None


def _label(disk: IO[bytes], start: int) -> Optional[bytes]:
    for number in range(LABEL_SECTORS):
        disk.seek(start + number * SECTOR)
        sector = disk.read(SECTOR)
        name, own, checksum, offset, kind = LABEL.unpack(sector[: LABEL.size])
        if name == LABEL_ID and own == number and kind == LABEL_TYPE and crc(sector[20:]) == checksum:
            return sector[offset:]
    return None


def _areas(data: bytes) -> Iterator[tuple[int, int]]:
    for place in range(0, len(data) - AREA.size + 1, AREA.size):
        yield AREA.unpack_from(data, place)


def _text(disk: IO[bytes], start: int, length: int) -> Optional[str]:
    """The committed text of a metadata area; None when there is no VG.  Raises MetadataError."""
    disk.seek(start)
    header = disk.read(MDA_HEADER)
    checksum, magic, _version, _start, size = MDA.unpack_from(header)
    if magic != MDA_MAGIC or crc(header[4:]) != checksum:
        raise MetadataError("the header of the metadata area is damaged")
    offset, count, text_crc, flags = LOCATION.unpack_from(header, MDA.size)
    if offset == 0 or flags & IGNORED:
        return None
    disk.seek(start + offset)
    if offset + count > size:
        # The ring goes on behind the header.
        text = disk.read(size - offset)
        disk.seek(start + MDA_HEADER)
        text += disk.read(count - len(text))
    else:
        text = disk.read(count)
    if crc(text) != text_crc:
        raise TornText("the text of the metadata has another checksum than its header says")
    return text.rstrip(b"\0").decode()


_TOKEN = re.compile(
    r'\s+|#[^\n]*|(?P<string>"(?:[^"\\]|\\.)*")|(?P<number>-?\d+(?:\.\d+)?)|(?P<word>[\w.+@-]+)|(?P<mark>[{}\[\]=,])'
)


def parse(text: str) -> dict[str, Any]:
    """LVM's configuration syntax (lvm.conf(5)) as dictionaries, lists, strings and integers.  Raises MetadataError."""
    tokens = list(_tokens(text))
    tree, place = _section(tokens, 0)
    if place != len(tokens):
        raise MetadataError("the text of the metadata has a bracket too many")
    return tree


def _tokens(text: str) -> Iterator[tuple[str, str]]:
    place = 0
    while place < len(text):
        found = _TOKEN.match(text, place)
        if found is None:
            raise MetadataError(f"the text of the metadata has {text[place : place + 20]!r}")
        place = found.end()
        if found.lastgroup:
            # A name may begin with a digit: what stands before "{" or "=" is a name whatever it looks like.
            yield found.lastgroup, found.group()


def _section(tokens: list[tuple[str, str]], place: int) -> tuple[dict[str, Any], int]:
    section: dict[str, Any] = {}
    while place < len(tokens) and tokens[place][1] != "}":
        name = ""
        while tokens[place][0] in ("word", "number"):
            name += tokens[place][1]
            place += 1
        mark = tokens[place][1]
        if not name or mark not in "{=":
            raise MetadataError(f"the text of the metadata has {mark!r} behind {name!r}")
        if mark == "{":
            section[name], place = _section(tokens, place + 1)
            if place >= len(tokens):
                raise MetadataError(f"the section {name} has no end")
            place += 1
        else:
            section[name], place = _value(tokens, place + 1)
    return section, place


def _value(tokens: list[tuple[str, str]], place: int) -> tuple[Any, int]:
    kind, text = tokens[place]
    if text == "[":
        values = []
        place += 1
        while tokens[place][1] != "]":
            if tokens[place][1] == ",":
                place += 1
                continue
            value, place = _value(tokens, place)
            values.append(value)
        return values, place + 1
    if kind == "string":
        return re.sub(r"\\(.)", r"\1", text[1:-1]), place + 1
    if kind == "number":
        return (float(text) if "." in text else int(text)), place + 1
    raise MetadataError(f"the text of the metadata has {text!r} for a value")


def _group(tree: dict[str, Any], start: int, data: list[tuple[int, int]], own: str) -> Group:
    names = [name for name, value in tree.items() if isinstance(value, dict)]
    if len(names) != 1:
        raise MetadataError(f"the metadata describes {len(names)} volume groups")
    vg = tree[names[0]]
    pvs = vg.get("physical_volumes", {})
    if len(pvs) != 1:
        raise MetadataError(f"the volume group has {len(pvs)} PVs, and this reader knows one")
    (pv,) = pvs.values()
    first = pv["pe_start"] * SECTOR
    known = pv["id"].replace("-", "")
    if own and known != own:
        raise LostIds(f"the volume group's PV {known} is missing: this one is {own}")
    if data and data[0][0] != first:
        raise MetadataError(f"the PV's header puts its extents at {data[0][0]}, the VG at {first}")
    return Group(
        name=names[0],
        seqno=vg["seqno"],
        extent=vg["extent_size"] * SECTOR,
        first=start + first,
        tags=tuple(vg.get("tags", ())),
        volumes=vg.get("logical_volumes", {}),
        pv=own,
    )

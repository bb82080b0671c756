"""What judges a cut: LVM's metadata, GRUB's menu, thin pools, partition tables, and the figures' table."""

from __future__ import annotations

import struct
import uuid
import zlib
from dataclasses import replace
from pathlib import Path

import pytest

from org_ovirt_node.node.layers import BootState
from org_ovirt_node.storage.clear import clear_boot_code
from tests.crash import __main__ as crash
from tests.crash import gpt, grubview, lean, lvmtext, record, report, thin
from tests.crash.judge import NODE, Verdict, names_pv, no_fallback, unexpected

SECTOR = 512
TEXT = """\
onn {
id = "x"
seqno = 7
extent_size = 8192
tags = ["imgbased:vg", "a=\\"b\\""]
physical_volumes {
pv0 { # a comment
id = "uuuuuu-uuuu-uuuu-uuuu-uuuu-uuuu-uuuuuu"
pe_start = 2048
}
}
logical_volumes {
node-1.0-1 {
tags = ["imgbased:base"]
segment_count = 2
segment2 { start_extent = 3
extent_count = 1
type = "striped"
stripe_count = 1
stripes = ["pv0", 20]
}
segment1 { start_extent = 0
extent_count = 3
type = "striped"
stripe_count = 1
stripes = ["pv0", 5]
}
}
}
}
"""
MDA, MDA_SIZE = 4096, 8192


def pv(text: str, *, wrapped: bool = False, spoil: int = -1) -> bytes:
    """A PV of 64 KiB with ``text`` as its metadata; ``wrapped``: it goes over the end of the ring."""
    disk = bytearray(1 << 16)
    header = b"u" * 32 + struct.pack("<Q", 1 << 16)
    header += struct.pack("<QQQQ", 1 << 20, 0, 0, 0) + struct.pack("<QQQQ", MDA, MDA_SIZE, 0, 0)
    label = struct.pack("<I8s", 32, b"LVM2 001") + header
    label = label.ljust(SECTOR - 20, b"\0")
    disk[SECTOR : 2 * SECTOR] = struct.pack("<8sQI", b"LABELONE", 1, lvmtext.crc(label)) + label
    data = text.encode() + b"\0"
    offset = MDA_SIZE - 100 if wrapped else 1024
    first = data[: MDA_SIZE - offset]
    disk[MDA + offset : MDA + offset + len(first)] = first
    rest = data[len(first) :]
    disk[MDA + SECTOR : MDA + SECTOR + len(rest)] = rest
    body = struct.pack("<16sIQQ", lvmtext.MDA_MAGIC, 1, MDA, MDA_SIZE)
    body += struct.pack("<QQII", offset, len(data), lvmtext.crc(data), 0)
    body = body.ljust(SECTOR - 4, b"\0")
    disk[MDA : MDA + SECTOR] = struct.pack("<I", lvmtext.crc(body)) + body
    if spoil >= 0:
        disk[spoil] ^= 1
    return bytes(disk)


def read(tmp_path: Path, data: bytes, *, newest: bool = False) -> lvmtext.Group:
    file = tmp_path / "pv"
    file.write_bytes(bytes(SECTOR) + data)
    with file.open("rb") as disk:
        found = lvmtext.read(disk, SECTOR, newest=newest)
    assert found is not None
    return found


@pytest.mark.parametrize("wrapped", [False, True])
def test_a_volume_group_is_read_from_its_pv(tmp_path: Path, wrapped: bool) -> None:
    group = read(tmp_path, pv(TEXT, wrapped=wrapped))
    assert (group.name, group.seqno, group.extent, group.first) == ("onn", 7, 4 << 20, SECTOR + (1 << 20))
    assert group.tags == ("imgbased:vg", 'a="b"')
    assert group.tags_of("node-1.0-1") == ("imgbased:base",)
    start = group.first
    assert group.ranges("node-1.0-1") == ((start + (20 << 20), 12 << 20), (start + (80 << 20), 4 << 20))
    assert group.size("node-1.0-1") == 16 << 20


@pytest.mark.parametrize(("spoil", "said"), [(MDA + 30, "header"), (MDA + 1024 + 50, "another checksum")])
def test_damaged_metadata_is_seen(tmp_path: Path, spoil: int, said: str) -> None:
    with pytest.raises(lvmtext.MetadataError, match=said):
        read(tmp_path, pv(TEXT, spoil=spoil))


def test_only_a_text_that_came_after_its_header_is_left_to_lvm(tmp_path: Path) -> None:
    with pytest.raises(lvmtext.TornText):
        read(tmp_path, pv(TEXT, spoil=MDA + 1024 + 50))
    with pytest.raises(lvmtext.MetadataError) as caught:
        read(tmp_path, pv(TEXT, spoil=MDA + 30))
    assert not isinstance(caught.value, lvmtext.TornText)


def test_a_damaged_label_is_no_pv(tmp_path: Path) -> None:
    file = tmp_path / "pv"
    file.write_bytes(pv(TEXT, spoil=SECTOR + 40))
    with file.open("rb") as disk:
        assert lvmtext.read(disk, 0) is None


@pytest.mark.parametrize("text", ["a { b = 1", "a = ]", "a { b 1 }", "}", 'a = "x'])
def test_what_lvm_would_not_take_is_no_metadata(text: str) -> None:
    with pytest.raises((lvmtext.MetadataError, IndexError)):
        lvmtext.parse(text)


def table(entries: int = 1) -> bytes:
    """A disk of 1 MiB with one LVM partition, and both tables."""
    size = 1 << 20
    last = size // SECTOR - 1
    entry = struct.pack("<16s16sQQQ72s", gpt.LVM.bytes_le, uuid.UUID(int=1).bytes_le, 64, 127, 0, b"")
    array = (entry * entries).ljust(128 * 128, b"\0")
    disk = bytearray(size)
    for own, other, place in ((1, last, 2), (last, 1, last - 32)):
        head = bytearray(
            gpt.HEADER.pack(
                *(b"EFI PART", 65536, 92, 0, 0, own, other, 34, last - 33, bytes(16)),
                *(place, 128, 128, zlib.crc32(array)),
            )
        )
        head[16:20] = struct.pack("<I", zlib.crc32(bytes(head)))
        disk[own * SECTOR : own * SECTOR + len(head)] = head
        disk[place * SECTOR : place * SECTOR + len(array)] = array
    return bytes(disk)


@pytest.mark.parametrize(("spoil", "found"), [([], 1), ([SECTOR], 1), ([SECTOR + 60, (1 << 20) - SECTOR], None)])
def test_a_partition_table_or_its_copy_is_read(tmp_path: Path, spoil: list[int], found: object) -> None:
    data = bytearray(table())
    for place in spoil:
        data[place] ^= 1
    (tmp_path / "disk").write_bytes(data)
    with (tmp_path / "disk").open("rb") as disk:
        parts = gpt.read(disk, len(data))
        assert not gpt.boot_code(disk)
    assert parts is None if found is None else parts == (gpt.Partition(1, gpt.LVM, 64 * SECTOR, 64 * SECTOR),)


@pytest.mark.parametrize(
    ("code", "found"), [(b"\xcd", False), (b"\xeb\x63\x90", True), (b"\xcd\x18\xf4\xeb\xfd\x90", False)]
)
def test_boot_code_that_starts_nothing_is_none(tmp_path: Path, code: bytes, found: bool) -> None:
    file = tmp_path / "disk"
    file.write_bytes(b"\x90" * SECTOR)
    clear_boot_code(str(file))
    with file.open("r+b") as disk:
        assert disk.read(5) == bytes.fromhex("cd18 f4 ebfd") and not gpt.boot_code(disk)
        disk.seek(0)
        disk.write(code)
        disk.flush()
        assert gpt.boot_code(disk) == found
    assert file.read_bytes()[440:] == b"\x90" * (SECTOR - 440)


def test_a_menu_without_its_end_is_broken() -> None:
    whole = b"menuentry 'a b' --id 'a' {\n  linux /a/vmlinuz quiet x='y'\n  initrd /a/i /a/host.img\n}\n"
    entries, broken = grubview.parse_menu(whole * 2)
    assert (len(entries), broken) == (2, "")
    assert entries[0].files == ("/a/vmlinuz", "/a/i", "/a/host.img")
    for length in range(1, len(whole)):
        assert grubview.parse_menu(whole + whole[:length])[1]


def test_thin_volumes_are_read_from_a_dump() -> None:
    pool = thin.parse(
        b'<superblock uuid="" time="1" transaction="8" data_block_size="128" nr_data_blocks="100">'
        b'<device dev_id="3" mapped_blocks="3" transaction="0" creation_time="0" snap_time="0">'
        b'<range_mapping origin_begin="4" data_begin="0" length="2" time="0"/>'
        b'<single_mapping origin_block="0" data_block="7" time="0"/></device></superblock>'
    )
    assert (pool.transaction, pool.chunk) == (8, 65536)
    assert pool.volumes[3].runs == ((0, 7, 1), (4, 0, 2))
    with pytest.raises(thin.ThinError):
        thin.parse(b"<superblock/>")


def test_metadata_that_thin_check_refuses(tmp_path: Path) -> None:
    (tmp_path / "tmeta").write_bytes(bytes(1 << 20))
    with pytest.raises(thin.ThinError, match="thin_check ended with"):
        thin.read(tmp_path / "tmeta")


def test_what_is_booted_must_be_allowed() -> None:
    assert unexpected(Verdict("1", NODE, "a+1", later="b+1"), {"a+1", "b+1"}) == ()
    assert unexpected(Verdict("1", NODE, "c+1", later="a+1"), {"a+1", ""}) == ("GRUB boots c+1, not nothing or a+1",)
    assert unexpected(Verdict("1", "nothing"), {"a+1"}) == ("GRUB boots nothing, not a+1",)
    said = "GRUB boots b+1 once the journal was replayed, not a+1"
    assert unexpected(Verdict("1", NODE, "a+1", later="b+1"), {"a+1"}) == (said,)


def test_a_trial_without_a_way_back_is_wrong() -> None:
    alone = BootState(saved="gone+1", trial="b+1", tries=2, first="b+1", names=("b+1",))
    assert list(no_fallback("GRUB", alone)) == ["GRUB: b+1 is on trial, and there is no other layer to fall back to"]
    assert not list(no_fallback("GRUB", replace(alone, saved="a+1", names=("b+1", "a+1"))))
    assert not list(no_fallback("GRUB", replace(alone, tries=0)))


@pytest.mark.parametrize(("cuts", "boots", "status"), [(500, 60, 0), (499, 60, 1), (9000, 59, 1)])
def test_a_whole_run_that_tried_too_little_fails(cuts: int, boots: int, status: int) -> None:
    assert crash.too_few({"cuts": cuts, "boots": boots}, 60) == status


def test_a_sample_does_not_replace_more_cuts_but_with_a_violation(tmp_path: Path) -> None:
    file = tmp_path / "reliability.json"
    report.note("upgrade", {"cuts": 300, "boots": 20, "violations": 0}, file)
    assert report.note("upgrade", {"cuts": 40, "violations": 0}, file, sample=True)["cuts"] == 300
    assert report.note("upgrade", {"cuts": 40, "violations": 1}, file, sample=True)["violations"] == 1
    assert report.note("upgrade", {"cuts": 50, "violations": 0}, file, sample=True)["cuts"] == 50


def test_figures_are_summed_and_shown(tmp_path: Path) -> None:
    file, page = tmp_path / "reliability.json", tmp_path / "page.md"
    report.note("one", {"cuts": 3, "violations": 0, "seed": 5}, file)
    report.note("two", {"cuts": 4, "boots": 1, "violations": 1}, file)
    data = report.note("one", {"cuts": 10, "violations": 0, "seed": 6}, file)
    assert {key: data[key] for key in report.SUMS} == {
        **dict.fromkeys(report.SUMS, 0),
        "cuts": 14,
        "boots": 1,
        "violations": 1,
    }
    page.write_text(f"before\n{report.BEGIN}\nold\n{report.END}\nafter\n")
    report.write_table(report.load(file), page)
    text = page.read_text()
    assert "| one | 10 |" in text and "| **all** | **14** | **1** |" in text and "old" not in text
    assert text.startswith("before\n") and text.endswith("after\n")
    page.write_text("no place")
    with pytest.raises(ValueError, match="no place"):
        report.write_table(data, page)


def test_a_pv_whose_label_the_metadata_does_not_know_is_missing(tmp_path: Path) -> None:
    data = pv(TEXT.replace("uuuuuu-uuuu", "vuuuuu-uuuu"))
    with pytest.raises(lvmtext.LostIds, match="is missing"):
        read(tmp_path, data)
    assert read(tmp_path, data, newest=True).seqno == 7


def test_a_vg_that_its_header_has_lost_is_found_by_its_newest_text(tmp_path: Path) -> None:
    text = 'onn {\nid = "x"' + TEXT[TEXT.index("\nseqno") :]
    data = bytearray(pv(text))
    older = text.replace("seqno = 7", "seqno = 6").encode() + b"\0"
    data[MDA + 4096 : MDA + 4096 + len(older)] = older
    body = struct.pack("<16sIQQ", lvmtext.MDA_MAGIC, 1, MDA, MDA_SIZE).ljust(SECTOR - 4, b"\0")
    data[MDA : MDA + SECTOR] = struct.pack("<I", lvmtext.crc(body)) + body
    assert read(tmp_path, bytes(data), newest=True).seqno == 7
    with pytest.raises(AssertionError):
        read(tmp_path, bytes(data))


@pytest.mark.parametrize(("spoil", "torn"), [(None, False), (SECTOR, False), (SECTOR + 60, True), (2 * SECTOR, True)])
def test_a_first_table_that_is_torn_is_told_from_none(tmp_path: Path, spoil: object, torn: bool) -> None:
    data = bytearray(table())
    if isinstance(spoil, int):
        data[spoil] ^= 1
    (tmp_path / "disk").write_bytes(data)
    with (tmp_path / "disk").open("rb") as disk:
        assert gpt.torn(disk, len(data)) is torn


DEVICES = b"# HASH=1\nVERSION=1.1.2\nIDTYPE=sys_serial IDNAME=x DEVNAME=/dev/vda3 PVID=abc PART=3\n"


@pytest.mark.parametrize(
    ("devices", "whole"),
    [
        (DEVICES, True),
        (DEVICES[:-2], False),
        (DEVICES.replace(b"abc", b"abd"), False),
        (b"", False),
        (DEVICES[9:], True),
    ],
)
def test_a_devices_file_is_whole_when_it_names_the_pv(devices: bytes, whole: bool) -> None:
    assert names_pv(devices, "abc") is whole


def test_all_boots_are_shared_out_and_spread() -> None:
    names = list(record.MAKERS)
    assert set(names) == set(crash.WEIGHTS)
    shares = crash.share_boots(names, 60)
    assert sum(shares.values()) == 60 and all(shares.values())
    assert sum(crash.share_boots(["upgrade"], 2).values()) == 2
    for name, count in shares.items():
        chosen = crash.to_boot(name, 1000, 1, count)
        assert len(chosen) == count and chosen == sorted(chosen) and chosen[-1] < 1000
        assert chosen == crash.to_boot(name, 1000, 1, count)
    assert sum(place >= 900 for place in crash.to_boot("install", 1000, 1, 6)) == 3


def test_what_a_lean_node_does_without_is_said_by_credentials() -> None:
    argv = lean.credentials()
    assert argv[::2] == ["-smbios"] * (len(argv) // 2)
    assert all(one.startswith("type=11,value=io.systemd.credential.binary:systemd.") for one in argv[1::2])
    # Nothing that an operation's own services are is left out.
    assert not [unit for unit in lean.LEFT_OUT if "ovirt-node" in unit or "lvm" in unit or "fsck" in unit]

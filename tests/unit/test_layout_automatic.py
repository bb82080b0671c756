"""The default layout."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from org_ovirt_node.errors import LayoutError
from org_ovirt_node.kickstart.model import VolumeRequest
from org_ovirt_node.layout import policy
from org_ovirt_node.layout.model import GIB, MIB, Firmware, Role
from org_ovirt_node.payload.facts import ImageFacts
from tests.unit.layouts import ALL, AUTO, BIOS, BOTH, EFI, IMAGE, NODE, automatic, check, disk, pv_space, roles, sizes

USUAL = {
    "/": 6 * GIB,
    "/home": GIB,
    "/tmp": GIB,
    "/var": 5 * GIB,
    "/var/crash": 10 * GIB,
    "/var/log": 8 * GIB,
    "/var/log/audit": 2 * GIB,
    "/var/tmp": 10 * GIB,
    "swap": 8 * GIB,
}


def test_a_large_disk_has_the_sizes_of_the_upstream_profile() -> None:
    layout = automatic(disk(size=500 * GIB), firmware=BOTH)
    check(layout)
    assert sizes(layout) == USUAL
    assert [(part.role, part.size) for part in layout.partitions[:3]] == [
        (Role.BIOSBOOT, MIB),
        (Role.ESP, 600 * MIB),
        (Role.BOOT, GIB),
    ]
    names = [volume.name for volume in layout.volumes]
    assert names == [
        f"{IMAGE.nvr}+1",
        *("home", "tmp", "var", "var_crash", "var_log", "var_log_audit", "var_tmp", "swap"),
    ]
    assert layout.image.name == IMAGE.nvr and layout.image.size == 152 * MIB
    assert (layout.vg.name, layout.pool.name) == ("onn", "pool00")
    assert layout.layer.mountpoint == "/"


@pytest.mark.parametrize("firmware", [BIOS, EFI, BOTH])
def test_an_8_gib_disk_works_with_every_volume_between_its_minimum_and_its_usual_size(
    firmware: tuple[Firmware, ...],
) -> None:
    layout = automatic(disk(size=8 * GIB), firmware=firmware)
    check(layout)
    found = sizes(layout)
    assert set(found) == set(USUAL)
    for name, size in found.items():
        assert policy.BY_MOUNTPOINT[name].minimum < size < USUAL[name]
    boot = next(part for part in layout.partitions if part.role is Role.BOOT)
    assert 512 * MIB <= boot.size < GIB


def test_a_4_gib_disk_is_refused_with_the_sum_of_what_is_needed() -> None:
    with pytest.raises(LayoutError) as caught:
        automatic(disk(size=4 * GIB))
    message = str(caught.value)
    assert message.startswith("the disk sda (4 GiB) cannot hold the node, which needs 6.6 GiB at the least")
    for item in ("/boot 512 MiB", "3 image slots 684 MiB", "3 layers", "/var/log/audit 128 MiB", "swap 256 MiB"):
        assert item in message
    assert "novolume" in message


def test_what_is_said_to_be_needed_is_enough_and_a_little_less_is_not() -> None:
    least = next(mib for mib in range(6000, 8000) if _fits(mib))
    assert abs(least - 6.6 * 1024) < 52
    assert not _fits(least - 1)


def _fits(mib: int) -> bool:
    try:
        check(automatic(disk(size=mib * MIB)))
    except LayoutError:
        return False
    return True


def test_row_10_pool_metadata_is_sized_for_the_data() -> None:
    """64 bytes for each chunk is what lvmthin(7) estimates; there is twice as much, and never less than 16 MiB."""
    for gib in (8, 20, 100, 1000, 10_000, 100_000):
        pool = automatic(disk(size=gib * GIB)).pool
        assert pool.metadata_size >= max(16 * MIB, 128 * pool.size // pool.chunk_size)
        assert pool.metadata_size <= 2 * GIB + policy.EXTENT
    assert automatic(disk(size=500 * GIB)).pool.metadata_size == GIB
    assert automatic(disk(size=500 * GIB)).pool.chunk_size == 64 << 10


def test_row_19_every_thin_volume_passes_discards_down() -> None:
    node = replace(NODE, volumes=(VolumeRequest("/data", 4 * GIB),))
    layout = automatic(disk(size=100 * GIB), node=node)
    assert all("discard" in volume.options for volume in layout.volumes if volume.thin)
    assert {volume.name for volume in layout.volumes if not volume.thin} == {"swap"}


def test_row_2_boot_is_a_partition_with_room_for_every_slot() -> None:
    layout = automatic(disk(size=8 * GIB))
    boot = next(part for part in layout.partitions if part.role is Role.BOOT)
    assert boot.fstype == "ext4" and boot.mountpoint == "/boot" and boot.size >= 3 * 128 * MIB


def test_several_disks_are_one_volume_group() -> None:
    layout = automatic(disk("sda", 20 * GIB), disk("sdb", 30 * GIB), disk("sdc", 40 * GIB), boot_drive="sdb")
    check(layout)
    assert [used.name for used in layout.disks] == ["sdb", "sda", "sdc"]
    assert roles(layout, "sdb") == [Role.BIOSBOOT, Role.BOOT, Role.PV]
    assert roles(layout, "sda") == roles(layout, "sdc") == [Role.PV]
    assert layout.vg.disks == ("sdb", "sda", "sdc")
    assert pv_space(layout) > 88 * GIB


def test_a_disk_that_is_too_small_for_its_part_is_named() -> None:
    with pytest.raises(LayoutError, match=r"the disk sdb \(12 MiB\) is too small"):
        automatic(disk("sda", 60 * GIB), disk("sdb", 12 * MIB))


def test_encryption_is_under_every_physical_volume_and_its_header_is_counted() -> None:
    request = replace(AUTO, encrypted=True, passphrase="geheim")
    layout = automatic(disk("sda", 20 * GIB), disk("sdb", 20 * GIB), request=request)
    check(layout)
    assert [part.role for part in layout.partitions if part.encryption] == [Role.PV, Role.PV]
    assert "geheim" not in repr(layout) and "geheim" not in repr(request)


def test_volume_lines_change_the_defaults() -> None:
    node = replace(
        NODE,
        volumes=(VolumeRequest("/data", 20 * GIB, "xfs"), VolumeRequest("/var/log", 3 * GIB + 1)),
        novolumes=("/var/crash", "/home"),
        layer_size=7 * GIB,
        vg="vg",
        pool="thin",
    )
    layout = automatic(disk(size=200 * GIB), node=node)
    check(layout)
    found = sizes(layout)
    assert found["/data"] == 20 * GIB and found["/"] == 7 * GIB
    assert found["/var/log"] == 3 * GIB + policy.EXTENT
    assert "/var/crash" not in found and "/home" not in found
    assert next(volume for volume in layout.volumes if volume.name == "data").fstype == "xfs"
    assert (layout.vg.name, layout.pool.name) == ("vg", "thin")


def test_autopart_options_change_the_defaults() -> None:
    request = replace(AUTO, fstype="xfs", nohome=True, noswap=True)
    layout = automatic(disk(size=8 * GIB), request=request)
    check(layout)
    assert not {"/home", "swap"} & set(sizes(layout))
    assert {volume.fstype for volume in layout.volumes} == {"xfs"}
    assert min(sizes(layout).values()) >= 320 * MIB  # mkfs.xfs refuses less than 300 MB
    assert next(part for part in layout.partitions if part.role is Role.BOOT).fstype == "ext4"


def test_fewer_slots_leave_more_room() -> None:
    small = automatic(disk(size=8 * GIB), node=replace(NODE, image_slots=1))
    check(small, slots=1)
    assert sizes(small)["/var"] > sizes(automatic(disk(size=8 * GIB)))["/var"]


def test_a_volume_that_does_not_fit_is_refused() -> None:
    node = replace(NODE, volumes=(VolumeRequest("/data", 70 * GIB),))
    with pytest.raises(LayoutError, match="/data 70 GiB"):
        automatic(disk(size=64 * GIB), node=node)


def test_bios_cannot_boot_from_4096_byte_sectors() -> None:
    big = disk(sector_size=4096)
    with pytest.raises(LayoutError, match=r"sda has sectors of 4096 bytes, and BIOS cannot boot"):
        automatic(big)
    check(automatic(big, firmware=EFI))
    # As a second disk it is fine.
    check(automatic(disk("sdb"), big, boot_drive="sdb"))


@pytest.mark.parametrize(
    ("nvr", "said"),
    [("a b", "logical volume"), ("a~b", "logical volume"), ("", "logical volume"), ("pool00", "two"), ("-a", "hyphen")],
)
def test_an_image_whose_name_lvm_would_not_take_is_refused(nvr: str, said: str) -> None:
    with pytest.raises(LayoutError, match=said):
        automatic(image=ImageFacts(nvr, 150 * MIB))


def test_names_that_are_too_long_for_the_kernel_are_refused() -> None:
    with pytest.raises(LayoutError, match="too long for the kernel"):
        automatic(image=ImageFacts("node" + "-1" * 40, 150 * MIB))
    check(automatic(image=ImageFacts("ovirt-node-ng-installer-4.5.5-0.20240101.0.el9", IMAGE.size)))


def test_two_volumes_of_one_name_are_refused() -> None:
    node = replace(NODE, volumes=(VolumeRequest("/a/b", GIB), VolumeRequest("/a_b", GIB)))
    with pytest.raises(LayoutError, match="two logical volumes would have the name a_b"):
        automatic(node=node)


DISKS = st.lists(st.integers(2 * GIB, 200 * GIB), min_size=1, max_size=4)


@settings(max_examples=300)
@given(
    sizes_of=DISKS,
    image=st.integers(4096, 3 * GIB),
    slots=st.integers(1, 5),
    firmware=st.sampled_from([BIOS, EFI, BOTH]),
    encrypted=st.booleans(),
    fstype=st.sampled_from(["ext4", "xfs"]),
)
def test_whatever_is_planned_fits(
    sizes_of: list[int], image: int, slots: int, firmware: tuple[Firmware, ...], encrypted: bool, fstype: str
) -> None:
    request = replace(AUTO, encrypted=encrypted, passphrase="x" if encrypted else "", fstype=fstype)
    facts = ImageFacts("node-1", image)
    node = replace(NODE, image_slots=slots)
    disks = [disk(f"sd{index}", size) for index, size in enumerate(sizes_of)]
    try:
        layout = automatic(*disks, request=request, node=node, image=facts, firmware=firmware)
    except LayoutError as error:
        assert "at the least" in error.message or "too small" in error.message
        assert sum(sizes_of) < 40 * GIB
        return
    check(layout, facts, slots)
    for volume in layout.volumes:
        default = policy.BY_MOUNTPOINT[volume.mountpoint or "swap"]
        assert policy.minimum_size(default.mountpoint, volume.fstype) <= volume.size <= default.usual


@settings(max_examples=50)
@given(st.integers(7 * GIB, 200 * GIB), st.integers(1, 10 * GIB))
def test_a_larger_disk_never_has_smaller_volumes(size: int, more: int) -> None:
    small, large = sizes(automatic(disk(size=size))), sizes(automatic(disk(size=size + more)))
    assert all(large[name] >= size for name, size in small.items())


def test_the_wiped_disks_are_told() -> None:
    layout = automatic(disk("sda"), disk("sdb", vgs=("old",)), request=replace(AUTO, selection=ALL))
    assert layout.wiped == ("sdb",)


def test_an_image_with_the_name_of_a_volume_is_to_be_renamed() -> None:
    with pytest.raises(LayoutError, match=r"would have the name var.* Rename the image's file"):
        automatic(disk(), image=replace(IMAGE, nvr="var"))

"""Errors of a disk at chosen places, while its machine runs (QEMU: docs/devel/blkdebug.txt, blockdev-reopen)."""

from __future__ import annotations

import errno
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from tests.vm.console import Shell
from tests.vm.errors import check
from tests.vm.qemu import Disk, Machine
from tests.vm.steps import VG

SECTOR = 512
MIB = 1 << 20
FAULTY = "faulty"


@contextmanager
def errors(machine: Machine, disk: Disk, kind: str, places: Iterable[int]) -> Iterator[None]:
    """EIO for whatever of ``kind`` ("read" or "write") touches one of ``places``, bytes of a raw ``disk``."""
    rules = [
        {"event": "none", "iotype": kind, "errno": errno.EIO, "sector": place // SECTOR, "once": False}
        for place in places
    ]
    check(bool(rules), "there is no place for an error of the disk")
    below, top = disk.blockdevs()
    more = {"discard": "unmap"}
    machine.qmp.command(
        "blockdev-add",
        **{"driver": "blkdebug", "node-name": FAULTY, "image": below["node-name"], "inject-error": rules, **more},
    )
    try:
        machine.qmp.command("blockdev-reopen", options=[{**top, "file": FAULTY}])
        yield
    finally:
        machine.qmp.command("blockdev-reopen", options=[top])
        machine.qmp.command("blockdev-del", **{"node-name": FAULTY})


def partition(shell: Shell, number: int) -> tuple[int, int]:
    """First byte and length of a partition of the node's disk, which is vda."""
    start, size = shell.text(f"cat /sys/class/block/vda{number}/start /sys/class/block/vda{number}/size").split()
    return int(start) * SECTOR, int(size) * SECTOR


def of_boot(shell: Shell) -> list[int]:
    """Places all over /boot that file contents come to: each MiB, but for the journal and where most inodes are.

    Data of new files cannot miss them.
    """
    start, length = partition(shell, 2)
    blocks = [int(word) for word in shell.text("debugfs -R 'blocks <8>' /dev/vda2 2>/dev/null").split()]
    size = int(shell.text("stat -f -c %S /boot"))
    journal = range(min(blocks) * size - MIB, (max(blocks) + 1) * size + MIB)
    found = (place + MIB // 2 for place in range(32 * MIB, length - MIB, MIB))
    return [start + place for place in found if place not in journal]


def of_file(shell: Shell, path: str) -> list[int]:
    """Where the first block of a file of /boot lies."""
    start, _ = partition(shell, 2)
    # FIBMAP (ioctl_fibmap(2)) is 1: the block of the file becomes the block of the file system.
    program = "import fcntl, struct, sys; f = open(sys.argv[1], 'rb'); "
    program += "print(struct.unpack('i', fcntl.ioctl(f, 1, struct.pack('i', 0)))[0])"
    block = int(shell.text(f'python3 -c "{program}" {path}'))
    return [start + block * int(shell.text("stat -f -c %S /boot"))]


def of_metadata(shell: Shell) -> list[int]:
    """Each page between the label of the PV and its first extent: LVM's metadata, wherever in the ring they come to."""
    start, _ = partition(shell, 3)
    first = int(_segments(shell)[0]["pe_start"])
    return list(range(start + 4096, start + first, 4096))


def _segments(shell: Shell) -> list[dict[str, str]]:
    report = shell.json(
        f"pvs --all --segments --reportformat json --units b --nosuffix -S 'vg_name={VG}' "
        f"-o pe_start,vg_extent_size,pvseg_start,pvseg_size,lv_name"
    )
    found: list[dict[str, str]] = report["report"][0]["pvseg"]
    return found


def _place(shell: Shell, segment: dict[str, str]) -> range:
    """The bytes of the disk that a segment of the PV has."""
    start, _ = partition(shell, 3)
    extent = int(segment["vg_extent_size"])
    first = start + int(segment["pe_start"]) + int(segment["pvseg_start"]) * extent
    return range(first, first + int(segment["pvseg_size"]) * extent)


def of_free_extents(shell: Shell) -> list[int]:
    """Each MiB of what no volume has: where the volume of a new image comes to."""
    free = [_place(shell, one) for one in _segments(shell) if not one["lv_name"]]
    return [place + MIB // 2 for one in free for place in one[::MIB]]


def of_pool(shell: Shell, *, used: bool, most: int = 4000) -> list[int]:
    """Each chunk of the pool's data that is ``used``, or else each that comes next; ``most`` of them at most."""
    (data,) = [one for one in _segments(shell) if one["lv_name"] == "[pool00_tdata]"]
    # Kernel: admin-guide/device-mapper/thin-provisioning.rst, "thin-pool", Status and Table.
    status = shell.text(f"dmsetup status {VG}-pool00-tpool").split()
    chunk = int(shell.text(f"dmsetup table {VG}-pool00-tpool").split()[5]) * SECTOR
    count = int(status[5].split("/")[0])
    places = _place(shell, data)[::chunk]
    return list(places[:count] if used else places[count:])[:most]

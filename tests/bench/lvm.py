"""How long the node's volume group takes to read with many volumes in it and many disks of others beside it.

    python -m tests.bench.lvm [VOLUMES [DISKS]]

The disks are loop devices with real LVM metadata on them, read by the LVM of the demo node's root tree.  The volumes
are not active: what device-mapper adds for each active one is not in the figure.  It prints seconds, and the ratios to
the limit and to a group with few volumes and no other disk.
"""

from __future__ import annotations

import os
import stat
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from org_ovirt_node.image.cache import Cache
from org_ovirt_node.image.debian import stage_root
from org_ovirt_node.image.profile import load
from org_ovirt_node.mounts import chroot_ready, loop_device, overlaid
from org_ovirt_node.node import lvm
from org_ovirt_node.progress import TextProgress
from org_ovirt_node.run import run

PROFILE = Path(__file__).resolve().parents[2] / "data/profiles/demo-node.conf"
VOLUMES, DISKS, FEW = 500, 200, 5
#: Seconds in which so many must be read.
LIMIT = 1.0
ROUNDS = 5
VG = "onn"
#: Bytes of the files behind the disks; nothing is written to them but metadata.
OWN, FOREIGN = 8 << 30, 64 << 20
DISKS_OF_A_GROUP = 10
BACKUP = "/tmp/group"
#: The kernel of a test machine may have no device-mapper.
WITHOUT = ("--driverloaded", "n")


def volume(number: int) -> str:
    """A volume of one extent in LVM's text format (that of vgcfgbackup(8))."""
    name = f"lv{number}"
    uuid = "-".join((f"{number:06}", *(f"{number:04}" for _ in range(5)), f"{number:06}"))
    segment = f'segment1 {{ start_extent=0 extent_count=1 type="striped" stripe_count=1 stripes=["pv0", {number}] }}'
    return f'{name} {{ id="{uuid}" status=["READ", "WRITE", "VISIBLE"] flags=[] segment_count=1 {segment} }}\n'


def fill(root: Path, count: int) -> None:
    """Give the group ``count`` volumes, all at once."""
    run(["vgcfgbackup", *WITHOUT, "-f", BACKUP, VG], root=root)
    file = root / BACKUP.lstrip("/")
    text = file.read_text()
    volumes = "".join(volume(number) for number in range(count))
    file.write_text(f"{text[: text.rindex('}')]}logical_volumes {{\n{volumes}}}\n}}\n")
    run(["vgcfgrestore", *WITHOUT, "-f", BACKUP, VG], root=root)


@contextmanager
def disks(base: Path, root: Path, volumes: int, foreign: int) -> Iterator[None]:
    """The node's disk with ``volumes`` in its group, and ``foreign`` disks in groups of their own."""
    with ExitStack() as stack:

        def disk(name: str, size: int) -> str:
            file = base / name
            with file.open("wb") as handle:
                handle.truncate(size)
            return stack.enter_context(loop_device(file))

        run(["vgcreate", *WITHOUT, VG, disk("own", OWN)], root=root)
        fill(root, volumes)
        for first in range(0, foreign, DISKS_OF_A_GROUP):
            names = [
                disk(f"foreign{number}", FOREIGN) for number in range(first, min(first + DISKS_OF_A_GROUP, foreign))
            ]
            run(["vgcreate", *WITHOUT, f"foreign{first}", *names], root=root)
        yield


def measure(volumes: int) -> float:
    """The best of some rounds of reading the group, in seconds."""
    best = float("inf")
    for _round in range(ROUNDS):
        begin = time.monotonic()
        found = lvm.group(VG)
        best = min(best, time.monotonic() - begin)
        if len(found.volumes) != volumes:
            raise SystemExit(f"{len(found.volumes)} volumes were read, not {volumes}")
    return best


def main() -> int:
    volumes, foreign = [*map(int, sys.argv[1:3]), *(VOLUMES, DISKS)[len(sys.argv) - 1 :]]
    tree = stage_root(load(PROFILE), Cache(), TextProgress())
    with tempfile.TemporaryDirectory(prefix="lvm-bench-", dir="/var/tmp") as name:
        base = Path(name)
        for folder in ("root", "programs"):
            (base / folder).mkdir()
        program = base / "programs/lvs"
        program.write_text(f'#!/bin/sh\nexec chroot {base}/root /usr/sbin/lvs {" ".join(WITHOUT)} "$@"\n')
        program.chmod(program.stat().st_mode | stat.S_IXUSR)
        with overlaid([tree], base / "upper", base / "overlay", base / "root") as root, chroot_ready(root):
            seconds = {}
            for count, others in ((FEW, 0), (volumes, foreign)):
                with disks(base, root, count, others):
                    os.environ["OVIRT_NODE_PATH"] = f"{program.parent}:{os.environ['PATH']}"
                    seconds[count] = measure(count)
                    del os.environ["OVIRT_NODE_PATH"]
                print(f"{count} volumes beside {others} foreign disks: {seconds[count]:.3f} s")
    print(f"{seconds[volumes] / seconds[FEW]:.1f} times the small one, {seconds[volumes] / LIMIT:.2f} of the limit")
    return 0 if seconds[volumes] < LIMIT else 1


if __name__ == "__main__":
    sys.exit(main())

"""A disk that cannot be written in one place, under everything that changes /boot; real ext4, without a machine.

The places come from a recording of the same operations, so each of them is one that they do write.
"""

from __future__ import annotations

import random
import subprocess
from pathlib import Path
from typing import Optional

from org_ovirt_node.errors import NodeError
from tests.crash.bootcuts import OLD, operation_list, record_operations, wrong_in
from tests.crash.matrix import Outcome
from tests.crash.native import faulty_mount
from tests.crash.writelog import Log

SECTOR = 512


def places(log: Path) -> list[int]:
    """The sectors that writes of a log begin with."""
    with Log(log) as opened:
        return sorted({entry.start // SECTOR for entry in opened.entries() if entry.changes and not entry.discard})


def judged(folder: Path, seed: int, count: Optional[int] = None, *, until: str = "") -> Outcome:
    """All the operations with each of the places (or ``count`` of them) broken, up to the one that is refused.

    A disk that is mended afterwards must boot a layer, as GRUB sees it and as Linux does.  It ends at the first
    violation with the words ``until``; the places come in an order by chance.
    """
    base, log, _ = record_operations(folder, operation_list())
    known = places(log)
    outcome = Outcome()
    for sector in random.Random(seed).sample(known, min(count or len(known), len(known))):
        outcome.tried += 1
        disk = folder / "faulty.img"
        subprocess.run(["cp", "--sparse=always", base, disk], check=True)
        allowed, refused = with_fault(disk, sector, folder)
        outcome.refused += refused
        outcome.violations += [f"EIO at sector {sector}: {wrong}" for wrong in wrong_in(disk, folder, allowed)]
        if until and any(until in wrong for wrong in outcome.violations):
            break
    return outcome


def with_fault(disk: Path, sector: int, folder: Path) -> tuple[frozenset[str], bool]:
    """Do the operations until one is refused; what may be booted then, and whether one was."""
    before, running = OLD, frozenset({OLD})
    try:
        with faulty_mount(disk, sector, folder / "shown") as boot:
            for operation in operation_list():
                running = operation.during | {before}
                operation.act(boot, folder / "work")
                before, running = operation.after, frozenset({operation.after})
    except (OSError, NodeError):
        return running, True
    return running, False

"""What was written into a layer: the upper side of its overlay against its image.

Format: kernel, Documentation/filesystems/overlayfs.rst: a character device 0:0 ("whiteout") stands for what was
deleted, a folder with the attribute ``trusted.overlay.opaque`` hides what is below it in the image.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

OPAQUE = "trusted.overlay.opaque"
#: Looked after by others: /etc is merged, /root goes along, the rest is made anew at each boot or by the layer itself.
ELSEWHERE = ("etc", "root", "boot", "dev", "proc", "run", "sys", "tmp")
#: Written by programs while they run, of no use to another image.
NOISE = ("var/cache", "usr/lib/sysimage")
#: Lines that a report shows of each kind.
SHOWN = 20


class Kind(Enum):
    """What happened to a path of the image."""

    ADDED = "added"
    CHANGED = "changed"
    DELETED = "deleted"


@dataclass(frozen=True)
class Change:
    """One path, without a leading slash, that the layer has otherwise than its image; ``size`` in bytes."""

    path: str
    kind: Kind
    size: int = 0


def is_whiteout(status: os.stat_result) -> bool:
    return stat.S_ISCHR(status.st_mode) and status.st_rdev == 0


def is_opaque(folder: Path) -> bool:
    try:
        return os.getxattr(folder, OPAQUE, follow_symlinks=False) == b"y"
    except OSError:
        return False


def changes(upper: Path, tree: Path, leave_out: Collection[str] = ()) -> Iterator[Change]:
    """Every path that was added to, changed in or deleted from the image ``tree``; folders only where they are new.

    ``leave_out`` are names in the root that are not looked at.
    """
    for child in sorted(upper.iterdir()):
        if child.name not in leave_out:
            yield from _changes(child, tree / child.name, child.name)


def _changes(path: Path, below: Path, name: str) -> Iterator[Change]:
    status = path.lstat()
    if is_whiteout(status):
        yield Change(name, Kind.DELETED)
        return
    exists = os.path.lexists(below)
    if not stat.S_ISDIR(status.st_mode):
        yield Change(
            name, Kind.CHANGED if exists else Kind.ADDED, status.st_size if stat.S_ISREG(status.st_mode) else 0
        )
        return
    if not exists:
        yield Change(name, Kind.ADDED)
    elif is_opaque(path):
        yield Change(name, Kind.CHANGED)
    for child in sorted(path.iterdir()):
        yield from _changes(child, below / child.name, f"{name}/{child.name}")


def is_noise(path: str) -> bool:
    """True for what programs leave behind by themselves."""
    return path.endswith((".pyc", "/__pycache__")) or any(path == top or path.startswith(f"{top}/") for top in NOISE)


def outside_etc(upper: Path, tree: Path, shared: Sequence[str]) -> tuple[Change, ...]:
    """What a new layer does not get by itself: changes outside /etc, /root and the ``shared`` mount points."""
    tops = [mountpoint.strip("/") for mountpoint in shared if mountpoint != "/"]
    return tuple(
        change
        for change in changes(upper, tree, ELSEWHERE)
        if not is_noise(change.path)
        and not any(change.path == top or change.path.startswith(f"{top}/") for top in tops)
    )


def is_kept(path: str, keep: Sequence[str]) -> bool:
    """True when ``path`` is, or lies below, one of the paths ``keep``."""
    return any(path == name.strip("/") or path.startswith(name.strip("/") + "/") for name in keep)

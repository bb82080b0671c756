"""What was changed in /etc of the running layer after an update had merged it: it stays in that layer.

The update notes what the upper side of the overlay has in /etc before it reads it; until the reboot the two can be
compared.  Times of change (ctime) tell, since nothing can set them (inode(7)).
"""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Optional

from org_ovirt_node.node.layers import NodeState
from org_ovirt_node.node.merge.names import escaped
from org_ovirt_node.node.places import Places
from org_ovirt_node.node.rollback import NOISE

ETC = "etc"


def marks(upper: Path) -> dict[str, str]:
    """What the layer has in /etc otherwise than its image: by path below /etc, what changes with each change of it."""
    return {path: _mark(status) for path, status in _found(upper / ETC).items()}


def _found(top: Path) -> dict[str, os.stat_result]:
    places = (Path(folder) / name for folder, below, names in os.walk(top) for name in (*below, *names))
    return {escaped(str(place.relative_to(top))): place.lstat() for place in places}


def _mark(status: os.stat_result) -> str:
    # A folder changes with what is in it, and that is seen by itself.
    return f"folder {_owner(status)}" if stat.S_ISDIR(status.st_mode) else str(status.st_ctime_ns)


def _owner(status: os.stat_result) -> str:
    return f"{status.st_mode:o} {status.st_uid} {status.st_gid}"


def changed(before: Mapping[str, str], upper: Path, image: Path) -> tuple[str, ...]:
    """Paths below /etc that are otherwise than at the time of ``before``, the :func:`marks` of then.

    ``image`` is the root tree of the running image: what was only copied up from it, by a program that opened it for
    writing and wrote nothing, has not changed.
    """
    now = _found(upper / ETC)
    found = {path for path in before if path not in now}
    found |= {
        path
        for path, status in now.items()
        if before.get(path) != _mark(status) and not (path not in before and _copied(image / ETC / path, status))
    }
    return tuple(sorted(path for path in found if not f"{path}/".startswith(NOISE)))


def _copied(original: Path, status: os.stat_result) -> bool:
    """True when ``status`` is that of an unchanged copy of ``original``: a copy up keeps owner, mode and times."""
    try:
        there = original.lstat()
    except OSError:
        return False
    if stat.S_ISDIR(status.st_mode):
        return _owner(there) == _owner(status)
    return (_owner(there), there.st_size, there.st_mtime_ns) == (_owner(status), status.st_size, status.st_mtime_ns)


def of_pending(places: Places, node: Optional[NodeState], layer: str, before: Mapping[str, str]) -> tuple[str, ...]:
    """:func:`changed` while the update to ``layer`` awaits its reboot; nothing at any other time.  Raises OSError."""
    awaits = node is not None and node.boot.pending and node.boot.trial == layer != node.current
    return changed(before, places.upper, places.image_tree) if awaits else ()

"""Files of an image outside /etc that belong to an account with another id on this node.

Only where ids differ at all is the image's tree walked, by its metadata alone.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from org_ovirt_node.node.merge import beneath
from org_ovirt_node.node.merge.meta import mapped
from org_ovirt_node.node.merge.model import IdMap, MergeError, Meta
from org_ovirt_node.node.merge.tree import xattrs
from org_ovirt_node.node.merge.write import apply_meta

#: /etc has its own merge.
ETC = "etc"


@dataclass(frozen=True)
class OwnerChange:
    """What a path (relative to the root) is to have: the image's mode and attributes with the node's ids."""

    path: str
    meta: Meta


def find(image: Path, ids: IdMap, shared: Collection[str] = ()) -> tuple[OwnerChange, ...]:
    """Everything below the root tree ``image`` that is owned by an id in ``ids``, parents first.

    ``shared`` are paths relative to the root where volumes of all layers are mounted: what lies there is the node's
    and has the node's ids already.  Raises :class:`MergeError`.
    """
    if not ids:
        return ()
    skipped = {ETC, *(path.strip("/") for path in shared)}
    try:
        return tuple(_walk(image, ids, skipped))
    except OSError as exc:
        raise MergeError(f"{image} cannot be read: {exc.strerror}") from exc


def _walk(image: Path, ids: IdMap, skipped: Collection[str]) -> Iterator[OwnerChange]:
    for above, folders, names in os.walk(image):
        place = Path(above)
        folders[:] = sorted(name for name in folders if str((place / name).relative_to(image)) not in skipped)
        for name in (*folders, *sorted(names)):
            path = place / name
            status = path.lstat()
            if status.st_uid in ids.uids or status.st_gid in ids.gids:
                found = Meta(stat.S_IMODE(status.st_mode), status.st_uid, status.st_gid, xattrs(os.fspath(path)))
                yield OwnerChange(str(path.relative_to(image)), mapped(found, ids))


def apply(root: Path, changes: Sequence[OwnerChange]) -> int:
    """Give the paths of a mounted root what ``changes`` say; returns how many were not right before.

    The kernel takes set-id bits and capabilities away when an owner changes (chown(2)): they are set again.
    """
    count = 0
    for change in changes:
        above, _, name = change.path.rpartition("/")
        try:
            with beneath.folder(root, above) as fd:
                count += apply_meta(fd, name, change.meta, [])
        except OSError as exc:
            raise MergeError(f"{root / change.path} cannot get its owner: {exc.strerror}") from exc
    return count

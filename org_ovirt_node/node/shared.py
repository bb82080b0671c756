"""What a new image brings for the volumes that all layers share (/var and others): added, never overwritten.

New is what the new image has and the old one did not: what the user removed is not brought back.
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from org_ovirt_node.node.copying import copy_attributes, copy_one
from org_ovirt_node.node.merge.model import IdMap


def additions(new: Path, old: Path, live: Path, mountpoints: Sequence[str]) -> list[str]:
    """Paths, parents first, that ``new`` has below ``mountpoints`` and that neither ``old`` nor ``live`` has.

    ``new`` and ``old`` are root trees of images, ``live`` is the root of the running system.
    """
    found: dict[str, None] = {}
    for mountpoint in sorted(mountpoints):
        top = mountpoint.strip("/")
        if top and (new / top).is_dir() and not (new / top).is_symlink():
            for path in _below(new, top):
                if not os.path.lexists(old / path) and not os.path.lexists(live / path) and _inside(live, path):
                    found[path] = None
    return list(found)


def _below(tree: Path, top: str) -> Iterator[str]:
    for folder, names, files in os.walk(tree / top):
        names.sort()
        place = Path(folder).relative_to(tree)
        for name in sorted([*names, *files]):
            yield str(place / name)


def _inside(live: Path, path: str) -> bool:
    """True when no folder above ``path`` is a link: it could lead out of the volume."""
    return not any((live / parent).is_symlink() for parent in Path(path).parents)


def folders(live: Path, paths: Sequence[str]) -> set[Path]:
    """The folders that are there of those in which ``paths`` (parents first) will be made."""
    made = set(paths)
    parents = {str(Path(path).parent) for path in paths}
    return {live / parent for parent in parents - made if (live / parent).is_dir()}


def add(new: Path, live: Path, paths: Sequence[str], ids: IdMap) -> None:
    """Copy ``paths`` from ``new`` to ``live``; ``ids`` are owners that this node numbers otherwise."""
    made = []
    for path in paths:
        if not os.path.lexists(live / path) and (live / path).parent.is_dir():
            _copy(new / path, live / path)
            # A socket is not copied.
            made += [path] if os.path.lexists(live / path) else []
    for path in reversed(made):
        target = live / path
        if target.is_dir() and not target.is_symlink():
            # Filling it changed its times.
            copy_attributes(new / path, target)
        status = target.lstat()
        if ids.uid(status.st_uid) != status.st_uid or ids.gid(status.st_gid) != status.st_gid:
            mode = status.st_mode
            os.lchown(target, ids.uid(status.st_uid), ids.gid(status.st_gid))
            if not target.is_symlink():
                # A change of owner takes set-id bits away (chown(2)).
                target.chmod(mode & 0o7777)


def _copy(source: Path, target: Path) -> None:
    """Copy what is new so that after a power cut a file is whole, or not there: it would never be copied again."""
    if not stat.S_ISREG(source.lstat().st_mode):
        copy_one(source, target)
        return
    temporary = _temporary(target)
    copy_one(source, temporary)
    with temporary.open("rb") as file:
        os.fsync(file.fileno())
    temporary.rename(target)


def _temporary(target: Path) -> Path:
    """The name of a file while it is copied: told by the file's own, and short where that is as long as can be."""
    return target.with_name(f".ovirt-node-{hashlib.sha256(os.fsencode(target.name)).hexdigest()[:16]}")


def marks(new: Path, paths: Sequence[str]) -> dict[str, list[int]]:
    """``paths`` with the mode, the size in bytes and the time of change (ns) that :func:`add` gives each of them."""
    found = {path: (new / path).lstat() for path in paths}
    return {path: _mark(status) for path, status in found.items()}


def take_back(live: Path, added: Mapping[str, list[int]]) -> None:
    """Remove what :func:`add` added and nobody has changed since; ``added`` are the :func:`marks` of it."""
    for path, mark in reversed(list(added.items())):
        target = live / path
        if not _inside(live, path) or not target.parent.is_dir():
            continue
        _temporary(target).unlink(missing_ok=True)
        if not os.path.lexists(target):
            continue
        status = target.lstat()
        if stat.S_ISDIR(status.st_mode):
            if not any(target.iterdir()):
                target.rmdir()
        elif _mark(status) == mark:
            target.unlink()


def _mark(status: os.stat_result) -> list[int]:
    return [status.st_mode, status.st_size, status.st_mtime_ns]

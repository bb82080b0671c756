"""What a new image brings for the volumes that all layers share (/var and others): added, never overwritten.

New is what the new image has and the old one did not: what the user removed is not brought back.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
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


def add(new: Path, live: Path, paths: Sequence[str], ids: IdMap) -> None:
    """Copy ``paths`` from ``new`` to ``live``; ``ids`` are owners that this node numbers otherwise."""
    made = []
    for path in paths:
        if not os.path.lexists(live / path) and (live / path).parent.is_dir():
            copy_one(new / path, live / path)
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


def take_back(new: Path, live: Path, paths: Sequence[str]) -> None:
    """Remove what :func:`add` added and nobody has changed since."""
    for path in reversed(paths):
        target, source = live / path, new / path
        if not os.path.lexists(target) or not os.path.lexists(source):
            continue
        if target.is_dir() and not target.is_symlink():
            if not any(target.iterdir()):
                target.rmdir()
        elif _same(source, target):
            target.unlink()


def _same(source: Path, target: Path) -> bool:
    one, other = source.lstat(), target.lstat()
    return (one.st_mode, one.st_size, one.st_mtime_ns) == (other.st_mode, other.st_size, other.st_mtime_ns)

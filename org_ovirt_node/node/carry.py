"""What of the running layer goes along to the new one, beside /etc: root's home, and the paths that --keep names."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from org_ovirt_node.errors import NodeError
from org_ovirt_node.node import copying, upper
from org_ovirt_node.node.merge.names import escaped
from org_ovirt_node.node.places import Places

HOME = "root"


def home_size(places: Places) -> int:
    """Bytes of root's home in the running layer."""
    top = places.upper / HOME
    return sum((Path(folder) / name).lstat().st_size for folder, _, names in os.walk(top) for name in names)


def check_keep(places: Places, keep: Sequence[str]) -> None:
    """Raises NodeError for a --keep that names nothing, or what has its own way to the new layer."""
    for path in keep:
        if not path.startswith("/") or ".." in Path(path).parts or path.strip("/") == "":
            raise NodeError(f"--keep {path} is no absolute path below /", hint="Write it as /opt/tool.")
        top = path.strip("/").split("/")[0]
        if top in upper.ELSEWHERE:
            raise NodeError(f"--keep {path} is not needed: /{top} is taken care of by the update itself")
        place = places.live / path.strip("/")
        if not os.path.lexists(place):
            raise NodeError(f"--keep {path} names nothing: there is no such path")
        folder = place if place.is_dir() and not place.is_symlink() else place.parent
        if folder.lstat().st_dev != places.live.lstat().st_dev:
            raise NodeError(f"--keep {path} is not needed: it is on a volume of its own, which stays as it is")


def carry(places: Places, root: Path, keep: Sequence[str]) -> list[str]:
    """Take root's home and the paths ``keep`` along from the running layer to the new root; returns what was done.

    What was changed below them since the image is changed in the same way below those of the new image; a path of the
    old image that the new one lacks is copied as it is.
    """
    said = []
    if (places.upper / HOME).is_dir():
        _replay(places.upper / HOME, root / HOME)
    for path in keep:
        name = path.strip("/")
        changed, target = places.upper / name, root / name
        if os.path.lexists(changed):
            _make_parents(places.live / name, target, places.live)
            _replay_one(changed, target)
            said.append(f"/{escaped(name)} goes along")
        elif os.path.lexists(target):
            said.append(f"/{escaped(name)} was not changed: it is as the new image has it")
        else:
            _make_parents(places.live / name, target, places.live)
            copying.copy_tree(places.live / name, target)
            said.append(f"/{escaped(name)} goes along")
    return said


def _make_parents(source: Path, target: Path, live: Path) -> None:
    """Make the folders above ``target`` as they are above ``source``; raises NodeError for a link among them."""
    missing = []
    for folder, like in zip(target.parents, source.parents):
        if folder.is_symlink():
            raise NodeError(f"--keep {source}: {folder.name} is a link in the new image")
        if folder.exists() or like == live:
            break
        missing.append((like, folder))
    for like, folder in reversed(missing):
        copying.copy_one(like, folder)


def _replay(changed: Path, target: Path) -> None:
    """Do in ``target`` what the upper folder ``changed`` says was done to the old image's: add, change, delete."""
    if upper.is_opaque(changed):
        _delete(target)
    copying.copy_one(changed, target)
    for child in sorted(changed.iterdir()):
        _replay_one(child, target / child.name)
    copying.copy_attributes(changed, target)


def _replay_one(changed: Path, target: Path) -> None:
    if upper.is_whiteout(changed.lstat()):
        _delete(target)
    elif changed.is_dir() and not changed.is_symlink():
        _replay(changed, target)
    else:
        if target.is_dir() and not target.is_symlink():
            _delete(target)
        copying.copy_one(changed, target)


def _delete(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        for child in path.iterdir():
            _delete(child)
        path.rmdir()
    elif os.path.lexists(path):
        path.unlink()

"""``nodectl diff``: what one layer or image has otherwise than another.

Everything is looked at read-only; a layer that does not run is mounted without replaying its journal.
"""

from __future__ import annotations

import filecmp
import os
import stat
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Optional

from org_ovirt_node.errors import NodeError
from org_ovirt_node.install.root import image_tree
from org_ovirt_node.mounts import bound
from org_ovirt_node.node import layerroot
from org_ovirt_node.node.copying import OVERLAY_ATTRIBUTES, attribute_names
from org_ovirt_node.node.layers import NodeState, image_of
from org_ovirt_node.node.places import Places
from org_ovirt_node.node.upper import Change, Kind, changes


def diff(node: NodeState, one: str, other: str, places: Places) -> list[Change]:
    """What ``other`` has otherwise than ``one``.

    Both are images or layers.  Without ``other``: a layer against its image, an image against the running one.
    Raises NodeError.
    """
    if not one:
        raise NodeError("this host does not run from a layer", hint="Name a layer or an image: see 'nodectl list'.")
    for name in (one, other):
        _known(node, name)
    with ExitStack() as stack:
        work = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="ovirt-node-diff-", dir=places.work.parent)))
        if not other and one in node.all_layers:
            upper, tree = stack.enter_context(_halves(node, one, places, work / "one"))
            return list(changes(upper, tree))
        before, after = (one, other) if other else (image_of(node.current), one)
        first = stack.enter_context(_root(node, before, places, work / "one"))
        second = stack.enter_context(_root(node, after, places, work / "other"))
        return list(compare(first, second))


def _known(node: NodeState, name: str) -> None:
    if name and name not in node.layers and name not in node.all_layers:
        there = ", ".join([*node.layers, *node.all_layers])
        raise NodeError(f"there is no image or layer {name}", hint=f"There are {there}.")
    if name and node.group.find(image_of(name) if name in node.all_layers else name) is None:
        raise NodeError(f"the image of {name} is missing, so it cannot be looked at", hint="See 'nodectl check'.")


@contextmanager
def _halves(node: NodeState, layer: str, places: Places, work: Path) -> Iterator[tuple[Path, Path]]:
    """The upper folder of a layer, and the root tree of its image."""
    if layer == node.current:
        yield places.upper, places.image_tree
        return
    with layerroot.halves(node, layer, places, work) as found:
        yield found


@contextmanager
def _root(node: NodeState, name: str, places: Places, work: Path) -> Iterator[Path]:
    """The whole root of an image or a layer, without what is mounted in it."""
    if name not in node.all_layers:
        with image_tree(layerroot.device_of(node, name, places), work) as tree:
            yield tree
    elif name == node.current:
        with bound(places.live, work / "root", readonly=True) as root:
            yield root
    else:
        with layerroot.looked_at(node, name, places, work) as (_, root):
            yield root


def compare(before: Path, after: Path) -> Iterator[Change]:
    """Every path below ``after`` that is otherwise than below ``before``; of what is deleted the topmost alone."""
    yield from _folders(before, after, "")


def _folders(before: Optional[Path], after: Path, path: str) -> Iterator[Change]:
    """The content of two folders; ``before`` is None where there was none."""
    names = {child.name for folder in (before, after) if folder is not None for child in folder.iterdir()}
    for name in sorted(names):
        old = before / name if before is not None and os.path.lexists(before / name) else None
        yield from _paths(old, after / name, f"{path}/{name}" if path else name)


def _paths(before: Optional[Path], after: Path, path: str) -> Iterator[Change]:
    if not os.path.lexists(after):
        yield Change(path, Kind.DELETED)
        return
    status = after.lstat()
    size = status.st_size if stat.S_ISREG(status.st_mode) else 0
    if before is None:
        yield Change(path, Kind.ADDED, size)
    elif not _same(before, after):
        yield Change(path, Kind.CHANGED, size)
    if stat.S_ISDIR(status.st_mode):
        was_folder = before is not None and stat.S_ISDIR(before.lstat().st_mode)
        yield from _folders(before if was_folder else None, after, path)


def _same(before: Path, after: Path) -> bool:
    one, other = before.lstat(), after.lstat()
    if any(getattr(one, name) != getattr(other, name) for name in ("st_mode", "st_uid", "st_gid", "st_rdev")):
        return False
    if _attributes(before) != _attributes(after):
        return False
    if stat.S_ISLNK(one.st_mode):
        return before.readlink() == after.readlink()
    # Times say nothing: builders set those of a whole image to one.
    return not stat.S_ISREG(one.st_mode) or filecmp.cmp(before, after, shallow=False)


def _attributes(path: Path) -> dict[str, bytes]:
    names = attribute_names(path)
    return {
        name: os.getxattr(path, name, follow_symlinks=False)
        for name in names
        if not name.startswith(OVERLAY_ATTRIBUTES)
    }

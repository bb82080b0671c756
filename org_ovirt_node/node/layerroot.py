"""Layers that do not run, mounted: to be looked at, or to be written to."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from org_ovirt_node.errors import StorageError
from org_ovirt_node.install.root import OVERLAY_WORK, UPPER, image_tree
from org_ovirt_node.mounts import fstype_of, mounted, overlaid, watched
from org_ovirt_node.node.layers import NodeState, image_of
from org_ovirt_node.node.places import Places


def device_of(node: NodeState, name: str, places: Places) -> str:
    """The device of an image or a layer."""
    return f"{places.dev}/{node.group.name}/{name}"


@contextmanager
def halves(node: NodeState, layer: str, places: Places, work: Path) -> Iterator[tuple[Path, Path]]:
    """The upper folder of a layer and the root tree of its image, read-only.

    The kernel replays the journal of a layer that was not unmounted: without that what is there may be half written,
    and cannot be read (ext4(5): noload).
    """
    device = device_of(node, layer, places)
    with (
        image_tree(device_of(node, image_of(layer), places), work) as tree,
        mounted(device, work / "layer", fstype=fstype_of(device), options=["ro"]) as base,
    ):
        yield base / UPPER, tree


@contextmanager
def looked_at(node: NodeState, layer: str, places: Places, work: Path) -> Iterator[tuple[Path, Path]]:
    """The image's tree and the whole root of a layer, read-only, without what is mounted in it."""
    with halves(node, layer, places, work) as (upper, tree):
        options = ["ro", f"lowerdir={upper}:{tree}"]
        with mounted("overlay", work / "root", fstype="overlay", options=options) as root:
            yield tree, root


@contextmanager
def changed(node: NodeState, layer: str, places: Places, work: Path) -> Iterator[tuple[Path, Path]]:
    """The same, to be written to; at the end of the block all of it is on the disk.  Raises StorageError."""
    device = device_of(node, layer, places)
    with (
        image_tree(device_of(node, image_of(layer), places), work) as tree,
        mounted(device, work / "layer", fstype=fstype_of(device)) as base,
        watched(base) as flush,
        overlaid([tree], base / UPPER, base / OVERLAY_WORK, work / "root") as root,
    ):
        yield tree, root
        try:
            flush()
        except OSError as exc:
            raise StorageError(
                f"what was written to {layer} has not come to its disk: {exc.strerror}",
                hint="'dmesg' tells of errors of a disk, 'lvs' of a pool that is full.",
            ) from exc

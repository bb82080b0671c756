"""Removing layers and images: what boots them goes first, the volumes last.

So no boot entry ever names a volume that is gone, wherever this is cut short.
"""

from __future__ import annotations

import logging

from org_ovirt_node.errors import NodeError
from org_ovirt_node.node import bootstate, lvm
from org_ovirt_node.node.layers import NodeState, image_of, never_good
from org_ovirt_node.node.places import Places
from org_ovirt_node.node.room import ImageUse, beyond_slots, image_uses, protected_layers, removable

log = logging.getLogger(__name__)


def protected(node: NodeState) -> frozenset[str]:
    """The layers that nobody may remove now."""
    return protected_layers(node.current, node.boot.good, node.boot.trial if node.boot.pending else "", node.entries)


def images(node: NodeState) -> tuple[ImageUse, ...]:
    """The complete images of the node with their layers."""
    volumes = {volume.name: volume for volume in node.group.volumes}
    complete = {
        image: layers for image, layers in node.layers.items() if image in volumes and not volumes[image].incomplete
    }
    return image_uses(
        complete,
        {name: volume.created for name, volume in volumes.items()},
        {name: volume.size for name, volume in volumes.items()},
    )


def candidates(node: NodeState) -> tuple[ImageUse, ...]:
    """The images that may be removed: those without a layer that ever was good, then the oldest first."""
    found = images(node)
    failed = {image.name for image in found if image.layers and all(never_good(node, layer) for layer in image.layers)}
    return removable(found, protected(node), image_of(node.current), failed)


def refuse_protected(node: NodeState, name: str) -> None:
    """Raises NodeError with the reason when the image or layer ``name`` must stay."""
    layers = node.layers.get(name, (name,))
    reasons = (
        (node.current, "runs now"),
        (node.boot.trial if node.boot.pending else "", "is what the next boot tries: see 'nodectl update --cancel'"),
        (node.boot.good, "is the last one that is known to be good"),
    )
    for layer, reason in reasons:
        if layer and (layer in layers or name == image_of(layer)):
            raise NodeError(f"{name} cannot be removed: {layer} {reason}", hint="See 'nodectl list'.")
    for layer in layers:
        if layer in protected(node):
            raise NodeError(f"{name} cannot be removed: a layer that must stay boots with the kernel of {layer}")


def remove_image(node: NodeState, name: str, places: Places) -> None:
    """Remove the image ``name`` with its layers, or one layer.  Raises NodeError when it must stay, CommandError."""
    known = {volume.name for volume in node.group.volumes}
    layers = node.layers.get(name)
    if layers is None and not any(name in others for others in node.layers.values()):
        raise NodeError(f"there is no image or layer {name}", hint="See 'nodectl list'.")
    refuse_protected(node, name)
    for layer in (name,) if layers is None else layers:
        bootstate.forget(places.boot, layer)
        if layer in known:
            lvm.remove(f"{node.group.name}/{layer}")
    if layers is not None and name in known:
        lvm.remove(f"{node.group.name}/{name}")
    log.info("removed %s", name)


def leftovers(node: NodeState) -> tuple[lvm.LogicalVolume, ...]:
    """Volumes of an update that came to no end; never what runs, is good, or is about to be booted."""
    keep = {node.current, node.boot.good, node.boot.trial if node.boot.pending else ""}
    keep |= {image_of(layer) for layer in keep}
    return tuple(volume for volume in node.group.volumes if volume.incomplete and volume.name not in keep)


def remove_leftovers(node: NodeState, places: Places, keep: str = "") -> tuple[str, ...]:
    """Remove what an unfinished update left, but the volume ``keep``; returns the names.  Raises CommandError."""
    found = [volume for volume in leftovers(node) if volume.name != keep]
    # A layer before its image.
    for volume in sorted(found, key=lambda volume: (not volume.pool, volume.name)):
        if volume.pool:
            bootstate.forget(places.boot, volume.name)
        lvm.remove(f"{node.group.name}/{volume.name}")
        log.info("removed %s, which an unfinished update left", volume.name)
    return tuple(volume.name for volume in found)


def collect(node: NodeState, slots: int, places: Places) -> tuple[str, ...]:
    """Remove the first of the candidates beyond the ``slots`` that there are; returns their names."""
    chosen = beyond_slots(len(images(node)), slots, candidates(node))
    for image in chosen:
        remove_image(node, image.name, places)
    return tuple(image.name for image in chosen)

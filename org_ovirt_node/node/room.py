"""Which images have to go to make room: pure.  The rule that is never broken: what could be needed to boot stays."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from org_ovirt_node.boot import bls


@dataclass(frozen=True)
class ImageUse:
    """An image with its layers; ``created`` in seconds since the epoch, ``size`` of its LV in bytes."""

    name: str
    layers: tuple[str, ...]
    created: int
    size: int


def kernel_owner(entry: bls.Entry) -> str:
    """The layer whose folder on /boot an entry's kernel lies in; empty for a kernel that is elsewhere."""
    parts = entry.linux.strip("/").split("/")
    return parts[0] if len(parts) > 1 else ""


def protected_layers(running: str, good: str, trial: str, entries: Sequence[bls.Entry]) -> frozenset[str]:
    """Layers that must stay: the running one, the last good one, the one on trial, and those whose kernel they use."""
    found = {name for name in (running, good, trial) if name}
    found |= {kernel_owner(entry) for entry in entries if entry.name in found}
    return frozenset(found - {""})


def removable(
    images: Sequence[ImageUse], protected: Collection[str], running_image: str, failed: Collection[str] = ()
) -> tuple[ImageUse, ...]:
    """The images that may go: those in ``failed``, then the others, each the oldest first.

    An image goes with all its layers, so it stays with any of them.
    """
    free = [
        image
        for image in images
        if image.name != running_image and not any(layer in protected for layer in image.layers)
    ]
    return tuple(sorted(free, key=lambda image: (image.name not in failed, image.created, image.name)))


def to_make_room(free: int, needed: int, candidates: Sequence[ImageUse]) -> tuple[ImageUse, ...]:
    """The first of ``candidates`` that must go so that ``needed`` bytes fit; all of them when even that is not enough.

    Nothing goes when there is room already.
    """
    chosen: list[ImageUse] = []
    for image in candidates:
        if free >= needed:
            break
        chosen.append(image)
        free += image.size
    return tuple(chosen)


def beyond_slots(count: int, slots: int, candidates: Sequence[ImageUse]) -> tuple[ImageUse, ...]:
    """The first of ``candidates`` that go when ``count`` images are kept and there are ``slots`` for them."""
    return tuple(candidates[: max(0, count - slots)])


def image_uses(
    layers: Mapping[str, tuple[str, ...]], created: Mapping[str, int], sizes: Mapping[str, int]
) -> tuple[ImageUse, ...]:
    """Images as :class:`ImageUse`; ``layers`` by image, ``created`` and ``sizes`` by volume."""
    return tuple(ImageUse(image, names, created.get(image, 0), sizes.get(image, 0)) for image, names in layers.items())

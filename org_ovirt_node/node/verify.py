"""``nodectl verify``: does each image LV still hold what was written to it?"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Optional

from org_ovirt_node.errors import NodeError, StorageError
from org_ovirt_node.node.layers import NodeState, image_of
from org_ovirt_node.payload.transfer import read_back
from org_ovirt_node.progress import Progress


@dataclass(frozen=True)
class Verified:
    """One image; ``ok`` is None when no digest is recorded, so that nothing can be said."""

    image: str
    ok: Optional[bool]
    sha256: str
    text: str


def choose(node: NodeState, wanted: str) -> tuple[str, ...]:
    """The images to verify: all, or the one that ``wanted`` (an image or a layer) names.  Raises NodeError."""
    if not wanted:
        return tuple(image for image in node.layers if node.group.find(image))
    image = wanted if wanted in node.layers else image_of(wanted)
    if image not in node.layers or node.group.find(image) is None:
        raise NodeError(f"there is no image {wanted}", hint="See 'nodectl list'.")
    return (image,)


def verify(node: NodeState, images: tuple[str, ...], progress: Progress, dev: Path = Path("/dev")) -> list[Verified]:
    """Read each image from its device and compare it with the recorded digest."""
    results = []
    for name in images:
        volume = node.group.find(name)
        assert volume is not None
        if not volume.sha256 or not volume.content_size:
            results.append(Verified(name, None, "", "no digest was recorded when it was written"))
            continue
        progress.step("verify", f"Reading {name}")
        try:
            read_back(dev / node.group.name / name, volume.content_size, volume.sha256, progress)
        except StorageError as exc:
            results.append(Verified(name, False, volume.sha256, exc.message))
        else:
            results.append(Verified(name, True, volume.sha256, "it is as it was written"))
    return results

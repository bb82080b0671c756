"""Going back: another layer becomes the default, and nothing is removed."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Optional

from org_ovirt_node.boot import trial
from org_ovirt_node.errors import NodeError
from org_ovirt_node.install.root import NO_REPLAY, OVERLAY_WORK, UPPER, image_tree
from org_ovirt_node.mounts import mounted, overlaid
from org_ovirt_node.node import bootstate, etcmerge
from org_ovirt_node.node.layers import NodeState, image_of
from org_ovirt_node.node.places import Places
from org_ovirt_node.node.upper import is_opaque, is_whiteout
from org_ovirt_node.run import run

#: Differences of /etc that are shown.
SHOWN = 30
#: Below /etc: written by LVM at each change, and of no interest to who goes back.
NOISE = ("lvm/archive/", "lvm/backup/", "lvm/cache/")
COMPARED = ("st_mode", "st_uid", "st_gid", "st_size")


@dataclass(frozen=True)
class Rollback:
    """Where a rollback leads; ``retry`` when the layer was never marked good and so goes on trial again.

    ``good`` is the layer that GRUB falls back to then.
    """

    running: str
    target: str
    retry: bool
    good: str


def choose(node: NodeState, wanted: str = "") -> Rollback:
    """The layer to go to: the one named (a layer, or an image with one), else the newest that is older.

    Raises NodeError when there is none: the oldest layer does not wrap round to the newest.
    """
    bootable = {entry.name: entry for entry in node.entries if entry.name not in node.lacking}
    if wanted:
        target = _named(node, wanted)
        if target == node.current and not node.boot.pending and node.boot.good == target:
            raise NodeError(f"{target} runs already and is the default", hint="See 'nodectl list'.")
    else:
        older = [layer for layer in node.all_layers if node.age(layer) < node.age(node.current)]
        usable = [layer for layer in older if layer in bootable]
        if not usable:
            raise NodeError(
                f"{node.current} is the oldest layer: there is nothing to roll back to", hint="See 'nodectl list'."
            )
        target = usable[-1]
    if target in node.lacking:
        gone = ", ".join(node.lacking[target])
        raise NodeError(f"{target} cannot be booted: {gone} on /boot is gone or empty", hint="See 'nodectl check'.")
    if target not in bootable:
        raise NodeError(f"{target} has no boot entry, so it cannot be booted", hint="See 'nodectl check'.")
    image = node.group.find(image_of(target))
    if node.group.find(target) is None or image is None or image.incomplete:
        raise NodeError(f"{target} is not complete: its image or its layer is missing", hint="See 'nodectl check'.")
    retry = never_good(node, target)
    if retry and never_good(node, node.current):
        raise NodeError(
            f"{node.current} runs on trial, and {target} was never marked good either",
            hint=f"Wait for its health checks ('nodectl check'), or go back to {node.boot.good} first.",
        )
    return Rollback(node.current, target, retry, node.boot.good)


def never_good(node: NodeState, layer: str) -> bool:
    """True for a layer that has not been marked good: a trial has to show that it is."""
    entry = node.entry(layer)
    return layer != node.boot.good and entry is not None and trial.on_trial(entry.options)


def _named(node: NodeState, wanted: str) -> str:
    if wanted in node.all_layers:
        return wanted
    layers = node.layers.get(wanted, ())
    if len(layers) == 1:
        return layers[0]
    if layers:
        raise NodeError(f"the image {wanted} has several layers: {', '.join(layers)}", hint="Name one of them.")
    raise NodeError(f"there is no layer {wanted}", hint=f"There are {', '.join(node.all_layers)}.")


def perform(chosen: Rollback, tries: int, places: Places) -> None:
    """Make the target what GRUB boots next.  Raises BootError."""
    if chosen.retry:
        bootstate.start_trial(places.boot, chosen.target, tries, chosen.good)
    else:
        bootstate.set_default(places.boot, chosen.target)


def etc_differences(node: NodeState, chosen: Rollback, places: Places) -> list[str]:
    """Paths of /etc that are otherwise in the target layer: what changed since, and will not be there after it.

    The layer is mounted read-only, without replaying its journal.  Raises NodeError.
    """
    if chosen.target == chosen.running:
        return []
    device = f"{places.dev}/{node.group.name}"
    work = places.work
    layer = f"{device}/{chosen.target}"
    fstype = run(["blkid", "-p", "-s", "TYPE", "-o", "value", layer]).stdout.strip()
    options = ["ro", *NO_REPLAY.get(fstype, ())]
    with (
        image_tree(f"{device}/{image_of(chosen.target)}", work) as tree,
        mounted(layer, work / "layer", fstype=fstype, options=options) as base,
    ):
        return differences(places.live / "etc", tree / "etc", base / UPPER / "etc")


def take_etc_along(node: NodeState, chosen: Rollback, shared: Sequence[str], places: Places) -> list[dict[str, str]]:
    """Bring the running /etc to the target layer: merged with what its image has, as at an update.

    What the target's own /etc had otherwise is replaced; running it again finishes what was cut short.  Returns the
    conflicts.  Raises NodeError.
    """
    device, work = f"{places.dev}/{node.group.name}", places.work
    layer = f"{device}/{chosen.target}"
    fstype = run(["blkid", "-p", "-s", "TYPE", "-o", "value", layer]).stdout.strip()
    with (
        image_tree(f"{device}/{image_of(chosen.target)}", work) as tree,
        mounted(layer, work / "layer", fstype=fstype) as base,
        overlaid([tree], base / UPPER, base / OVERLAY_WORK, work / "root") as root,
        etcmerge.prepared(places.image_tree, places.live / "etc", tree) as merge,
    ):
        return merge.execute(root, shared, exact=True)


def differences(live: Path, lower: Path, upper: Path) -> list[str]:
    """Paths below /etc that differ between ``live`` and the overlay of ``upper`` over ``lower``."""
    names = _names(live) | _names(lower) | _names(upper)
    return sorted(
        name for name in names if not name.startswith(NOISE) and not _same(live / name, _overlaid(lower, upper, name))
    )


def _names(top: Path) -> set[str]:
    return {
        os.path.relpath(os.path.join(folder, name), top)  # noqa: PTH118 - names may hold any byte
        for folder, _, files in os.walk(top)
        for name in files
    }


def _overlaid(lower: Path, upper: Path, name: str) -> Optional[Path]:
    """Where the overlay has ``name`` from; None when it is deleted there."""
    parts = Path(name).parts
    for count in range(1, len(parts) + 1):
        place = upper.joinpath(*parts[:count])
        if not os.path.lexists(place):
            break
        if is_whiteout(place.lstat()):
            return None
        if count == len(parts) or is_opaque(place):
            return upper / name
    return lower / name


def _same(one: Path, other: Optional[Path]) -> bool:
    if other is None or not os.path.lexists(other):
        return not os.path.lexists(one)
    if not os.path.lexists(one):
        return False
    if one.is_symlink() or other.is_symlink():
        return one.is_symlink() and other.is_symlink() and one.readlink() == other.readlink()
    first, second = one.lstat(), other.lstat()
    if any(getattr(first, name) != getattr(second, name) for name in COMPARED):
        return False
    return not one.is_file() or one.read_bytes() == other.read_bytes()

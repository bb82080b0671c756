"""Going back: another layer becomes the default, and nothing is removed."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path

from org_ovirt_node.errors import NodeError
from org_ovirt_node.install.root import image_tree
from org_ovirt_node.node import bootstate, etcmerge, health, layerroot
from org_ovirt_node.node.layers import NodeState, image_of, never_good
from org_ovirt_node.node.merge.model import LABEL, Entry, Kind, order
from org_ovirt_node.node.merge.names import escaped
from org_ovirt_node.node.merge.tree import DirectoryTree
from org_ovirt_node.node.places import Places

#: Differences of /etc that are shown.
SHOWN = 30
#: Below /etc: written by LVM at each change, and of no interest to who goes back; and what goes along in any case.
NOISE = (
    "lvm/archive/",
    "lvm/backup/",
    "lvm/cache/",
    "lvm/devices/",
    "multipath/wwids/",
    "multipath/bindings/",
    "iscsi/initiatorname.iscsi/",
)


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
    """The layer to go to: the one named (a layer, or an image with one), else the newest older good one.

    One that was never marked good is gone to by its name alone: it may be what a fallback gave up.  Raises
    NodeError when there is none: the oldest layer does not wrap round to the newest.
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
        good = [layer for layer in usable if not never_good(node, layer)]
        if not good:
            raise NodeError(
                f"no layer older than {node.current} was ever marked good",
                hint=f"'nodectl rollback --to {usable[-1]}' tries that one again.",
            )
        target = good[-1]
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
    """Make the target what GRUB boots next.  Raises BootError or OSError."""
    if chosen.retry:
        bootstate.start_trial(places.boot, chosen.target, tries, chosen.good)
        health.forget_fallback(places, chosen.target)
    else:
        bootstate.set_default(places.boot, chosen.target)


def etc_differences(node: NodeState, chosen: Rollback, places: Places) -> list[str]:
    """Paths of /etc that are otherwise in the target layer: what changed since, and will not be there after it.

    The layer is mounted read-only; its journal is replayed.  Raises NodeError.
    """
    if chosen.target == chosen.running:
        return []
    with layerroot.looked_at(node, chosen.target, places, places.work) as (_, root):
        return differences(places.live / "etc", root / "etc")


def planned_conflicts(node: NodeState, chosen: Rollback, places: Places) -> list[dict[str, str]]:
    """What :func:`take_etc_along` would find changed on both sides; nothing is written.  Raises NodeError."""
    image = f"{places.dev}/{node.group.name}/{image_of(chosen.target)}"
    with (
        image_tree(image, places.work) as tree,
        etcmerge.prepared(places.image_tree, places.live / "etc", tree) as merge,
    ):
        return merge.conflicts()


def take_etc_along(node: NodeState, chosen: Rollback, shared: Sequence[str], places: Places) -> list[dict[str, str]]:
    """Bring the running /etc to the target layer: merged with what its image has, as at an update.

    What the target's own /etc had otherwise is replaced; running it again finishes what was cut short.  Returns the
    conflicts.  Raises NodeError.
    """
    with (
        layerroot.changed(node, chosen.target, places, places.work) as (tree, root),
        etcmerge.prepared(places.image_tree, places.live / "etc", tree) as merge,
    ):
        return merge.execute(root, shared, exact=True)


def differences(live: Path, other: Path) -> list[str]:
    """Paths that differ between two trees of /etc, "." for /etc itself, as they are shown.  Raises MergeError.

    Types, modes, owners, links, contents and attributes count, SELinux labels do not: each image has its own policy.
    """
    with closing(DirectoryTree(live)) as one, closing(DirectoryTree(other)) as two:
        names = sorted(one.entries.keys() | two.entries.keys(), key=order)
        return [
            escaped(name) or "." for name in names if not f"{name}/".startswith(NOISE) and not _same(name, one, two)
        ]


def _same(path: str, one: DirectoryTree, two: DirectoryTree) -> bool:
    first, second = one.entries.get(path), two.entries.get(path)
    if first is None or second is None or _unlabelled(first) != _unlabelled(second):
        return False
    return first.kind is not Kind.FILE or one.digest(path) == two.digest(path)


def _unlabelled(entry: Entry) -> Entry:
    kept = tuple((name, value) for name, value in entry.meta.xattrs if name != LABEL)
    return replace(entry, meta=replace(entry.meta, xattrs=kept))

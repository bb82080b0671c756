"""A layer that is gone back to finds the disks as the node has them now.

Its host.img, and what programs keep in its /etc about disks, are as old as the layer: after a vgextend, say, its LVM
would look for the volume group on the old disks alone.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Optional

from org_ovirt_node.boot import bls, cpio, files, hostfiles, hostinitrd, reachable
from org_ovirt_node.boot.hostinitrd import HostFile
from org_ovirt_node.boot.reachable import DEVICES_FILE, INITIATOR, MULTIPATH_WWIDS, RootFacts
from org_ovirt_node.errors import BootError, CommandError, StorageError
from org_ovirt_node.inside import inside
from org_ovirt_node.install.root import inspected
from org_ovirt_node.mounts import fstype_of
from org_ovirt_node.node import bootstate, layerroot, rootfacts
from org_ovirt_node.node.copying import copy_one
from org_ovirt_node.node.layers import NodeState, argument, image_of
from org_ovirt_node.node.places import Places
from org_ovirt_node.payload.facts import ImageFacts

log = logging.getLogger(__name__)

#: What this host is to its disks, and they to it: goes along in any case.
RECORDS = (DEVICES_FILE, MULTIPATH_WWIDS, "/etc/multipath/bindings", INITIATOR)


@dataclass(frozen=True)
class Renewal:
    """What a layer needs: its new ``host`` files, and the RECORDS that it has otherwise.

    ``facts`` are those of its root with the new files; None where ``unchecked`` says why they are not known.
    """

    layer: str
    host: dict[str, HostFile]
    old_host: dict[str, HostFile]
    stale: tuple[str, ...]
    facts: Optional[RootFacts]
    unchecked: str = ""


def plan(node: NodeState, layer: str, places: Places) -> Renewal:
    """Look at ``layer``, which does not run; nothing is written.

    Raises BootError when its root could not be reached with the new host.img either.
    """
    path = bls.host_image(places.boot, layer)
    old = cpio.read_host_initrd(path.read_bytes()) if path.is_file() else {}
    try:
        under = rootfacts.below(node.group.name)
    except (CommandError, StorageError) as exc:
        # Going back may be what helps here, so this does not stand in the way.
        return Renewal(layer, old, old, (), None, f"the disks of {node.group.name} could not be looked at: {exc}")
    with layerroot.looked_at(node, layer, places, places.work) as (tree, root):
        # Its own configuration; of the records of iSCSI, which all layers share, those that it had.
        host = hostfiles.collect(root, old, under.stack, live=places.live)
        live = hostfiles.collect(places.live, {}, under.stack)
        host.update({path: file for path, file in live.items() if path in RECORDS})
        stale = tuple(name for name in RECORDS if _differs(name, places.live, root))
        facts = _facts(node, layer, under, tree, root, places)
    if facts is None:
        return Renewal(layer, host, old, stale, None, "its kernel is not that of its image")
    facts = replace(facts, host=host)
    reachable.check(facts, layer)
    return Renewal(layer, host, old, stale, facts)


def _facts(
    node: NodeState, layer: str, under: rootfacts.Below, tree: Path, root: Path, places: Places
) -> Optional[RootFacts]:
    entry = node.entry(layer)
    if entry is None or entry.linux != f"/{layer}/{bls.KERNEL}":
        return None
    if not (tree / files.MODULES / entry.version / bls.KERNEL).is_file():
        return None
    fstype = fstype_of(layerroot.device_of(node, layer, places))
    assembled = rootfacts.Assembled(layer, fstype, entry.version, tree, root, places.boot)
    image = inspected(tree, ImageFacts(image_of(layer), 0))
    image = replace(image, roothash=argument("ovirt_node.roothash", entry.options))
    names = [volume.name for volume in node.group.volumes]
    return rootfacts.gather(assembled, image, under, options=entry.options, vg=node.group.name, volumes=names)


def _differs(path: str, live: Path, root: Path) -> bool:
    """True when the running system has the file ``path``, and the other root has it otherwise or not at all."""
    ours, theirs = inside(live, path), inside(root, path)
    return ours.is_file() and (not theirs.is_file() or ours.read_bytes() != theirs.read_bytes())


def renew(renewal: Renewal, node: NodeState, places: Places) -> None:
    """Write what :func:`plan` found, before the layer becomes the default.  Raises BootError, StorageError."""
    if renewal.stale:
        with layerroot.changed(node, renewal.layer, places, places.work) as (_, root):
            _copy(renewal.stale, places.live, root)
    if renewal.host == renewal.old_host:
        return
    try:
        for entry in bls.read_all(places.boot):
            if entry.name == renewal.layer:
                bootstate.write_host(places.boot, entry, hostinitrd.build(renewal.host), node.boot.good)
    except OSError as exc:
        if renewal.facts is None or reachable.missing(replace(renewal.facts, host=renewal.old_host)):
            raise BootError(
                f"the host.img of {renewal.layer} could not be renewed: {exc.strerror}", hint="Make room on /boot."
            ) from exc
        log.warning("the host.img of %s stays as it is, which reaches its root: %s", renewal.layer, exc)


def _copy(paths: Sequence[str], live: Path, root: Path) -> None:
    """Each of them is the old one or the new one, wherever this is cut short."""
    for path in paths:
        target = inside(root, path)
        target.parent.mkdir(parents=True, exist_ok=True)
        temporary = target.with_name(f".{target.name}.new")
        copy_one(inside(live, path), temporary)
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        temporary.replace(target)

"""What an update has to know of the running node and of the image, gathered without writing anything."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Optional

from org_ovirt_node.boot import bls, files, trial
from org_ovirt_node.errors import CommandError, NodeError, PayloadError
from org_ovirt_node.install.root import image_tree, inspected
from org_ovirt_node.node import lvm, mounted, preflight, remove, room, upper
from org_ovirt_node.node.layers import NodeState, config, image_of, state
from org_ovirt_node.node.places import Places
from org_ovirt_node.payload.facts import ImageFacts
from org_ovirt_node.payload.squashfs import inspect_mounted
from org_ovirt_node.progress import Progress, human
from org_ovirt_node.rounding import round_up

if TYPE_CHECKING:
    # It brings the HTTP library along, which most commands of nodectl do without.
    from org_ovirt_node.payload.choose import Payload

DEFAULT_SLOTS, DEFAULT_TRIES = 3, 3
#: Bytes that stay free where an image is fetched to be looked at.
FETCH_MARGIN = 64 << 20
SYS_BLOCK = Path("/sys/class/block")


@dataclass(frozen=True)
class Node:
    """The running node; ``shared`` are the mount points that all layers share, ``layer_fstype`` the layer's type."""

    state: NodeState
    config: dict[str, Any]
    shared: tuple[str, ...]
    layer: lvm.LogicalVolume
    layer_fstype: str

    @property
    def vg(self) -> str:
        return self.state.group.name

    @property
    def slots(self) -> int:
        return int(self.config.get("image_slots", DEFAULT_SLOTS))

    @property
    def tries(self) -> int:
        return int(self.config.get("boot_tries", DEFAULT_TRIES))

    @property
    def image(self) -> str:
        return image_of(self.state.current)


def survey_node(places: Places) -> Node:
    """Read LVM, /boot and mounts.  Raises NodeError when this is no node that runs from a layer."""
    settings = config(places.config)
    found = state(settings["vg"], places.boot, places.cmdline)
    layer = found.group.find(found.current)
    if not found.current or layer is None:
        raise NodeError(
            "this host does not run from a layer, so nothing can be put beside it",
            hint="Boot one of the layers that 'nodectl list' shows.",
        )
    mounts = mounted.mounts()
    fstype = next((mount.fstype for mount in mounts if mount.target == str(places.run / "layer")), "")
    if not fstype:
        raise NodeError(f"the running layer is not mounted at {places.run / 'layer'}", hint="Reboot the node.")
    shared = tuple(sorted({mount.target for mount in mounted.of_group(mounts, found.group.name)}))
    return Node(found, settings, shared, layer, fstype)


@contextmanager
def tree_of(payload: Payload, places: Places, progress: Progress, *, fetch: bool) -> Iterator[Optional[Path]]:
    """The root tree of an image, mounted read-only.

    One on a server is fetched first where ``fetch`` asks for it and there is room; else the tree is None.  Raises
    PayloadError when the image cannot be mounted.
    """
    with ExitStack() as stack:
        file = payload.source.path
        if file is None and fetch:
            file = stack.enter_context(fetched(payload, places.temporary, progress))
        if file is None:
            yield None
            return
        try:
            tree = stack.enter_context(image_tree(os.fspath(file), places.work / "look"))
        except CommandError as exc:
            raise PayloadError(
                f"{payload.source.name} cannot be mounted: {exc.output.strip()}", hint="Fetch the image again."
            ) from exc
        yield tree


@contextmanager
def fetched(payload: Payload, folder: Path, progress: Progress) -> Iterator[Optional[Path]]:
    """A copy of an image in ``folder``, for the length of the block; None, and a word, when there is no room for it."""
    # As every command but updates does without it.
    from org_ovirt_node.payload.transfer import transfer

    size, free = payload.facts.size, free_bytes(folder)
    if free < size + FETCH_MARGIN:
        progress.detail(
            f"the image is not looked into: it needs {human(size + FETCH_MARGIN)} in {folder}, {human(free)} are free"
        )
        yield None
        return
    with tempfile.TemporaryDirectory(prefix="ovirt-node-plan-", dir=folder) as place:
        file = Path(place) / "image.squashfs"
        file.touch()
        transfer(payload.source, file, size=size, fresh=True, expected_sha256=payload.sha256, progress=progress)
        yield file


def facts_of(payload: Payload, tree: Optional[Path]) -> ImageFacts:
    """What is known of the image, with what it says itself where it can be looked at."""
    return payload.facts if tree is None else inspected(tree, payload.facts)


def folder_size(folder: Path) -> int:
    """Bytes that the files in ``folder`` take."""
    return sum(path.stat().st_size for path in folder.glob("*") if path.is_file()) if folder.is_dir() else 0


def boot_need(places: Places, running: str, tree: Optional[Path], kernel: str) -> tuple[int, bool]:
    """Bytes of the new layer's boot files, and whether that is exact."""
    if tree is not None:
        found = files.find_kernel(tree, kernel)
        host = bls.host_image(places.boot, running)
        extra = host.stat().st_size if host.is_file() else 0
        return found.kernel.stat().st_size + found.initramfs.stat().st_size + extra, True
    return folder_size(places.boot / running), False


def free_bytes(folder: Path) -> int:
    """Bytes that root can still write to the file system of ``folder``."""
    status = os.statvfs(folder)
    return status.f_bavail * status.f_frsize


def on_battery(power: Path) -> bool:
    """True when the machine has a battery and no other supply (kernel: ABI/testing/sysfs-class-power).

    The battery of a device, such as a mouse, is none of the machine's.
    """
    supplies: dict[str, list[str]] = {}
    for supply in power.glob("*") if power.is_dir() else ():
        kind, online, scope = supply / "type", supply / "online", supply / "scope"
        if kind.is_file() and not (scope.is_file() and scope.read_text().strip() == "Device"):
            supplies.setdefault(kind.read_text().strip(), []).append(
                online.read_text().strip() if online.is_file() else ""
            )
    mains = [value for kind in ("Mains", "USB") for value in supplies.get(kind, [])]
    return "Battery" in supplies and bool(mains) and "1" not in mains


def pool_of(node: Node) -> preflight.Pool:
    """The thin pool that the running layer lives in.  Raises NodeError when LVM does not tell how full it is."""
    pool = node.state.group.find(node.layer.pool)
    if pool is None or pool.data_percent is None or pool.metadata_percent is None:
        raise NodeError(
            f"LVM does not say how full the thin pool {node.vg}/{node.layer.pool} is",
            hint="See 'lvs -a' and 'dmesg'; a damaged pool is repaired with lvconvert --repair.",
        )
    return preflight.Pool(pool.name, pool.size, pool.metadata_size, pool.data_percent, pool.metadata_percent)


def preflight_facts(
    node: Node, facts: ImageFacts, boot: tuple[int, bool], kept: int, places: Places, *, forced: bool = False
) -> preflight.Facts:
    """Everything that the preflight judges; what leftovers of a failed update hold counts as free."""
    found = node.state
    extent = found.group.extent_size
    gone = remove.leftovers(found)
    free = found.group.free + sum(volume.size for volume in gone if not volume.pool)
    needed = preflight.need(facts.size, boot[0], kept, boot_exact=boot[1])
    candidates = () if forced else remove.candidates(found)
    chosen = room.to_make_room(free, round_up(facts.size, extent), candidates)
    freed = [layer for image in chosen for layer in image.layers] + [volume.name for volume in gone if volume.pool]
    running_entry = found.entry(found.current)
    return preflight.Facts(
        need=needed,
        extent=extent,
        vg=node.vg,
        vg_free=free,
        pool=pool_of(node),
        boot_free=free_bytes(places.boot),
        boot_freed=sum(folder_size(places.boot / layer) for layer in freed),
        mounted=frozenset(node.shared),
        installed=frozenset(image.name for image in remove.images(found)),
        nvr=facts.nvr,
        running=found.current,
        pending=found.boot.trial if found.boot.pending and found.boot.trial != found.current else "",
        on_trial=running_entry is not None and trial.on_trial(running_entry.options),
        removable=candidates,
        room=chosen,
        entry=running_entry is not None,
        slots=node.slots,
        on_battery=on_battery(places.power),
    )


def changes_outside_etc(node: Node, places: Places) -> tuple[upper.Change, ...]:
    """What was written into the running layer and does not go along by itself."""
    if not places.upper.is_dir():
        return ()
    return upper.outside_etc(places.upper, places.image_tree, node.shared)


def kept_size(changes: Sequence[upper.Change], keep: Sequence[str]) -> int:
    """Bytes of the changes that ``keep`` names."""
    return sum(change.size for change in changes if upper.is_kept(change.path, keep))


def image_boot_args(tree: Path) -> str:
    """The kernel arguments that the image mounted at ``tree`` asks for; empty for an image that says nothing."""
    return inspect_mounted(tree, ImageFacts("unknown", 0)).boot_args


def arrays(sys_block: Path = SYS_BLOCK) -> dict[str, int]:
    """The md arrays, and how many members each lacks (kernel: Documentation/admin-guide/md.rst, "degraded")."""
    found = sorted(sys_block.glob("md*/md/degraded"))
    return {f"/dev/{path.parts[-3]}": int(path.read_text(encoding="ascii")) for path in found}

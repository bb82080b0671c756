"""Judges what a power cut left: either a node that boots and is whole, or a disk that nothing boots from.

What GRUB would boot is taken from /boot as GRUB reads it, without the journal, and from /boot as Linux has it once the
journal is replayed; both must hold.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Optional

from org_ovirt_node.boot import bls, grubenv
from org_ovirt_node.errors import BootError, NodeError
from org_ovirt_node.firstboot import record
from org_ovirt_node.node import lvm
from org_ovirt_node.node.layers import BootState, argument, image_of
from tests.crash.disk import Content, Disk
from tests.crash.grubview import MENUS, GrubView, boot_state, parse_menu
from tests.crash.lvmtext import Group, MetadataError, TornText
from tests.crash.thin import ThinError

#: GRUB's folder on the demo node's /boot.
GRUB = "grub"
#: What of a layer must be whole: what the merge writes.
ETC = "upper/etc"
#: LVM's own notes of its metadata, which every one of its programs renews.
NOISE = (f"{ETC}/lvm/archive/", f"{ETC}/lvm/backup/")
#: LVM's devices file (lvmdevices(8)): LVM replaces it by itself, e.g. when the host has another name.
DEVICES = f"{ETC}/lvm/devices/system.devices"
TEXTS = ("loader/entries/*.conf", f"{GRUB}/grubenv", *(f"{GRUB}/{menu}" for menu in MENUS), f"{GRUB}/grub.cfg")
NOTHING, NODE = "nothing", "node"
#: What of :attr:`Verdict.left` keeps a node from booting begins with one of these.
LVM, GPT = "LVM", "GPT"
LOST = (LVM, GPT)
#: The record of a first boot that is not over: it is written several times, so it has to be whole, not known.
FIRST_BOOT = f"upper/{record.FIRST_BOOT.lstrip('/')}"


@dataclass
class Reference:
    """What is right: for each path of /boot and of each layer's /etc the forms that it had when nothing was going on.

    ``always`` are the paths of a layer's /etc that it had whenever it was looked at.
    """

    boot: dict[str, list[str]] = field(default_factory=dict)
    etc: dict[str, dict[str, list[str]]] = field(default_factory=dict)
    always: dict[str, list[str]] = field(default_factory=dict)
    core: list[str] = field(default_factory=list)

    def dump(self) -> str:
        return json.dumps(self.__dict__)

    @staticmethod
    def load(text: str) -> Reference:
        return Reference(**json.loads(text))


@dataclass(frozen=True)
class Verdict:
    """What a cut left: nothing to boot or a node, what GRUB boots, and every violation in a sentence.

    ``later`` is what GRUB boots once Linux has replayed the journal of /boot; ``left`` what the disk or LVM has lost by
    itself, in whatever order we write (docs/reliability.md).
    """

    cut: str
    state: str
    next: str = ""
    wrong: tuple[str, ...] = ()
    left: tuple[str, ...] = ()
    later: str = ""

    def as_dict(self) -> dict[str, Any]:
        found = {"cut": self.cut, "state": self.state, "next": self.next, "wrong": list(self.wrong)}
        found["later"] = self.later
        return {**found, "left": list(self.left)}


def learn(disk: Disk, reference: Reference) -> None:
    """Add the disk as it is now to what is right."""
    for path, said in disk.boot(TEXTS).paths.items():
        _add(reference.boot.setdefault(path, []), said)
    core = disk.partition(1)
    if core is not None:
        _add(reference.core, disk.core(core))
    group = disk.group()
    for name in [] if group is None else group.volumes:
        if group is None or lvm.TAG_LAYER not in group.tags_of(name):
            continue
        content = disk.volume(group, name, (ETC,))
        known = reference.etc.setdefault(name, {})
        paths = {path: said for path, said in content.paths.items() if not path.startswith(NOISE)}
        for path, said in paths.items():
            _add(known.setdefault(path, []), said)
        before = reference.always.get(name)
        here = [path for path in paths if before is None or path in before]
        reference.always[name] = here


def _add(known: list[str], said: str) -> None:
    if said not in known:
        known.append(said)


def judge(disk: Disk, reference: Reference, images: Mapping[str, tuple[str, int]], name: str) -> Verdict:
    """What the cut ``name`` left; ``images`` are SHA-256 and size by NVR."""
    # Linux takes the copy at the end only with the kernel argument "gpt" (block/partitions/efi.c).
    torn = (f"{GPT}: the first copy of the partition table was torn",) if disk.torn_table() else ()
    if not disk.boot_code():
        # The firmware finds nothing here, whatever lies behind it.
        return Verdict(name, NOTHING, left=torn)
    if disk.partitions() is None:
        return Verdict(name, NOTHING, wrong=("the firmware starts GRUB, which finds no partition",), left=torn)
    view = disk.grub(GRUB)
    if not view.config or (not view.menu and not view.broken and not reference_has_node(disk)):
        return Verdict(name, NOTHING, wrong=("the firmware starts GRUB, which has nothing to boot",))
    found = Looking(disk, reference, images)
    booted = state_of(view).next
    wrong = list(dict.fromkeys(found.problems(view)))
    return Verdict(name, NODE, booted, tuple(wrong), (*torn, *dict.fromkeys(found.left)), found.later)


def names_pv(devices: bytes, pv: str) -> bool:
    """A devices file is whole, and LVM finds the PV with the UUID ``pv`` by it."""
    lines = devices.decode(errors="replace").splitlines(keepends=True)
    found = [line for line in lines if line.endswith("\n") and f"PVID={pv}" in line.split()]
    versions = [line for line in lines if line.startswith("VERSION=") and line.endswith("\n")]
    return len(found) == 1 and len(versions) == 1


def reference_has_node(disk: Disk) -> bool:
    """Whether Linux sees boot entries: then GRUB must see a menu."""
    return any(path.startswith(f"{bls.ENTRIES}/") for path in disk.boot(TEXTS).texts)


def no_fallback(who: str, state: BootState) -> Iterator[str]:
    """A layer on trial without another one that GRUB goes back to."""
    if state.pending and state.good == state.trial:
        yield f"{who}: {state.trial} is on trial, and there is no other layer to fall back to"


def state_of(view: GrubView) -> BootState:
    """What GRUB does with what it sees."""
    return boot_state(view.variables, [entry.name for entry in view.menu])


class Looking:
    """One look at a disk that has a node."""

    def __init__(self, disk: Disk, reference: Reference, images: Mapping[str, tuple[str, int]]) -> None:
        self.disk = disk
        self.reference = reference
        self.images = images
        self.left: list[str] = []
        self.later = ""

    def problems(self, view: GrubView) -> Iterator[str]:
        """Everything that is wrong."""
        if view.broken or not view.menu:
            yield f"GRUB: there is no whole menu: {view.broken or 'it is empty or cannot be read'}"
        core = self.disk.partition(1)
        if core is not None and self.disk.core(core) not in self.reference.core:
            yield "GRUB's core image is not whole"
        for entry in view.menu:
            for path in entry.files:
                yield from self._boot_file("GRUB", path, self.disk.grub_digest(path))
        yield from no_fallback("GRUB", state_of(view))
        yield from self._linux_boot()
        try:
            group = self.disk.group()
        except TornText as exc:
            self.left.append(f"{LVM}: {exc}")
            return
        except MetadataError as exc:
            yield f"LVM: {exc}"
            return
        if group is None:
            yield "LVM: there is no volume group"
            return
        yield from self._volumes(group)
        for entry in view.menu:
            yield from self._layer(group, f"GRUB's entry {entry.name}", entry.options)

    def _boot_file(self, who: str, path: str, digest: str) -> Iterator[str]:
        known = [one.rpartition(" ")[2] for one in self.reference.boot.get(path.lstrip("/"), [])]
        if digest not in known:
            what = "is not there" if not digest else "is not whole"
            yield f"{who}: {path}, which an entry names, {what}"

    def _linux_boot(self) -> Iterator[str]:
        content = self.disk.boot(TEXTS)
        self.left += [f"/boot: {said}" for said in content.torn]
        if content.wrong:
            yield f"/boot: {content.wrong}"
            return
        names = []
        for path, text in content.texts.items():
            if not path.startswith(bls.ENTRIES):
                continue
            name = path[len(bls.ENTRIES) + 1 : -len(".conf")]
            try:
                entry = bls.parse(text.decode(), name)
            except (BootError, UnicodeDecodeError) as exc:
                yield f"/boot: the entry {name} cannot be read: {exc}"
                continue
            names.append(name)
            for file in (entry.linux, *entry.initrds):
                digest = content.paths.get(file.lstrip("/"), "").rpartition(" ")[2]
                yield from self._boot_file("Linux", file, digest)
            yield from self._entry_volumes(name, entry.options)
        yield from self._menus(content)

    def _menus(self, content: Content) -> Iterator[str]:
        """Both copies of the menu once the journal was replayed, and what GRUB boots by them."""
        first: list[str] = []
        for name in MENUS:
            text = content.texts.get(f"{GRUB}/{name}", b"")
            menu, broken = parse_menu(text)
            if broken or not menu:
                yield f"/boot: {name} is no whole menu after the journal: {broken or 'it is empty'}"
            for entry in menu:
                for path in entry.files:
                    digest = content.paths.get(path.lstrip("/"), "").rpartition(" ")[2]
                    yield from self._boot_file(f"{name}, after the journal,", path, digest)
                yield from self._entry_volumes(f"{entry.name} in {name}", entry.options)
            first = first or [entry.name for entry in menu]
        block = content.texts.get(f"{GRUB}/grubenv", b"")
        if len(block) != grubenv.SIZE or not block.startswith(grubenv.SIGNATURE):
            yield "/boot: the environment block is not whole after the journal"
            return
        state = boot_state(grubenv.parse(block), first)
        self.later = state.next
        yield from no_fallback("/boot, after the journal", state)

    def _entry_volumes(self, name: str, options: str) -> Iterator[str]:
        try:
            group = self.disk.group()
        except MetadataError:
            return
        if group is not None:
            yield from self._layer(group, f"the entry {name}", options)

    def _volumes(self, group: Group) -> Iterator[str]:
        if not {lvm.TAG_VG, lvm.TAG_INIT} <= set(group.tags):
            yield "LVM: the volume group is not marked as a whole node, but GRUB has a menu"
        for name in group.volumes:
            tags = group.tags_of(name)
            if lvm.TAG_POOL in tags:
                yield from self._pool(group, name)
            elif lvm.TAG_VOLUME in tags:
                yield from self._file_system(group, name)

    def _pool(self, group: Group, name: str) -> Iterator[str]:
        try:
            pool = self.disk.pool(group, name)
        except (ThinError, MetadataError) as exc:
            yield f"{name}: {exc}"
            return
        (segment,) = group.segments(name)
        wanted = int(segment.data["transaction_id"])
        queued = any(key.startswith("message") for key in segment.data)
        # lib/metadata/thin_manip.c: with messages queued LVM sends them, and the pool may be one transaction behind.
        if wanted != pool.transaction and not (queued and wanted - 1 == pool.transaction):
            yield f"{name}: LVM expects transaction {wanted}, the pool has {pool.transaction}"

    def _file_system(self, group: Group, name: str, names: tuple[str, ...] = ()) -> Iterator[str]:
        try:
            content = self.disk.volume(group, name, names, (FIRST_BOOT, DEVICES) if names else ())
        except (ThinError, MetadataError) as exc:
            yield f"{name}: {exc}"
            return
        self.left += [f"{name}: {said}" for said in content.torn]
        if content.wrong:
            yield f"{name}: {content.wrong}"
        elif names:
            # A first boot that is not over makes the devices file anew.
            again = FIRST_BOOT in content.paths or names_pv(content.texts.get(DEVICES, b""), group.pv)
            whole = (DEVICES,) if again else ()
            yield from self._etc(name, content.paths, (FIRST_BOOT, *whole))
            yield from self._first_boot(name, content.texts.get(FIRST_BOOT))

    def _etc(self, layer: str, paths: Mapping[str, str], judged: Collection[str]) -> Iterator[str]:
        known = self.reference.etc.get(layer, {})
        missing = [path for path in self.reference.always.get(layer, []) if path not in paths]
        missing = [path for path in missing if path != FIRST_BOOT]
        other = [path for path, said in paths.items() if path in known and said not in known[path]]
        other = [path for path in other if path not in judged]
        if missing:
            yield f"{layer}: {len(missing)} paths of /etc are missing: {_some(missing)}"
        if other:
            yield f"{layer}: {len(other)} paths of /etc are neither old nor new: {_some(other)}"

    def _first_boot(self, layer: str, text: Optional[bytes]) -> Iterator[str]:
        try:
            if text is not None:
                record.parse(text.decode())
        except (NodeError, UnicodeDecodeError) as exc:
            yield f"{layer}: {exc}"

    def _layer(self, group: Group, who: str, options: str) -> Iterator[str]:
        image, layer = argument("ovirt_node.image", options), argument("ovirt_node.layer", options)
        if image not in group.volumes:
            yield f"{who}: its image {image} is not there"
        elif image not in self.images or image != image_of(layer):
            yield f"{who}: nobody has put the image {image} there"
        else:
            digest, size = self.images[image]
            if self.disk.digest(group, image, size) != digest:
                yield f"{who}: its image {image} is not what was transferred"
        if layer not in group.volumes:
            yield f"{who}: its layer {layer} is not there"
        else:
            yield from self._file_system(group, layer, (ETC,))


def _some(paths: list[str]) -> str:
    return ", ".join(sorted(paths)[:3])


def unexpected(verdict: Verdict, allowed: Collection[str]) -> tuple[str, ...]:
    """A violation when GRUB boots something else than one of ``allowed``; "" stands for nothing to boot."""
    wanted = " or ".join(one or "nothing" for one in sorted(allowed))
    seen = {"": verdict.next, " once the journal was replayed": verdict.later} if verdict.state == NODE else {"": ""}
    return tuple(
        f"GRUB boots {found or 'nothing'}{when}, not {wanted}" for when, found in seen.items() if found not in allowed
    )

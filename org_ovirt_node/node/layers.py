"""Which images and layers the node has, which of them runs and which is booted by default."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Optional

from org_ovirt_node.boot import bls, cmdline, files, grubcfg, grubenv, trial
from org_ovirt_node.errors import NodeError
from org_ovirt_node.node import lvm

CONFIG = Path("/etc/ovirt-node/node.json")
PROC_CMDLINE = Path("/proc/cmdline")
BOOT = Path("/boot")


@dataclass(frozen=True)
class BootState:
    """What GRUB would do: its variables, and its menu.

    ``saved`` is the last layer that was known to be good, ``trial`` the layer on trial with ``tries`` boots left,
    ``failed`` a layer that used up its tries.  ``sound`` is False when the environment block is lost, truncated or
    foreign.  ``first`` is the menu's first entry.
    """

    saved: str = ""
    trial: str = ""
    tries: int = 0
    failed: str = ""
    sound: bool = True
    first: str = ""
    names: tuple[str, ...] = ()

    @property
    def good(self) -> str:
        """What GRUB boots when nothing is on trial."""
        return self.saved if self.saved in self.names else self.first

    @property
    def next(self) -> str:
        """What GRUB boots next, as grub.cfg decides it (boot/grubcfg.py)."""
        return self.trial if self.pending else self.good

    @property
    def pending(self) -> bool:
        """True when a layer on trial would be booted next."""
        return self.tries > 0 and self.trial in self.names


@dataclass(frozen=True)
class NodeState:
    """The node as it is: ``layers`` by image, names as the LVs have them; ``current`` is the running layer.

    ``lacking`` are the files on /boot that an entry names and that are gone or empty, by the entry's name; ``foreign``
    the files among the entries that boot no kernel.
    """

    group: lvm.Group
    layers: Mapping[str, tuple[str, ...]]
    current: str
    default: str
    entries: tuple[bls.Entry, ...]
    boot: BootState = field(default_factory=BootState)
    lacking: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    foreign: tuple[str, ...] = ()

    def entry(self, layer: str) -> Optional[bls.Entry]:
        """The boot entry of ``layer``."""
        return next((entry for entry in self.entries if entry.name == layer), None)

    @property
    def all_layers(self) -> tuple[str, ...]:
        """Every layer, the oldest first."""
        found = [layer for layers in self.layers.values() for layer in layers]
        return tuple(sorted(found, key=self.age))

    def age(self, layer: str) -> tuple[int, str]:
        """A key by which layers sort from old to new: the time of creation, and the name where that is missing."""
        volume = self.group.find(layer)
        return (volume.created if volume else 0, layer)


def config(path: Path = CONFIG) -> dict[str, Any]:
    """What the installation kept for the run time.  Raises NodeError when this is no node."""
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as exc:
        raise NodeError(f"this host is no oVirt Node: there is no {path}") from exc
    except (OSError, ValueError) as exc:
        raise NodeError(f"{path} cannot be read: {exc}", hint="Restore it from another layer or a backup.") from exc
    if not isinstance(data, dict) or not isinstance(data.get("vg"), str):
        raise NodeError(f"{path} names no volume group", hint='It needs the key "vg".')
    for name in ("image_slots", "boot_tries"):
        if name in data and type(data[name]) is not int:
            raise NodeError(f"{path}: {name} is {json.dumps(data[name])}, which is no number", hint="Correct it there.")
    return data


def argument(name: str, text: str) -> str:
    """The value of ``name=…`` on a kernel command line, the last one when it is repeated."""
    values = [word.split("=", 1)[1] for word in cmdline.split(text) if word.startswith(f"{name}=")]
    return values[-1] if values else ""


def image_of(layer: str) -> str:
    """The NVR of the layer ``<nvr>+<n>``."""
    return layer.rpartition("+")[0] or layer


def running_layer(running: Path = PROC_CMDLINE) -> str:
    """The layer that the kernel was started with, empty on a host that is no node."""
    return argument("ovirt_node.layer", running.read_text(encoding="utf-8", errors="replace"))


def boot_state(boot: Path = BOOT, entries: Optional[tuple[bls.Entry, ...]] = None) -> BootState:
    """Read GRUB's environment block and menu.  Raises BootError when there is no grub.cfg."""
    folder = files.grub_folder(boot)
    data = files.read_block(boot, folder)
    values = grubenv.parse(data)
    menu = boot / folder / grubcfg.ENTRIES_FILE
    text = menu.read_text(encoding="utf-8", errors="replace") if menu.is_file() else ""
    found = re.search(r"--id '([^']*)'", text)
    tries = values.get(grubcfg.TRIES, "")
    return BootState(
        saved=values.get(grubcfg.SAVED, ""),
        trial=values.get(grubcfg.TRIAL, ""),
        # What grub.cfg compares with: one digit, up to MAX_TRIES.
        tries=int(tries) if tries in tuple(str(number) for number in range(1, grubcfg.MAX_TRIES + 1)) else 0,
        failed=values.get(grubcfg.FELL_BACK, ""),
        sound=len(data) == grubenv.SIZE and data.startswith(grubenv.SIGNATURE),
        first=found.group(1) if found else "",
        names=tuple(entry.name for entry in (bls.read_all(boot) if entries is None else entries)),
    )


def state(vg: Optional[str] = None, boot: Path = BOOT, running: Path = PROC_CMDLINE) -> NodeState:
    """Read LVM, /boot and the kernel command line.  Raises NodeError, StorageError or BootError."""
    group = lvm.group(vg or config()["vg"])
    images: dict[str, list[str]] = {volume.name: [] for volume in group.tagged(lvm.TAG_BASE)}
    for volume in group.tagged(lvm.TAG_LAYER):
        # A layer whose image is gone is still shown, under the image's name.
        images.setdefault(image_of(volume.name), []).append(volume.name)
    entries, foreign = bls.read(boot)
    grub = boot_state(boot, entries)
    return NodeState(
        group=group,
        layers={image: tuple(sorted(layers)) for image, layers in sorted(images.items())},
        current=running_layer(running),
        default=grub.next,
        entries=entries,
        boot=grub,
        lacking={entry.name: gone for entry in entries if (gone := bls.missing(boot, entry))},
        foreign=foreign,
    )


def never_good(node: NodeState, layer: str) -> bool:
    """True for a layer that has not been marked good: a trial has to show that it is."""
    entry = node.entry(layer)
    return layer != node.boot.good and entry is not None and trial.on_trial(entry.options)


def leads_to_a_layer(entry: bls.Entry) -> bool:
    """True when the entry boots a layer of a node, False for a kernel that somebody else put there."""
    return bool(argument("ovirt_node.layer", entry.options))

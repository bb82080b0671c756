"""Which images and layers the node has, which of them runs and which is booted by default."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Optional

from org_ovirt_node.boot import bls, cmdline, files, grubcfg
from org_ovirt_node.errors import NodeError
from org_ovirt_node.node import lvm

CONFIG = Path("/etc/ovirt-node/node.json")
PROC_CMDLINE = Path("/proc/cmdline")
BOOT = Path("/boot")


@dataclass(frozen=True)
class NodeState:
    """The node as it is: ``layers`` by image, names as the LVs have them; ``current`` is the running layer."""

    group: lvm.Group
    layers: Mapping[str, tuple[str, ...]]
    current: str
    default: str
    entries: tuple[bls.Entry, ...]


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
    return data


def argument(name: str, text: str) -> str:
    """The value of ``name=…`` on a kernel command line, the last one when it is repeated."""
    values = [word.split("=", 1)[1] for word in cmdline.split(text) if word.startswith(f"{name}=")]
    return values[-1] if values else ""


def image_of(layer: str) -> str:
    """The NVR of the layer ``<nvr>+<n>``."""
    return layer.rpartition("+")[0] or layer


def state(vg: Optional[str] = None, boot: Path = BOOT, running: Path = PROC_CMDLINE) -> NodeState:
    """Read LVM, /boot and the kernel command line.  Raises NodeError, StorageError or BootError."""
    group = lvm.group(vg or config()["vg"])
    images: dict[str, list[str]] = {volume.name: [] for volume in group.tagged(lvm.TAG_BASE)}
    for volume in group.tagged(lvm.TAG_LAYER):
        # A layer whose image is gone is still shown, under the image's name.
        images.setdefault(image_of(volume.name), []).append(volume.name)
    environment = files.read_environment(boot, files.grub_folder(boot))
    entries = bls.read_all(boot)
    names = [entry.name for entry in entries]
    default = environment.get(grubcfg.SAVED, "")
    return NodeState(
        group=group,
        layers={image: tuple(sorted(layers)) for image, layers in sorted(images.items())},
        current=argument("ovirt_node.layer", running.read_text(encoding="utf-8", errors="replace")),
        default=default if default in names else (names[-1] if names else ""),
        entries=entries,
    )

"""``nodectl info``: the node for people, and for programs with the keys that imgbased gave them."""

from __future__ import annotations

from typing import Any

from org_ovirt_node.node.layers import NodeState, argument

ROOT_HASH = "ovirt_node.roothash"


def root_hashes(node: NodeState, running: str) -> dict[str, str]:
    """By layer the root hash that dm-verity checks its image with, empty where nothing does.

    ``running`` is the kernel's command line, which counts for the running layer; for others their boot entry's does.
    """
    found = {entry.name: argument(ROOT_HASH, entry.options) for entry in node.entries}
    if node.current:
        found[node.current] = argument(ROOT_HASH, running)
    return found


def as_dict(node: NodeState, running: str) -> dict[str, Any]:
    """imgbased's keys ``bootloader`` (default, entries), ``layers`` and ``current_layer``; and ``verity``."""
    entries = {
        entry.name: {
            "index": index,
            "kernel": f"/boot{entry.linux}",
            "initrd": " ".join(f"/boot{path}" for path in entry.initrds),
            "args": entry.options,
            "title": entry.title,
            "blsid": entry.name,
            "root": "ovirt-node",
        }
        for index, entry in enumerate(node.entries)
    }
    return {
        "bootloader": {"default": node.default, "entries": entries},
        "layers": {image: list(layers) for image, layers in node.layers.items()},
        "current_layer": node.current,
        "verity": root_hashes(node, running),
    }


def as_text(node: NodeState, running: str) -> str:
    """The same for people, in imgbased's order."""
    lines = ["bootloader: ", f"  default: {node.default}", "  entries: "]
    for entry in node.entries:
        lines += [f"    {entry.name}: ", f"      kernel: /boot{entry.linux}", f"      args: {entry.options}"]
    lines.append("layers: ")
    for image, layers in node.layers.items():
        lines.append(f"  {image}: ")
        lines += [f"    {layer}" for layer in layers]
    lines += [f"current_layer: {node.current}", "verity: "]
    for layer, root_hash in root_hashes(node, running).items():
        checked = f"every block that is read is checked, root hash {root_hash}" if root_hash else "off"
        lines.append(f"  {layer}: {checked}")
    return "\n".join(lines) + "\n"

"""``nodectl info``: the node for people, and for programs with the keys that imgbased gave them."""

from __future__ import annotations

from typing import Any

from org_ovirt_node.node.layers import NodeState


def as_dict(node: NodeState) -> dict[str, Any]:
    """imgbased's keys: ``bootloader`` (default, entries), ``layers`` and ``current_layer``."""
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
    }


def as_text(node: NodeState) -> str:
    """The same for people, in imgbased's order."""
    lines = ["bootloader: ", f"  default: {node.default}", "  entries: "]
    for entry in node.entries:
        lines += [f"    {entry.name}: ", f"      kernel: /boot{entry.linux}", f"      args: {entry.options}"]
    lines.append("layers: ")
    for image, layers in node.layers.items():
        lines.append(f"  {image}: ")
        lines += [f"    {layer}" for layer in layers]
    lines.append(f"current_layer: {node.current}")
    return "\n".join(lines) + "\n"

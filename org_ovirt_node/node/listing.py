"""``nodectl list``: every image and layer, and what is said of it."""

from __future__ import annotations

import time
from typing import Any

from org_ovirt_node.boot import trial
from org_ovirt_node.node.layers import NodeState
from org_ovirt_node.node.remove import protected
from org_ovirt_node.progress import human


def as_dict(node: NodeState) -> dict[str, Any]:
    """Images with their layers, oldest first; sizes in bytes, times in seconds since the epoch."""
    stays = protected(node)
    images = []
    for image in sorted(node.layers, key=lambda name: node.age(name)):
        volume = node.group.find(image)
        layers = []
        for layer in node.layers[image]:
            found, entry = node.group.find(layer), node.entry(layer)
            layers.append(
                {
                    "name": layer,
                    "running": layer == node.current,
                    "default": layer == node.boot.good,
                    "next": layer == node.boot.next,
                    "good": entry is not None and not trial.on_trial(entry.options),
                    "tries": node.boot.tries if layer == node.boot.trial else 0,
                    "bootable": entry is not None and volume is not None and layer not in node.lacking,
                    "failed": layer == node.boot.failed,
                    "incomplete": found is not None and found.incomplete,
                    "removable": layer not in stays,
                }
            )
        images.append(
            {
                "name": image,
                "present": volume is not None,
                "size": volume.content_size or volume.size if volume else 0,
                "created": volume.created if volume else 0,
                "sha256": volume.sha256 if volume else "",
                "incomplete": volume is not None and volume.incomplete,
                "layers": layers,
            }
        )
    return {"images": images}


def as_text(node: NodeState) -> str:
    """The same for people."""
    lines = []
    for image in as_dict(node)["images"]:
        made = time.strftime("%Y-%m-%d %H:%M", time.localtime(image["created"])) if image["created"] else "unknown time"
        what = f"{human(image['size'])}, {made}" if image["present"] else "the image is missing"
        lines.append(f"{image['name']} ({what}{', unfinished' if image['incomplete'] else ''})")
        for layer in image["layers"]:
            marks = [
                word
                for word in ("running", "default", "next", "failed", "incomplete")
                if layer[word] and not (word == "next" and layer["default"])
            ]
            if not layer["good"] and layer["bootable"]:
                marks.append(f"on trial, {layer['tries']} tries left" if layer["tries"] else "never marked good")
            if not layer["bootable"]:
                marks.append("cannot be booted")
            lines.append(f"  {layer['name']}" + (f" [{', '.join(marks)}]" if marks else ""))
    return "\n".join(lines) + "\n" if lines else "There is no image.\n"

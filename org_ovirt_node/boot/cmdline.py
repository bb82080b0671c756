"""The kernel command line of a layer, and what may be said in it."""

from __future__ import annotations

import re
from collections.abc import Iterable

ROOT = "root=ovirt-node"
#: Where the image and the layer are; nobody else may say that.
OURS = ("root=", *(f"ovirt_node.{name}=" for name in ("vg", "image", "layer", "roothash", "hashoffset")))
#: Brings a volume up in the initramfs (dracut.cmdline(7)); ours are those of the image and the layer.
VOLUME = "rd.lvm.lv="


def split(options: str) -> tuple[str, ...]:
    """The arguments in ``options``; double quotes group words, as in the kernel (admin-guide/kernel-parameters)."""
    return tuple(re.findall(r'(?:[^\s"]|"[^"]*"?)+', options))


def layer_arguments(vg: str, image: str, layer: str, roothash: str = "", hashoffset: int = 0) -> tuple[str, ...]:
    """The arguments by which the initramfs finds the image and the layer; ``hashoffset`` in bytes."""
    arguments = [
        ROOT,
        f"ovirt_node.vg={vg}",
        f"ovirt_node.image={image}",
        f"ovirt_node.layer={layer}",
        f"rd.lvm.lv={vg}/{image}",
        f"rd.lvm.lv={vg}/{layer}",
    ]
    if roothash:
        arguments += [f"ovirt_node.roothash={roothash}", f"ovirt_node.hashoffset={hashoffset}"]
    return tuple(arguments)


def user_arguments(options: str, image: str = "") -> tuple[str, ...]:
    """What of ``options``, a layer's whole line, is neither ours nor what its image asked for (``image``).

    The image's words come before the user's and in their order: each of them is taken out once, where it comes next,
    so that a word that the user repeats stays.
    """
    words = _without_ours(split(options))
    asked = list(split(image))
    kept = []
    for word in words:
        if word in asked:
            del asked[: asked.index(word) + 1]
        else:
            kept.append(word)
    return tuple(kept)


def _without_ours(words: Iterable[str]) -> list[str]:
    words = list(words)
    ours = [word for word in words if word.startswith(OURS)]
    values = dict(word.split("=", 1) for word in ours)
    group = values.get("ovirt_node.vg", "")
    volumes = [f"{VOLUME}{group}/{values.get(f'ovirt_node.{part}', '')}" for part in ("image", "layer")]
    return [word for word in words if word not in ours and word not in volumes]


def command_line(ours: Iterable[str], *others: str) -> str:
    """The whole line: ours, then the image's, then the user's, all in their order (a later one wins in the kernel)."""
    words = list(ours)
    for options in others:
        words += [word for word in split(options) if not word.startswith(OURS)]
    return " ".join(words)

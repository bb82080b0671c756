"""The kernel command line of a layer, and what may be said in it."""

from __future__ import annotations

import re
from collections.abc import Iterable

ROOT = "root=ovirt-node"
#: Prefixes of the arguments that are ours to write; a user's ones are kept apart from them.
OURS = ("root=", "ovirt_node.", "rd.lvm.lv=")


def split(options: str) -> tuple[str, ...]:
    """The arguments in ``options``; double quotes group words, as in the kernel (admin-guide/kernel-parameters)."""
    return tuple(re.findall(r'(?:[^\s"]|"[^"]*"?)+', options))


def join(arguments: Iterable[str]) -> str:
    """One line of ``arguments`` in their order, each only once where it is repeated word for word."""
    return " ".join(dict.fromkeys(arguments))


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


def user_arguments(options: str) -> tuple[str, ...]:
    """What of ``options`` is not ours."""
    return tuple(word for word in split(options) if not word.startswith(OURS))


def command_line(ours: Iterable[str], *others: str) -> str:
    """The whole line: ours, then the image's, then the user's in their order (a later one wins in the kernel)."""
    words = list(ours)
    for options in others:
        words += user_arguments(options)
    return join(words)

"""Paths of another system's tree, as that system itself would find them: nothing leads out of the tree.

An image's links, absolute or with "..", and its device nodes must never make us read or write a file of the machine
that we run on.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from org_ovirt_node.errors import NodeError
from org_ovirt_node.i18n import _

#: As many links as Linux follows in one path (path_resolution(7)).
MOST_LINKS = 40


def inside(root: Path, path: str, *, follow: bool = True) -> Path:
    """Where ``path`` lies below ``root``, with links followed as after a chroot; ".." ends at ``root``.

    Without ``follow`` a link at its very end is left: the path is that of the link.  Raises NodeError for a loop.
    """
    found: list[str] = []
    left = _parts(path)
    links = 0
    while left:
        name = left.pop()
        if name == "..":
            found = found[:-1]
            continue
        place = root.joinpath(*found, name)
        if (left or follow) and place.is_symlink():
            links += 1
            if links > MOST_LINKS:
                raise NodeError(_("the links at /{path} in the new system lead nowhere").format(path=path.lstrip("/")))
            target = str(place.readlink())
            found = [] if target.startswith("/") else found
            left += _parts(target)
            continue
        found.append(name)
    return root.joinpath(*found)


def _parts(path: str) -> list[str]:
    """The names in a path, the last one first."""
    return [name for name in reversed(path.split("/")) if name not in ("", ".")]


def place_for_file(root: Path, path: str) -> Path:
    """:func:`inside` for a file that is to be written: its folder is made, and what is no plain file there goes.

    Raises NodeError when a folder is in its place, or a file in that of a folder.
    """
    target = inside(root, path, follow=False)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        if os.path.lexists(target) and (target.is_symlink() or not target.is_file()):
            # A link, a device, a pipe: what is written must land in a file.
            target.unlink()
    except OSError as exc:
        raise NodeError(
            _("/{path} of the new system cannot be written: {error}").format(path=path.lstrip("/"), error=exc.strerror)
        ) from exc
    return target


def matching(root: Path, pattern: str) -> dict[str, Path]:
    """The files of the tree that ``pattern``, with the wildcards of glob, stands for: where each lies, by its name.

    Names are as the pattern has them, with its slash at the front or without, in order.  The folders before the first
    wildcard may be links, which are followed within the tree.
    """
    fixed, slash, _ = pattern.partition("*")[0].rpartition("/")
    rest = pattern[len(fixed) + len(slash) :]
    folder = inside(root, fixed)
    return {f"{fixed}{slash}{path.relative_to(folder)}": path for path in sorted(folder.glob(rest))}


def remove_files(root: Path, patterns: Iterable[str]) -> None:
    """Remove the files and links that ``patterns`` stand for, and leave folders."""
    for pattern in patterns:
        for path in matching(root, pattern).values():
            if path.is_symlink() or path.is_file():
                path.unlink()

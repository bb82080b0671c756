"""Units stay enabled, disabled and masked as the user had them.

Enabling is a symbolic link below /etc/systemd (systemctl(1)), so most of it is the ordinary rule for links: a link
that the user made or removed stays made or removed, one that the image brings is taken.  Two things are not: an image
may enable the same unit by another link (of another target), which would bring a disabled unit back; and a link of
the user may name a unit that the new image does not have.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Set
from typing import Optional

from org_ovirt_node.node.merge.model import Entry, Kind, Notice, Topic, parent

FOLDERS = ("systemd/system/", "systemd/user/")
#: Folders "<unit>.<how>" whose links pull a unit in (systemd.unit(5)).
PULLS = (".wants", ".requires", ".upholds")
TYPES = re.compile(r".+\.(automount|device|mount|path|scope|service|slice|socket|swap|target|timer)", re.DOTALL)
MASK = "/dev/null"


def unit_of(entry: Entry) -> str:
    """The unit that a link enables, with its manager's folder ("systemd/system/sshd.service"); "" for any other path.

    In ``<unit>.wants`` it is the link's name, elsewhere (an alias) the name of what it points to.
    """
    folder = next((folder for folder in FOLDERS if entry.path.startswith(folder)), "")
    if not folder or entry.kind is not Kind.LINK or entry.target == MASK:
        return ""
    above = parent(entry.path)
    if above.endswith(PULLS):
        name = entry.path.rpartition("/")[2]
    elif above + "/" == folder:
        name = entry.target.rpartition("/")[2]
    else:
        return ""
    return folder + name if TYPES.fullmatch(name) else ""


def links(entries: Mapping[str, Entry]) -> dict[str, set[str]]:
    """The enabling links of every unit."""
    found: dict[str, set[str]] = {}
    for folder in FOLDERS:
        for path, entry in entries.items():
            if path.startswith(folder) and (unit := unit_of(entry)):
                found.setdefault(unit, set()).add(path)
    return found


def disabled(old: Mapping[str, Entry], node: Mapping[str, Entry]) -> frozenset[str]:
    """Units that the old image enabled and no link on the node enables any more."""
    return frozenset(links(old).keys() - links(node).keys())


def unwanted(
    old: Mapping[str, Entry], node: Mapping[str, Entry], new: Mapping[str, Entry]
) -> Iterator[tuple[str, Notice]]:
    """Links that only the new image has, of units that the user disabled; each with what to say about it."""
    off = disabled(old, node)
    for unit, paths in sorted(links(new).items()):
        if unit in off:
            name = unit.rpartition("/")[2]
            for path in sorted(paths - old.keys() - node.keys()):
                yield path, Notice(path, Topic.UNIT, f"{name} was disabled on this node and stays disabled")


def missing(result: Mapping[str, Entry], has_unit: Optional[Callable[[str], bool]]) -> Iterator[Notice]:
    """Links of the result that enable a unit which neither the new image nor /etc has.

    ``has_unit`` tells whether the image has the unit of a name; None: it is not known.
    """
    if has_unit is None:
        return
    for unit, paths in sorted(links(result).items()):
        folder, _, name = unit.rpartition("/")
        known: Set[str] = {name, template(name)}
        if not any(has_unit(one) or f"{folder}/{one}" in result for one in known):
            for path in sorted(paths):
                yield Notice(path, Topic.UNIT, f"{name} is enabled on this node, and the image does not have it")


def template(name: str) -> str:
    """The template of an instance (getty@.service for getty@tty1.service), else the name itself."""
    stem, at, rest = name.partition("@")
    return f"{stem}@.{rest.rpartition('.')[2]}" if at else name

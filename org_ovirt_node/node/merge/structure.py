"""Decisions are made path by path; here they become a tree: what lies in a folder needs the folder.

What a user has wins a place: where the image made a file of a folder in which the user keeps something, the folder
stays and the image's file is put beside it; where the user made a link of a folder into which the image brings
something new, that is put beside the link.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Optional

from org_ovirt_node.node.merge.decide import Decision, Sides
from org_ovirt_node.node.merge.model import Kind, Notice, Source, Topic, Why, order, parent
from org_ovirt_node.node.merge.names import place_beside, shown

CARRIED = (Source.NODE, Source.MERGED)


@dataclass(frozen=True)
class Structure:
    """The decisions as a tree; ``beside`` has the image's path for every place beside."""

    decisions: dict[str, Decision]
    beside: dict[str, str]


def kind_of(path: str, decision: Decision, sides: Sides) -> Optional[Kind]:
    """The type of the result at ``path``; None where there is none."""
    if decision.source is Source.ABSENT:
        return None
    tree = sides.new if decision.source is Source.IMAGE else sides.node
    return tree.entries[path].kind


def above(path: str) -> Iterator[str]:
    """The folders that ``path`` lies in, the outermost (below /etc) first."""
    parts = path.split("/")
    for count in range(1, len(parts)):
        yield "/".join(parts[:count])


def build(decisions: dict[str, Decision], sides: Sides) -> Structure:
    """Give every present path a folder to lie in, and every conflict its place."""
    found = dict(decisions)
    _give_folders(found, sides)
    beside = {place_beside(path): path for path, decision in found.items() if decision.beside}
    _move_blocked(found, beside, sides)
    _clear_places(found, beside)
    return Structure(found, beside)


def _give_folders(found: dict[str, Decision], sides: Sides) -> None:
    """Deepest first, so that a folder that is given one level down is seen one level up."""
    for path in sorted(found, key=lambda path: path.count("/"), reverse=True):
        decision, folder = found[path], parent(path)
        if decision.source is Source.ABSENT or not folder:
            continue
        kind = kind_of(folder, found[folder], sides)
        if kind is Kind.DIRECTORY:
            continue
        if kind is None:
            found[folder] = _restored(folder, found[folder], sides)
        elif decision.source in CARRIED:
            found[folder] = _kept_folder(folder, found[folder], sides)


def _restored(folder: str, decision: Decision, sides: Sides) -> Decision:
    node = sides.node.entries.get(folder)
    if node is not None and node.kind is Kind.DIRECTORY:
        return Decision(Source.NODE, Why.NEEDED, node.meta, notices=decision.notices)
    # Not the node's, so what lies in it comes from the image, and so does the folder.
    new = sides.new.entries[folder]
    text = "deleted on this node, and there again: the image has something new in it"
    told = Notice(folder, Topic.RESTORED, text)
    return Decision(Source.IMAGE, Why.NEEDED, new.meta, notices=(*decision.notices, told))


def _kept_folder(folder: str, decision: Decision, sides: Sides) -> Decision:
    """A folder of the node that the image made something else of; the image's thing goes beside."""
    node, new = sides.node.entries[folder], sides.new.entries[folder]
    text = f"a {new.kind.value} in the image; the directory is kept for what this node has in it"
    told = Notice(folder, Topic.CONFLICT, text)
    return Decision(Source.NODE, Why.CONFLICT, node.meta, notices=(*decision.notices, told), beside=True)


def _move_blocked(found: dict[str, Decision], beside: dict[str, str], sides: Sides) -> None:
    """Paths of the image below something that is no folder on this node go beside that."""
    for path in sorted(found, key=order):
        if found[path].source is not Source.IMAGE:
            continue
        blocker = next((up for up in above(path) if kind_of(up, found[up], sides) not in (Kind.DIRECTORY, None)), None)
        if blocker is None:
            continue
        base = place_beside(blocker)
        for up in (*above(path), path):
            if up == blocker or up.startswith(blocker + "/"):
                beside[base + up[len(blocker) :]] = up
        kind = sides.node.entries[blocker].kind.value
        told = found[path].notices
        if parent(path) == blocker or found[parent(path)].why is not Why.BESIDE:
            # The topmost is enough to know of.
            text = f"new in the image, but {shown(blocker)} is a {kind} on this node"
            told = (*told, Notice(path, Topic.CONFLICT, text, base + path[len(blocker) :]))
        found[path] = Decision(Source.ABSENT, Why.BESIDE, notices=told)


def _clear_places(found: dict[str, Decision], beside: dict[str, str]) -> None:
    """What an earlier upgrade, or a user, left in the places that are needed now."""
    tops = tuple(place for place in beside if parent(place) not in beside)
    taken = {place for place in tops if place in found and found[place].source is not Source.ABSENT}
    if not taken:
        return
    folders = tuple(place + "/" for place in taken)
    for path in list(found):
        if path in taken or path.startswith(folders):
            text = "replaced by the version of the new image"
            notices = (Notice(path, Topic.SUPERSEDED, text),) if found[path].source in CARRIED else ()
            found[path] = Decision(Source.ABSENT, Why.SUPERSEDED, notices=notices)

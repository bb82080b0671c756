"""The three-way rule for one path, content and attributes apart.  Pure; it knows nothing of other paths."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Optional

from org_ovirt_node.node.merge import compare, diff3, meta
from org_ovirt_node.node.merge.model import LABEL, Entry, Kind, Meta, Notice, Source, Topic, Tree, Why
from org_ovirt_node.node.merge.policy import Rule


@dataclass(frozen=True)
class Decision:
    """The result of one path; ``beside``: the image's version is put beside it."""

    source: Source
    why: Why
    meta: Optional[Meta] = None
    content: Optional[bytes] = None
    notices: tuple[Notice, ...] = ()
    beside: bool = False

    def __post_init__(self) -> None:
        if (self.source is Source.ABSENT) != (self.meta is None):
            raise ValueError("a path has attributes exactly when it is there")


@dataclass(frozen=True)
class Sides:
    """The three trees; attributes of the images' entries are mapped to the node's ids already."""

    old: Tree
    node: Tree
    new: Tree

    def at(self, path: str) -> tuple[Optional[Entry], Optional[Entry], Optional[Entry]]:
        return self.old.entries.get(path), self.node.entries.get(path), self.new.entries.get(path)


def same_body(left: Tree, one: Optional[Entry], right: Tree, two: Optional[Entry]) -> bool:
    """The same type with the same content; contents are read only when the sizes are equal."""
    if one is None or two is None:
        return one is two
    if (one.kind, one.size, one.target, one.device) != (two.kind, two.size, two.target, two.device):
        return False
    return one.kind is not Kind.FILE or compare.same_content(left, one.path, right, two.path, one.size)


def decide(path: str, sides: Sides) -> Decision:
    """The three-way result of ``path``."""
    old, node, new = sides.at(path)
    if node is None:
        return _not_on_node(path, sides, old, new)
    if new is None:
        return _not_in_image(path, sides, old, node)
    if same_body(sides.node, node, sides.new, new):
        # Whether it was the same before makes no difference, and the old image's files need not be read for it.
        return both(path, Source.IMAGE, Why.SAME, old, node, new)
    if old is not None and same_body(sides.old, old, sides.node, node):
        return both(path, Source.IMAGE, Why.IMAGE_CHANGED, old, node, new)
    if old is not None and same_body(sides.old, old, sides.new, new):
        return both(path, Source.NODE, Why.NODE_CHANGED, old, node, new)
    return _both_changed(path, sides, old, node, new)


def _not_on_node(path: str, sides: Sides, old: Optional[Entry], new: Optional[Entry]) -> Decision:
    if new is None:
        return Decision(Source.ABSENT, Why.SAME)
    if old is None:
        return Decision(Source.IMAGE, Why.IMAGE_ADDED, new.meta)
    notices: tuple[Notice, ...] = ()
    if not same_body(sides.old, old, sides.new, new):
        notices = (Notice(path, Topic.DELETED, "deleted on this node and stays deleted; the image has a new version"),)
    return Decision(Source.ABSENT, Why.NODE_DELETED, notices=notices)


def _not_in_image(path: str, sides: Sides, old: Optional[Entry], node: Entry) -> Decision:
    if old is None:
        return Decision(Source.NODE, Why.NODE_ADDED, node.meta)
    changes = meta.changed(old.meta, node.meta) if old.kind is node.kind else ()
    if same_body(sides.old, old, sides.node, node) and changes in ((), ("SELinux label",)):
        # A label is often set by the system itself (restorecon); alone it does not keep a file.
        text = "no longer in the image and removed, with the SELinux label that it had on this node"
        return Decision(
            Source.ABSENT, Why.IMAGE_DROPPED, notices=(Notice(path, Topic.METADATA, text),) if changes else ()
        )
    text = "changed on this node and kept; the image no longer has it"
    return Decision(Source.NODE, Why.NODE_CHANGED, node.meta, notices=(Notice(path, Topic.KEPT, text),))


def both(
    path: str,
    source: Source,
    why: Why,
    old: Optional[Entry],
    node: Entry,
    new: Entry,
    content: Optional[bytes] = None,
    notices: tuple[Notice, ...] = (),
    beside: bool = False,
) -> Decision:
    """Both sides have the path and it is known whose content it gets: now the attributes."""
    base = old.meta if old is not None and old.kind is node.kind else None
    if node.kind is new.kind:
        result = meta.merge(base, node.meta, new.meta)
        clashes = tuple(Notice(path, Topic.METADATA, str(clash)) for clash in result.clashes)
        return Decision(source, why, result.meta, content, (*notices, *clashes), beside)
    if source is Source.NODE:
        # Another type than the image's: its label would be wrong, so the node's attributes stay together.
        return Decision(source, why, node.meta, content, notices, beside)
    changes = meta.changed(base, node.meta) if base is not None else ()
    if changes:
        text = f"the {node.kind.value} is a {new.kind.value} now; changed on this node and gone: {', '.join(changes)}"
        notices = (*notices, Notice(path, Topic.METADATA, text))
    return Decision(source, why, new.meta, content, notices, beside)


def _both_changed(path: str, sides: Sides, old: Optional[Entry], node: Entry, new: Entry) -> Decision:
    entries = (old, node, new)
    if old is not None and all(entry is not None and entry.kind is Kind.FILE for entry in entries):
        merged = None
        if max(old.size, node.size, new.size) <= diff3.MAX_SIZE:
            merged = diff3.merge(sides.old.read(path), sides.node.read(path), sides.new.read(path), path)
        if merged is not None:
            told = (Notice(path, Topic.MERGED, "changed on both sides; both changes are in the result"),)
            return both(path, Source.MERGED, Why.BOTH_MERGED, old, node, new, merged, told)
    told = (Notice(path, Topic.CONFLICT, _conflict(old, node, new)),)
    return both(path, Source.NODE, Why.CONFLICT, old, node, new, notices=told, beside=True)


def _conflict(old: Optional[Entry], node: Entry, new: Entry) -> str:
    if node.kind is not new.kind:
        return f"a {node.kind.value} on this node, a {new.kind.value} in the image; this node's is kept"
    how = "changed" if old is not None else "added"
    return f"{how} differently on this node and in the image; this node's is kept"


def by_rule(path: str, rule: Rule, sides: Sides) -> Decision:
    """The result where a rule of the policy settles whose version it is."""
    old, node, new = sides.at(path)
    if rule.source is Source.NODE:
        return _always_node(path, rule, sides, old, node, new)
    notices: tuple[Notice, ...] = ()
    changed = not same_body(sides.old, old, sides.node, node)
    if new is None and old is not None and node is not None:
        changed = changed or bool(meta.changed(old.meta, node.meta))
    if changed and not same_body(sides.node, node, sides.new, new):
        text = f"{rule.reason}; the image's is taken. Run '{rule.remedy}' to bring in what was added on this node"
        notices = (Notice(path, Topic.REGENERATE, text),)
    if new is None:
        return Decision(Source.ABSENT, Why.POLICY, notices=notices)
    if node is None:
        return Decision(Source.IMAGE, Why.POLICY, new.meta, notices=notices)
    return both(path, Source.IMAGE, Why.POLICY, old, node, new, notices=notices)


def _always_node(
    path: str, rule: Rule, sides: Sides, old: Optional[Entry], node: Optional[Entry], new: Optional[Entry]
) -> Decision:
    notices: tuple[Notice, ...] = ()
    foreign = new is not None and not same_body(sides.old, old, sides.new, new) and (new.size or new.target)
    if foreign and not same_body(sides.node, node, sides.new, new):
        notices = (Notice(path, Topic.PER_HOST, f"{rule.reason}: this node's is kept, the image's is not taken"),)
    if node is None:
        return Decision(Source.ABSENT, Why.POLICY, notices=notices)
    result = node.meta
    if new is not None and new.kind is node.kind:
        # The label alone follows the policy of the image.
        base = old.meta if old is not None and old.kind is node.kind else None
        result = meta.with_label(node.meta, meta.merge(base, node.meta, new.meta).meta.xattr(LABEL))
    return Decision(Source.NODE, Why.POLICY, result, notices=notices)

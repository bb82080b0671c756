"""The plan of a merge: three trees in, one action per path out.  Pure; the trees are only read."""

from __future__ import annotations

import stat
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass, replace
from typing import Optional

from org_ovirt_node.node.merge import accounts, decide, meta, structure, units
from org_ovirt_node.node.merge.accounts import AccountMerge
from org_ovirt_node.node.merge.decide import Decision, Sides
from org_ovirt_node.node.merge.model import (
    Action,
    Entry,
    IdMap,
    Kind,
    MergeError,
    MergePlan,
    Meta,
    Notice,
    Source,
    Topic,
    Tree,
    Why,
    order,
)
from org_ovirt_node.node.merge.names import place_beside
from org_ovirt_node.node.merge.policy import rule_for

#: What the image's version beside the node's must not have: nobody is to run it with another's rights.
SET_ID = stat.S_ISUID | stat.S_ISGID


@dataclass(frozen=True)
class _Mapped:
    """An image's tree with the owners as this node numbers them."""

    tree: Tree
    entries: Mapping[str, Entry]

    def digest(self, path: str) -> bytes:
        return self.tree.digest(path)

    def read(self, path: str) -> bytes:
        return self.tree.read(path)

    def blocks(self, path: str) -> Generator[bytes, None, None]:
        return self.tree.blocks(path)


def _mapped(tree: Tree, ids: IdMap) -> Tree:
    if not ids:
        return tree
    return _Mapped(
        tree,
        {path: replace(entry, meta=meta.mapped(entry.meta, ids)) for path, entry in tree.entries.items()},
    )


def plan(old: Tree, node: Tree, new: Tree, *, has_unit: Optional[Callable[[str], bool]] = None) -> MergePlan:
    """Merge the old image's /etc, the node's and the new image's into the new layer's.

    ``has_unit`` tells whether the new image has the systemd unit of a name (None: not known).  Raises
    :class:`MergeError` when a side is no /etc at all, cannot be read, or no ids are left for new accounts.
    """
    for name, tree in (("old image", old), ("node", node), ("new image", new)):
        if len(tree.entries) <= 1:
            raise MergeError(f"the /etc of the {name} is empty", hint="Is its volume mounted?")
    merged = _accounts(old, node, new)
    ids = merged.new_ids if merged else IdMap()
    sides = Sides(_mapped(old, merged.old_ids) if merged else old, node, _mapped(new, ids))
    # In order, because a tree reads fastest folder by folder.
    paths = sorted(old.entries.keys() | node.entries.keys() | new.entries.keys(), key=order)
    decisions = {path: _decision(path, sides) for path in paths}
    notices: list[Notice] = []
    if merged is not None:
        _take_accounts(decisions, merged, sides)
        notices += merged.notices
    for path, notice in units.unwanted(old.entries, node.entries, new.entries):
        decisions[path] = Decision(Source.ABSENT, Why.UNIT, notices=(notice,))
    built = structure.build(decisions, sides)
    actions = [_action(path, decision, sides) for path, decision in built.decisions.items()]
    actions = [action for action in actions if action.path not in built.beside]
    actions += [_beside(place, path, sides) for place, path in built.beside.items()]
    actions.sort(key=lambda action: order(action.path))
    for path, decision in built.decisions.items():
        notices += [_placed(path, decision, notice) for notice in decision.notices]
    notices += _missing_units(actions, has_unit)
    notices.sort(key=lambda notice: order(notice.path))
    return MergePlan(tuple(actions), tuple(notices), ids)


def _decision(path: str, sides: Sides) -> Decision:
    rule = rule_for(path)
    return decide.by_rule(path, rule, sides) if rule is not None else decide.decide(path, sides)


def _accounts(old: Tree, node: Tree, new: Tree) -> Optional[AccountMerge]:
    """The merged accounts, where all sides have them as files."""

    def is_file(tree: Tree, name: str) -> bool:
        found = tree.entries.get(name)
        return found is not None and found.kind is Kind.FILE

    if not all(is_file(tree, name) for tree in (node, new) for name in accounts.REQUIRED):
        return None
    sides = (
        {name: tree.read(name) if is_file(tree, name) else None for name in accounts.DATABASES}
        for tree in (old, node, new)
    )
    return accounts.merge(*sides)


def _take_accounts(decisions: dict[str, Decision], merged: AccountMerge, sides: Sides) -> None:
    """The merged databases in the place of what the rule for files decided."""
    for name, content in merged.contents.items():
        old, node, new = sides.at(name)
        if content is None or node is None or new is None or Kind.FILE is not node.kind or new.kind is not Kind.FILE:
            # Absent on a side, or of another type: the general rule knows what to do.
            continue
        same = content == sides.node.read(name)
        decisions[name] = decide.both(
            name, Source.NODE if same else Source.MERGED, Why.ACCOUNTS, old, node, new, None if same else content
        )


def _placed(path: str, decision: Decision, notice: Notice) -> Notice:
    if notice.topic is Topic.CONFLICT and decision.beside:
        return replace(notice, beside=place_beside(path))
    return notice


def _action(path: str, decision: Decision, sides: Sides) -> Action:
    if decision.source is Source.ABSENT:
        return Action(path, Source.ABSENT, decision.why)
    entry = (sides.new if decision.source is Source.IMAGE else sides.node).entries[path]
    action = _from(path, decision.source, decision.why, entry, decision.meta)
    if decision.content is None:
        return action
    return replace(action, content=decision.content, size=len(decision.content), basis=sides.node.digest(path))


def _from(path: str, source: Source, why: Why, entry: Entry, attributes: Optional[Meta]) -> Action:
    return Action(path, source, why, entry.kind, attributes, entry.path, entry.target, entry.device, entry.size)


def _beside(place: str, path: str, sides: Sides) -> Action:
    entry = sides.new.entries[path]
    attributes = replace(entry.meta, mode=entry.meta.mode & ~SET_ID) if entry.kind is Kind.FILE else entry.meta
    return _from(place, Source.IMAGE, Why.BESIDE, entry, attributes)


def _missing_units(actions: list[Action], has_unit: Optional[Callable[[str], bool]]) -> list[Notice]:
    entries = {
        action.path: Entry(action.path, action.kind, action.meta, target=action.target)
        for action in actions
        if action.kind is not None and action.meta is not None
    }
    ours = {action.path for action in actions if action.source is Source.NODE}
    return [notice for notice in units.missing(entries, has_unit) if notice.path in ours]

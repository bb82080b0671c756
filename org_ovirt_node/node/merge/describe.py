"""A merge plan for people and for programs."""

from __future__ import annotations

from collections import Counter
from typing import Any

from org_ovirt_node.node.merge.model import Action, MergePlan, Notice, Source, Topic, Why
from org_ovirt_node.node.merge.names import shown
from org_ovirt_node.progress import human

FORMAT = 1
#: Results that say nothing to an administrator.
QUIET = (Why.SAME, Why.POLICY)
HEADINGS = {
    Topic.CONFLICT: "Conflicts: look at both files and decide",
    Topic.RESTORED: "There again",
    Topic.DELETED: "Deleted on this node, changed in the image",
    Topic.KEPT: "Kept although the image dropped it",
    Topic.MERGED: "Changed on both sides and merged",
    Topic.METADATA: "Permissions, owners and labels",
    Topic.ACCOUNT: "Accounts",
    Topic.UNIT: "Units",
    Topic.PER_HOST: "Of this host alone",
    Topic.REGENERATE: "To be made anew",
    Topic.SUPERSEDED: "Replaced",
}


def changes(plan: MergePlan) -> list[Action]:
    """What differs from the image's own /etc or from the node's, and so is worth a line."""
    return [action for action in plan.actions if action.why not in QUIET]


def _notice_line(notice: Notice) -> str:
    beside = f" (the image's is {shown(notice.beside)})" if notice.beside else ""
    return f"  {shown(notice.path)}: {notice.text}{beside}"


def as_text(plan: MergePlan, *, details: bool = False) -> str:
    """The summary and every notice; with ``details`` also every path that changes."""
    counts = Counter(action.why for action in plan.actions)
    kept = sum(1 for action in plan.actions if action.source is Source.NODE)
    lines = [
        f"/etc: {len(plan.actions)} paths, {kept} as on this node, {counts[Why.BOTH_MERGED]} merged by line, "
        f"{len(plan.conflicts)} conflicts, {human(plan.size)} to write"
    ]
    for topic, heading in HEADINGS.items():
        notices = [notice for notice in plan.notices if notice.topic is topic]
        if notices:
            lines += [f"{heading}:", *(_notice_line(notice) for notice in notices)]
    if details:
        lines.append("All changes:")
        lines += [f"  {shown(action.path)}: {action.why.value} ({action.source.value})" for action in changes(plan)]
    return "\n".join(lines) + "\n"


def as_dict(plan: MergePlan) -> dict[str, Any]:
    """For JSON; sizes in bytes, paths as :func:`shown` gives them.

    ``summary`` counts; ``conflicts`` and ``notices`` have path, topic, text and beside (null: none); ``changes`` have
    path, source (image, node, merged, absent), why and type; ``ids`` the renumbered owners as [image's, node's].
    """
    return {
        "format": FORMAT,
        "summary": {
            "paths": len(plan.actions),
            "conflicts": len(plan.conflicts),
            "size": plan.size,
            "sources": {
                source.value: sum(1 for action in plan.actions if action.source is source) for source in Source
            },
        },
        "conflicts": [_notice(notice) for notice in plan.conflicts],
        "notices": [_notice(notice) for notice in plan.notices if notice.topic is not Topic.CONFLICT],
        "changes": [
            {
                "path": shown(action.path),
                "source": action.source.value,
                "why": action.why.name.lower().replace("_", "-"),
                "type": action.kind.value if action.kind is not None else None,
            }
            for action in changes(plan)
        ],
        "ids": {
            "users": sorted([before, after] for before, after in plan.ids.uids.items()),
            "groups": sorted([before, after] for before, after in plan.ids.gids.items()),
        },
    }


def _notice(notice: Notice) -> dict[str, Any]:
    return {
        "path": shown(notice.path),
        "topic": notice.topic.value,
        "text": notice.text,
        "beside": shown(notice.beside) if notice.beside else None,
    }

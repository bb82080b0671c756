"""The merge of /etc as a step of an update: the three trees, the plan, and what is said about it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from org_ovirt_node.node.merge import owners
from org_ovirt_node.node.merge.execute import Outcome, execute
from org_ovirt_node.node.merge.model import IdMap, MergePlan, Topic
from org_ovirt_node.node.merge.names import shown
from org_ovirt_node.node.merge.plan import plan
from org_ovirt_node.node.merge.tree import DirectoryTree, pristine

UNITS = ("usr/lib/systemd/system", "lib/systemd/system", "etc/systemd/system")


@dataclass(frozen=True)
class Report:
    """What is said about a merge: the files that both sides changed, and everything that should be seen."""

    conflicts: list[dict[str, str]]
    notices: list[dict[str, str]]


@dataclass(frozen=True)
class Merge:
    """A merge that is planned; ``new_root`` is the root tree of the new image."""

    plan: MergePlan
    node: DirectoryTree
    new: DirectoryTree
    new_root: Path

    @property
    def ids(self) -> IdMap:
        return self.plan.ids

    def execute(self, root: Path, shared: Sequence[str], *, exact: bool = False) -> list[dict[str, str]]:
        """Write /etc of the new layer, mounted at ``root``, and set the owners that this node numbers otherwise.

        With ``exact`` nothing else of what was in it stays.  Returns the conflicts, and with them what could not be
        made as planned.
        """
        outcome = execute(self.plan, self.node, self.new, root / "etc", exact=exact)
        owners.apply(root, owners.find(self.new_root, self.plan.ids, shared))
        return self.conflicts() + unsettled(outcome)

    def conflicts(self) -> list[dict[str, str]]:
        """Files that both sides changed: ``path``, ``text``, and ``beside``, where the image's version lies."""
        return [_said(notice.path, notice.text, notice.beside) for notice in self.plan.conflicts]

    def notices(self) -> list[dict[str, str]]:
        """Everything that an administrator should see."""
        return [
            {**_said(notice.path, notice.text, notice.beside), "topic": notice.topic.value}
            for notice in self.plan.notices
        ]

    def summary(self) -> list[str]:
        """Lines for people: the conflicts each, the rest counted."""
        lines = [f"{one['path']}: {one['text']}" for one in self.conflicts()]
        others = [notice for notice in self.plan.notices if notice.topic is not Topic.CONFLICT]
        counts = {topic: sum(1 for notice in others if notice.topic is topic) for topic in Topic}
        lines += [f"{count} files: {topic.value}" for topic, count in counts.items() if count]
        return lines


def _said(path: str, text: str, beside: str = "") -> dict[str, str]:
    return {"path": shown(path), "text": text, "beside": shown(beside) if beside else ""}


def unsettled(outcome: Outcome) -> list[dict[str, str]]:
    """What an administrator has to look after once the merge is done, in the form of conflicts."""
    said = [
        _said(path, f"the running SELinux policy refused its label: run 'restorecon {shown(path)}' after the reboot")
        for path in outcome.unlabelled
    ]
    return said + [
        _said(path, "the image dropped this folder, and it stays: there is something in it that no image knows")
        for path in outcome.left
    ]


@contextmanager
def prepared(old_root: Path, node_etc: Path, new_root: Path) -> Iterator[Merge]:
    """Plan the merge of the old image's /etc, the node's, and the new image's; nothing is written.

    The trees are open for the length of the block.  Raises MergeError.
    """

    def has_unit(name: str) -> bool:
        return any((new_root / folder / name).exists() for folder in UNITS)

    with ExitStack() as stack:
        trees = []
        for root in (pristine(old_root), node_etc, pristine(new_root)):
            tree = DirectoryTree(root)
            stack.callback(tree.close)
            trees.append(tree)
        old, node, new = trees
        yield Merge(plan(old, node, new, has_unit=has_unit), node, new, new_root)

"""Carrying out a merge plan on the mounted root of the new layer.

Every path is compared with what the plan says and touched only when it differs: a run that was killed is finished by
the next one, a second run does nothing, and over an image nothing is copied up that stays as the image has it.
"""

from __future__ import annotations

import ctypes
import errno
import os
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Optional

from org_ovirt_node.node.merge import beneath, compare, write
from org_ovirt_node.node.merge.model import Action, Entry, Kind, MergeError, MergePlan, Source, Why, order, parent
from org_ovirt_node.node.merge.names import shown
from org_ovirt_node.node.merge.tree import DirectoryTree


@dataclass
class Outcome:
    """What was done: paths written (their content in bytes), given other attributes, removed.

    ``unlabelled`` are paths whose SELinux label the running kernel refused, ``left`` directories that the plan removes
    and that still have something in them.
    """

    written: int = 0
    size: int = 0
    adjusted: int = 0
    removed: int = 0
    unlabelled: list[str] = field(default_factory=list)
    left: list[str] = field(default_factory=list)


def execute(plan: MergePlan, node: DirectoryTree, new: DirectoryTree, etc: Path, *, exact: bool = False) -> Outcome:
    """Make ``etc`` (the /etc of the new layer, mounted over the new image) what ``plan`` says.

    With ``exact`` what the plan does not know is removed: in a layer that was used before.
    ``node`` and ``new`` are the trees that the plan was made from.  Raises :class:`MergeError` with the path when
    something cannot be written, or when the node's file changed since the plan was made; running it again is safe.
    """
    executor = _Executor(node, new, etc)
    try:
        return executor.run(plan, exact)
    finally:
        # An error holds on to what is open, and the layer could not be unmounted.
        executor.current.close()


class _Executor:
    def __init__(self, node: DirectoryTree, new: DirectoryTree, etc: Path) -> None:
        self.sources = {Source.NODE: node, Source.MERGED: node, Source.IMAGE: new}
        self.etc = etc
        self.current = DirectoryTree(etc)
        self.outcome = Outcome()

    def run(self, plan: MergePlan, exact: bool = False) -> Outcome:
        self._check(plan)
        self._sweep()
        if exact:
            known = {action.path for action in plan.actions}
            for path, entry in sorted(self.current.entries.items(), key=lambda one: order(one[0]), reverse=True):
                if path not in known:
                    self._remove(Action(path, Source.ABSENT, Why.NODE_DELETED), entry)
        for action in reversed(plan.actions):
            found = self.current.entries.get(action.path)
            if found is not None and found.kind is not action.kind:
                self._remove(action, found)
        for action in plan.actions:
            if action.source is not Source.ABSENT:
                self._guarded(action)
        try:
            _sync(self.etc)
        except OSError as exc:
            raise MergeError(f"{self.etc} cannot be written to its disk: {exc.strerror}") from exc
        return self.outcome

    def _check(self, plan: MergePlan) -> None:
        """Before the first write: a file that was merged must still be the one that was merged."""
        for action in plan.actions:
            if action.source is not Source.MERGED:
                continue
            if self.sources[Source.NODE].digest_now(action.path) != action.basis:
                raise MergeError(f"{shown(action.path)} was changed while it was merged", hint="Start again.")

    def _sweep(self) -> None:
        """Remove what a killed run left half written."""
        for path, entry in self.current.entries.items():
            above, _, name = path.rpartition("/")
            if name.startswith(write.TEMPORARY) and entry.kind is not Kind.DIRECTORY:
                with beneath.folder(self.etc, above) as fd:
                    write.remove(fd, name, entry.kind)

    def _remove(self, action: Action, found: Entry) -> None:
        above, _, name = action.path.rpartition("/")
        try:
            with beneath.folder(self.etc, above) as fd:
                gone = write.remove(fd, name, found.kind)
        except OSError as exc:
            raise self._failed(action, exc) from exc
        if gone:
            self.outcome.removed += 1
        elif action.source is Source.ABSENT:
            self.outcome.left.append(action.path)
        else:
            raise MergeError(
                f"{shown(action.path)} of the new layer is to be a {action.kind.value if action.kind else 'file'}, "
                "and is a directory with files that the image's own /etc does not have",
                hint="The image is inconsistent; report it to who built it.",
            )

    def _guarded(self, action: Action) -> None:
        refused: list[str] = []
        try:
            same = self._same_body(action)
            found = self.current.entries.get(action.path)
            if same and found is not None and found.meta == action.meta:
                # As most paths are: nobody but this run writes to the new layer.
                return
            with beneath.folder(self.etc, parent(action.path)) as fd:
                self._ensure(fd, action, same, refused)
        except OSError as exc:
            raise self._failed(action, exc) from exc
        if refused:
            self.outcome.unlabelled.append(action.path)

    def _failed(self, action: Action, exc: OSError) -> MergeError:
        hint = "The layer is full; free or add space." if exc.errno in (errno.ENOSPC, errno.EDQUOT) else ""
        return MergeError(f"{shown(action.path)} of the new layer cannot be written: {exc.strerror}", hint=hint)

    def _ensure(self, fd: int, action: Action, same: bool, refused: list[str]) -> None:
        name = action.path.rpartition("/")[2]
        meta, kind = action.meta, action.kind
        if meta is None or kind is None:
            raise ValueError("an action that is to be there has attributes and a type")
        if same:
            self.outcome.adjusted += write.apply_meta(fd, name, meta, refused)
            return
        if kind is Kind.FILE:
            with self._content(action) as (blocks, times):
                self.outcome.size += write.write_file(fd, name, blocks, meta, refused, times)
        elif kind is Kind.DIRECTORY:
            write.make_folder(fd, name, meta, refused)
        elif kind is Kind.LINK:
            write.write_link(fd, name, action.target, meta, refused)
        else:
            write.write_special(fd, name, kind, action.device, meta, refused)
        self.outcome.written += 1

    def _same_body(self, action: Action) -> bool:
        found = self.current.entries.get(action.path)
        if found is None or (found.kind, found.target, found.device) != (action.kind, action.target, action.device):
            return False
        if action.kind is not Kind.FILE:
            return True
        if action.content is not None:
            return found.size == action.size and self.current.read(action.path) == action.content
        tree = self.sources[action.source]
        if action.source is Source.NODE and found.size < compare.LARGE:
            # The node's file may have changed since the plan was made: what it has now counts.
            return tree.digest_now(action.origin) == self.current.digest(action.path)
        if action.source is not Source.NODE and found.size != action.size:
            return False
        return compare.same_content(tree, action.origin, self.current, action.path, found.size)

    @contextmanager
    def _content(self, action: Action) -> Iterator[tuple[Iterable[bytes], Optional[tuple[int, int]]]]:
        if action.content is not None:
            yield [action.content], None
            return
        tree = self.sources[action.source]
        with closing(tree.blocks(action.origin)) as blocks:
            yield blocks, tree.times(action.origin)


def _sync(folder: Path) -> None:
    """Bring the layer to its disk (syncfs(2)), and no other file system: a node may have many."""
    libc = ctypes.CDLL(None, use_errno=True)
    with beneath.opened(os.open(folder, beneath.FOLDER)) as fd:
        if libc.syncfs(fd) != 0:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number))

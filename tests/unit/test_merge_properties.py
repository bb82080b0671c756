"""What holds for any three trees."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Optional

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from org_ovirt_node.node.merge import execute as executing
from org_ovirt_node.node.merge import structure
from org_ovirt_node.node.merge.execute import Outcome, execute
from org_ovirt_node.node.merge.model import BESIDE, Kind, MergePlan, Topic, order, parent
from org_ovirt_node.node.merge.plan import plan
from org_ovirt_node.node.merge.tree import DirectoryTree
from tests.support.etc import MemoryTree, Node, attributes, complete, file, folder, link, on_disk, result
from tests.support.etc import write as make

#: Few names, so that the sides meet; among them odd ones, a per-host file, and our own name beside another.
PATHS = ["a", "b", "d", "d/a", "d/e", "d/e/a", "d/e/f", "a" + BESIDE, "n\n", "hostname", "ld.so.cache"]
TEXTS = st.lists(st.sampled_from(["one\n", "two\n", "three\n", "four\n"]), max_size=4).map("".join)
MODES = st.sampled_from([0o644, 0o600, 0o755])
OWNERS = st.sampled_from([0, 1])


@st.composite
def nodes(draw: st.DrawFn) -> Node:
    kind = draw(st.sampled_from(["file", "file", "file", "folder", "link"]))
    if kind == "link":
        return link(draw(st.sampled_from(["x", "y"])))
    made = (
        file(draw(TEXTS), draw(MODES), draw(OWNERS), draw(OWNERS))
        if kind == "file"
        else folder(draw(MODES), draw(OWNERS), draw(OWNERS))
    )
    value = draw(st.sampled_from([None, None, b"1", b"2"]))
    label = draw(st.sampled_from([None, b"l1\0", b"l2\0"]))
    made = made if value is None else attributes(made, user_x=value)
    return made if label is None else attributes(made, label=label)


def tidy(spec: dict[str, Node]) -> dict[str, Node]:
    """Without what would lie in something that is no folder."""
    made: dict[str, Node] = {}
    for path in sorted(spec, key=order):
        above = list(structure.above(path))
        if all(made.get(up, folder()).kind is Kind.DIRECTORY for up in above):
            made.update({up: made.get(up, folder()) for up in above})
            made[path] = spec[path]
    return made


@st.composite
def changed(draw: st.DrawFn, base: dict[str, Node]) -> dict[str, Node]:
    """``base`` after some changes: most paths stay, as on a real node."""
    made = dict(base)
    for path in draw(st.lists(st.sampled_from(PATHS), max_size=5, unique=True)):
        if draw(st.booleans()):
            made[path] = draw(nodes())
        else:
            made = {other: node for other, node in made.items() if other != path and not other.startswith(path + "/")}
    return tidy(made)


@st.composite
def triples(draw: st.DrawFn) -> tuple[dict[str, Node], dict[str, Node], dict[str, Node]]:
    base = tidy(draw(st.dictionaries(st.sampled_from(PATHS), nodes(), max_size=8)))
    return base, draw(changed(base)), draw(changed(base))


def merged(old: dict[str, Node], node: dict[str, Node], new: dict[str, Node]) -> tuple[dict[str, Node], MergePlan]:
    sides = MemoryTree(old), MemoryTree(node), MemoryTree(new)
    made = plan(*sides)
    return result(made, sides[1], sides[2]), made


def facets(node: Optional[Node]) -> dict[str, object]:
    """Everything that a user can change of a path."""
    if node is None:
        return {"there": False}
    made: dict[str, object] = {"there": True, "body": (node.kind, node.body), "uid": node.uid, "gid": node.gid}
    made["mode"] = node.mode
    return {**made, **dict(node.xattrs)}


@given(triples())
@settings(max_examples=200)
def test_no_change_of_the_user_is_ever_lost_without_being_listed(
    trees: tuple[dict[str, Node], dict[str, Node], dict[str, Node]],
) -> None:
    found, made = merged(*trees)
    old, node = complete(trees[0]), complete(trees[1])
    listed = {notice.path for notice in made.notices}
    for path in old.keys() | node.keys():
        before, ours, after = (facets(side.get(path)) for side in (old, node, found))
        for facet in before.keys() | ours.keys():
            if before.get(facet) == ours.get(facet) or after.get(facet) == ours.get(facet) or path in listed:
                continue
            if facet == "security.selinux" and ours.get(facet) is None:
                # A label that is missing was lost, not taken away.
                continue
            raise AssertionError(f"{path!r}: {facet} was {before.get(facet)}, the user made it {ours.get(facet)}")


@given(triples())
@settings(max_examples=150)
def test_the_result_is_a_tree_and_every_conflict_has_both_versions(
    trees: tuple[dict[str, Node], dict[str, Node], dict[str, Node]],
) -> None:
    found, made = merged(*trees)
    new = complete(trees[2])
    for path in found:
        if path:
            assert found[parent(path)].kind is Kind.DIRECTORY
    assert len({action.path for action in made.actions}) == len(made.actions)
    for notice in made.conflicts:
        assert (found[notice.beside].kind, found[notice.beside].body) == (new[notice.path].kind, new[notice.path].body)


def plain(tree: dict[str, Node]) -> dict[str, dict[str, object]]:
    """What there is, but for the paths that rules settle, and labels: a missing one is never taken over."""
    found = {path: facets(node) for path, node in tree.items() if path not in ("hostname", "ld.so.cache")}
    for facet in found.values():
        facet.pop("security.selinux", None)
    return found


@given(triples())
@settings(max_examples=60)
def test_without_changes_of_the_user_the_result_is_the_image(
    trees: tuple[dict[str, Node], dict[str, Node], dict[str, Node]],
) -> None:
    old, _node, new = trees
    found, made = merged(old, old, new)
    assert plain(found) == plain(complete(new))
    assert not made.conflicts


@given(triples())
@settings(max_examples=60)
def test_without_changes_of_the_image_the_result_is_the_nodes(
    trees: tuple[dict[str, Node], dict[str, Node], dict[str, Node]],
) -> None:
    old, node, _new = trees
    found, made = merged(old, node, old)
    assert plain(found) == plain(complete(node))
    assert not made.conflicts


@pytest.mark.skipif(os.geteuid() != 0, reason="owners and labels need root")
@given(triples())
@settings(max_examples=40, suppress_health_check=[HealthCheck.too_slow])
def test_executing_gives_what_the_plan_says_and_twice_is_once(
    trees: tuple[dict[str, Node], dict[str, Node], dict[str, Node]],
) -> None:
    with pytest.MonkeyPatch.context() as patch, tempfile.TemporaryDirectory() as base:
        patch.setattr(executing, "_sync", lambda _folder: None)
        sides = [DirectoryTree(make(spec, Path(base) / name)) for name, spec in zip(("old", "node", "new"), trees)]
        etc = make(trees[2], Path(base) / "etc")
        made = plan(*sides)
        execute(made, sides[1], sides[2], etc)
        expected = result(made, MemoryTree(trees[1]), MemoryTree(trees[2]))
        assert on_disk(etc) == expected
        assert execute(made, sides[1], sides[2], etc) == Outcome()
        # The next upgrade to the same image finds nothing to decide.
        again = plan(sides[2], DirectoryTree(etc), sides[2])
        assert not again.conflicts
        assert not [notice for notice in again.notices if notice.topic is Topic.MERGED]

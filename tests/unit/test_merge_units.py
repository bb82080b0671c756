"""Units stay enabled, disabled and masked as the user had them (failure 17: services flip)."""

from __future__ import annotations

import pytest

from org_ovirt_node.node.merge.model import Topic
from org_ovirt_node.node.merge.plan import plan
from org_ovirt_node.node.merge.units import template
from tests.support.etc import MemoryTree, Node, file, folder, link, result

SYSTEM = "systemd/system/"
WANTS = SYSTEM + "multi-user.target.wants/{}.service"
OTHER = SYSTEM + "sysinit.target.wants/{}.service"


def on(*names: str, where: str = WANTS) -> dict[str, Node]:
    return {where.format(name): link(f"/usr/lib/systemd/system/{name}.service") for name in names}


def masked(name: str) -> dict[str, Node]:
    return {f"{SYSTEM}{name}.service": link("/dev/null")}


CASES = {
    # old, node, new → what is there (below systemd/), topics of notices
    "enabled everywhere": (on("a"), on("a"), on("a"), on("a"), []),
    "newly enabled by the image": (on("a"), on("a"), on("a", "b"), on("a", "b"), []),
    "enabled by the user": ({}, on("b"), {}, on("b"), []),
    "enabled by both": ({}, on("b"), on("b"), on("b"), []),
    "disabled by the user": (on("a"), {}, on("a"), {}, []),
    "disabled by the image": (on("a"), on("a"), {}, {}, []),
    "disabled by both": (on("a"), {}, {}, {}, []),
    "disabled, and the image's link leads elsewhere": (
        on("a"),
        {},
        {WANTS.format("a"): link("../a.service")},
        {},
        [Topic.DELETED],
    ),
    "disabled, and the image enables it by another target": (
        on("a"),
        {},
        {**on("a"), **on("a", where=OTHER)},
        {},
        [Topic.UNIT],
    ),
    "disabled, and the image moves it to another target": (on("a"), {}, on("a", where=OTHER), {}, [Topic.UNIT]),
    "moved by the image, not touched by the user": (on("a"), on("a"), on("a", where=OTHER), on("a", where=OTHER), []),
    "moved by the user": (on("a"), on("a", where=OTHER), on("a"), on("a", where=OTHER), []),
    "moved by the user, and the image adds a third": (
        on("a"),
        on("a", where=OTHER),
        {**on("a"), **on("a", where=SYSTEM + "x.target.requires/{}.service")},
        {**on("a", where=OTHER), **on("a", where=SYSTEM + "x.target.requires/{}.service")},
        [],
    ),
    "masked by the user": (on("a"), {**on("a"), **masked("a")}, on("a"), {**on("a"), **masked("a")}, []),
    "masked and disabled": (on("a"), masked("a"), {**on("a"), **on("a", where=OTHER)}, masked("a"), [Topic.UNIT]),
    "pulled in as nothing": (
        on("a"),
        {WANTS.format("a"): link("/dev/null")},
        {**on("a"), **on("a", where=OTHER)},
        {WANTS.format("a"): link("/dev/null")},
        [Topic.UNIT],
    ),
    "masked by the image": ({}, {}, masked("a"), masked("a"), []),
    "unmasked by the user": (masked("a"), {}, masked("a"), {}, []),
    "unmasked by the image": (masked("a"), masked("a"), {}, {}, []),
    "masked by the user, a unit file of the image": (
        {},
        masked("a"),
        {f"{SYSTEM}a.service": file("[Unit]\n")},
        masked("a"),
        [Topic.CONFLICT],
    ),
    "an alias of a disabled unit": (
        {**on("a"), f"{SYSTEM}dbus-a.service": link("/usr/lib/systemd/system/a.service")},
        {},
        {f"{SYSTEM}dbus-new.service": link("/usr/lib/systemd/system/a.service")},
        {},
        [Topic.UNIT],
    ),
    "a drop-in of the user": ({}, {f"{SYSTEM}a.service.d/x.conf": file("[Service]\n")}, {}, None, []),
    "another default target": (
        {f"{SYSTEM}default.target": link("/usr/lib/systemd/system/multi-user.target")},
        {f"{SYSTEM}default.target": link("/usr/lib/systemd/system/rescue.target")},
        {f"{SYSTEM}default.target": link("/usr/lib/systemd/system/multi-user.target")},
        None,
        [],
    ),
    "a user unit": (
        {"systemd/user/default.target.wants/a.service": link("/x/a.service")},
        {},
        {"systemd/user/timers.target.wants/a.service": link("/x/a.service")},
        {},
        [Topic.UNIT],
    ),
    "a disabled unit of users says nothing of the system's": (
        {"systemd/user/default.target.wants/a.service": link("/x/a.service")},
        {},
        on("a"),
        on("a"),
        [],
    ),
}


@pytest.mark.parametrize(("old", "node", "new", "expected", "topics"), CASES.values(), ids=list(CASES))
def test_failures_row_17_units_do_not_flip(
    old: dict[str, Node], node: dict[str, Node], new: dict[str, Node], expected: object, topics: list[Topic]
) -> None:
    sides = [MemoryTree({"systemd/system": folder(), "systemd/user": folder(), **side}) for side in (old, node, new)]
    made = plan(*sides)
    found = {
        path: entry
        for path, entry in result(made, sides[1], sides[2]).items()
        if path.startswith("systemd/") and entry.body and not path.endswith(".rpmnew")
    }
    assert found == (node if expected is None else expected)
    assert [notice.topic for notice in made.notices] == topics


def test_what_the_user_enabled_and_the_image_has_not_is_told() -> None:
    node = MemoryTree({**on("gone", "there", "own", "get@tty1"), f"{SYSTEM}own.service": file("[Unit]\n")})
    known = {"there.service", "get@.service"}
    made = plan(MemoryTree({"x": file()}), node, MemoryTree({"x": file()}), has_unit=known.__contains__)
    assert [(notice.path, notice.topic) for notice in made.notices] == [(WANTS.format("gone"), Topic.UNIT)]
    assert plan(MemoryTree({"x": file()}), node, MemoryTree({"x": file()})).notices == ()


def test_instances_have_templates() -> None:
    assert [template(name) for name in ("getty@tty1.service", "a.service", "a@b.c.timer")] == [
        "getty@.service",
        "a.service",
        "a@.timer",
    ]

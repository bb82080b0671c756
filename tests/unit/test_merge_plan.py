"""The three-way rule, path by path: tables of what each side did."""

from __future__ import annotations

from dataclasses import replace
from typing import Optional

import pytest

from org_ovirt_node.node.merge.diff3 import MAX_SIZE
from org_ovirt_node.node.merge.model import BESIDE, LABEL, MergeError, MergePlan, Source, Topic, Why
from org_ovirt_node.node.merge.plan import plan
from tests.support.etc import MemoryTree, Node, Spec, at, attributes, device, fifo, file, folder, link, result

BASE = file("one\ntwo\nthree\n")
#: What a side can do to the file BASE.
NODE_OPS: dict[str, Optional[Node]] = {
    "same": BASE,
    "edit": file("one\nTWO by the user\nthree\n"),
    "delete": None,
    "link": link("/user"),
    "dir": folder(0o700),
    "mode": replace(BASE, mode=0o600),
    "owner": replace(BASE, uid=10),
    "xattr": attributes(BASE, user_x=b"user"),
}
IMAGE_OPS: dict[str, Optional[Node]] = {
    "same": BASE,
    "edit": file("one\nTWO by the image\nthree\n"),
    "delete": None,
    "link": link("/image"),
    "dir": folder(0o755),
    "mode": replace(BASE, mode=0o640),
    "owner": replace(BASE, uid=20),
    "xattr": attributes(BASE, user_x=b"image"),
}
#: n: the node's.  i: the image's.  -: nothing.  b: both, as attributes of one and content of the other do not touch.
#: C: the node's, a conflict.  K: the node's, kept though dropped.  D: stays deleted, told.  M: the image's, and told
#: that attributes of the node are gone.  A: the node's, and told that the image has another attribute.
GRID = """
         same edit delete link dir mode owner xattr
same     i    i    -      i    i   i    i     i
edit     n    C    K      C    C   b    b     b
delete   -    D    -      D    D   -    -     -
link     n    C    K      C    C   n    n     n
dir      n    C    K      C    A   n    n     n
mode     n    b    K      M    M   A    b     b
owner    n    b    K      M    M   b    A     b
xattr    n    b    K      M    M   b    b     A
"""
TOLD = {"C": Topic.CONFLICT, "K": Topic.KEPT, "D": Topic.DELETED, "M": Topic.METADATA, "A": Topic.METADATA}


def _cells() -> list[tuple[str, str, str]]:
    head, *rows = [line.split() for line in GRID.strip().splitlines()]
    return [(row[0], column, code) for row in rows for column, code in zip(head, row[1:])]


def both(user: str, image: str) -> Node:
    """The base with the user's and the image's change."""
    made = BASE
    for op, nodes in ((user, NODE_OPS), (image, IMAGE_OPS)):
        changed = nodes[op]
        assert changed is not None
        if op == "edit":
            made = replace(made, body=changed.body)
        elif op == "mode":
            made = replace(made, mode=changed.mode)
        elif op == "owner":
            made = replace(made, uid=changed.uid)
        else:
            made = replace(made, xattrs=changed.xattrs)
    return made


def spec(node: Optional[Node], name: str = "p") -> Spec:
    return {} if node is None else {name: node}


def merged(old: Spec, node: Spec, new: Spec) -> tuple[dict[str, Node], MergePlan]:
    sides = MemoryTree(old), MemoryTree(node), MemoryTree(new)
    made = plan(*sides)
    return result(made, sides[1], sides[2]), made


@pytest.mark.parametrize(("user", "image", "code"), _cells())
def test_every_change_of_the_user_with_every_change_of_the_image(user: str, image: str, code: str) -> None:
    mine, theirs = NODE_OPS[user], IMAGE_OPS[image]
    found, made = merged(spec(BASE), spec(mine), spec(theirs))
    expected = {"-": None, "D": None, "i": theirs, "M": theirs}.get(code, mine)
    if code == "b":
        expected = both(user, image)
    assert found.get("p") == expected
    assert [notice.topic for notice in made.notices] == ([TOLD[code]] if code in TOLD else [])
    assert found.get("p" + BESIDE) == (theirs if code == "C" else None)


A, B = file("a\n"), file("b\n")
ADDED = {
    "only the user": (None, A, None, A, None),
    "only the image": (None, None, A, A, None),
    "both the same": (None, A, A, A, None),
    "both, other content": (None, A, B, A, Topic.CONFLICT),
    "both, other mode": (None, file("a\n", 0o600), A, file("a\n", 0o600), Topic.METADATA),
    "both, a file and a link": (None, A, link("x"), A, Topic.CONFLICT),
    "both, a link and a file": (None, link("x"), A, link("x"), Topic.CONFLICT),
    "both, two links": (None, link("x"), link("y"), link("x"), Topic.CONFLICT),
    "both, the same link": (None, link("x"), link("x"), link("x"), None),
    "both, two directories": (None, folder(0o750), folder(0o750), folder(0o750), None),
    "both, a directory and a file": (None, folder(), A, folder(), Topic.CONFLICT),
    "the user a device": (None, device(), None, device(), None),
    "the user a pipe": (None, fifo(), None, fifo(), None),
    "the image a device": (None, None, device(), device(), None),
    "both, an empty file and one that is not": (None, file(""), A, file(""), Topic.CONFLICT),
    "both, empty files": (None, file(""), file(""), file(""), None),
}
OTHER_TYPES = {
    "a link: the user turned it": (link("a"), link("u"), link("a"), link("u"), None),
    "a link: the image turned it": (link("a"), link("a"), link("i"), link("i"), None),
    "a link: both turned it": (link("a"), link("u"), link("i"), link("u"), Topic.CONFLICT),
    "a link: both turned it the same way": (link("a"), link("b"), link("b"), link("b"), None),
    "a link: the user deleted it": (link("a"), None, link("a"), None, None),
    "a link: the user deleted it, the image turned it": (link("a"), None, link("i"), None, Topic.DELETED),
    "a link: the image dropped it": (link("a"), link("a"), None, None, None),
    "a link: the image dropped it, the user turned it": (link("a"), link("u"), None, link("u"), Topic.KEPT),
    "a link: the user made a file of it": (link("a"), A, link("a"), A, None),
    "a link: the image made a file of it": (link("a"), link("a"), A, A, None),
    "a directory: the image dropped it": (folder(), folder(), None, None, None),
    "a directory: the user deleted it": (folder(), None, folder(), None, None),
    "a directory: the user's mode": (folder(), folder(0o700), folder(), folder(0o700), None),
    "a directory: the image's mode": (folder(), folder(), folder(0o700), folder(0o700), None),
    "a directory: both modes": (folder(), folder(0o700), folder(0o711), folder(0o700), Topic.METADATA),
    "a directory: the user made a link of it": (folder(), link("/data"), folder(), link("/data"), None),
    "a directory: the image made a link of it": (folder(), folder(), link("/usr"), link("/usr"), None),
    "a device: the user's number": (device(259), device(260), device(259), device(260), None),
    "a device: both numbers": (device(259), device(260), device(261), device(260), Topic.CONFLICT),
    "a pipe: the image made a file of it": (fifo(), fifo(), A, A, None),
    "emptied by the user": (A, file(""), A, file(""), None),
    "emptied by the image": (A, A, file(""), file(""), None),
    "filled by both": (file(""), A, B, A, Topic.CONFLICT),
    "the same edit on both sides": (file("x"), A, A, A, None),
}


@pytest.mark.parametrize(
    ("old", "node", "new", "expected", "topic"),
    [*ADDED.values(), *OTHER_TYPES.values()],
    ids=[*ADDED, *OTHER_TYPES],
)
def test_additions_links_directories_and_special_files(
    old: Optional[Node], node: Optional[Node], new: Optional[Node], expected: Optional[Node], topic: Optional[Topic]
) -> None:
    found, made = merged(spec(old), spec(node), spec(new))
    assert found.get("p") == expected
    assert [notice.topic for notice in made.notices] == ([topic] if topic else [])
    assert (("p" + BESIDE) in found) is (topic is Topic.CONFLICT)


NAMES = ["a b", "new\nline", "caf\u00e9", "bad\udcff\udc80", "back\\slash", "-rf", "*", "x" * 255, ".hidden"]


@pytest.mark.parametrize("name", NAMES, ids=[ascii(name)[:20] for name in NAMES])
def test_odd_names_merge_like_others(name: str) -> None:
    found, made = merged(spec(A, name), spec(B, name), spec(file("c\n"), name))
    assert found[name] == B
    (conflict,) = made.conflicts
    assert conflict.path == name
    assert found[conflict.beside] == file("c\n")
    assert len(conflict.beside.encode("utf-8", "surrogateescape")) <= 255


def test_a_name_beside_is_picked_up_by_no_glob_and_differs_for_long_names() -> None:
    long = ["y" * 250 + end for end in ("1", "2")]
    _found, made = merged(dict.fromkeys(long, A), dict.fromkeys(long, B), dict.fromkeys(long, file("c\n")))
    places = {notice.beside for notice in made.conflicts}
    assert len(places) == 2
    assert all(place.endswith(".rpmnew") for place in places)


def test_text_that_both_changed_is_merged_by_line_with_the_attributes_of_both() -> None:
    old, node = file("1\n2\n3\n4\n5\n"), file("0\n1\n2\n3\n4\n5\n", 0o600)
    new = file("1\n2\n3\n4\n5\n6\n", uid=7)
    found, made = merged(spec(old), spec(node), spec(new))
    assert found["p"] == file("0\n1\n2\n3\n4\n5\n6\n", 0o600, uid=7)
    assert [notice.topic for notice in made.notices] == [Topic.MERGED]


def test_large_and_binary_files_are_not_merged_by_line() -> None:
    lines = "line\n" * (MAX_SIZE // 5 + 1)
    for old, node, new in (
        (lines, "user\n" + lines, lines + "image\n"),
        ("1\n2\n3\n\0", "0\n1\n2\n3\n\0", "1\n2\n3\n4\n\0"),
    ):
        found, made = merged(spec(file(old)), spec(file(node)), spec(file(new)))
        assert found["p"] == file(node)
        assert found["p" + BESIDE] == file(new)
        assert len(made.conflicts) == 1


def test_files_of_another_size_are_not_read() -> None:
    node = MemoryTree(spec(A))
    plan(MemoryTree(spec(A)), node, MemoryTree(spec(file("longer\n"))))
    other = MemoryTree(spec(file("longer\n")))
    plan(MemoryTree(spec(A)), other, MemoryTree(spec(A)))
    assert node.reads == ["p"]
    assert other.reads == []


def test_a_folder_that_the_image_dropped_stays_for_what_the_user_has_in_it() -> None:
    old = {"d": folder(), "d/theirs": A}
    found, _made = merged(old, {**old, "d/mine": B}, {})
    assert "d/theirs" not in found
    assert found["d/mine"] == B
    assert found["d"] == folder()


def test_a_folder_that_the_user_deleted_is_there_again_for_what_is_new_in_it() -> None:
    old = {"d": folder(), "d/e/old": A}
    found, made = merged(old, {}, {**old, "d/e/new": B})
    assert found["d/e/new"] == B
    assert "d/e/old" not in found
    assert {notice.path for notice in made.notices if notice.topic is Topic.RESTORED} == {"d", "d/e"}


def test_a_folder_that_became_a_file_of_the_image_stays_for_what_the_user_has_in_it() -> None:
    old = {"d": folder(), "d/theirs": A}
    found, made = merged(old, {**old, "d/sub/mine": B}, {"d": file("now a file\n")})
    assert found["d/sub/mine"] == B
    assert found["d" + BESIDE] == file("now a file\n")
    assert [(notice.path, notice.beside) for notice in made.conflicts] == [("d", "d" + BESIDE)]


def test_what_is_new_below_a_link_of_the_user_goes_beside_the_link() -> None:
    old = {"d": folder(), "d/a": A}
    found, made = merged(old, {"d": link("/data")}, {**old, "d/sub/new": B})
    assert found["d"] == link("/data")
    assert found["d" + BESIDE + "/sub/new"] == B
    assert [(notice.path, notice.beside) for notice in made.conflicts] == [("d/sub", f"d{BESIDE}/sub")]
    assert "d/a" not in found


def test_a_file_of_the_user_against_a_folder_of_the_image_keeps_both() -> None:
    found, made = merged(spec(A, "d"), spec(B, "d"), {"d": folder(), "d/x": A, "d/y/z": A})
    assert found["d"] == B
    assert {path for path in found if path.startswith("d" + BESIDE)} == {
        f"d{BESIDE}{rest}" for rest in ("", "/x", "/y", "/y/z")
    }
    assert made.conflicts


def test_what_an_earlier_upgrade_put_beside_is_replaced_and_told() -> None:
    place = "p" + BESIDE
    found, made = merged(spec(A), {"p": B, place: file("older\n")}, spec(file("c\n")))
    assert found[place] == file("c\n")
    assert [notice.path for notice in made.notices if notice.topic is Topic.SUPERSEDED] == [place]


def test_what_lies_beside_stays_while_nothing_new_needs_its_place() -> None:
    place = "p" + BESIDE
    found, _made = merged(spec(A), {"p": B, place: A}, spec(A))
    assert found[place] == A


def test_the_image_beside_never_keeps_its_set_id_bits() -> None:
    found, _made = merged(spec(A), spec(B), spec(file("c\n", 0o6755)))
    assert found["p" + BESIDE].mode == 0o755


def test_mode_and_acl_are_one_thing() -> None:
    acl = attributes(replace(BASE, mode=0o664), acl=b"an acl")
    found, made = merged(spec(BASE), spec(acl), spec(replace(BASE, mode=0o600)))
    assert found["p"] == acl
    assert [notice.topic for notice in made.notices] == [Topic.METADATA]
    assert "with an ACL" in made.notices[0].text


ETC, LIB, OWN = (f"system_u:object_r:{name}_t:s0\0".encode() for name in ("etc", "lib", "own"))
LABELS = {
    "the image's new one": (ETC, ETC, LIB, LIB, False),
    "the user's": (ETC, OWN, ETC, OWN, False),
    "both: the user's, told": (ETC, OWN, LIB, OWN, True),
    "lost on the node: the image's": (ETC, None, LIB, LIB, False),
    "none in the image: the node's": (ETC, OWN, None, OWN, False),
    "no label anywhere": (None, None, None, None, False),
}


@pytest.mark.parametrize(("old", "node", "new", "expected", "told"), LABELS.values(), ids=list(LABELS))
def test_failures_row_7_labels_are_the_images_unless_the_user_set_them(
    old: Optional[bytes], node: Optional[bytes], new: Optional[bytes], expected: Optional[bytes], told: bool
) -> None:
    sides = [spec(BASE if label is None else attributes(BASE, label=label)) for label in (old, node, new)]
    found, made = merged(*sides)
    assert found["p"].meta.xattr(LABEL) == expected
    assert bool(made.notices) is told


def test_failures_row_7_an_edited_file_gets_the_new_images_label() -> None:
    node = attributes(file("edited\n"), label=ETC)
    found, _made = merged(spec(attributes(A, label=ETC)), spec(node), spec(attributes(A, label=LIB)))
    assert found["p"] == attributes(file("edited\n"), label=LIB)


def test_failures_row_6_nothing_of_the_user_is_lost_stale_or_back() -> None:
    old = {"keep": A, "stale": A, "gone": A, "both": A}
    found, made = merged(old, {"keep": B, "stale": A, "both": B}, {**old, "stale": B, "both": file("c\n")})
    assert found["keep"] == B, "an edit is not lost"
    assert found["stale"] == B, "what the user did not touch is not stale"
    assert "gone" not in found, "what was deleted does not come back"
    assert [notice.path for notice in made.conflicts] == ["both"], "and no copy wins silently"


def test_failures_row_9_modes_follow_the_image_unless_the_user_changed_them() -> None:
    key = "ssh/key"
    found, _made = merged(spec(file("k", 0o644), key), spec(file("k", 0o644), key), spec(file("k", 0o600), key))
    assert found[key].mode == 0o600
    found, _made = merged(spec(file("k", 0o4755), key), spec(file("k", 0o755), key), spec(file("k", 0o4755), key))
    assert found[key].mode == 0o755


PER_HOST = [
    "machine-id",
    "hostname",
    "ssh/ssh_host_ed25519_key",
    "iscsi/initiatorname.iscsi",
    "nvme/hostid",
    "fstab",
    "crypttab",
    "lvm/devices/system.devices",
    "lvm/devices/deeper/one",
    "NetworkManager/system-connections/em1.nmconnection",
    "ovirt-node/node.json",
    "sysconfig/network-scripts/ifcfg-em1",
]


@pytest.mark.parametrize("path", PER_HOST)
def test_failures_row_23_what_belongs_to_one_host_never_comes_from_an_image(path: str) -> None:
    for old in (None, file(""), file("baked 1\n")):
        found, made = merged(spec(old, path), spec(file("mine\n"), path), spec(file("baked 2\n"), path))
        assert found[path] == file("mine\n")
        assert [notice.topic for notice in made.notices] == [Topic.PER_HOST]
        found, _made = merged(spec(old, path), {}, spec(file("baked 2\n"), path))
        assert path not in found
    found, made = merged(spec(file(""), path), spec(file("mine\n"), path), spec(file(""), path))
    assert found[path] == file("mine\n")
    assert not made.notices


ORDINARY = [
    "ssh/sshd_config",
    "ssh/ssh_host_keys/readme",
    "lvm/lvm.conf",
    "lvm/devices",
    "machine-id.d/x",
    "NetworkManager/NetworkManager.conf",
    "a/fstab",
    "Xfstab",
]


def test_files_that_only_look_like_per_host_ones_follow_the_rule() -> None:
    for path in ORDINARY:
        found, _made = merged(spec(A, path), spec(A, path), spec(B, path))
        assert found[path] == B


def test_what_is_compiled_from_the_image_is_the_images_and_the_remedy_is_named() -> None:
    path = "selinux/targeted/policy/policy.33"
    found, made = merged(spec(A, path), spec(file("with my module"), path), spec(B, path))
    assert found[path] == B
    assert [notice.topic for notice in made.notices] == [Topic.REGENERATE]
    assert "semodule -B" in made.notices[0].text
    assert merged(spec(A, path), spec(A, path), spec(B, path))[1].notices == ()


def test_failures_row_27_an_empty_side_is_refused_by_name() -> None:
    empty = MemoryTree({})
    empty.entries = {"": empty.entries[""]}
    full = MemoryTree(spec(A))
    for place, name in enumerate(("old image", "node", "new image")):
        sides = [full, full, full]
        sides[place] = empty
        with pytest.raises(MergeError, match=name):
            plan(*sides)


def test_actions_have_parents_first_and_the_size_is_what_is_written() -> None:
    old = {"a/b/c": A, "a-b": A, "z": A}
    node = {**old, "a/b/c": file("12345"), "z": file("123")}
    _found, made = merged(old, node, {**old, "z": file("9")})
    paths = [action.path for action in made.actions]
    assert paths[0] == ""
    assert paths.index("a") < paths.index("a/b") < paths.index("a/b/c")
    assert made.size == 5 + 3 + 1
    action = at(made, "a/b/c")
    assert action is not None
    assert (action.source, action.why) == (Source.NODE, Why.NODE_CHANGED)

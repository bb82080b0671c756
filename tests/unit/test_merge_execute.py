"""Reading trees and carrying out plans, on real directories."""

from __future__ import annotations

import os
import shutil
import stat
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Optional

import pytest

from org_ovirt_node.mounts import overlaid
from org_ovirt_node.node.merge import execute as executing
from org_ovirt_node.node.merge import meta, owners, write
from org_ovirt_node.node.merge.execute import Outcome, execute
from org_ovirt_node.node.merge.model import ACL, BESIDE, CHUNK, IdMap, Kind, MergeError, MergePlan, Source
from org_ovirt_node.node.merge.plan import plan
from org_ovirt_node.node.merge.tree import DirectoryTree, pristine
from tests.support.etc import MemoryTree, Node, Spec, attributes, device, fifo, file, folder, link, on_disk, result
from tests.support.etc import write as make

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="owners, devices and labels need root")

ETC, LIB = (f"system_u:object_r:{name}_t:s0\0".encode() for name in ("etc", "lib"))
NOBODY = 0xFFFFFFFF


def acl(user: int, rights: int = 4, mask: int = 4) -> bytes:
    """owner rw, user:``user``, group r, mask, other nothing (linux/posix_acl_xattr.h)."""
    entries = ((1, 6, NOBODY), (2, rights, user), (4, 4, NOBODY), (0x10, mask, NOBODY), (0x20, 0, NOBODY))
    return struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *entry) for entry in entries)


#: Of these more than one part is read; the sides differ in the last byte.
BIG, MINE, THEIRS = ("x" * (2 * CHUNK) + end for end in "abc")
OLD: Spec = {
    "large": file(BIG),
    "large-mine": file(BIG),
    "large-theirs": file(BIG),
    "same": attributes(file("same\n"), label=ETC),
    "edited": attributes(file("1\n"), label=ETC),
    "merged": file("1\n2\n3\n"),
    "conflict": file("1\n"),
    "deleted": file("1\n"),
    "dropped/a": file("1\n"),
    "dropped/b/c": file("1\n"),
    "mode": file("1\n"),
    "file-to-link": file("1\n"),
    "link-to-dir": link("x"),
    "dir-to-file": folder(),
    "dir-to-file/old": file("1\n"),
    "dir-to-link/mine-too": file("1\n"),
    "node-link/a": file("1\n"),
    "labelled": attributes(file("1\n"), label=ETC),
}
NODE: Spec = {
    **{path: node for path, node in OLD.items() if path not in ("deleted", "node-link/a")},
    "edited": attributes(file("2\n", 0o600, uid=3, gid=4), label=ETC),
    "large-mine": file(MINE),
    "merged": file("0\n1\n2\n3\n"),
    "conflict": file("user\n"),
    "mode": file("1\n", 0o4755),
    "dropped/b/mine": file("u\n"),
    "dir-to-link/mine": file("u\n"),
    "node-link": link("/etc/passwd"),
    "new/deep/file": attributes(file("u\n"), user_note=b"hello"),
    "new/empty": file(""),
    "new/device": device(),
    "new/pipe": fifo(),
    "new/dangling": link("/no/where"),
    "new/acl": attributes(file("u\n", 0o640), acl=acl(1000)),
    "new\nline": file("u\n"),
    "bad\udcff": file("u\n"),
}
NEW: Spec = {
    "large": file(BIG),
    "large-mine": file(BIG),
    "large-theirs": file(THEIRS),
    "same": attributes(file("same\n"), label=LIB),
    "edited": attributes(file("1\n"), label=LIB),
    "merged": file("1\n2\n3\n4\n"),
    "conflict": file("image\n", 0o4700),
    "deleted": file("2\n"),
    "mode": file("2\n"),
    "file-to-link": link("same"),
    "link-to-dir/inner": file("i\n"),
    "dir-to-file": file("i\n"),
    "dir-to-link": link("same"),
    "node-link/a": file("1\n"),
    "node-link/new": file("i\n"),
    "labelled": attributes(file("2\n"), label=LIB),
    "brought": attributes(file("i\n", 0o755, uid=5), user_i=b"x"),
}


class Case:
    """The three sides on disk and the new layer's /etc, which begins as the new image's."""

    def __init__(self, base: Path, old: Spec = OLD, node: Spec = NODE, new: Spec = NEW) -> None:
        self.etc = make(new, base / "root/etc")
        self.sides = [
            DirectoryTree(make(spec, base / name)) for name, spec in (("old", old), ("node", node), ("new", new))
        ]
        self.expected = MemoryTree(node), MemoryTree(new)
        self.plan = plan(self.sides[0], self.sides[1], self.sides[2])

    def run(self, made: Optional[MergePlan] = None) -> Outcome:
        return execute(made or self.plan, self.sides[1], self.sides[2], self.etc)


@pytest.fixture
def case(tmp_path: Path) -> Case:
    return Case(tmp_path)


def test_a_tree_is_read_as_it_lies_on_disk(tmp_path: Path) -> None:
    make(NODE, tmp_path / "etc")
    assert DirectoryTree(tmp_path / "etc").entries == MemoryTree(NODE).entries


def test_executing_gives_what_the_plan_says(case: Case) -> None:
    outcome = case.run()
    found = on_disk(case.etc)
    assert found == result(case.plan, *case.expected)
    assert found["merged"].body == b"0\n1\n2\n3\n4\n"
    assert found["conflict" + BESIDE] == file("image\n", 0o700)
    assert found["node-link" + BESIDE + "/new"] == file("i\n")
    assert found["dir-to-link/mine"] == file("u\n")
    assert found["edited"] == attributes(file("2\n", 0o600, uid=3, gid=4), label=LIB)
    assert [found[name].body[-1:] for name in ("large", "large-mine", "large-theirs")] == [b"a", b"b", b"c"]
    assert outcome.left == outcome.unlabelled == []
    assert outcome.size <= case.plan.size


def test_a_plan_of_real_trees_is_the_plan_of_the_same_trees_in_memory(case: Case) -> None:
    assert case.plan == plan(MemoryTree(OLD), MemoryTree(NODE), MemoryTree(NEW))


def inodes(root: Path) -> dict[str, tuple[int, int]]:
    return {str(path): (path.lstat().st_ino, path.lstat().st_ctime_ns) for path in root.rglob("*")}


def test_a_second_run_touches_nothing(case: Case) -> None:
    case.run()
    before = inodes(case.etc)
    assert case.run() == Outcome()
    assert inodes(case.etc) == before


def test_what_stays_as_the_image_has_it_is_not_touched(case: Case) -> None:
    """Over an image, touching a file would copy it into the layer."""
    before = inodes(case.etc)
    case.run()
    after = inodes(case.etc)
    untouched = [
        "large",
        "large-theirs",
        "same",
        "labelled",
        "brought",
        "file-to-link",
        "dir-to-file",
        "link-to-dir/inner",
    ]
    for name in untouched:
        assert after[str(case.etc / name)] == before[str(case.etc / name)]


class Killed(BaseException):
    """What SIGKILL would do here: nothing of ours runs any more."""


def test_a_run_killed_at_any_write_is_finished_by_the_next(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    case = Case(tmp_path)
    wanted = result(case.plan, *case.expected)
    # Bringing the whole file system to its disk two hundred times proves nothing here.
    monkeypatch.setattr(executing, "_sync", lambda _folder: None)
    kills = 0
    for step in range(1, 200):
        shutil.rmtree(case.etc)
        make(NEW, case.etc)
        left = [step]

        def counted(function: Callable[..., object], left: list[int] = left) -> Callable[..., object]:
            def call(*arguments: object, **options: object) -> object:
                left[0] -= 1
                if left[0] == 0:
                    raise Killed
                return function(*arguments, **options)

            return call

        with monkeypatch.context() as patch:
            for name in ("write", "rename", "unlink", "rmdir", "mkdir", "symlink", "mknod", "chown", "setxattr"):
                patch.setattr(f"os.{name}", counted(getattr(os, name)))
            try:
                case.run()
            except Killed:
                kills += 1
        case.run()
        assert on_disk(case.etc) == wanted
        if left[0] > 0:
            break
    assert kills > 30


def test_leftovers_of_another_plan_are_swept(case: Case) -> None:
    scratch = case.etc / "new" / write.temporary("file")
    scratch.parent.mkdir()
    scratch.write_text("half")
    case.run()
    assert on_disk(case.etc) == result(case.plan, *case.expected)


def test_a_link_in_the_layer_is_never_followed_out_of_it(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    case = Case(tmp_path, {"x": file()}, {"x": file(), "d/mine": file("u\n")}, {"x": file()})
    (case.etc / "d").symlink_to(outside)
    (case.etc / "x").unlink()
    (case.etc / "x").symlink_to(outside / "made")
    case.run()
    assert list(outside.iterdir()) == []
    assert on_disk(case.etc) == result(case.plan, *case.expected)


def test_a_folder_that_becomes_a_link_while_we_write_is_an_error(case: Case, tmp_path: Path) -> None:
    executor = executing._Executor(case.sides[1], case.sides[2], case.etc)
    outside = tmp_path / "outside"
    outside.mkdir()
    (case.etc / "new").symlink_to(outside)
    with pytest.raises(MergeError, match="/etc/new"):
        executor.run(case.plan)
    assert list(outside.iterdir()) == []


def test_the_times_of_the_users_files_are_kept(case: Case, tmp_path: Path) -> None:
    os.utime(tmp_path / "node/edited", ns=(1_000_000_001, 2_000_000_002))
    case.run()
    assert (case.etc / "edited").stat().st_mtime_ns == 2_000_000_002


def test_an_edit_after_the_plan_is_taken_and_of_a_merged_file_refused(case: Case, tmp_path: Path) -> None:
    (tmp_path / "node/edited").write_text("later, and longer\n")
    case.run()
    assert (case.etc / "edited").read_text() == "later, and longer\n"
    (tmp_path / "node/large-mine").write_text(THEIRS)
    case.run()
    assert (case.etc / "large-mine").read_text() == THEIRS
    (tmp_path / "node/merged").write_text("later\n")
    before = inodes(case.etc)
    with pytest.raises(MergeError, match="/etc/merged was changed"):
        case.run()
    assert inodes(case.etc) == before, "refused before the first write"


def test_a_file_that_vanished_after_the_plan_is_named(case: Case, tmp_path: Path) -> None:
    (tmp_path / "node/edited").unlink()
    with pytest.raises(MergeError, match="node/edited"):
        case.run()


def test_an_inherited_default_acl_does_not_leak_into_files(tmp_path: Path) -> None:
    node: Spec = {"x": file(), "d/mine": file("u\n", 0o600), "d/sub/deep": file("u\n", 0o644)}
    case = Case(tmp_path, {"x": file()}, node, {"x": file(), "d": folder()})
    os.setxattr(case.etc / "d", "system.posix_acl_default", acl(1000))
    case.run()
    found = on_disk(case.etc)
    assert found["d/mine"] == file("u\n", 0o600)
    assert found["d/sub"] == folder()
    assert found["d/sub/deep"] == file("u\n", 0o644)


def test_capabilities_survive_a_change_of_owner(tmp_path: Path) -> None:
    capability = struct.pack("<IIIII", 0x02000001, 1 << 10, 0, 0, 0)
    program = attributes(file("x", 0o2755, uid=7, gid=7), security_capability=capability)
    case = Case(tmp_path, {"x": file()}, {"x": file(), "p": program}, {"x": file()})
    case.run()
    assert on_disk(case.etc)["p"] == program


def test_failures_row_18_a_refused_label_is_told_and_stops_nothing(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.setxattr

    def refuse(path: str, name: str, value: bytes, *rest: object) -> None:
        if name == "security.selinux":
            raise OSError(22, "Invalid argument")
        real(path, name, value)

    monkeypatch.setattr(os, "setxattr", refuse)
    outcome = case.run()
    assert outcome.unlabelled == ["edited"]
    assert (case.etc / "edited").read_text() == "2\n"


def test_no_space_is_one_sentence_with_the_path(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_fd: int, _data: bytes) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "write", full)
    with pytest.raises(MergeError, match=r"/etc/\S+ of the new layer cannot be written: No space.*The layer is full"):
        case.run()


@pytest.mark.parametrize("failing", ["_sync", "write"])
def test_an_error_leaves_nothing_open(
    case: Case, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failing: str
) -> None:
    def fail(*_: object) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(*((executing, failing) if failing == "_sync" else (os, failing)), fail)
    with pytest.raises(MergeError) as caught:
        case.run()
    for side in case.sides:
        side.close()
    # The error, which holds the frames that it came through, is there as long as the update is taken back.
    assert caught.value.__traceback__ is not None
    opened = [path.readlink() for path in Path("/proc/self/fd").iterdir() if path.is_symlink()]
    assert not [path for path in opened if tmp_path in path.parents]


def test_files_that_no_plan_knows_keep_their_folder_and_are_told(tmp_path: Path) -> None:
    case = Case(tmp_path, {"d": folder(), "x": file()}, {"x": file()}, {"d": folder(), "x": file()})
    (case.etc / "d/unknown").write_text("?")
    assert case.run().left == ["d"]
    assert (case.etc / "d/unknown").exists()


def test_a_folder_with_unknown_files_is_never_replaced(tmp_path: Path) -> None:
    case = Case(tmp_path, {"d": folder(), "x": file()}, {"d": link("y"), "x": file()}, {"d": folder(), "x": file()})
    (case.etc / "d/unknown").write_text("?")
    with pytest.raises(MergeError, match="/etc/d of the new layer is to be a symbolic link"):
        case.run()


def test_an_image_without_a_copy_of_its_etc_gives_its_own(tmp_path: Path) -> None:
    (tmp_path / "etc").mkdir()
    assert pristine(tmp_path) == tmp_path / "etc"
    (tmp_path / "usr/lib/ovirt-node/etc").mkdir(parents=True)
    assert pristine(tmp_path) == tmp_path / "usr/lib/ovirt-node/etc"


def test_a_tree_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(MergeError, match="nowhere"):
        DirectoryTree(tmp_path / "nowhere")


def test_a_pipe_or_a_link_in_a_files_place_is_not_read(tmp_path: Path) -> None:
    tree = DirectoryTree(make({"f": file("x")}, tmp_path / "etc"))
    (tmp_path / "etc/f").unlink()
    (tmp_path / "etc/f").symlink_to("/etc/passwd")
    with pytest.raises(MergeError, match="etc/f"):
        tree.read("f")


def test_failures_row_9_the_images_files_get_the_ids_of_the_node(tmp_path: Path) -> None:
    capability = struct.pack("<IIIII", 0x02000001, 1 << 10, 0, 0, 0)
    spec: dict[str, Node] = {
        "usr/bin/tool": attributes(file("x", 0o6755, uid=101, gid=102), security_capability=capability),
        "usr/bin/other": file("x", uid=7),
        "usr/lib/folder": folder(0o2750, gid=102),
        "usr/link": link("bin/tool"),
        "etc/ours": file("x", uid=101),
        "var/lib/data": file("x", uid=101),
    }
    image = make(spec, tmp_path / "image")
    root = make(spec, tmp_path / "root")
    os.lchown(root / "usr/link", 101, 0)
    os.lchown(image / "usr/link", 101, 0)
    changes = owners.find(image, IdMap({101: 102, 102: 101}, {102: 202}), shared=["/var"])
    assert [change.path for change in changes] == ["usr/link", "usr/bin/tool", "usr/lib/folder"]
    assert owners.apply(root, changes) == 3
    found = on_disk(root)
    assert found["usr/bin/tool"] == attributes(file("x", 0o6755, uid=102, gid=202), security_capability=capability)
    assert found["usr/lib/folder"] == folder(0o2750, gid=202)
    assert (found["usr/link"].uid, found["usr/bin/other"].uid) == (102, 7)
    assert (found["etc/ours"].uid, found["var/lib/data"].uid) == (101, 101)
    assert owners.apply(root, changes) == 0, "also where ids are swapped"
    assert owners.find(image, IdMap()) == ()


def test_ids_in_acls_are_mapped() -> None:
    assert meta.mapped_acl(acl(101), IdMap({101: 999})) == acl(999)
    assert meta.mapped_acl(acl(101), IdMap({}, {101: 999})) == acl(101)
    assert meta.mapped_acl(b"short", IdMap({101: 999})) == b"short"


def test_an_acl_of_the_user_is_in_force_afterwards(tmp_path: Path) -> None:
    old = file("1\n", 0o640)
    node = attributes(file("1\n", 0o660), acl=acl(1000, 6, 6))
    case = Case(tmp_path, {"f": old}, {"f": node}, {"f": file("2\n", 0o600)})
    case.run()
    assert os.getxattr(case.etc / "f", ACL) == acl(1000, 6, 6)
    assert (case.etc / "f").read_text() == "2\n"
    assert stat.S_IMODE((case.etc / "f").stat().st_mode) == 0o660


def test_every_present_action_comes_from_a_side(case: Case) -> None:
    for action in case.plan.actions:
        assert (action.source is Source.ABSENT) == (action.kind is None) == (action.meta is None)


def test_over_an_image_the_layer_gets_what_differs_and_nothing_else(memory: Path) -> None:
    case = Case(memory)
    lower, upper, root = case.etc.parent, memory / "upper", memory / "mounted"
    upper.mkdir()
    (memory / "work").mkdir()
    with overlaid([lower], upper, memory / "work", root):
        execute(case.plan, case.sides[1], case.sides[2], root / "etc")
        assert on_disk(root / "etc") == result(case.plan, *case.expected)
        assert execute(case.plan, case.sides[1], case.sides[2], root / "etc") == Outcome()
    layer = on_disk(upper / "etc")
    copied = {path for path, node in layer.items() if node.kind is Kind.FILE}
    expected = {
        action.path
        for action in case.plan.actions
        if action.kind is Kind.FILE and (action.source is not Source.IMAGE or action.path != action.origin)
    }
    # Only its mode differs, and an overlay copies the whole file for that.
    assert copied == expected | {"mode"}
    # A character device 0:0 hides what the image has (kernel documentation, overlayfs).
    hidden = {path for path, node in layer.items() if node.kind is Kind.CHARACTER and node.device == 0}
    assert hidden == {"deleted"}
    assert on_disk(lower / "etc") == MemoryTree(NEW).nodes, "the image is never written"

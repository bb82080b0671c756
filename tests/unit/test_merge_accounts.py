"""passwd, group, shadow, gshadow, subuid and subgid merged by entry."""

from __future__ import annotations

from typing import Optional

import pytest
from hypothesis import given
from hypothesis import strategies as st

from org_ovirt_node.node.merge import acctfile, ids
from org_ovirt_node.node.merge.accounts import AccountMerge, merge
from org_ovirt_node.node.merge.model import MergeError, Source, Topic, Why
from org_ovirt_node.node.merge.plan import plan
from tests.support.etc import MemoryTree, at, file, result

ROOT = "root:x:0:0:root:/root:/bin/bash\n"
ROOTS = "root:x:0:\n"


def files(**texts: str) -> dict[str, Optional[bytes]]:
    """passwd and group with root in front; the others as given, absent when not."""
    made: dict[str, Optional[bytes]] = dict.fromkeys(("shadow", "gshadow", "subuid", "subgid"))
    made["passwd"], made["group"] = ROOT.encode(), ROOTS.encode()
    for name, text in texts.items():
        made[name] = (ROOT if name == "passwd" else ROOTS if name == "group" else "").encode() + text.encode()
    return made


def lines(merged: AccountMerge, database: str) -> list[str]:
    content = merged.contents[database]
    assert content is not None
    assert content == b"" or content.endswith(b"\n")
    return content.decode("utf-8", "surrogateescape").splitlines()


def told(merged: AccountMerge, database: str) -> list[str]:
    return [notice.text for notice in merged.notices if notice.path == database]


SSHD = "sshd:x:74:74:ssh:/var/empty:/sbin/nologin\n"
FIELDS = {
    # field, old, node, new → result
    "nothing": (SSHD, SSHD, SSHD, SSHD, 0),
    "the image's shell": (SSHD, SSHD, SSHD.replace("nologin", "false"), SSHD.replace("nologin", "false"), 0),
    "the user's shell": (SSHD, SSHD.replace("/sbin/nologin", "/bin/sh"), SSHD, None, 0),
    "both shells": (SSHD, SSHD.replace("nologin", "true"), SSHD.replace("nologin", "false"), None, 1),
    "the user's comment, the image's home": (
        SSHD,
        SSHD.replace(":ssh:", ":mine:"),
        SSHD.replace("/var/empty", "/run/sshd"),
        SSHD.replace(":ssh:", ":mine:").replace("/var/empty", "/run/sshd"),
        0,
    ),
    "deleted by the user": (SSHD, "", SSHD, "", 1),
    "dropped by the image": (SSHD, SSHD, "", SSHD, 1),
    "added by the user": ("", SSHD, "", SSHD, 0),
    "added by the image": ("", "", SSHD, SSHD, 0),
    "added by both": ("", SSHD, SSHD, SSHD, 0),
    "gone on both sides": (SSHD, "", "", "", 0),
    "malformed and kept": (SSHD, "sshd:x:74\n", SSHD, "sshd:x:74\n", 1),
    "malformed in the image and not taken": ("", "", "half:x\n", "", 1),
    "an id that is no number": ("", "x:x:a:b:c:d:e\n", "", "x:x:a:b:c:d:e\n", 1),
    "a comment and an empty line": ("", "# mine\n\n", "", "# mine\n\n", 0),
    "not UTF-8": ("", "u:x:1001:0:\udcff:/:/\n", "", "u:x:1001:0:\udcff:/:/\n", 0),
}


@pytest.mark.parametrize(("old", "node", "new", "expected", "notices"), FIELDS.values(), ids=list(FIELDS))
def test_a_user_is_merged_field_by_field(old: str, node: str, new: str, expected: Optional[str], notices: int) -> None:
    sides = [dict(files(), passwd=(ROOT + text).encode("utf-8", "surrogateescape")) for text in (old, node, new)]
    merged = merge(*sides)
    assert lines(merged, "passwd")[1:] == (node if expected is None else expected).splitlines()
    assert len(told(merged, "passwd")) == notices


def test_failures_row_9_ids_of_the_node_stay_and_the_images_files_follow() -> None:
    old = files(passwd=SSHD, group="sshd:x:74:\n")
    new = files(passwd=SSHD.replace("74:74", "174:175"), group="sshd:x:175:\n")
    merged = merge(old, old, new)
    assert lines(merged, "passwd")[1] == SSHD.strip()
    assert lines(merged, "group")[1] == "sshd:x:74:"
    assert (merged.new_ids.uids, merged.new_ids.gids) == ({174: 74}, {175: 74})
    assert not merged.old_ids
    assert any("keeps id 74" in text for text in told(merged, "passwd"))


def test_a_new_account_gets_a_free_id_when_its_own_is_taken() -> None:
    node = files(passwd="mine:x:300:300::/:/bin/sh\n", group="mine:x:300:\n")
    new = files(passwd="theirs:x:300:300::/:/sbin/nologin\n", group="theirs:x:300:\n")
    merged = merge(files(), node, new)
    assert lines(merged, "passwd")[1:] == ["mine:x:300:300::/:/bin/sh", "theirs:x:999:999::/:/sbin/nologin"]
    assert lines(merged, "group")[1:] == ["mine:x:300:", "theirs:x:999:"]
    assert (merged.new_ids.uids, merged.new_ids.gids) == ({300: 999}, {300: 999})
    assert any("300 is taken" in text for text in told(merged, "passwd"))


def test_a_free_id_is_none_that_any_side_ever_used() -> None:
    used = "".join(f"u{number}:x:{number}:0::/:/\n" for number in (999, 998))
    old = files(passwd="gone:x:997:0::/:/\n")
    node = files(passwd="mine:x:300:0::/:/\n")
    merged = merge(old, node, files(passwd="theirs:x:300:0::/:/\n" + used))
    assert merged.new_ids.uids == {300: 996}


def test_swapped_ids_are_mapped_both_ways() -> None:
    node = files(passwd="a:x:101:0::/:/\nb:x:102:0::/:/\n")
    new = files(passwd="a:x:102:0::/:/\nb:x:101:0::/:/\n")
    assert merge(node, node, new).new_ids.uids == {101: 102, 102: 101}


def test_root_is_never_mapped_and_a_second_name_of_an_id_changes_nothing() -> None:
    node = files(passwd="toor:x:50:0::/:/\nsvc:x:60:0::/:/\n")
    new = files(passwd="toor:x:0:0::/:/\nsvc:x:61:0::/:/\nalias:x:61:0::/:/\n")
    assert merge(files(), node, new).new_ids.uids == {61: 60}


def test_no_id_becomes_or_was_roots() -> None:
    table = acctfile.parse("passwd", b"adm:x:0:0::/:/\nsvc:x:5:0::/:/\nown:x:6:0::/:/\n")
    assert ids.translation(table, {"adm": 5, "svc": 0, "own": 7}) == {6: 7}


def test_a_second_line_of_a_name_is_kept_as_it_is() -> None:
    node = files(passwd=SSHD + SSHD.replace(":ssh:", ":second:"))
    merged = merge(files(passwd=SSHD), node, files(passwd=SSHD.replace("nologin", "false")))
    assert [line.split(":")[4:] for line in lines(merged, "passwd")[1:]] == [
        ["ssh", "/var/empty", "/sbin/false"],
        ["second", "/var/empty", "/sbin/nologin"],
    ]


def test_an_id_of_people_stays_among_people() -> None:
    node = files(passwd="mine:x:1000:0::/:/\n")
    merged = merge(files(), node, files(passwd="demo:x:1000:0::/:/\n"))
    assert merged.new_ids.uids == {1000: 1001}


def test_no_free_id_is_an_error_that_says_so() -> None:
    everyone = "".join(f"u{number}:x:{number}:0::/:/\n" for number in range(100, 1000))
    with pytest.raises(MergeError, match="no id is free"):
        merge(files(), files(passwd=everyone), files(passwd="late:x:500:0::/:/\n"))


def test_the_primary_group_is_compared_by_name() -> None:
    user = "u:x:101:{}::/:/\n"
    old = files(passwd=user.format(50), group="a:x:50:\nb:x:51:\n")
    node = files(passwd=user.format(70), group="a:x:70:\nb:x:71:\n")
    same = merge(old, node, files(passwd=user.format(90), group="a:x:90:\nb:x:91:\n"))
    assert lines(same, "passwd")[1] == "u:x:101:70::/:/"
    moved = merge(old, node, files(passwd=user.format(91), group="a:x:90:\nb:x:91:\n"))
    assert lines(moved, "passwd")[1] == "u:x:101:71::/:/"
    chosen = files(passwd=user.format(71), group="a:x:70:\nb:x:71:\n")
    kept = merge(old, chosen, files(passwd=user.format(90), group="a:x:90:\nb:x:91:\n"))
    assert lines(kept, "passwd")[1] == "u:x:101:71::/:/"


MEMBERS = {
    "the image adds one": ("a", "a,mine", "a,new", "a,mine,new"),
    "the image removes one": ("a,b", "a,b,mine", "a", "a,mine"),
    "the user removed one": ("a,b", "b", "a,b,c", "b,c"),
    "both add the same": ("", "x", "x", "x"),
    "the order is the user's": ("a,b", "b,a", "a,b", "b,a"),
    "all are removed": ("a", "a", "", ""),
}


@pytest.mark.parametrize(("old", "node", "new", "expected"), MEMBERS.values(), ids=list(MEMBERS))
def test_members_of_a_group_are_a_set(old: str, node: str, new: str, expected: str) -> None:
    sides = [files(group=f"kvm:x:36:{names}\n", gshadow=f"kvm:!:{names}:{names}\n") for names in (old, node, new)]
    merged = merge(*sides)
    assert lines(merged, "group")[1] == f"kvm:x:36:{expected}"
    assert lines(merged, "gshadow") == [f"kvm:!:{expected}:{expected}"]


SHADOWS = {
    # old, node, new → result, whether it is told
    "the user's password stays": ("*:1", "$6$u:5", "*:2", "$6$u:5", False),
    "with its day": ("*:1", "$6$u:5", "!:9", "$6$u:5", False),
    "the image locks": ("$6$i:1", "$6$i:1", "!:2", "!:2", False),
    "the image's new password": ("$6$i:1", "$6$i:1", "$6$j:2", "$6$j:2", False),
    "a locked one is never opened": ("*:1", "*:1", "$6$baked:2", "*:1", True),
    "nor with an empty password": ("!:1", "!:1", ":2", "!:1", True),
    "only the day of the build": ("*:1", "*:1", "*:2", "*:2", False),
}


@pytest.mark.parametrize(("old", "node", "new", "expected", "said"), SHADOWS.values(), ids=list(SHADOWS))
def test_passwords_and_their_day_go_together(old: str, node: str, new: str, expected: str, said: bool) -> None:
    merged = merge(*(files(shadow=f"root:{text}:0:99999:7:::\n") for text in (old, node, new)))
    assert lines(merged, "shadow") == [f"root:{expected}:0:99999:7:::"]
    assert bool(told(merged, "shadow")) is said


def test_passwords_are_never_shown() -> None:
    merged = merge(*(files(shadow=f"root:{text}:1:0:99999:7:::\n") for text in ("$6$old", "*", "$6$new")))
    assert merged.notices == () or "$6$" not in str(merged.notices)
    sides = [files(group=f"g:{text}:5:\n", gshadow=f"g:{text}::\n") for text in ("$6$old", "!", "$6$new")]
    assert "$6$" not in str(merge(*sides).notices)


def test_a_new_account_without_a_password_is_locked_and_has_no_shell() -> None:
    node = files(shadow="root:*:1::::::\n")
    new = files(passwd="svc:x:200:200::/:\nopen::201:201::/:/bin/sh\n", shadow="root:*:1::::::\nopen::1::::::\n")
    merged = merge(node, node, new)
    assert lines(merged, "passwd")[1:] == ["svc:x:200:200::/:/sbin/nologin", "open:!*:201:201::/:/bin/sh"]
    assert sorted(lines(merged, "shadow")[1:]) == ["open:!*:1::::::", "svc:!*:::::::"]


def test_a_database_that_the_node_has_not_stays_absent() -> None:
    new = files(passwd="svc:x:200:200::/:/\n", shadow="svc:*:1::::::\n", gshadow="svc:!::\n")
    merged = merge(files(shadow="root:*:1::::::\n"), files(), new)
    assert merged.contents["shadow"] is None
    assert merged.contents["gshadow"] is None


def test_new_entries_come_before_the_lines_of_compat_mode() -> None:
    node = files(passwd="+@admins::::::\n+::::::\n")
    merged = merge(files(), node, files(passwd="svc:x:200:0::/:/\n"))
    assert lines(merged, "passwd")[1:] == ["svc:x:200:0::/:/", "+@admins::::::", "+::::::"]
    assert not told(merged, "passwd")


def test_subordinate_ids_of_the_node_stay_and_new_ones_do_not_overlap() -> None:
    node = files(subuid="ann:100000:65536\nann:300000:10\nbroken\n", subgid="ann:100000:65536\n")
    new = files(subuid="ann:500000:65536\nsvc:100000:65536\nsvc:165536:1000\n", subgid="svc:200000:65536\n")
    merged = merge(files(), node, new)
    assert lines(merged, "subuid")[:3] == ["ann:100000:65536", "ann:300000:10", "broken"]
    assert lines(merged, "subuid")[3:] == ["svc:165536:65536", "svc:231072:1000"]
    assert lines(merged, "subgid") == ["ann:100000:65536", "svc:200000:65536"]
    assert len(told(merged, "subuid")) == 3


def test_there_is_no_room_for_a_range() -> None:
    with pytest.raises(MergeError, match="subordinate"):
        ids.free_range(0, 10, [(0, ids.SUB_LAST)])


def test_a_file_without_a_change_is_kept_byte_by_byte() -> None:
    odd = {**files(), "passwd": b"root:x:0:0:r:/:/\nlast:x:5:5::/:/"}
    assert merge(odd, odd, odd).contents["passwd"] == odd["passwd"]


NAMES = st.sampled_from(["root", "a", "b", "c", "d"])
ROWS = st.one_of(
    st.tuples(NAMES, st.integers(0, 6), st.integers(0, 6)).map(lambda row: f"{row[0]}:x:{row[1]}:{row[2]}::/:/"),
    st.sampled_from(["", "# note", "broken", "a:x:1", "+::::::", "::::::", "b:x:-1:0::/:/"]),
)
PASSWD = st.lists(ROWS, max_size=6).map(lambda rows: "".join(f"{row}\n" for row in rows).encode())


@given(PASSWD, PASSWD, PASSWD)
def test_no_line_of_the_user_is_ever_lost_and_no_id_given_twice(old: bytes, node: bytes, new: bytes) -> None:
    merged = merge(*({**files(), "passwd": text} for text in (old, node, new)))
    content = merged.contents["passwd"]
    assert content is not None
    result_table, node_table = acctfile.parse("passwd", content), acctfile.parse("passwd", node)
    kept = [line.name for line in result_table.lines]
    for line in node_table.lines:
        assert line.name in kept
        kept.remove(line.name)
        if line.fields is None:
            assert line in result_table.lines
    for name, fields in node_table.entries.items():
        assert result_table.entries[name][2] == fields[2], "an id moved"
    added = {name: fields[2] for name, fields in result_table.entries.items() if name not in node_table.entries}
    others = [line.fields[2] for line in node_table.lines if line.fields is not None]
    assert all(number not in others or number == "0" for number in added.values())


def test_the_plan_has_merged_accounts_and_mapped_owners() -> None:
    old = MemoryTree({"passwd": file(ROOT), "group": file(ROOTS), "shadow": file("root:*:1::::::\n", 0o640)})
    node = MemoryTree(
        {
            "passwd": file(ROOT + "mine:x:300:300::/:/bin/sh\n"),
            "group": file(ROOTS + "mine:x:300:\n"),
            "shadow": file("root:$6$u:5::::::\nmine:$6$m:5::::::\n", 0o640),
        }
    )
    new = MemoryTree(
        {
            "passwd": file(ROOT + "svc:x:300:300::/:/sbin/nologin\n"),
            "group": file(ROOTS + "svc:x:300:\n"),
            "shadow": file("root:*:9::::::\nsvc:!:9::::::\n", 0o000),
            "svc/key": file("secret", 0o600, uid=300, gid=300),
        }
    )
    made = plan(old, node, new)
    found = result(made, node, new)
    assert found["svc/key"] == file("secret", 0o600, uid=999, gid=999)
    assert found["shadow"] == file("root:$6$u:5::::::\nmine:$6$m:5::::::\nsvc:!:9::::::\n", 0o000)
    assert found["passwd"].body.decode().splitlines()[1:] == [
        "mine:x:300:300::/:/bin/sh",
        "svc:x:999:999::/:/sbin/nologin",
    ]
    action = at(made, "shadow")
    assert action is not None
    assert (action.source, action.why, action.basis) == (Source.MERGED, Why.ACCOUNTS, node.digest("shadow"))
    assert not made.conflicts


def test_an_owner_that_differs_only_by_number_is_no_change_of_the_user() -> None:
    """The node renumbered the account at an earlier upgrade; a new owner of the image is taken all the same."""
    accounts = "svc:x:{}:0::/:/\nother:x:500:0::/:/\n"

    def side(number: int, owner: int) -> MemoryTree:
        return MemoryTree(
            {"passwd": file(ROOT + accounts.format(number)), "group": file(ROOTS), "f": file("x", uid=owner)}
        )

    node, new = side(999, 999), side(300, 500)
    made = plan(side(300, 300), node, new)
    assert result(made, node, new)["f"].uid == 500
    assert not [notice for notice in made.notices if notice.topic is Topic.METADATA]


def test_accounts_that_are_no_files_fall_back_to_the_rule_for_paths() -> None:
    old = MemoryTree({"passwd": file(ROOT), "group": file(ROOTS)})
    node = MemoryTree({"group": file(ROOTS)})
    new = MemoryTree({"passwd": file(ROOT + SSHD), "group": file(ROOTS)})
    assert [notice.topic for notice in plan(old, node, new).notices] == [Topic.DELETED]

"""passwd, group, shadow, gshadow, subuid and subgid, merged by entry.

The node's ids stay as they are, because the shared volumes are full of files that carry them.  A new account of the
image whose id is taken gets a free one.  An account that the image no longer has stays as well: its files may lie in
/var, and the next owner of its id would get them.  No line of the node is ever lost, malformed ones included.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Optional

from org_ovirt_node.node.merge import ids
from org_ovirt_node.node.merge.acctfile import Fields, Line, Table, entry, joined, parse, text
from org_ovirt_node.node.merge.model import IdMap, Notice, Topic

#: Merged together, in this order: an id of a group is needed by its users.
DATABASES = ("group", "passwd", "shadow", "gshadow", "subuid", "subgid")
#: Without these two there are no accounts to merge.
REQUIRED = ("passwd", "group")
NOLOGIN = "/sbin/nologin"
LOCKED = "!*"
#: The fields of shadow(5) that belong together: a password and the day of its change.
PASSWORD, DAY = 1, 2

Files = Mapping[str, Optional[bytes]]
#: (database, name, old entry, node's entry, image's entry) → the entry of the result.
_Merge = Callable[["_Sides", str, Optional[Fields], Optional[Fields], Fields], Fields]


@dataclass(frozen=True)
class AccountMerge:
    """The merged files (None: absent), the notices, and what the ids of either image mean on the node."""

    contents: Mapping[str, Optional[bytes]]
    notices: tuple[Notice, ...]
    old_ids: IdMap
    new_ids: IdMap


@dataclass(frozen=True)
class _Sides:
    """One database on the three sides."""

    name: str
    old: Table
    node: Table
    new: Table

    def added(self) -> Iterator[tuple[str, Fields]]:
        """What the image adds: neither known before nor taken on the node."""
        taken = self.node.taken
        for name, fields in self.new.entries.items():
            if name not in self.old.entries and name not in taken:
                yield name, fields


class _Merger:
    """Merges the databases one after the other; what one decides the next ones need."""

    def __init__(self, old: Files, node: Files, new: Files) -> None:
        self.files = node
        self.sides = {
            name: _Sides(name, *(parse(name, files.get(name)) for files in (old, node, new))) for name in DATABASES
        }
        self.notices: list[Notice] = []
        self.contents: dict[str, Optional[bytes]] = {}
        self.maps: dict[str, dict[str, int]] = {"group": {}, "passwd": {}}
        self.gids: dict[int, int] = {}

    def say(self, database: str, message: str, topic: Topic = Topic.ACCOUNT) -> None:
        self.notices.append(Notice(database, topic, message))

    def run(self) -> AccountMerge:
        self._settle_ids("group")
        self._settle_ids("passwd")
        self.gids = ids.translation(self.sides["group"].new, self.maps["group"])
        merges = {"passwd": self._user, "group": self._group, "shadow": self._shadow, "gshadow": self._gshadow}
        for name, sides in self.sides.items():
            self._tell(sides)
            if self.files.get(name) is None:
                # Absent on the node (grpunconv, pwunconv): it stays absent.
                self.contents[name] = None
                continue
            if name in merges:
                merge = merges[name]
                lines = [self._existing(sides, line, merge) for line in sides.node.lines]
                added = [merge(sides, key, None, None, fields) for key, fields in sides.added()]
                if name == "shadow":
                    added += list(self._without_shadow())
            else:
                lines, added = list(sides.node.lines), list(self._ranges(sides))
            result = joined(lines, [entry(fields) for fields in added])
            same = result == list(sides.node.lines)
            self.contents[name] = self.files[name] if same else text(result)
        return AccountMerge(self.contents, tuple(self.notices), self._ids("old"), self._ids("new"))

    def _ids(self, side: str) -> IdMap:
        tables = {name: getattr(self.sides[name], side) for name in REQUIRED}
        return IdMap(*(ids.translation(tables[name], self.maps[name]) for name in REQUIRED))

    def _settle_ids(self, database: str) -> None:
        """The final id of every name: the node's, or for a new name the image's or a free one."""
        sides = self.sides[database]
        final = {name: ids.number(fields) for name, fields in sides.node.entries.items()}
        used = ids.numbers([sides.node])
        added = dict(sides.added())
        reserved = used | ids.numbers([sides.old, sides.new])
        kind = "user" if database == "passwd" else "group"
        for name, fields in added.items():
            wanted = ids.number(fields)
            if wanted in used and wanted != 0:
                # A user gets the number of its own group where that is free.
                chosen = ids.free(wanted, used | reserved, self._own_group(name, reserved))
                self.say(database, f"{kind} {name} of the image gets id {chosen}, because {wanted} is taken here")
            else:
                chosen = wanted
            final[name] = chosen
            used.add(chosen)
            reserved.add(chosen)
        self.maps[database] = final
        for name, fields in sides.new.entries.items():
            if name in sides.node.entries and ids.number(fields) != final[name]:
                self.say(database, f"{kind} {name} keeps id {final[name]}, the image has {ids.number(fields)}")

    def _own_group(self, name: str, reserved: set[int]) -> Optional[int]:
        number = self.maps["group"].get(name)
        return None if number in reserved else number

    def _tell(self, sides: _Sides) -> None:
        """Malformed lines, and what one side dropped."""
        for number, line in enumerate(sides.node.lines, 1):
            if line.malformed:
                self.say(sides.name, f"line {number} is malformed and kept as it is")
        for number, line in enumerate(sides.new.lines, 1):
            if line.malformed:
                self.say(sides.name, f"line {number} of the image's file is malformed and not taken")
        if sides.name not in REQUIRED:
            return
        for name in sides.old.entries:
            if name in sides.node.entries and name not in sides.new.entries:
                self.say(sides.name, f"{name} is kept although the image dropped it: files may still belong to it")
            elif name in sides.new.entries and name not in sides.node.taken:
                self.say(sides.name, f"{name} was deleted on this node and stays deleted")

    def _existing(self, sides: _Sides, line: Line, merge: _Merge) -> Line:
        fields = line.fields
        if fields is None or sides.node.entries[fields[0]] is not fields:
            return line
        name = fields[0]
        if name not in sides.new.entries:
            return line
        result = merge(sides, name, sides.old.entries.get(name), fields, sides.new.entries[name])
        return line if result == fields else entry(result)

    def _pick(self, sides: _Sides, name: str, what: str, values: tuple[Optional[str], str, str]) -> str:
        """One field three-way; a clash keeps the node's and is said."""
        old, node, new = values
        if new in (node, old):
            return node
        if node == old:
            return new
        self.say(sides.name, f"{name}: {what} {node or '(empty)'} is kept, the image has {new or '(empty)'}")
        return node

    def _user(self, sides: _Sides, name: str, old: Optional[Fields], node: Optional[Fields], new: Fields) -> Fields:
        gid = self.gids.get(int(new[3]), int(new[3]))
        uid = self.maps["passwd"][name]
        if node is None:
            shell = new[6] or (NOLOGIN if 0 < uid < ids.PEOPLE_IDS.start else "")
            return (name, self._unlocked(name, new[1]), str(uid), str(gid), new[4], new[5], shell)
        password = node[1] if node[1] != (old or node)[1] or new[1] in ("", node[1]) else new[1]
        group = self._primary_group(old, node, new, gid)
        rest = [
            self._pick(sides, name, what, (old[index] if old else None, node[index], new[index]))
            for index, what in ((4, "comment"), (5, "home"), (6, "shell"))
        ]
        return (name, password, node[2], group, *rest)

    def _primary_group(self, old: Optional[Fields], node: Fields, new: Fields, gid: int) -> str:
        """Compared by name, because a group's number may differ between the sides."""
        groups = self.sides["group"]
        ours = ids.name_of(groups.node, int(node[3]))
        if old is None or ids.name_of(groups.old, int(old[3])) != ours:
            return node[3]
        theirs = ids.name_of(groups.new, int(new[3]))
        return node[3] if theirs == ours else str(gid)

    def _unlocked(self, name: str, password: str) -> str:
        """The password of a new account, locked when anyone could log in without one."""
        if password:
            return password
        self.say("passwd", f"user {name} of the image has no password and is locked")
        return LOCKED

    def _group(self, sides: _Sides, name: str, old: Optional[Fields], node: Optional[Fields], new: Fields) -> Fields:
        number = str(self.maps["group"][name])
        if node is None:
            return (name, new[1], number, new[3])
        password = self._pick_secret(sides, name, (old or node)[1], node[1], new[1])
        return (name, password, node[2], _members(old[3] if old else "", node[3], new[3]))

    def _gshadow(self, sides: _Sides, name: str, old: Optional[Fields], node: Optional[Fields], new: Fields) -> Fields:
        if node is None:
            return new
        password = self._pick_secret(sides, name, (old or node)[1], node[1], new[1])
        lists = (_members(old[index] if old else "", node[index], new[index]) for index in (2, 3))
        return (name, password, *lists)

    def _pick_secret(self, sides: _Sides, name: str, old: str, node: str, new: str) -> str:
        """A password three-way.  An image never opens what is locked, and passwords are never shown."""
        if new in (node, old) or node != old:
            return node
        if _locked(node) and not _locked(new):
            self.say(sides.name, f"{name} stays locked, the image has a password for it")
            return node
        return new

    def _shadow(self, sides: _Sides, name: str, old: Optional[Fields], node: Optional[Fields], new: Fields) -> Fields:
        if node is None:
            return (name, self._unlocked(name, new[PASSWORD]), *new[DAY:])
        before = old or node
        password, day = node[PASSWORD], node[DAY]
        if node[: DAY + 1] == before[: DAY + 1]:
            password = self._pick_secret(sides, name, before[PASSWORD], node[PASSWORD], new[PASSWORD])
            day = new[DAY] if password == new[PASSWORD] else node[DAY]
        rest = (
            self._pick(sides, name, f"password rule {index + 1}", (before[index], node[index], new[index]))
            for index in range(DAY + 1, len(node))
        )
        return (name, password, day, *rest)

    def _without_shadow(self) -> Iterator[Fields]:
        """Locked entries for new users that the image gives none."""
        shadow = self.sides["shadow"]
        for name, _fields in self.sides["passwd"].added():
            if name not in shadow.new.entries and name not in shadow.node.taken:
                yield (name, LOCKED, "", "", "", "", "", "", "")

    def _ranges(self, sides: _Sides) -> Iterator[Fields]:
        """The subordinate ids that the image adds, moved where they would overlap the node's."""
        used = [(int(line.fields[1]), int(line.fields[2])) for line in sides.node.lines if line.fields is not None]
        added = {name for name, _fields in sides.added()}
        for line in sides.new.lines:
            if line.fields is None or line.fields[0] not in added:
                continue
            name, start, count = line.fields[0], int(line.fields[1]), int(line.fields[2])
            chosen = ids.free_range(start, count, used)
            if chosen != start:
                self.say(sides.name, f"{name} gets the range from {chosen}, because {start} is taken here")
            used.append((chosen, count))
            yield (name, str(chosen), str(count))


def _locked(password: str) -> bool:
    """True when no password opens it (shadow(5)); an empty one is open."""
    return password.startswith(("!", "*"))


def _members(old: str, node: str, new: str) -> str:
    """A list of members: the node's, with what the image added and without what it removed."""
    before, ours, theirs = ([name for name in names.split(",") if name] for names in (old, node, new))
    kept = [name for name in ours if name not in before or name in theirs]
    result = kept + [name for name in theirs if name not in before and name not in kept]
    return node if result == ours else ",".join(result)


def merge(old: Files, node: Files, new: Files) -> AccountMerge:
    """Merge the files named in DATABASES; None or a missing key is an absent file.  Raises MergeError without ids."""
    return _Merger(old, node, new).run()

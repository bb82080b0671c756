"""Numeric ids: which an image's account gets on this node, and from where free ones are taken."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Optional

from org_ovirt_node.node.merge.acctfile import Fields, Table
from org_ovirt_node.node.merge.model import MergeError

#: Where useradd(8) looks for system accounts, from the top, and for people, from the bottom (login.defs(5)).
SYSTEM_IDS = range(999, 100, -1)
PEOPLE_IDS = range(1000, 60001)
#: Where subordinate ids begin and end (login.defs(5), SUB_UID_MIN and SUB_UID_MAX).
SUB_FIRST = 100_000
SUB_LAST = 600_100_000


def number(fields: Fields) -> int:
    """The uid of a passwd entry, the gid of a group entry."""
    return int(fields[2])


def numbers(tables: Iterable[Table]) -> set[int]:
    """All ids in use, duplicates of a name included."""
    return {number(line.fields) for table in tables for line in table.lines if line.fields is not None}


def free(wanted: int, used: Iterable[int], preferred: Optional[int] = None) -> int:
    """An id that is not ``used``, of the kind (system, people) of ``wanted``.  Raises MergeError when none is left."""
    taken = frozenset(used)
    if preferred is not None and preferred not in taken:
        return preferred
    for candidate in PEOPLE_IDS if wanted >= PEOPLE_IDS.start else SYSTEM_IDS:
        if candidate not in taken:
            return candidate
    raise MergeError(
        f"no id is free for an account of the new image that has the id {wanted}",
        hint="Remove accounts that are not needed, or give some of them higher ids.",
    )


def translation(image: Table, final: Mapping[str, int]) -> dict[int, int]:
    """Ids of the image → ids on this node, where they differ.  The first name of an id counts; root is never moved."""
    found: dict[int, int] = {}
    for name, fields in image.entries.items():
        if name in final:
            found.setdefault(number(fields), final[name])
    return {before: after for before, after in found.items() if before != after and before != 0 and after != 0}


def name_of(table: Table, wanted: int) -> str:
    """The name of an id, or the id itself where it has none."""
    return next((name for name, fields in table.entries.items() if number(fields) == wanted), f"#{wanted}")


def free_range(wanted: int, count: int, used: Iterable[tuple[int, int]]) -> int:
    """The start of ``count`` subordinate ids that overlap no range (start, count) in ``used``: ``wanted`` if it can be.

    Raises MergeError when there is no room.
    """
    ranges = sorted(used)
    if all(wanted + count <= start or start + length <= wanted for start, length in ranges):
        return wanted
    begin = SUB_FIRST
    for start, length in ranges:
        if begin + count <= start:
            break
        begin = max(begin, start + length)
    if begin + count > SUB_LAST:
        raise MergeError(
            f"no range of {count} subordinate ids is free", hint="See subuid(5); remove ranges not needed."
        )
    return begin

"""The account databases as tables that lose no line: passwd(5), group(5), shadow(5), gshadow(5), subuid(5)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Optional

#: Fields of a line, and which of them are numbers that must be there.
FIELDS = {"passwd": 7, "group": 4, "shadow": 9, "gshadow": 4, "subuid": 3, "subgid": 3}
NUMBERS = {"passwd": (2, 3), "group": (2,), "shadow": (), "gshadow": (), "subuid": (1, 2), "subgid": (1, 2)}

Fields = tuple[str, ...]


@dataclass(frozen=True)
class Line:
    """One line without its end; ``fields`` is None where it is no entry (a comment, NIS, malformed)."""

    raw: str
    fields: Optional[Fields] = None

    @property
    def name(self) -> str:
        return self.raw.split(":", 1)[0]

    @property
    def compat(self) -> bool:
        """A line of nsswitch's compat mode (``+``, ``-@group``)."""
        return self.raw.startswith(("+", "-"))

    @property
    def malformed(self) -> bool:
        return self.fields is None and bool(self.raw.strip()) and not self.compat and not self.raw.startswith("#")


@dataclass(frozen=True)
class Table:
    """A database; ``entries`` has the first entry of each name, as the C library finds it."""

    lines: tuple[Line, ...]
    entries: Mapping[str, Fields]

    @property
    def taken(self) -> frozenset[str]:
        """Names that a line begins with, also a malformed one."""
        return frozenset(line.name for line in self.lines)


def parse(database: str, content: Optional[bytes]) -> Table:
    """The table in ``content``; an absent file is an empty one."""
    text = (content or b"").decode("utf-8", "surrogateescape")
    rows = text.split("\n")
    lines = tuple(_line(database, row) for row in (rows[:-1] if rows[-1] == "" else rows))
    entries: dict[str, Fields] = {}
    for line in lines:
        if line.fields is not None:
            entries.setdefault(line.fields[0], line.fields)
    return Table(lines, entries)


def _line(database: str, raw: str) -> Line:
    fields = tuple(raw.split(":"))
    good = (
        len(fields) == FIELDS[database]
        and bool(fields[0])
        and not raw.startswith(("+", "-", "#"))
        and all(fields[index].isascii() and fields[index].isdigit() for index in NUMBERS[database])
    )
    return Line(raw, fields if good else None)


def entry(fields: Iterable[str]) -> Line:
    """A line made of fields."""
    made = tuple(fields)
    return Line(":".join(made), made)


def text(lines: Iterable[Line]) -> bytes:
    """The lines as a file."""
    return "".join(f"{line.raw}\n" for line in lines).encode("utf-8", "surrogateescape")


def joined(before: Iterable[Line], added: Iterable[Line]) -> list[Line]:
    """``before`` with ``added`` at its end, but before the compat lines, which stand last."""
    lines = list(before)
    end = len(lines)
    while end and lines[end - 1].compat:
        end -= 1
    return [*lines[:end], *added, *lines[end:]]

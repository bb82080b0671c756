"""Plans power cuts over a log of writes: pure, and the same for the same seed.

After a flush everything before it is on the disk.  Of what was written since, a disk may have kept any part: some of
the writes and not others, in any order, and of a write some sectors and not others.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Optional

from tests.crash.writelog import Entry

SECTOR = 512
#: Writes up to this many sectors tear at each of them; longer ones in a few ranges, as a disk's own cache does it.
FINE = 64
#: Share of the kept writes that are torn.
TORN = 0.25
#: Shares of the writes that a subset keeps; one is chosen for each cut, so that "nearly all" and "nearly none" occur.
SHARES = (0.05, 0.25, 0.5, 0.75, 0.95)


@dataclass(frozen=True)
class Window:
    """The entries from ``first`` up to and without ``end`` (numbers) that lie between two flushes.

    ``first`` is the entry behind a flush; all before it is on the disk.
    """

    first: int
    end: int
    #: Entries in it that change the disk.
    writes: int


@dataclass(frozen=True)
class Cut:
    """A power cut in ``window``: without a ``seed`` nothing of it is kept, else what the seed says."""

    window: Window
    seed: Optional[int] = None

    @property
    def name(self) -> str:
        """How it is told from the others of its recording."""
        return f"{self.window.first}" if self.seed is None else f"{self.window.first}-{self.window.end}-{self.seed}"


@dataclass(frozen=True)
class Kept:
    """What is kept of a write: ``ranges`` of (offset, length) in bytes."""

    entry: Entry
    ranges: tuple[tuple[int, int], ...]


def windows(entries: Iterable[Entry]) -> list[Window]:
    """The windows of a log, in their order; the last one may have no flush at its end."""
    found: list[Window] = []
    first = writes = number = 0
    for entry in entries:
        number = entry.number
        if entry.flush:
            found.append(Window(first, number, writes))
            # The data of a write that carries a flush comes after what it flushes.
            first, writes = number if entry.changes else number + 1, int(entry.changes)
        else:
            writes += entry.changes
    if writes:
        found.append(Window(first, number + 1, writes))
    return found


def plan(found: Sequence[Window], seed: int, subsets: int) -> list[Cut]:
    """Every boundary, and random subsets of each window: ``subsets`` of one write, twice as many of two or three …"""
    source = random.Random(seed)
    planned: list[Cut] = []
    for window in found:
        planned.append(Cut(window))
        planned += [Cut(window, source.randrange(1 << 32)) for _ in range(subsets * window.writes.bit_length())]
    return planned


def sample(planned: Sequence[Cut], seed: int, count: int) -> list[Cut]:
    """``count`` of the cuts in their order, spread over the whole: one of each of as many equal stretches."""
    if count >= len(planned):
        return list(planned)
    source = random.Random(seed)
    edges = [len(planned) * number // count for number in range(count + 1)]
    return [planned[source.randrange(first, end)] for first, end in zip(edges, edges[1:])]


def kept(cut: Cut, entries: Sequence[Entry]) -> list[Kept]:
    """What of the window's ``entries`` is on the disk after ``cut``, in the order in which it was written.

    A write that is on the disk when it is finished (FUA) is there, together with any part of what came before it.
    """
    if cut.seed is None:
        return []
    source = random.Random(cut.seed)
    share = source.choice(SHARES)
    writes = [entry for entry in entries if entry.changes]
    # A cut comes at any time in the window: what was not yet written by then is not there.
    reached = writes[: source.randint(1, len(writes))] if writes else []
    result = []
    for entry in reached:
        if entry.fua:
            result.append(Kept(entry, ((0, entry.length),)))
        elif source.random() < share:
            torn = source.random() < TORN
            ranges = _torn(entry, source) if torn else ((0, entry.length),)
            if ranges:
                result.append(Kept(entry, ranges))
    return result


def _torn(entry: Entry, source: random.Random) -> tuple[tuple[int, int], ...]:
    """Some of the sectors of a write."""
    sectors = entry.length // SECTOR
    if sectors <= FINE:
        chosen = [number for number in range(sectors) if source.random() < 0.5]
        return tuple((number * SECTOR, SECTOR) for number in chosen)
    ranges = []
    place = 0
    while place < sectors:
        length = min(source.randint(1, sectors), sectors - place)
        if source.random() < 0.5:
            ranges.append((place * SECTOR, length * SECTOR))
        place += length
    return tuple(ranges)

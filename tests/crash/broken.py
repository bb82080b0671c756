"""Logs that are broken on purpose, so that it can be seen that the replay catches what it is there for.

Nothing of the product has a switch for this: the order of the recorded writes is changed, or their flushes are left
out, as if the product had written in that order or had not called fsync.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from tests.crash import gpt
from tests.crash.writelog import Entry

#: (entries, partition of /boot, the numbers of the first and behind the last entry of the operation) → entries
Change = Callable[[Sequence[Entry], gpt.Partition, int, int], list[Entry]]


def default_first(entries: Sequence[Entry], boot: gpt.Partition, first: int, end: int) -> list[Entry]:
    """All that the operation does to /boot, the new default with it, comes before the image is written and verified."""
    during = entries[first:end]
    early = [entry for entry in during if _on(entry, boot)]
    late = [entry for entry in during if not _on(entry, boot)]
    flush = [entry for entry in during if entry.flush][:1]
    return renumbered([*entries[:first], *early, *flush, *late, *entries[end:]])


def no_flush(entries: Sequence[Entry], boot: gpt.Partition, first: int, end: int) -> list[Entry]:
    """No fsync during the operation reaches the disk."""
    during = [entry for entry in entries[first:end] if not entry.flush or entry.changes]
    return renumbered([*entries[:first], *during, *entries[end:]])


def renumbered(entries: Sequence[Entry]) -> list[Entry]:
    return [replace(entry, number=number) for number, entry in enumerate(entries)]


def _on(entry: Entry, part: gpt.Partition) -> bool:
    return entry.changes and part.start <= entry.start < part.start + part.length


CHANGES: dict[str, Change] = {"default-first": default_first, "no-flush": no_flush}

"""The operations of the recordings, and what may be booted when: what a cut is judged by."""

from __future__ import annotations

from dataclasses import dataclass

from tests.crash.record import Recording
from tests.crash.writelog import Entry


@dataclass(frozen=True)
class Phase:
    """From the mark ``since`` on: the operation, what may be booted, and what must be as soon as the mark is reached.

    Layers by name, "" for nothing; ``now`` holds for what was flushed when the mark was made.
    """

    since: str
    operation: str
    allowed: frozenset[str]
    now: frozenset[str]


def phases(recording: Recording) -> tuple[Phase, ...]:
    """The phases of a recording in the order of time; the first begins with the first write."""
    layers = [f"{nvr}+1" for nvr in recording.images]
    if recording.name in ("install", "reinstall"):
        whole, nothing = frozenset(layers[:1]), frozenset({""})
        before = nothing if recording.name == "install" else whole
        return (
            Phase("", recording.name, whole | nothing, before),
            Phase("installed", recording.name, whole, whole),
        )
    if recording.name == "first-boot":
        # Whatever is half done: the layer boots, and goes on with its first boot.
        return (Phase("", "first boot", frozenset(layers), frozenset(layers)),)
    old, new = (frozenset({layer}) for layer in layers)
    both = old | new
    if recording.name == "upgrade":
        return (Phase("", "upgrade", both, old), Phase("updated", "upgrade", new, new))
    return (
        Phase("", "mark good", new, new),
        Phase("good", "rollback", both, new),
        Phase("rolled back", "rollback", both, old),
        Phase("rolled forth", "remove", new, new),
        Phase("removed", "remove", new, new),
    )


def entries_before(entries: tuple[Entry, ...], place: int) -> int:
    """The number of entries that were in the log whole when it had ``place`` bytes."""
    count = 0
    for entry in entries:
        length = 0 if entry.discard else entry.length
        if entry.data + length > place:
            break
        count = entry.number + 1
    return count


def at(found: tuple[tuple[int, Phase], ...], number: int) -> Phase:
    """The phase that holds for a cut with the entries before ``number`` on the disk."""
    chosen = found[0][1]
    for first, phase in found:
        if first <= number:
            chosen = phase
    return chosen


def placed(recording: Recording, entries: tuple[Entry, ...]) -> tuple[tuple[int, Phase], ...]:
    """The phases, each with the number of the entry that it begins with."""
    marks = {name: entries_before(entries, place) for name, place in recording.marks}
    return tuple((marks[phase.since] if phase.since else 0, phase) for phase in phases(recording))

"""Replays the cuts of a recording, remembers each verdict, and goes on where it stopped."""

from __future__ import annotations

import json
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Optional

from org_ovirt_node.image.cache import key_of
from tests.crash import broken, cuts, operations
from tests.crash.cuts import Cut
from tests.crash.disk import Disk
from tests.crash.judge import GPT, Reference, Verdict, judge, learn, unexpected
from tests.crash.operations import Phase
from tests.crash.record import Recording
from tests.crash.replay import Replay
from tests.crash.writelog import Log
from tests.vm import artefacts

STATE = artefacts.PROJECT / "build" / "crash"
#: A folder in memory, and the bytes of memory that must be free for a disk and its file systems to go there.
MEMORY, IN_MEMORY = Path("/dev/shm"), 8 << 30
#: Seconds between two lines that say how far it is.
SAID = 30.0
#: Cuts of a broken log until it is said that nobody noticed.
BROKEN_CUTS = 60


@dataclass(frozen=True)
class Choice:
    """Which cuts: for each window ``subsets`` random ones, and of all of them ``count`` (0: all)."""

    seed: int
    subsets: int
    count: int = 0


@dataclass
class Result:
    """What became of the cuts of one recording."""

    recording: str
    planned: int
    verdicts: dict[str, dict[str, Any]] = field(default_factory=dict)

    @property
    def violations(self) -> list[dict[str, Any]]:
        return [one for one in self.verdicts.values() if one["wrong"]]

    @property
    def left(self) -> list[dict[str, Any]]:
        """Those with something that is the disk's or LVM's to lose."""
        return [one for one in self.verdicts.values() if one["left"]]


@dataclass
class Opened:
    """A recording that is being replayed."""

    recording: Recording
    replay: Replay
    disk: Disk
    phases: tuple[tuple[int, Phase], ...]
    reference: Reference

    def verdict(self, cut: Cut) -> Verdict:
        """Judge ``cut``, which the disk is in."""
        found = judge(self.disk, self.reference, self.recording.images, cut.name)
        phase = operations.at(self.phases, cut.window.first)
        allowed = phase.allowed if cut.window.first > 0 else phase.now
        table = tuple(said for said in found.left if said.startswith(GPT))
        # Where nothing has to boot, a partition table that is half written is one that is being made.
        left = tuple(said for said in found.left if said not in table) if "" in allowed else found.left
        # What was flushed is nobody's to lose.
        lost = left if cut.seed is None else ()
        other = () if table and cut.seed is not None else unexpected(found, allowed)
        return Verdict(found.cut, found.state, found.next, (*found.wrong, *lost, *other), left, found.later)

    def at_marks(self) -> list[tuple[Phase, Cut]]:
        """For each phase what was on the disk for certain when it began."""
        chosen = []
        for number, phase in self.phases:
            before = [window for window in cuts.windows(self.replay.entries) if window.first <= number]
            chosen.append((phase, Cut(before[-1])))
        return chosen


@contextmanager
def opened(recording: Recording, change: Optional[str] = None) -> Iterator[Opened]:
    """The recording, ready to be cut; ``change`` names one of broken.CHANGES."""
    folder = Path(tempfile.mkdtemp(prefix="ovirt-node-crash-", dir=_work_place()))
    try:
        with Log(recording.log) as log:
            base = recording.base if recording.base.exists() else None
            reference = _reference(recording, log, base, folder)
            with Replay(log, base, recording.size, folder / "disk") as replay:
                disk = Disk(replay, folder / "scratch", first_boot=recording.name == "first-boot")
                phases = operations.placed(recording, tuple(replay.entries))
                if change is not None:
                    replay.entries = _changed(change, replay, disk, phases)
                yield Opened(recording, replay, disk, phases, reference)
    finally:
        shutil.rmtree(folder)


def _scratch() -> Path:
    STATE.mkdir(parents=True, exist_ok=True)
    return STATE


def _work_place() -> Path:
    """Where the disk of a replay is put: in memory where there is plenty, for the checkers flush what they write."""
    for line in Path("/proc/meminfo").read_text().splitlines():
        name, _, value = line.partition(":")
        if name == "MemAvailable" and int(value.split()[0]) << 10 > IN_MEMORY:
            return MEMORY
    return _scratch()


def _changed(change: str, replay: Replay, disk: Disk, phases: tuple[tuple[int, Phase], ...]) -> list[Any]:
    boot = disk.partition(2)
    if boot is None:
        raise ValueError("only a recording that begins with a node can be broken")
    return broken.CHANGES[change](replay.entries, boot, 0, phases[1][0])


def _reference(recording: Recording, log: Log, base: Optional[Path], folder: Path) -> Reference:
    """What is right, learnt where nothing was going on: before the first write, at each mark, and at the end."""
    kept = STATE / f"reference-{key_of(str(recording.folder), sources_key())}.json"
    if kept.exists():
        return Reference.load(kept.read_text())
    reference = Reference()
    with Replay(log, base, recording.size, folder / "whole") as replay:
        disk = Disk(replay, folder / "learn")
        if base is not None:
            learn(disk, reference)
        for name, place in recording.marks:
            if name != "begin":
                replay.forward(operations.entries_before(tuple(replay.entries), place))
                learn(disk, reference)
        replay.forward(len(replay.entries))
        learn(disk, reference)
    kept.write_text(reference.dump())
    return reference


#: The code that rebuilds and judges a disk.
JUDGES = (
    "cuts",
    "disk",
    "filesystems",
    "gpt",
    "grubview",
    "judge",
    "lvmtext",
    "operations",
    "replay",
    "thin",
    "writelog",
)


def sources_key() -> str:
    """A key of the code that judges: with other code every cut is judged again."""
    return key_of(*((Path(__file__).with_name(f"{name}.py")).read_bytes() for name in JUDGES))


def state_key(recording: Recording) -> str:
    """A key of what verdicts depend on; a cut's name says all else of it, whoever chose it."""
    return key_of(str(recording.folder), sources_key())


def replayed(recording: Recording, choice: Choice, end: float = float("inf")) -> Result:
    """Judge the chosen cuts, but those that are judged already, until the clock (time.monotonic) is past ``end``."""
    file = _scratch() / f"{recording.name}-{state_key(recording)}.jsonl"
    known = read_verdicts(file)
    said = time.monotonic()
    with opened(recording) as one, file.open("a") as out:
        planned = cuts.plan(cuts.windows(one.replay.entries), choice.seed, choice.subsets)
        chosen = cuts.sample(planned, choice.seed, choice.count) if choice.count else planned
        result = Result(recording.name, len(chosen))
        for cut, phase in _in_order(one, chosen):
            name = cut.name if phase is None else f"{cut.name}@{phase.since or 'begin'}"
            if name in known:
                result.verdicts[name] = known[name]
                continue
            with one.replay.cut(cut):
                verdict = one.verdict(cut)
            found = verdict.as_dict()
            if phase is not None:
                found["wrong"] += unexpected(verdict, phase.now)
            found["cut"] = name
            found["operation"] = operations.at(one.phases, cut.window.first).operation
            result.verdicts[name] = found
            out.write(json.dumps(found) + "\n")
            out.flush()
            for wrong in found["wrong"]:
                print(f"  {recording.name} {name}: {wrong}", flush=True)
            now = time.monotonic()
            if now - said > SAID:
                said = now
                print(f"  {recording.name}: {len(result.verdicts)} of {len(chosen)} cuts", flush=True)
            if now > end:
                print(f"  {recording.name}: stopped at its time; the next run goes on here", flush=True)
                break
    return result


def read_verdicts(file: Path) -> dict[str, dict[str, Any]]:
    """The verdicts of an earlier run by the cuts' names; a last line that was cut short is taken out of the file."""
    if not file.exists():
        return {}
    text = file.read_text()
    whole = text[: text.rfind("\n") + 1]
    if whole != text:
        file.write_text(whole)
    return {one["cut"]: one for one in map(json.loads, whole.splitlines())}


class Booted:
    """Which cuts of a recording were booted, kept in a file beside it; "" says that all was well.

    They belong to the recording alone: whoever chose a cut, its name has the seed, and what a machine did stays true.
    What the judge said instead of a boot does not: it is not kept.
    """

    def __init__(self, recording: Recording) -> None:
        self.file = recording.folder / "boots.json"
        self.results: dict[str, str] = json.loads(self.file.read_text()) if self.file.exists() else {}
        self.judged: set[str] = set()

    def note(self, cut: str, said: str, *, judged: bool = False) -> None:
        self.results[cut] = said
        if judged:
            self.judged.add(cut)
        kept = {name: result for name, result in self.results.items() if name not in self.judged}
        partial = self.file.with_suffix(".partial")
        partial.write_text(json.dumps(kept, indent=1))
        partial.rename(self.file)


def _in_order(one: Opened, chosen: list[Cut]) -> Iterator[tuple[Cut, Optional[Phase]]]:
    """The cuts, and those at the marks between them: the disk only ever goes forward."""
    marks = one.at_marks()
    both = [(cut.window.first, 1, number, cut, None) for number, cut in enumerate(chosen)]
    both += [(cut.window.first, 0, number, cut, phase) for number, (phase, cut) in enumerate(marks)]  # type: ignore[misc]
    for _, _, _, cut, phase in sorted(both, key=lambda item: item[:3]):
        yield cut, phase


def caught(recording: Recording, change: str, seed: int) -> list[dict[str, Any]]:
    """The first verdicts with violations of the broken log (one window's worth); empty when nobody noticed."""
    with opened(recording, change) as one:
        found = cuts.windows(one.replay.entries)
        planned = cuts.plan(found, seed, BROKEN_CUTS if len(found) < 10 else 1)
        for cut in cuts.sample(planned, seed, BROKEN_CUTS):
            with one.replay.cut(cut):
                verdict = judge(one.disk, one.reference, recording.images, cut.name)
            if verdict.wrong:
                return [verdict.as_dict()]
    return []

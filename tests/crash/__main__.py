"""Power cuts: ``python -m tests.crash {replay,short,boot-partition,matrix,broken,table,record}``."""

from __future__ import annotations

import argparse
import logging
import random
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.crash import bootcuts, bootfaults, boots, broken, cuts, matrix, record, report, run
from tests.crash.record import Recording
from tests.crash.run import Choice, Opened

#: A seed that is not given is chosen anew only by who asks for it: results can be repeated.
SEED = 20261123
#: The short version: cuts of each recording, boots, and seconds for the replay of each.
SHORT_CUTS, SHORT_LIMIT = 40, 90.0
SHORT_RECORDINGS = ("upgrade",)
#: Boots of the full version.
BOOTS = 60
#: Cuts that the full version must have tried when it has come to its end.
LEAST_CUTS = 500
#: How they are shared: an installation's costs another installation, and most of the operations are in the others.
WEIGHTS = {"install": 6, "reinstall": 6, "upgrade": 18, "trial": 20, "first-boot": 10}
#: Random subsets of each window in the full version.
SUBSETS = 2


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.crash", description="Power cuts, replayed.")
    commands = parser.add_subparsers(dest="command", required=True)
    full = commands.add_parser("replay", help="every cut of the recordings, going on where it stopped")
    full.add_argument("--recording", action="append", choices=sorted(record.MAKERS), help="only these")
    full.add_argument("--subsets", type=int, default=SUBSETS, help="random subsets of each window (default: 2)")
    full.add_argument("--cuts", type=int, default=0, help="so many cuts of each recording at most (default: all)")
    full.add_argument("--boots", type=int, default=BOOTS, help="cuts that are booted (default: 60)")
    full.add_argument("--seconds", type=float, default=0.0, help="begin nothing after so many seconds (default: end)")
    short = commands.add_parser("short", help="what make check runs: a sample of the cuts, and two boots")
    short.add_argument("--boots", type=int, default=2, help="cuts that are booted (default: 2)")
    part = commands.add_parser("boot-partition", help="cuts in all changes of /boot, without a machine")
    part.add_argument("--subsets", type=int, default=SUBSETS, help="random subsets of each window (default: 2)")
    grid = commands.add_parser("matrix", help="kills around each step of an update, and faults of its disk")
    bad = commands.add_parser("broken", help="show that a broken order is caught")
    bad.add_argument("--recording", default="upgrade", choices=["upgrade"])
    commands.add_parser("record", help="only make the recordings").add_argument("name", choices=sorted(record.MAKERS))
    commands.add_parser("table", help="write the figures' table into docs/reliability.md")
    for one in (full, short, bad):
        one.add_argument("--kept", action="store_true", help="recordings that are there, whatever they were made from")
    for one in (full, short, part, grid, bad):
        one.add_argument("--seed", type=int, default=SEED, help=f"which cuts (default: {SEED})")
    options = parser.parse_args()
    if options.command == "table":
        report.write_table(report.load())
        return 0
    if options.command == "record":
        print(record.recording(options.name).folder)
        return 0
    print(f"seed {options.seed}", flush=True)
    find = record.kept if getattr(options, "kept", False) else record.recording
    if options.command == "boot-partition":
        return boot_partition(options.seed, options.subsets)
    if options.command == "matrix":
        return kill_and_fault(options.seed)
    if options.command == "broken":
        return show_broken(find(options.recording), options.seed)
    if options.command == "short":
        failed = boot_partition(options.seed, 0, sample=True)
        choice = Choice(options.seed, 1, SHORT_CUTS)
        return (
            replay(
                [find(name) for name in SHORT_RECORDINGS], choice, options.boots, cuts_limit=SHORT_LIMIT, sample=True
            )
            or failed
        )
    failed = 0 if options.recording else boot_partition(options.seed, options.subsets)
    recordings = [find(name) for name in options.recording or record.MAKERS]
    choice = Choice(options.seed, options.subsets, options.cuts)
    failed = replay(recordings, choice, options.boots, limit=options.seconds) or failed
    # Who asks for a part gets a part.
    whole = not (options.recording or options.cuts or options.seconds)
    return too_few(report.load(), options.boots) if whole and not failed else failed


def too_few(data: dict[str, Any], boots_wanted: int) -> int:
    """1, and a sentence, when the whole run has tried less than it is to."""
    cuts_done, boots_done = int(data.get("cuts", 0)), int(data.get("boots", 0))
    if cuts_done >= LEAST_CUTS and boots_done >= boots_wanted:
        return 0
    print(f"too little was tried: {cuts_done} cuts of {LEAST_CUTS}, {boots_done} boots of {boots_wanted}", flush=True)
    return 1


def boot_partition(seed: int, subsets: int, *, sample: bool = False) -> int:
    """The cuts of /boot alone; ``sample``: not all of them."""
    with tempfile.TemporaryDirectory(dir="/dev/shm", prefix="ovirt-node-crash-") as folder:
        outcome = bootcuts.judged(Path(folder), seed, subsets)
    for wrong in outcome.violations:
        print(f"  /boot: {wrong}")
    print(f"/boot: {outcome.cuts} cuts, {len(outcome.violations)} violations", flush=True)
    figures = {"cuts": outcome.cuts, "violations": len(outcome.violations), "left": outcome.left, "seed": seed}
    report.note("/boot alone", figures, sample=sample)
    return 1 if outcome.violations else 0


def kill_and_fault(seed: int) -> int:
    """The kill matrix and the faults of an update in a folder, and the faults of /boot's disk."""
    # What the program itself logs of the faults is no news here.
    logging.disable(logging.CRITICAL)
    failed = 0
    parts: tuple[tuple[str, str, Callable[[], matrix.Outcome]], ...] = (
        ("update in a folder: kills", "kills", matrix.kills),
        ("update in a folder: faults", "faults", lambda: matrix.faults(seed)),
        ("/boot alone: faults", "faults", lambda: boot_faults(seed)),
    )
    for part, name, tried in parts:
        outcome = tried()
        for wrong in outcome.violations:
            print(f"  {wrong}")
        print(f"{part}: {outcome.tried}, {len(outcome.violations)} violations", flush=True)
        figures = {name: outcome.tried, "violations": len(outcome.violations), "seed": seed}
        report.note(part, figures)
        failed = failed or int(bool(outcome.violations))
    return failed


def boot_faults(seed: int) -> matrix.Outcome:
    with tempfile.TemporaryDirectory(dir="/dev/shm", prefix="ovirt-node-crash-") as folder:
        return bootfaults.judged(Path(folder), seed)


def replay(
    recordings: list[Recording],
    choice: Choice,
    wanted_boots: int,
    *,
    limit: float = 0.0,
    cuts_limit: float = 0.0,
    sample: bool = False,
) -> int:
    """Replay recordings, boot a sample of their cuts, and note the figures; 1 when there was a violation.

    Begins no cut and no boot after ``limit`` seconds, and no cut of a recording after ``cuts_limit`` (0: goes on).
    """
    failed, end = 0, time.monotonic() + limit if limit else float("inf")
    shares = share_boots([recording.name for recording in recordings], wanted_boots)
    for recording in recordings:
        name, started = recording.name, time.monotonic()
        result = run.replayed(recording, choice, min(end, started + cuts_limit) if cuts_limit else end)
        done, wrong = boot_some(recording, choice, shares[name], end)
        violations = len(result.violations) + len(wrong)
        seconds = round(time.monotonic() - started)
        counted = f"{len(result.verdicts)} cuts, {done} boots, {violations} violations, {len(result.left)} left"
        print(f"{name}: {counted}, {seconds} s", flush=True)
        figures = {"cuts": len(result.verdicts), "boots": done, "violations": violations, "seed": choice.seed}
        figures["left"] = len(result.left)
        operations: dict[str, int] = {}
        for verdict in result.verdicts.values():
            operations[verdict["operation"]] = operations.get(verdict["operation"], 0) + 1
        report.note(name, {**figures, "operations": operations}, sample=sample)
        failed = failed or int(violations > 0)
    return failed


def share_boots(names: list[str], count: int) -> dict[str, int]:
    """How many of ``count`` boots each recording gets."""
    total = sum(WEIGHTS[name] for name in names)
    edges = [0]
    for name in names:
        edges.append(edges[-1] + WEIGHTS[name])
    return {name: count * end // total - count * first // total for name, first, end in zip(names, edges, edges[1:])}


def boot_some(recording: Recording, choice: Choice, count: int, end: float) -> tuple[int, list[str]]:
    """Boot ``count`` of the cuts, but those that were booted before; how many were, and what went wrong.

    Begins none when the clock (time.monotonic) is past ``end``.
    """
    known = run.Booted(recording)
    if count and time.monotonic() < end:
        with run.opened(recording) as one:
            every = planned(one, choice)
            least = 0
            for place in to_boot(recording.name, len(every), choice.seed, count):
                place = least = max(place, least)
                # Where there is nothing that could be booted, the next cut is.
                while (
                    place < len(every) and time.monotonic() < end and boot_one(one, every[place], known) == boots.LEFT
                ):
                    place += 1
                least = place + 1
    wrong = [f"{name}: {said}" for name, said in known.results.items() if said and said != boots.LEFT]
    for line in wrong:
        print(f"  {recording.name} booted, cut {line}", flush=True)
    tried = [said for said in known.results.values() if not boots.judged(said)]
    return len(tried), wrong


def to_boot(name: str, length: int, seed: int, count: int) -> list[int]:
    """Which of ``length`` cuts are booted, in their order: spread over all of them.

    Nearly all cuts of an installation leave nothing to boot, so half of its are from the last tenth.
    """
    source = random.Random(seed)
    late = count // 2 if name in ("install", "reinstall") else 0
    chosen = []
    for first, end, number in (
        (0, length - length // 10 * bool(late), count - late),
        (length - length // 10, length, late),
    ):
        edges = [first + (end - first) * part // max(number, 1) for part in range(number + 1)]
        chosen += [source.randrange(low, max(high, low + 1)) for low, high in zip(edges, edges[1:])]
    return sorted(chosen)


def boot_one(one: Opened, cut: cuts.Cut, known: run.Booted) -> str:
    """Boot ``cut`` where that was not done before; what came of it."""
    if cut.name not in known.results:
        name = one.recording.name
        print(f"  {name}: booting cut {cut.name}", flush=True)
        began = time.monotonic()
        said = boots.booted(one, cut, run.STATE / f"boot-{name}-{cut.name}")
        known.note(cut.name, said, judged=boots.judged(said))
        print(f"  {name}: {said or 'all well'} after {time.monotonic() - began:.0f} s", flush=True)
    return known.results[cut.name]


def planned(one: Opened, choice: Choice) -> list[cuts.Cut]:
    return cuts.plan(cuts.windows(one.replay.entries), choice.seed, choice.subsets)


def show_broken(recording: Recording, seed: int) -> int:
    """Each broken log must be caught; 1 when one is not."""
    failed = 0
    for change in broken.CHANGES:
        found = run.caught(recording, change, seed)
        for one in found:
            print(f"{change}: caught at cut {one['cut']}: {one['wrong'][0]}")
        if not found:
            print(f"{change}: nobody noticed")
            failed = 1
    return failed


if __name__ == "__main__":
    sys.exit(main())

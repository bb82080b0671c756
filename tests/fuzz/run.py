"""The longer run: every target in turn, for a time, with memory and each call limited; findings go to the corpus."""

from __future__ import annotations

import hashlib
import logging
import random
import resource
import signal
import time
import traceback
from types import FrameType
from typing import Optional

from tests.fuzz import targets
from tests.fuzz.mutate import mutated

#: Seconds for one input.
LIMIT = 10.0
#: Bytes of address space for all: Python itself and what the input may make it take.
MEMORY = 2 << 30


class Hangs(Exception):
    """An input that takes too long."""


def limited(name: str, data: bytes) -> None:
    """Attack with a limit of time.  Raises whatever is a finding."""

    def late(_number: int, _frame: Optional[FrameType]) -> None:
        raise Hangs(f"{name} did not end within {LIMIT:g} s")

    before = signal.signal(signal.SIGALRM, late)
    signal.setitimer(signal.ITIMER_REAL, LIMIT)
    try:
        targets.attack(name, data)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def keep(name: str, data: bytes) -> str:
    """Put a finding into the corpus; returns its name."""
    folder = targets.CORPUS / name
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / hashlib.sha256(data).hexdigest()[:16]
    file.write_bytes(data)
    return str(file)


def fuzz(names: list[str], seconds: float, seed: int) -> tuple[int, int]:
    """Attack each of ``names`` for its share of ``seconds``; returns executions and findings."""
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    logging.disable(logging.CRITICAL)
    executions = findings = 0
    for name in names:
        source = random.Random(f"{seed} {name}")
        samples = [*targets.TARGETS[name].samples, *targets.corpus(name)]
        end = time.monotonic() + seconds / len(names)
        count, known = 0, set()
        while time.monotonic() < end:
            data = mutated(source, samples)
            count += 1
            try:
                limited(name, data)
            except Exception as exc:
                where = traceback.extract_tb(exc.__traceback__)[-1]
                place = (type(exc), where.filename, where.lineno)
                if place not in known:
                    known.add(place)
                    print(f"{name}: {exc!r} in {where.filename}:{where.lineno}, kept as {keep(name, data)}", flush=True)
        executions, findings = executions + count, findings + len(known)
        print(f"{name}: {count} inputs, {len(known)} findings", flush=True)
    return executions, findings

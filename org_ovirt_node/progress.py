"""Progress, as the steps report it and as a terminal, a JSON reader or Anaconda shows it."""

from __future__ import annotations

import json
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Optional, Protocol, TextIO

from org_ovirt_node.kickstart.units import human_size

#: Seconds between two reports of the same transfer, and of a file that another program writes.
INTERVAL = 0.5
GROWTH_INTERVAL = 2.0


class Progress(Protocol):
    """What a step may say while it works."""

    def step(self, name: str, text: str) -> None:
        """A named step begins; ``text`` is for people."""

    def detail(self, text: str) -> None:
        """Something within the step, for people."""

    def transferred(self, done: int, total: Optional[int]) -> None:
        """``done`` of ``total`` bytes (None: not known) are through."""


def human(size: float) -> str:
    """``size`` bytes with a binary unit, for people who see it change."""
    return human_size(size, steady=True)


@dataclass
class Meter:
    """Rate and time left of a transfer, in bytes and seconds."""

    clock: Callable[[], float] = time.monotonic
    started: Optional[float] = None
    last: float = field(default=float("-inf"))

    def due(self, done: int, total: Optional[int]) -> bool:
        """True when a report should be shown: at most every INTERVAL, and always at the end.

        No byte of an unknown number is where the clock starts, and nothing to show.
        """
        now = self.clock()
        if self.started is None:
            self.started = now
        begins = not done and total is None
        if begins or (now - self.last < INTERVAL and done != total):
            return False
        self.last = now
        return True

    def text(self, done: int, total: Optional[int]) -> str:
        seconds = self.clock() - (self.started if self.started is not None else self.clock())
        rate = done / seconds if seconds > 0 else 0.0
        parts = [human(done) if total is None else f"{human(done)} of {human(total)}"]
        if total:
            parts.append(f"{100 * done // total} %")
        if rate:
            parts.append(f"{human(rate)}/s")
            if total and done < total:
                parts.append(f"{(total - done) / rate:.0f} s left")
        return ", ".join(parts)


class Silent:
    """Shows nothing."""

    def step(self, name: str, text: str) -> None:
        """Nothing."""

    def detail(self, text: str) -> None:
        """Nothing."""

    def transferred(self, done: int, total: Optional[int]) -> None:
        """Nothing."""


class TextProgress:
    """Lines for people; a transfer redraws its line on a terminal."""

    def __init__(self, out: Optional[TextIO] = None) -> None:
        self.out = out if out is not None else sys.stderr
        self.meter = Meter()
        self.tty = self.out.isatty()
        self.open_line = False

    def _line(self, text: str) -> None:
        if self.open_line:
            self.out.write("\n")
            self.open_line = False
        self.out.write(text + "\n")
        self.out.flush()

    def step(self, name: str, text: str) -> None:
        self.meter = Meter()
        self._line(f"* {text}")

    def detail(self, text: str) -> None:
        self._line(f"    {text}")

    def transferred(self, done: int, total: Optional[int]) -> None:
        if not self.meter.due(done, total):
            return
        text = f"    {self.meter.text(done, total)}"
        if not self.tty:
            self._line(text)
            return
        self.out.write(f"\r{text:<78}")
        self.out.flush()
        self.open_line = True


class JsonProgress:
    """One JSON object per line: ``{"event": "step"|"detail"|"transfer", …}``; sizes in bytes."""

    def __init__(self, out: Optional[TextIO] = None) -> None:
        self.out = out if out is not None else sys.stdout
        self.meter = Meter()

    def _emit(self, **fields: object) -> None:
        self.out.write(json.dumps(fields) + "\n")
        self.out.flush()

    def step(self, name: str, text: str) -> None:
        self.meter = Meter()
        self._emit(event="step", name=name, text=text)

    def detail(self, text: str) -> None:
        self._emit(event="detail", text=text)

    def transferred(self, done: int, total: Optional[int]) -> None:
        if self.meter.due(done, total):
            self._emit(event="transfer", done=done, total=total)


@contextmanager
def growing(file: Path, progress: Progress) -> Iterator[None]:
    """Report the size of ``file`` while the block waits for a program that writes it."""
    ended = threading.Event()
    progress.transferred(0, None)

    def watch() -> None:
        while not ended.wait(GROWTH_INTERVAL):
            with suppress(FileNotFoundError):  # not begun yet
                progress.transferred(file.stat().st_size, None)

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield
    finally:
        ended.set()
        watcher.join()

"""Progress of the steps as the text that Anaconda shows of a task, and in its log."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Optional

from org_ovirt_node.progress import Meter

log = logging.getLogger(__name__)

#: Anaconda's text mode prints every text on a line of its own: a transfer is told by such parts of a hundred, or
#: after so many seconds.
PERCENT = 10
SECONDS = 30.0


class TaskProgress:
    """Implements :class:`org_ovirt_node.progress.Progress` by one function that takes a text.

    ConfigureBootloaderWithTasks is run by a wrapper of Anaconda's that shows no text of a task: there it is the log
    that tells (on the installer's second console, and in /tmp/anaconda.log).
    """

    def __init__(self, report: Callable[[str], None]) -> None:
        self.report = report
        self.text = ""
        self._begin()

    def _begin(self) -> None:
        self.meter = Meter()
        self.shown = -1
        self.at = time.monotonic()

    def step(self, name: str, text: str) -> None:
        self.text = text
        self._begin()
        log.info("step %s: %s", name, text)
        self.report(text)

    def detail(self, text: str) -> None:
        log.info("%s", text)
        self.report(text)

    def transferred(self, done: int, total: Optional[int]) -> None:
        self.meter.due(done, total)
        percent = 100 * done // total if total else 0
        now = time.monotonic()
        if percent // PERCENT == self.shown and now - self.at < SECONDS:
            return
        self.shown, self.at = percent // PERCENT, now
        text = f"{self.text}: {self.meter.text(done, total)}"
        log.info("%s", text)
        self.report(text)

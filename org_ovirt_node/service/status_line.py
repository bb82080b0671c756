"""The transfer's progress on the status line of the installer's consoles.

Anaconda runs ConfigureBootloaderWithTasks in a wrapper that shows nothing of what a task says.  Its text screens are
windows of tmux, whose status line every console shows, whatever is above it; where there is none, nothing is lost.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from org_ovirt_node.errors import CommandError
from org_ovirt_node.run import Completed, run

log = logging.getLogger(__name__)

#: The name that Anaconda gives its session (its tmux.conf).
SESSION = "anaconda"
LENGTH = 78
#: Seconds: a tmux that does not answer must not hold up an installation.
PATIENCE = 5.0


def _tmux(*arguments: str) -> Completed:
    return run(["tmux", *arguments], check=False, timeout=PATIENCE)


@contextmanager
def status_line() -> Iterator[Callable[[str], None]]:
    """Yields what puts a text on the status line; afterwards it says again what it said before."""
    before: dict[str, str] = {}
    try:
        for name in ("status-right", "status-right-length"):
            asked = _tmux("show-options", "-v", "-t", SESSION, name)
            if asked.ok:
                before[name] = asked.stdout.rstrip("\n")
    except CommandError as exc:
        log.info("no status line: %s", exc)

    def change(*arguments: str) -> None:
        try:
            _tmux("set-option", *arguments)
        except CommandError as exc:
            log.debug("%s", exc)

    def show(text: str) -> None:
        # "#" begins a format in tmux(1).
        if before:
            change("-t", SESSION, "status-right", text.replace("#", "##")[:LENGTH] + " ")

    if before:
        change("-t", SESSION, "status-right-length", str(LENGTH + 1))
    try:
        yield show
    finally:
        for name, value in before.items():
            change(*(("-t", SESSION, name, value) if value else ("-u", "-t", SESSION, name)))

"""The transfer's progress on the status line of the installer's consoles.

Anaconda runs ConfigureBootloaderWithTasks in a wrapper that shows nothing of what a task says.  Its text screens are
windows of tmux, whose status line every console shows, whatever is above it; where there is none, nothing is lost.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
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


def show(text: str) -> None:
    """Put ``text`` there.  "#" begins a format in tmux(1)."""
    try:
        _tmux("set-option", "-t", SESSION, "status-right", text.replace("#", "##")[:LENGTH] + " ")
    except CommandError as exc:
        log.debug("%s", exc)


@contextmanager
def status_line() -> Iterator[None]:
    """Make room for texts on the status line; afterwards it says again what it said before."""
    before: dict[str, str] = {}
    try:
        for name in ("status-right", "status-right-length"):
            asked = _tmux("show-options", "-v", "-t", SESSION, name)
            if asked.ok:
                before[name] = asked.stdout.rstrip("\n")
        _tmux("set-option", "-t", SESSION, "status-right-length", str(LENGTH + 1))
    except CommandError as exc:
        log.info("no status line: %s", exc)
    try:
        yield
    finally:
        for name, value in before.items():
            restore = ("set-option", "-t", SESSION, name, value) if value else ("set-option", "-u", "-t", SESSION, name)
            try:
                _tmux(*restore)
            except CommandError as exc:
                log.debug("%s", exc)

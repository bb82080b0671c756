"""A byte channel to a machine (one of its consoles): everything is read as it comes, and every wait has a limit."""

from __future__ import annotations

import re
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path
from re import Match
from typing import Optional

from tests.vm.errors import MachineDied, TimedOut

#: Lines of a console that a failure shows.
SHOWN = 25
#: Seconds between two looks at a peer.
LOOK = 1.0
#: Terminal control: colours, cursor movements, titles; and carriage returns.
CONTROL = re.compile(rb"\x1b\[[0-9;?!]*[ -/]*[@-~]|\x1b\][^\x07]*\x07|\x1b[()][A-Z0-9]|\x1b[=>c78]|\r")


def plain(data: bytes) -> str:
    """What a console shows, without terminal control."""
    return CONTROL.sub(b"", data).decode("utf-8", errors="replace")


class Channel:
    """Reads a UNIX socket in the background, so that a machine never waits for us; keeps all it said."""

    def __init__(self, name: str, path: Path, *, fatal: str = "", peer: Optional[Channel] = None) -> None:
        """``fatal``: after this pattern nothing more will come.  ``peer``: a channel to the same machine, whose fatal
        end ends waits here too.
        """
        self.name = name
        self.fatal = re.compile(fatal) if fatal else None
        self.dead = False
        self.peer = peer
        #: Monotonic time after which every wait fails: the machine's own limit.
        self.deadline = float("inf")
        self.heard = b""
        #: Up to here a wait has consumed what was heard.
        self.position = 0
        #: Called with every whole line as it comes, in the reader's thread.
        self.listener: Optional[Callable[[str], None]] = None
        self.line = b""
        self.closed = False
        self.changed = threading.Condition()
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.connect(str(path))
        self.reader = threading.Thread(target=self._read, name=f"console {name}", daemon=True)
        self.reader.start()

    def _read(self) -> None:
        while True:
            try:
                data = self.socket.recv(65536)
            except OSError:
                data = b""
            with self.changed:
                if data:
                    self.heard += data
                    if self.fatal and self.fatal.search(plain(self.heard[-len(data) - 200 :])):
                        self.dead = True
                else:
                    self.closed = True
                self.changed.notify_all()
            if not data:
                return
            if self.listener is not None:
                *whole, self.line = (self.line + data).split(b"\n")
                for line in whole:
                    self.listener(plain(line))

    def send(self, text: str) -> None:
        """Send ``text`` as typed.  Raises :class:`MachineDied` when nobody listens any more."""
        try:
            self.socket.sendall(text.encode())
        except OSError as exc:
            raise MachineDied(f"{self.name}: the machine is gone: {exc}") from exc

    def wait_for(self, pattern: str, timeout: float) -> Match[str]:
        """Wait until what came since the last wait matches ``pattern`` (multi-line), and consume it up to there.

        Raises :class:`TimedOut` after ``timeout`` seconds, and :class:`MachineDied` when the machine ends before.
        """
        expression = re.compile(pattern, re.MULTILINE)
        deadline = min(time.monotonic() + timeout, self.deadline)
        with self.changed:
            while True:
                pending = self.heard[self.position :]
                found = expression.search(plain(pending))
                if found:
                    self.position = len(self.heard) - _unread(pending, found)
                    return found
                if self.closed or self.dead or (self.peer and self.peer.dead):
                    raise MachineDied(f"{self.name}: the machine died while we waited for {pattern!r}\n{self.tail()}")
                left = deadline - time.monotonic()
                if left <= 0:
                    limit = "before the machine's own limit" if deadline == self.deadline else f"within {timeout:g} s"
                    raise TimedOut(f"{self.name}: no {pattern!r} {limit}\n{self.tail()}")
                # A peer's end is seen at the next look.
                self.changed.wait(min(left, LOOK))

    def forget(self) -> None:
        """The next wait looks only at what comes from now on."""
        with self.changed:
            self.position = len(self.heard)

    def seen(self, pattern: str) -> Optional[Match[str]]:
        """The first match of ``pattern`` in all that was ever heard, or None; does not wait or consume."""
        return re.search(pattern, plain(self.heard), re.MULTILINE)

    def tail(self, lines: int = SHOWN) -> str:
        """The last ``lines`` that the machine said here, for a failure."""
        said = [line for line in plain(self.heard).splitlines() if line.strip()]
        return "\n".join(f"  {self.name}| {line}" for line in said[-lines:]) or f"  {self.name}| (nothing was said)"

    def close(self) -> None:
        self.socket.close()


def _unread(pending: bytes, found: Match[str]) -> int:
    """Bytes of ``pending`` that follow the match: matching is done on plain text, so look for the cut from behind."""
    after = len(plain(pending)) - found.end()
    low, high = 0, len(pending)
    while low < high:
        middle = (low + high) // 2
        if len(plain(pending[middle:])) > after:
            low = middle + 1
        else:
            high = middle
    return len(pending) - low

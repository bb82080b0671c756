"""Ending reads that wait on a connection: for one that drips, and for a transfer that is interrupted.

A read time-out starts again with every byte that comes, so that a server that sends a byte now and then could hold an
installation up for days.
"""

from __future__ import annotations

import logging
import os
import socket
import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import Optional

import requests

from org_ovirt_node.payload.http_session import body

log = logging.getLogger(__name__)

#: How often in the span of one limit the clock is looked at.
LOOKS = 4


def cut(response: requests.Response) -> None:
    """Shut the connection of ``response`` down, so that a read on it in another thread ends at once."""
    try:
        # A copy of the descriptor: the connection itself stays the other thread's to close.
        with socket.socket(fileno=os.dup(body(response).fileno())) as connection:
            connection.shutdown(socket.SHUT_RDWR)
    except (OSError, ValueError, AttributeError) as exc:
        log.debug("the connection was gone already: %s", exc)


class Watchdog:
    """A context for reads, each of which may take ``limit`` seconds before ``action`` is called in another thread."""

    def __init__(self, limit: float, action: Callable[[], None]) -> None:
        self.limit = limit
        self.action = action
        self.barked = False
        self._since: Optional[float] = None
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="payload-watchdog", daemon=True)
        self._thread.start()

    def _watch(self) -> None:
        while not self._ended.wait(self.limit / LOOKS):
            since = self._since
            if since is not None and time.monotonic() - since > self.limit:
                self.barked = True
                self._since = None
                self.action()

    def __enter__(self) -> None:
        self._since = time.monotonic()

    def __exit__(
        self, kind: Optional[type[BaseException]], exc: Optional[BaseException], tb: Optional[TracebackType]
    ) -> None:
        self._since = None

    def close(self) -> None:
        """End the thread."""
        self._ended.set()
        self._thread.join()

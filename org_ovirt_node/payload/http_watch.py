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
from typing import Any, Optional, cast

import requests
import urllib3
from requests.adapters import HTTPAdapter

log = logging.getLogger(__name__)

#: How often in the span of one limit the clock is looked at.
LOOKS = 4


def body(response: requests.Response) -> urllib3.response.BaseHTTPResponse:
    """The body as it comes from the connection; requests' own iterator would copy it once more."""
    return cast("urllib3.response.BaseHTTPResponse", response.raw)


def _shut(descriptor: int) -> None:
    """End reads and writes on the socket ``descriptor``, and close this copy of it."""
    with socket.socket(fileno=descriptor) as connection:
        try:
            connection.shutdown(socket.SHUT_RDWR)
        except OSError as exc:
            log.debug("the connection was gone already: %s", exc)


def cut(response: requests.Response) -> None:
    """Shut the connection of ``response`` down, so that a read on it in another thread ends at once."""
    try:
        # A copy of the descriptor: the connection itself stays the other thread's to close.
        descriptor = os.dup(body(response).fileno())
    except (OSError, ValueError, AttributeError) as exc:
        log.debug("the connection was gone already: %s", exc)
        return
    _shut(descriptor)


def _end(connection: Any) -> None:
    """Close a connection that goes back to its pool, which then has an empty place to make a new one in."""
    if connection is not None:
        connection.close()


class Connections(HTTPAdapter):
    """requests' adapter, which knows the connections that are made while a request waits for its answer.

    Until the answer's header has come requests gives out nothing that a connection could be cut by.  Every request
    has a connection of its own: there are few of them, and one that was kept would be unknown, or closed meanwhile.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._made: list[int] = []
        super().__init__()

    def init_poolmanager(self, *args: Any, **options: Any) -> None:
        super().init_poolmanager(*args, **options)
        self._watch(self.poolmanager)

    def proxy_manager_for(self, proxy: str, **options: Any) -> Any:
        manager = super().proxy_manager_for(proxy, **options)
        self._watch(manager)
        return manager

    def _watch(self, manager: urllib3.PoolManager) -> None:
        """Have ``manager`` make connections that tell us of their sockets before a byte goes over them."""
        adapter = self

        class Plain(urllib3.connection.HTTPConnection):
            def _new_conn(self) -> socket.socket:
                return adapter._add(super()._new_conn())

        class Encrypted(urllib3.connection.HTTPSConnection):
            def _new_conn(self) -> socket.socket:
                return adapter._add(super()._new_conn())

        class PlainPool(urllib3.HTTPConnectionPool):
            ConnectionCls = Plain

            def _put_conn(self, conn: Any) -> None:
                _end(conn)
                super()._put_conn(None)

        class EncryptedPool(urllib3.HTTPSConnectionPool):
            ConnectionCls = Encrypted

            def _put_conn(self, conn: Any) -> None:
                _end(conn)
                super()._put_conn(None)

        manager.pool_classes_by_scheme = {"http": PlainPool, "https": EncryptedPool}

    def _add(self, connection: socket.socket) -> socket.socket:
        with self._lock:
            self._made.append(os.dup(connection.fileno()))
        return connection

    def cut(self) -> None:
        """Shut down all connections since ``forget``."""
        with self._lock:
            while self._made:
                _shut(self._made.pop())

    def forget(self) -> None:
        """From here on the connections are for others to end."""
        with self._lock:
            while self._made:
                os.close(self._made.pop())


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

"""Images on a web server (RFC 9110: ranges, validators), read as a stream that survives a bad connection.

requests does HTTP, TLS and proxies.  What is ours: which failures are worth another try, going on from the last good
byte, and noticing that the file has changed in between.
"""

from __future__ import annotations

import http.client
import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Optional, TypeVar
from urllib.parse import unquote, urlsplit

import requests
import urllib3

from org_ovirt_node.errors import PayloadError
from org_ovirt_node.i18n import _
from org_ovirt_node.payload.access import Access, Patience
from org_ovirt_node.payload.http_session import (
    Identity,
    Session,
    Transient,
    explain,
    identify,
    receive,
)
from org_ovirt_node.payload.http_watch import Watchdog, body, cut
from org_ovirt_node.payload.source import Source, StartOver, Stream, redact_url

log = logging.getLogger(__name__)

#: What the first request asks for: the superblock and, on the way, the size and whether ranges work.
HEAD_SIZE = 4096
#: One read from the connection.  One that takes longer than Patience.slice counts as a stall.
SLICE = 256 << 10
#: How often a file is begun again because the server cannot go on in the middle.
MAX_STARTS = 3
PARTIAL = 206
RANGE_NOT_SATISFIABLE = 416
#: Answers that another try may change: Request Timeout, Too Many Requests; and everything from 500 on.
RETRIED = (408, 429)
SERVER_ERRORS = 500
#: What a dead connection looks like while the body is read.
BROKEN = (OSError, urllib3.exceptions.HTTPError, http.client.HTTPException)

T = TypeVar("T")


@dataclass(frozen=True)
class _Wanted:
    """A part of the file: ``length`` None means to the end, ``resumed`` that what came before is already used."""

    offset: int
    length: Optional[int] = None
    resumed: bool = False

    @property
    def header(self) -> str:
        end = "" if self.length is None else str(self.offset + self.length - 1)
        return f"bytes={self.offset}-{end}"


class HttpSource(Source):
    """A file on a web server.  Raises PayloadError."""

    def __init__(self, url: str, access: Access = Access(), patience: Patience = Patience()) -> None:  # noqa: B008
        self.url = url
        self.name = redact_url(url)
        self.file_name = unquote(PurePosixPath(urlsplit(url).path).name)
        self.patience = patience
        self.session = Session(access, self.name)
        self.aborted = threading.Event()
        self.starts = 0
        #: Where redirects led: one mirror is kept for the whole file.
        self._pinned = url
        self.identity: Optional[Identity] = None
        self.ranges = False
        try:
            self._head = self.retried(self._probe)
        except BaseException:
            self.session.close()
            raise
        self.size = self.identity.size if self.identity else None

    def _probe(self) -> bytes:
        """Learn size and identity from the file's first bytes, and return these."""
        response = self.request(_Wanted(0, HEAD_SIZE))
        try:
            self.ranges = response.status_code == PARTIAL
            return _read_up_to(response, HEAD_SIZE)
        except BROKEN as exc:
            raise Transient(_("the connection broke: {error}").format(error=explain(exc))) from exc
        finally:
            response.close()

    def retried(self, action: Callable[[], T]) -> T:
        """Run ``action`` again after each Transient failure, a bounded number of times and with growing pauses."""
        for pause in self.patience.pauses:
            try:
                return action()
            except Transient as exc:  # noqa: PERF203
                log.warning("%s: %s; next try in %g s", self.name, exc, pause)
                if self.aborted.wait(pause):
                    raise PayloadError(_("{name}: the transfer was stopped").format(name=self.name)) from exc
        try:
            return action()
        except Transient as exc:
            tries = len(self.patience.pauses) + 1
            raise PayloadError(
                _("{name} cannot be read, after {tries} tries: {error}").format(name=self.name, tries=tries, error=exc),
                hint=_("Check the network and the server."),
            ) from exc

    def request(self, wanted: _Wanted) -> requests.Response:
        """One GET request, checked; the body is not read yet.  Raises Transient, PayloadError, StartOver."""
        headers = {}
        if wanted.offset or wanted.length is not None:
            headers["Range"] = wanted.header
            validator = self.identity.validator if self.identity else ""
            if validator:
                headers["If-Range"] = validator
        response = self.session.get(self._pinned, headers, self.patience)
        try:
            self._check_status(response)
            self._check_identity(response, wanted)
        except BaseException:
            response.close()
            raise
        self._pinned = response.url
        return response

    def _check_status(self, response: requests.Response) -> None:
        status = response.status_code
        if status in (200, PARTIAL):
            coding = response.headers.get("Content-Encoding", "identity")
            if coding != "identity":
                raise PayloadError(
                    _("{name} comes with the encoding {coding}, which was not asked for").format(
                        name=self.name, coding=coding
                    ),
                    hint=_("Have the server send the file as it is."),
                )
            return
        said = _("the server answered {status} {reason}").format(status=status, reason=response.reason).rstrip()
        if status >= SERVER_ERRORS or status in RETRIED:
            raise Transient(said)
        if self._pinned != self.url:
            # A redirect that leads to a place of limited life (a signed link): ask again where the file is.
            self._pinned = self.url
            raise Transient(said)
        if status == RANGE_NOT_SATISFIABLE:
            size = response.headers.get("Content-Range", "").rpartition("/")[2] or _("fewer")
            claimed = self.identity.size if self.identity else 0
            raise PayloadError(
                _("{name} has {size} bytes where {claimed} were announced").format(
                    name=self.name, size=size, claimed=claimed or _("some")
                ),
                hint=_("The file on the server is empty, damaged or being replaced."),
            )
        raise PayloadError(
            _("{name} cannot be read: {said}").format(name=self.name, said=said),
            hint=_("Check the address of the image."),
        )

    def _check_identity(self, response: requests.Response, wanted: _Wanted) -> None:
        """Notice a file that is not the one of the requests before, or a range that is not the one asked for."""
        seen = identify(response, wanted.offset)
        if self.identity is None:
            self.identity = seen
        elif not self.identity.agrees(seen):
            raise PayloadError(
                _("{name} changed on the server while it was read").format(name=self.name),
                hint=_("Run the installation again."),
            )
        if response.status_code != PARTIAL and wanted.offset:
            if wanted.resumed:
                raise self.start_over(_("the server cannot send the rest of the file alone"))
            raise PayloadError(_("{name}: the server cannot send a part of a file").format(name=self.name))

    def start_over(self, why: str) -> PayloadError:
        """What to raise when the file has to be read from its first byte again."""
        self.starts += 1
        if self.starts > MAX_STARTS:
            return PayloadError(
                _("{name} cannot be read: the connection broke {starts} times and {why}").format(
                    name=self.name, starts=self.starts, why=why
                ),
                hint=_("Use a server that supports ranges (RFC 9110), or a better connection."),
            )
        return StartOver(_("{name} is read from its start again: {why}").format(name=self.name, why=why))

    def read_at(self, offset: int, length: int) -> bytes:
        if offset + length <= len(self._head) or (self.size is not None and self.size <= len(self._head)):
            return self._head[offset : offset + length]

        def part() -> bytes:
            response = self.request(_Wanted(offset, length))
            try:
                return _read_up_to(response, length)
            except BROKEN as exc:
                raise Transient(_("the connection broke: {error}").format(error=explain(exc))) from exc
            finally:
                response.close()

        return self.retried(part)

    def stream(self, offset: int = 0) -> HttpStream:
        self.aborted.clear()
        return HttpStream(self, offset)

    def close(self) -> None:
        self.session.close()


def _read_up_to(response: requests.Response, length: int) -> bytes:
    parts = []
    while length > 0:
        data = body(response).read(length, decode_content=False)
        if not data:
            break
        parts.append(data)
        length -= len(data)
    return b"".join(parts)


class HttpStream(Stream):
    """The body of a file, over as many connections as it takes."""

    def __init__(self, source: HttpSource, offset: int) -> None:
        self.source = source
        self.begin = offset
        self.offset = offset
        self._good = offset
        self._failures = 0
        self._response: Optional[requests.Response] = None
        self._watchdog = Watchdog(source.patience.slice, self._cut)

    def readinto(self, view: memoryview) -> int:
        done = 0
        while done < len(view) and self.offset != self.source.size:
            if self._response is None:
                self._response = self.source.retried(self._open)
            # Looked at only now: abort() sets this first and then cuts the connection that it sees.
            if self.source.aborted.is_set():
                raise PayloadError(_("{name}: the transfer was stopped").format(name=self.source.name))
            try:
                with self._watchdog:
                    count = receive(self._response, view[done : done + SLICE])
            except BROKEN as exc:
                self._broke(explain(exc))
                continue
            if not count:
                if self.source.size is None:
                    break
                self._broke(_("it ended at byte {offset} of {size}").format(offset=self.offset, size=self.source.size))
                continue
            done += count
            self.offset += count
            if self.offset - self._good >= SLICE:
                self._good = self.offset
                self._failures = 0
        return done

    def _open(self) -> requests.Response:
        identity = self.source.identity
        if self.offset > self.begin and not (identity and identity.validator and self.source.ranges):
            # Without ranges, or without a validator that tells whether the file is still the same, what follows
            # cannot be joined to what came before.
            raise self.source.start_over(_("the server cannot go on where it stopped"))
        return self.source.request(_Wanted(self.offset, resumed=self.offset > self.begin))

    def _broke(self, cause: str) -> None:
        """The connection is gone: make ready for the next one, or give up after too many without any progress."""
        self._drop()
        if self._watchdog.barked:
            cause = _("fewer than {size} KiB came in {seconds:g} s").format(
                size=SLICE >> 10, seconds=self.source.patience.slice
            )
            self._watchdog.barked = False
        if self.source.aborted.is_set():
            raise PayloadError(_("{name}: the transfer was stopped").format(name=self.source.name))
        self._failures += 1
        pauses = self.source.patience.pauses
        if self._failures > len(pauses):
            raise PayloadError(
                _("{name} cannot be read beyond byte {offset}, after {failures} tries: {cause}").format(
                    name=self.source.name, offset=self.offset, failures=self._failures, cause=cause
                ),
                hint=_("Check the network and the server."),
            )
        log.warning("%s: the connection broke at byte %d: %s", self.source.name, self.offset, cause)
        self.source.aborted.wait(pauses[self._failures - 1])

    def _cut(self) -> None:
        response = self._response
        if response is not None:
            cut(response)

    def _drop(self) -> None:
        response, self._response = self._response, None
        if response is not None:
            response.close()

    def abort(self) -> None:
        self.source.aborted.set()
        self._cut()

    def close(self) -> None:
        self._watchdog.close()
        self._drop()

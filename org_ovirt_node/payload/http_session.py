"""One HTTP session: certificates, proxy and redirects as the kickstart asks, and failures in words."""

from __future__ import annotations

import http.client
import logging
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Optional, Union
from urllib.parse import urljoin, urlsplit

import requests
import urllib3

from org_ovirt_node.errors import PayloadError
from org_ovirt_node.i18n import _
from org_ovirt_node.payload.access import Access, Patience
from org_ovirt_node.payload.http_watch import Connections, Watchdog, body
from org_ovirt_node.payload.source import redact_url

log = logging.getLogger(__name__)
# urllib3 logs whole request lines, whose query may hold a token.
logging.getLogger("urllib3").setLevel(logging.INFO)

MAX_REDIRECTS = 5
STRONG_ETAG = re.compile(r'"[^"]*"')
CONTENT_RANGE = re.compile(r"bytes (\d+)-(\d+)/(\d+|\*)")


class Transient(Exception):
    """A failure that another try may not meet."""


@dataclass(frozen=True)
class Identity:
    """What a server says a file is: RFC 9110, 8.8 (validators)."""

    etag: str = ""
    modified: str = ""
    size: Optional[int] = None

    @property
    def validator(self) -> str:
        """What If-Range may carry: a strong entity tag, or else the date; empty when the server gives neither."""
        return self.etag if STRONG_ETAG.fullmatch(self.etag) else self.modified

    def agrees(self, other: Identity) -> bool:
        """Nothing that both know differs."""
        pairs = ((self.etag, other.etag), (self.modified, other.modified), (self.size, other.size))
        return all(mine == its for mine, its in pairs if mine and its)


def identify(response: requests.Response, offset: int) -> Identity:
    """The identity in a checked answer 200 or 206.  Raises PayloadError for a range other than the one at offset."""
    size: Optional[int] = None
    if response.status_code == 206:
        found = CONTENT_RANGE.fullmatch(response.headers.get("Content-Range", "").strip())
        if not found or int(found[1]) != offset:
            said = response.headers.get("Content-Range", _("nothing"))
            raise PayloadError(
                _("{url}: asked for byte {offset} and on, the server sends {said}").format(
                    url=redact_url(response.url), offset=offset, said=said
                )
            )
        size = None if found[3] == "*" else int(found[3])
    else:
        length = response.headers.get("Content-Length", "").strip()
        size = int(length) if length.isascii() and length.isdigit() else None
    return Identity(response.headers.get("ETag", ""), response.headers.get("Last-Modified", ""), size)


def receive(response: requests.Response, view: memoryview) -> int:
    """Fill ``view`` with the next bytes of the body; fewer than its length only at the end.

    They go straight from the socket to ``view``: urllib3 would join and copy them several times, and allocate memory
    for each.  Raises what urllib3, http.client and sockets raise.
    """
    connection = getattr(response.raw, "_fp", None)
    if isinstance(connection, http.client.HTTPResponse):
        return connection.readinto(view)
    data = body(response).read(len(view), decode_content=False)
    view[: len(data)] = data
    return len(data)


def explain(exc: BaseException) -> str:
    """The innermost cause of a failed request, in a few words and without addresses."""
    seen: list[BaseException] = []
    current: Optional[BaseException] = exc
    while current is not None and current not in seen:
        seen.append(current)
        reason = getattr(current, "reason", None)
        inner = reason if isinstance(reason, BaseException) else None
        if inner is None:
            inner = next((arg for arg in current.args if isinstance(arg, BaseException)), None)
        current = inner or current.__cause__ or current.__context__
    for cause in reversed(seen):
        if isinstance(cause, (TimeoutError, urllib3.exceptions.TimeoutError)):
            return _("no answer in time")
        if isinstance(cause, OSError) and cause.strerror:
            return cause.strerror
    return type(seen[-1]).__name__


class _Plain(requests.Session):
    """A session that does not let a redirect take a transfer out of TLS."""

    def get_redirect_target(self, resp: requests.Response) -> Optional[str]:
        target = super().get_redirect_target(resp)
        if target and urlsplit(resp.url).scheme == "https" and urlsplit(urljoin(resp.url, target)).scheme == "http":
            raise PayloadError(
                _("{url} redirects to {target}, which is not encrypted").format(
                    url=redact_url(resp.url), target=redact_url(urljoin(resp.url, target))
                ),
                hint=_("Name an https: address that does not lead to http:."),
            )
        return target


class Session:
    """GET requests; ``name`` is what messages call the file."""

    def __init__(self, access: Access, name: str) -> None:
        self.name = name
        if access.cacert and not Path(access.cacert).is_file():
            raise PayloadError(
                _("The CA certificate {file} is not there").format(file=access.cacert), hint=_("Check --cacert.")
            )
        self._session = _Plain()
        # Only what the kickstart says counts: no proxy, .netrc or CA bundle of the environment.
        self._session.trust_env = False
        self._session.max_redirects = MAX_REDIRECTS
        self._connections = Connections()
        for scheme in ("http://", "https://"):
            self._session.mount(scheme, self._connections)
        self._verify: Union[bool, str] = (access.cacert or True) if access.verify else False
        if not access.verify:
            log.warning("%s: the server's certificate is not checked, as the kickstart asks", name)
            urllib3.disable_warnings(urllib3.exceptions.InsecureRequestWarning)
        if access.proxy:
            self._session.proxies = {"http": access.proxy, "https": access.proxy}

    def get(self, url: str, headers: Mapping[str, str], patience: Patience) -> requests.Response:
        """Send a GET request and return the answer with its body unread.  Raises Transient or PayloadError."""
        watchdog = Watchdog(patience.answer, self._connections.cut)
        try:
            with watchdog:
                response = self._get(url, headers, patience)
        except Transient as exc:
            raise (_late(patience) if watchdog.barked else exc) from exc
        finally:
            watchdog.close()
            self._connections.forget()
        if watchdog.barked:
            # http.client takes the end of a connection for the end of a header.
            response.close()
            raise _late(patience)
        return response

    def _get(self, url: str, headers: Mapping[str, str], patience: Patience) -> requests.Response:
        try:
            return self._session.get(
                url,
                headers={"Accept-Encoding": "identity", **headers},
                stream=True,
                timeout=(patience.connect, patience.read),
                verify=self._verify,
            )
        except requests.exceptions.SSLError as exc:
            raise PayloadError(
                _("{name}: the server's certificate is not accepted: {reason}").format(
                    name=self.name, reason=_certificate_reason(exc)
                ),
                hint=_("Give the CA that signed it with --cacert, or correct the server's certificate."),
            ) from exc
        except requests.TooManyRedirects as exc:
            raise PayloadError(
                _("{name} redirects more than {most} times").format(name=self.name, most=MAX_REDIRECTS),
                hint=_("Correct the server, or the address."),
            ) from exc
        except requests.exceptions.ProxyError as exc:
            raise Transient(_("the proxy cannot be used: {error}").format(error=explain(exc))) from exc
        except (requests.ConnectionError, requests.Timeout, requests.exceptions.ChunkedEncodingError) as exc:
            raise Transient(explain(exc)) from exc
        except (requests.RequestException, urllib3.exceptions.HTTPError, ValueError) as exc:
            raise PayloadError(
                _("{name} cannot be asked for: {error}").format(name=self.name, error=type(exc).__name__),
                hint=_("Check the address and --proxy."),
            ) from exc

    def close(self) -> None:
        """Close every connection."""
        self._session.close()


def _late(patience: Patience) -> Transient:
    return Transient(_("no whole answer came in {seconds:g} s").format(seconds=patience.answer))


def _certificate_reason(exc: BaseException) -> str:
    """OpenSSL's own words, or urllib3's on a name (before 2.0), which are in the text of the innermost error only."""
    found = re.search(r"certificate verify failed: ([^(\]]+)|CertificateError\(\"([^\"]+)\"", str(exc))
    return (found[1] or found[2]).strip() if found else explain(exc)

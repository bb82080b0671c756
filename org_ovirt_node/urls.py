"""URLs for messages and logs: without what may be a credential in them."""

from __future__ import annotations

import logging
import re
from urllib.parse import urlsplit

WEB = ("http", "https")
#: Schemes of ours that are no web addresses; an "@" in one of them is a letter of a path.
_PLACES = ("file", "nfs", "hd", "cdrom")
_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://[^\s'\"<>]+")
#: How urllib3 ends its errors: the path and query of the request.
_REQUEST = re.compile(r"(with url: [^\s?]*)\?\S*")


def redact_url(url: str) -> str:
    """``url`` without user, password, query and fragment, any of which can be a credential."""
    if not set("@?#") & set(url):
        return url
    scheme = url.partition(":")[0]
    try:
        parts = urlsplit(url)
        _ = parts.port  # ValueError: what follows the colon is no port but a password with a slash in it
    except ValueError:
        return f"{scheme}:…"
    _, at, host = parts.netloc.rpartition("@")
    if parts.scheme not in WEB and not at:
        return url
    return f"{parts.scheme}://{host}{parts.path}" + ("?…" if parts.query else "")


def redact_urls(text: str) -> str:
    """``text`` with every URL in it redacted, and the queries in urllib3's errors."""
    return _REQUEST.sub(r"\1?…", _URL.sub(lambda found: redact_url(found[0]), text))


def redact_value(value: str) -> str:
    """A value that should have been a URL and may hold a password all the same: ``user:password@host``."""
    shown = redact_urls(value)
    if shown != value or "@" not in value or value.partition(":")[0] in _PLACES:
        return shown
    return "********@" + value.rpartition("@")[2]


class RedactingFormatter(logging.Formatter):
    """A formatter for logs: no URL keeps its credentials, nor does one in the text of another library's error."""

    def format(self, record: logging.LogRecord) -> str:
        return redact_urls(super().format(record))

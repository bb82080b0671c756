"""Where a kickstart comes from: a file, or a web server.  Everything comes back as text or as one sentence."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import unquote, urljoin, urlsplit

import requests

from org_ovirt_node.errors import KickstartProblem
from org_ovirt_node.i18n import _
from org_ovirt_node.payload.http_session import explain
from org_ovirt_node.urls import WEB, redact_url

#: A file system of this label with this file is a kickstart that nobody has to name, as for Anaconda.
MEDIUM_LABEL, MEDIUM_FILE = "OEMDRV", "ks.cfg"
#: Seconds to connect, and seconds between two parts of an answer.
TIMEOUT = (15, 60)
#: A kickstart is text that someone wrote; more than this is an image by mistake.
LIMIT = 4 << 20


def is_web(source: str) -> bool:
    """True for what is fetched from a web server."""
    return source.partition("://")[0] in WEB


def fetch(source: str, *, proxy: str = "") -> str:
    """The text of a kickstart: a path, ``file:`` with a path, or an http or https URL.

    Raises :class:`KickstartProblem` when it cannot be read or is not UTF-8 text.
    """
    content = _from_web(source, proxy) if is_web(source) else _from_file(local_path(source), source)
    if len(content) > LIMIT:
        raise KickstartProblem(
            _("{source} is larger than {limit} MiB, so it is not a kickstart").format(
                source=redact_url(source), limit=LIMIT >> 20
            )
        )
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise KickstartProblem(_("this is not UTF-8 text"), file=source, line=line) from error
    if "\0" in text:
        raise KickstartProblem(_("this is not text"), file=source, line=text.count("\n", 0, text.index("\0")) + 1)
    return text


def local_path(source: str) -> Path:
    """The path of a source that is not on a web server.  Raises KickstartProblem for another scheme."""
    scheme, colon, _unused = source.partition(":")
    if colon and scheme == "file":
        parts = urlsplit(source)
        if parts.netloc not in ("", "localhost") or parts.query or parts.fragment:
            raise KickstartProblem(
                _("{source} does not name a file of this machine").format(source=redact_url(source)),
                hint=_("Accepted is a path, or file:///PATH."),
            )
        return Path(unquote(parts.path))
    if "://" in source:
        raise KickstartProblem(
            _("a kickstart cannot be read from {source}").format(source=redact_url(source)),
            hint=_("Accepted are a path, file:, http: and https:."),
        )
    return Path(source)


def relative_to(including: str, name: str) -> str:
    """``name`` as an %include in ``including`` means it: relative to the file that includes it."""
    if "://" in name or name.startswith("file:"):
        return name
    if is_web(including):
        # An absolute path stays a path of this machine: that is where %pre scripts leave what they make.
        return name if name.startswith("/") else urljoin(including, name)
    return str(local_path(including).parent / name) if including else name


def _from_file(path: Path, source: str) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(LIMIT + 1)
    except (OSError, ValueError) as error:
        cause = getattr(error, "strerror", None) or str(error)
        raise KickstartProblem(
            _("the kickstart {source} cannot be read: {cause}").format(source=source, cause=cause)
        ) from error


def _from_web(url: str, proxy: str) -> bytes:
    proxies = {"http": proxy, "https": proxy} if proxy else None
    name = redact_url(url)
    content = b""
    try:
        with requests.get(url, timeout=TIMEOUT, proxies=proxies, stream=True) as answer:
            if answer.status_code != requests.codes.ok:
                raise KickstartProblem(
                    _("the kickstart {name} cannot be read: the server says {status}").format(
                        name=name, status=answer.status_code
                    )
                )
            for part in answer.iter_content(1 << 16):
                content += part
                if len(content) > LIMIT:
                    break
    except (requests.RequestException, ValueError) as error:
        # requests says with a ValueError that the address is none.
        why = _("it is no web address") if isinstance(error, ValueError) else explain(error)
        raise KickstartProblem(
            _("the kickstart {name} cannot be read: {why}").format(name=name, why=why),
            hint=_("Check the address, and that the file is served there."),
        ) from error
    return content

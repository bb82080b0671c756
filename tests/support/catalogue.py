"""A compiled catalogue, as msgfmt writes one (GNU gettext manual, "The Format of GNU MO Files")."""

from __future__ import annotations

import gettext
import struct
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from org_ovirt_node.i18n import DOMAIN

MAGIC = 0x950412DE
LANGUAGE = "de"


def compiled(texts: Mapping[str, str]) -> bytes:
    """The file for ``texts``: English to translation."""
    header = {"": "Content-Type: text/plain; charset=UTF-8\n"}
    pairs = sorted((key.encode(), value.encode()) for key, value in {**header, **texts}.items())
    tables, strings, offset = [b"", b""], b"", 28 + 16 * len(pairs)
    for column in (0, 1):
        for pair in pairs:
            tables[column] += struct.pack("<II", len(pair[column]), offset + len(strings))
            strings += pair[column] + b"\0"
    head = struct.pack("<7I", MAGIC, 0, len(pairs), 28, 28 + 8 * len(pairs), 0, offset)
    return head + tables[0] + tables[1] + strings


@contextmanager
def installed(content: bytes, folder: Path) -> Iterator[None]:
    """Have gettext look for our catalogues in ``folder``, where that of LANGUAGE is ``content``."""
    file = folder / LANGUAGE / "LC_MESSAGES" / f"{DOMAIN}.mo"
    file.parent.mkdir(parents=True)
    file.write_bytes(content)
    before = gettext.bindtextdomain(DOMAIN)
    gettext.bindtextdomain(DOMAIN, str(folder))
    try:
        yield
    finally:
        gettext.bindtextdomain(DOMAIN, before)

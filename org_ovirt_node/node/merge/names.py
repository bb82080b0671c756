"""Names: how they are shown, and the one under which the image's version lies beside the node's.

Names are shown with everything that is not printable, or not UTF-8, as a backslash escape, and a backslash doubled: a
line is always one line, and no two names look alike.
"""

from __future__ import annotations

import hashlib
import os

from org_ovirt_node.node.merge.model import BESIDE, NAME_MAX


def shown(path: str) -> str:
    """``path`` below /etc as it is shown."""
    return f"/etc/{escaped(path)}" if path else "/etc"


def escaped(path: str) -> str:
    """A path as it is shown."""
    text = os.fsencode(path).decode("utf-8", "surrogateescape").replace("\\", "\\\\")
    parts = []
    for letter in text:
        if "\udc80" <= letter <= "\udcff":
            parts.append(f"\\x{ord(letter) - 0xDC00:02x}")
        elif letter.isprintable():
            parts.append(letter)
        else:
            parts.append(letter.encode("unicode_escape").decode("ascii"))
    return "".join(parts)


def place_beside(path: str) -> str:
    """Where the image's version of ``path`` goes; a name too long for it is cut, with a digest to keep it apart."""
    above, slash, name = path.rpartition("/")
    raw = os.fsencode(name)
    if len(raw) + len(BESIDE) > NAME_MAX:
        mark = "~" + hashlib.sha256(raw).hexdigest()[:8]
        name = os.fsdecode(raw[: NAME_MAX - len(BESIDE) - len(mark)]) + mark
    return f"{above}{slash}{name}{BESIDE}"

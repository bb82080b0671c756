"""``netroot=iscsi:…`` on a kernel command line (dracut.cmdline(7)), where open-iscsi's records in host.img do as well.

blivet, and so Anaconda, puts the secrets of CHAP there, where everybody on the node can read them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Optional

from org_ovirt_node.boot import cmdline, network

#: As blivet writes it (devices/disk.py, dracut_setup_args): what is shown to the target, its address and port, with or
#: without an interface, its name.  A password may have a colon or an "@" in it.
_NETROOT = re.compile(
    r"netroot=iscsi:(?P<shown>.+)@(?P<address>\[[^\]]+\]|[^:@]+)::(?P<port>\d+)(?::[^:]*:[^:]*)?::(?P<target>\S+)"
)
#: In the order in which netroot= has them.
_SHOWN = ("username", "password", "username_in", "password_in")


def _values(record: str) -> dict[str, str]:
    lines = (line.partition("=") for line in record.splitlines() if not line.startswith("#"))
    return {name.strip(): value.strip() for name, _, value in lines}


def _login(record: str) -> tuple[str, str, str, str]:
    """Target, address, port, and what is shown to the target, of a record of open-iscsi."""
    values = _values(record)
    shown = [values.get(f"node.session.auth.{name}", "") for name in _SHOWN]
    address, port = (values.get(f"node.conn[0].{name}", "") for name in ("address", "port"))
    return values.get("node.name", ""), address.strip("[]"), port, ":".join(filter(None, shown))


def _asked(word: str) -> Optional[tuple[str, str, str, str]]:
    """The same of a word of the command line; None for one that shows no secrets."""
    found = _NETROOT.fullmatch(word)
    return (found["target"], found["address"].strip("[]"), found["port"], found["shown"]) if found else None


def without_secrets(options: str, records: Iterable[str]) -> str:
    """``options`` without each ``netroot=`` that shows secrets and for which one of ``records`` says the same.

    The network, which it had asked for, is asked for by itself then.
    """
    known = {_login(record) for record in records}
    words = cmdline.split(options)
    kept = [word for word in words if _asked(word) not in known]
    if len(kept) < len(words) and network.NEEDED not in kept:
        kept.append(network.NEEDED)
    return " ".join(kept)

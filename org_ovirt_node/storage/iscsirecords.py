"""What open-iscsi keeps and prints (its README, 5; iscsiadm(8)): records, their settings, discovered targets."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from org_ovirt_node.errors import StorageError
from org_ovirt_node.i18n import _
from org_ovirt_node.kickstart.model import IscsiTarget

#: Seconds for one login.
LOGIN = 15
#: Seconds that a lost session may take to come back before its disks report errors: while a person waits; of a node
#: with further paths, which are to be used instead; of a node with this path alone, for which an error is the end.
REPLACEMENT_INSTALLER, REPLACEMENT_MULTIPATH, REPLACEMENT_ALONE = 60, 5, 86400


def settings(target: IscsiTarget) -> dict[str, str]:
    """What the record of ``target`` has to say beside open-iscsi's defaults."""
    found = {
        "node.session.timeo.replacement_timeout": str(REPLACEMENT_INSTALLER),
        "node.session.initial_login_retry_max": "1",
        "node.conn[0].timeo.login_timeout": str(LOGIN),
    }
    if target.user:
        found |= {
            "node.session.auth.authmethod": "CHAP",
            "node.session.auth.username": target.user,
            "node.session.auth.password": target.password,
        }
    if target.reverse_user:
        found |= {
            "node.session.auth.username_in": target.reverse_user,
            "node.session.auth.password_in": target.reverse_password,
        }
    return found


def node_settings(*, root: bool, multipath: bool) -> dict[str, str]:
    """What changes in a record when it goes to the node; ``root``: its root is there, the initramfs logs in."""
    startup = "onboot" if root else "automatic"
    return {"node.startup": startup, "node.conn[0].startup": startup, **node_defaults(multipath=multipath)}


def node_defaults(*, multipath: bool) -> dict[str, str]:
    """What every session of a node has that its root needs, whoever names its target."""
    replacement = REPLACEMENT_MULTIPATH if multipath else REPLACEMENT_ALONE
    return {"node.session.timeo.replacement_timeout": str(replacement)}


def with_defaults(config: str, changed: Mapping[str, str]) -> str:
    """An iscsid.conf (lines ``name = value``, comments) with these values; a name that it lacks is added."""
    return "\n".join(_replaced(config.splitlines(), changed)) + "\n"


def with_settings(record: str, changed: Mapping[str, str]) -> str:
    """A record of open-iscsi (lines ``name = value``) with these values; a name that it lacks is added.

    Raises StorageError for what is no record.
    """
    lines = record.splitlines()
    if not lines or not lines[0].startswith("# BEGIN RECORD") or lines[-1] != "# END RECORD":
        raise StorageError(_("open-iscsi keeps its records in a form that is not known here"))
    return "\n".join([lines[0], *_replaced(lines[1:-1], changed), lines[-1]]) + "\n"


def _replaced(lines: Sequence[str], changed: Mapping[str, str]) -> list[str]:
    kept = [line for line in lines if line.partition("=")[0].strip() not in changed]
    return [*kept, *(f"{name} = {value}" for name, value in changed.items())]


def parse_discovery(text: str) -> list[tuple[str, int, str]]:
    """What ``iscsiadm -m discovery`` prints, ``ADDRESS:PORT,GROUP TARGET`` a line: address, port, target."""
    found = []
    for line in text.splitlines():
        match = re.fullmatch(r"\[?([0-9A-Fa-f.:]+?)\]?:(\d+),\d+ (\S+)", line.strip())
        if match:
            found.append((match.group(1), int(match.group(2)), match.group(3)))
    return found

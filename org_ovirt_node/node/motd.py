"""What a user sees at login, and the addresses of the administration console."""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from org_ovirt_node.boot.files import write_durably
from org_ovirt_node.errors import Interrupted, NodeError
from org_ovirt_node.node import check, checkfacts
from org_ovirt_node.node.places import Places
from org_ovirt_node.run import run

log = logging.getLogger(__name__)

CONSOLE_PORT = 9090
#: libvirt's own bridge leads nowhere for who looks at the node from outside.
INNER_INTERFACES = ("virbr", "docker", "vnet")
ISSUE = "\\S\nKernel \\r on an \\m\n\n"


@dataclass(frozen=True)
class Message:
    """The state of the node in a word, and lines that somebody should read."""

    status: str
    lines: tuple[str, ...]

    def as_dict(self) -> dict[str, Any]:
        return {"status": self.status, "messages": list(self.lines)}

    def as_text(self) -> str:
        return "\n".join(
            [
                "",
                f"  node status: {self.status.upper()}",
                *(f"  - {line}" for line in self.lines),
                "  See 'nodectl check'.",
                "",
            ]
        )


def message(facts: check.Facts, groups: tuple[check.Group, ...]) -> Message:
    """What is to be said: an update that awaits its reboot, a fallback, conflicts, and what failed."""
    lines = []
    node = facts.node
    if node is not None and node.boot.pending and node.boot.trial != node.current:
        lines.append(f"an update to {node.boot.trial} awaits its reboot")
    if node is not None and node.current and node.boot.good != node.current and not lines:
        lines.append(f"{node.current} runs, and the next boot is {node.boot.next}")
    lines += [f"{result.text}: {result.reason}" for group in groups for result in group.results if not result.ok]
    return Message(check.overall(groups), tuple(lines))


def refresh(places: Places) -> None:
    """Write what is said at login, as it is now; that it cannot be written is logged, and ends nothing."""
    try:
        facts = checkfacts.gather(places)
        write_durably(places.motd, message(facts, check.judge(facts)).as_text().encode())
    except Interrupted:
        raise
    except (NodeError, OSError) as exc:
        log.warning("what is said at login was not written: %s", exc)


def addresses(text: str) -> list[str]:
    """The global addresses in the report of ``ip --json address`` (ip-address(8)).  Raises NodeError."""
    try:
        return [
            address["local"]
            for link in json.loads(text)
            if not str(link["ifname"]).startswith(INNER_INTERFACES)
            for address in link.get("addr_info", [])
            if address.get("scope") == "global" and not address.get("deprecated")
        ]
    except (ValueError, KeyError, TypeError, AttributeError) as exc:
        raise NodeError("the report of 'ip --json address' could not be read") from exc


def own_addresses() -> list[str]:
    """The addresses of this node."""
    return addresses(run(["ip", "--json", "address"]).stdout)


def urls(found: Sequence[str]) -> list[str]:
    """Where the administration console answers."""
    return [f"https://{f'[{one}]' if ':' in one else one}:{CONSOLE_PORT}/" for one in found]


def banner(found: Sequence[str]) -> str:
    """The line with the console's addresses, as imgbased had it."""
    return "Admin Console: " + " or ".join(urls(found)) if found else "Admin Console: this node has no address yet"


def write_issue(path: Path, found: Sequence[str]) -> None:
    """Replace /etc/issue, which can run no program."""
    path.write_text(f"{ISSUE}{banner(found)}\n\n", encoding="utf-8")

"""The network that a root needs, as arguments of the initramfs (dracut.cmdline(7), systemd-network-generator(8))."""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Optional

from org_ovirt_node.errors import StorageError
from org_ovirt_node.i18n import _
from org_ovirt_node.kickstart.model import NetworkRequest

#: The initramfs waits for its network, and only where this is said.
NEEDED = "rd.neednet=1"


@dataclass(frozen=True)
class Card:
    """A network card: its name, and its MAC address in lower case."""

    name: str
    mac: str


def request_for(card: Card, networks: Sequence[NetworkRequest]) -> Optional[NetworkRequest]:
    """The ``network`` line that is about ``card``: one that names it, else one for any wired card."""
    for name in (card.name, card.mac, ""):
        for request in networks:
            if request.device == name:
                return request
    return None


def ip_argument(card: Card, portal: str, networks: Sequence[NetworkRequest]) -> str:
    """The ``ip=`` by which ``card`` gets what it needs to reach the address ``portal``.

    Raises StorageError when the kickstart's network switches off the family of addresses that it takes.
    """
    request = request_for(card, networks) or NetworkRequest()
    six = ipaddress.ip_address(portal).version == 6
    way = request.ipv6 if six else request.ip
    mtu = f":{request.mtu}" if request.mtu else ""
    if way in ("none", "ignore"):
        raise StorageError(
            _(
                "the root is reached by {portal}, and the kickstart's network of {name} (line {line}) has no IPv{kind}"
            ).format(portal=portal, name=card.name, line=request.line, kind=6 if six else 4),
            hint=_("Take --noipv{kind} away.").format(kind=6 if six else 4),
        )
    if way in ("dhcp", "auto"):
        return f"ip={card.name}:{ {'auto': 'auto6', 'dhcp': 'dhcp6'}[way] if six else 'dhcp' }{mtu}"
    if six:
        own = ipaddress.IPv6Interface(way)
        gateway = f"[{request.ipv6_gateway}]" if request.ipv6_gateway else ""
        return f"ip=[{own.ip}]::{gateway}:{own.network.prefixlen}::{card.name}:none{mtu}"
    prefix = ipaddress.IPv4Network(f"0.0.0.0/{request.netmask}").prefixlen
    return f"ip={request.address}::{request.gateway}:{prefix}::{card.name}:none{mtu}"


def arguments(ways: Sequence[tuple[Card, str]], networks: Sequence[NetworkRequest]) -> tuple[str, ...]:
    """All arguments for the ``ways`` (the card, and the portal that it reaches)."""
    found = [ip_argument(card, portal, networks) for card, portal in ways]
    return (NEEDED, *dict.fromkeys(found)) if found else ()


def profiles(ways: Sequence[tuple[Card, str]], networks: Sequence[NetworkRequest]) -> tuple[NetworkRequest, ...]:
    """For each card of the ``ways`` what :func:`arguments` have its network from, as a line about that card alone."""
    cards = dict.fromkeys(card for card, _portal in ways)
    return tuple(replace(request_for(card, networks) or NetworkRequest(), device=card.name) for card in cards)

"""From ``network`` lines to the host name and the connection profiles."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Sequence
from typing import Union

from org_ovirt_node.i18n import _
from org_ovirt_node.kickstart.commands import Line
from org_ovirt_node.kickstart.model import NetworkRequest

_MAC = re.compile(r"([0-9a-fA-F]{2}:){5}([0-9a-fA-F]{2})", re.ASCII)
#: A name of an interface: at most 15 bytes (IFNAMSIZ in linux/if.h), no slash, no colon.
INTERFACE = re.compile(r"[A-Za-z0-9_.-]{1,15}", re.ASCII)
#: RFC 1123: labels of letters, digits and hyphens; 253 letters in all, and Linux keeps 64 of them.
_HOSTNAME = re.compile(
    r"[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?(\.[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?)*", re.ASCII
)
_HOSTNAME_LIMIT = 64
#: RFC 8200 asks for 1280 at least on IPv6; 68 is the least of IPv4 (RFC 791), 65535 the most of either.
_MTU = (68, 65535)
#: Options that are about the time of the installation only, where the network is up already.
_INSTALL_TIME = ("--activate", "--no-activate")


def hostname(line: Line, text: str) -> str:
    """A host name or an address, checked."""
    if _is_address(text):
        return text
    if not _HOSTNAME.fullmatch(text) or len(text) > _HOSTNAME_LIMIT:
        line.fail(
            _("{text} is not a host name").format(text=repr(text)),
            hint=_("Accepted are letters, digits and hyphens, with dots between."),
        )
    return text


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def profiles(lines: Sequence[Line]) -> tuple[str, tuple[NetworkRequest, ...]]:
    """The host name, and one profile for each line that says more than that."""
    name = ""
    found: list[NetworkRequest] = []
    for line in lines:
        if "--hostname" in line.given:
            if name:
                line.fail(_("--hostname was given on an earlier line already"))
            name = hostname(line, line.text("--hostname"))
            if _is_address(name):
                line.fail(_("--hostname={name} is an address, not a name").format(name=name))
        if set(line.given) - {"--hostname", *_INSTALL_TIME}:
            profile = _profile(line)
            twin = next((other for other in found if other.device == profile.device), None)
            if twin is not None:
                if not profile.device:
                    line.fail(_("there is a profile for any wired card on line {line} already").format(line=twin.line))
                line.fail(
                    _("there is a profile for {device} on line {line} already").format(
                        device=profile.device, line=twin.line
                    )
                )
            found.append(profile)
    return name, tuple(found)


def _profile(line: Line) -> NetworkRequest:
    protocol = line.text("--bootproto") or "dhcp"
    if protocol not in ("dhcp", "static"):
        line.fail(
            _("--bootproto={protocol} is not supported").format(protocol=protocol),
            hint=_("Accepted are dhcp and static."),
        )
    no_ipv4 = "--noipv4" in line.given
    static = protocol == "static" and not no_ipv4
    for option in ("--ip", "--netmask", "--gateway"):
        if static and option != "--gateway" and option not in line.given:
            line.fail(_("--bootproto=static needs {option}").format(option=option))
        if not static and option in line.given:
            line.fail(_("{option} needs --bootproto=static (and no --noipv4)").format(option=option))
    request = NetworkRequest(
        device=_device(line),
        ip="none" if no_ipv4 else protocol,
        address=_ipv4(line, "--ip"),
        netmask=_netmask(line),
        gateway=_ipv4(line, "--gateway"),
        nameservers=tuple(_address(line, "--nameserver", text) for text in _list(line, "--nameserver")),
        search=_search(line),
        ipv6=_ipv6(line),
        ipv6_gateway=_ipv6_gateway(line),
        mtu=_mtu(line),
        onboot=bool(line.data.onboot) if "--onboot" in line.given else True,
        line=line.place.line,
    )
    _check_families(line, request)
    _check_subnets(line, request)
    return request


def _check_families(line: Line, request: NetworkRequest) -> None:
    """What needs a family of addresses that the line switches off, NetworkManager would refuse or pass over."""
    off4, off6 = request.ip == "none", request.ipv6 == "ignore"
    if off4 and off6:
        line.fail(_("--noipv4 and --noipv6 together leave no network"))
    for server in request.nameservers:
        if off6 if ":" in server else off4:
            line.fail(
                _("--nameserver={server} cannot be reached with {option}").format(
                    server=server, option="--noipv6" if off6 else "--noipv4"
                )
            )
    for option, off, switch in (
        ("--ipv4-dns-search", off4, "--noipv4"),
        ("--ipv6-dns-search", off6, "--noipv6"),
        ("--ipv6gateway", off6, "--noipv6"),
    ):
        if off and option in line.given:
            line.fail(_("{option} and {switch} exclude each other").format(option=option, switch=switch))
    if request.ipv6_gateway and "/" not in request.ipv6:
        line.fail(_("--ipv6gateway needs --ipv6=ADDRESS/PREFIX"), hint=_("Otherwise the router says that it is one."))


def _check_subnets(line: Line, request: NetworkRequest) -> None:
    """Addresses and gateways must belong together."""
    if request.address:
        own = ipaddress.ip_interface(f"{request.address}/{request.netmask}")
        _check_own(line, "--ip", own)
        # A network of one address reaches its gateway through the card alone.
        inside = own.network.prefixlen == own.max_prefixlen or not request.gateway
        if not inside and ipaddress.ip_address(request.gateway) not in own.network:
            line.fail(
                _("--gateway={gateway} is not in the network {network}").format(
                    gateway=request.gateway, network=own.network
                )
            )
        if request.gateway == request.address:
            line.fail(_("--gateway={gateway} is the address of this host").format(gateway=request.gateway))
    if "/" in request.ipv6:
        own = ipaddress.ip_interface(request.ipv6)
        _check_own(line, "--ipv6", own)
        gateway = ipaddress.IPv6Address(request.ipv6_gateway or "fe80::1")
        one = own.network.prefixlen == own.max_prefixlen
        if not (gateway.is_link_local or one or gateway in own.network):
            line.fail(
                _("--ipv6gateway={gateway} is not in the network {network}, nor a link-local address").format(
                    gateway=gateway, network=own.network
                )
            )
        if gateway == own.ip:
            line.fail(_("--ipv6gateway={gateway} is the address of this host").format(gateway=gateway))


def _check_own(line: Line, option: str, own: Union[ipaddress.IPv4Interface, ipaddress.IPv6Interface]) -> None:
    host = own.ip
    if host.is_unspecified or host.is_multicast or host.is_loopback:
        line.fail(_("{option}={host} cannot be the address of a network card").format(option=option, host=host))
    if own.version == 4 and own.network.prefixlen < 31 and host in (own.network[0], own.network[-1]):
        line.fail(
            _("{option}={host} is the first or the last address of {network}, which no host can have").format(
                option=option, host=host, network=own.network
            )
        )


def _list(line: Line, option: str) -> list[str]:
    return [word.strip() for word in line.text(option).split(",") if word.strip()]


def _device(line: Line) -> str:
    device = line.text("--device")
    if device in ("", "link"):
        return ""
    if device in ("bootif", "ibft"):
        line.fail(
            _("--device={device} is not supported yet").format(device=device),
            hint=_("Accepted are a name, a MAC address and link."),
        )
    if _MAC.fullmatch(device):
        return device.lower()
    if not INTERFACE.fullmatch(device) or device in (".", ".."):
        line.fail(
            _("--device={device} is no network card").format(device=device),
            hint=_("Accepted are a name, a MAC address and link."),
        )
    return device


def _address(line: Line, option: str, text: str) -> str:
    if not _is_address(text):
        line.fail(_("{option}={text} is not an address").format(option=option, text=text))
    if ipaddress.ip_address(text).is_unspecified or ipaddress.ip_address(text).is_multicast:
        line.fail(_("{option}={text} is not the address of a host").format(option=option, text=text))
    return text


def _ipv4(line: Line, option: str) -> str:
    text = line.text(option)
    try:
        return str(ipaddress.IPv4Address(text)) if option in line.given else ""
    except ValueError:
        line.fail(_("{option}={text} is not an IPv4 address").format(option=option, text=text))


def _netmask(line: Line) -> str:
    text = _ipv4(line, "--netmask")
    bits = f"{int(ipaddress.IPv4Address(text)):032b}" if text else "1"
    # Python's IPv4Network takes 0.0.0.255 for the mask of a /24.
    if "01" in bits or "1" not in bits:
        line.fail(
            _("--netmask={text} is not a netmask").format(text=text),
            hint=_("Accepted are masks such as 255.255.255.0."),
        )
    return text


def _ipv6(line: Line) -> str:
    text = line.text("--ipv6")
    if "--noipv6" in line.given:
        if "--ipv6" in line.given:
            line.fail(_("--ipv6 and --noipv6 exclude each other"))
        return "ignore"
    if text in ("", "auto", "dhcp", "ignore"):
        return text or "auto"
    try:
        interface = ipaddress.IPv6Interface(text)
    except ValueError:
        line.fail(
            _("--ipv6={text} is not supported").format(text=text), hint=_("Accepted are auto, dhcp and ADDRESS/PREFIX.")
        )
    if "/" not in text:
        line.fail(
            _("--ipv6={text} has no prefix").format(text=text), hint=_("Accepted are auto, dhcp and ADDRESS/PREFIX.")
        )
    return str(interface)


def _ipv6_gateway(line: Line) -> str:
    text = line.text("--ipv6gateway")
    try:
        return str(ipaddress.IPv6Address(text)) if "--ipv6gateway" in line.given else ""
    except ValueError:
        line.fail(_("--ipv6gateway={text} is not an IPv6 address").format(text=text))


def _search(line: Line) -> tuple[str, ...]:
    found = _list(line, "--ipv4-dns-search") + _list(line, "--ipv6-dns-search")
    return tuple(dict.fromkeys(hostname(line, text) for text in found))


def _mtu(line: Line) -> int:
    text = line.text("--mtu")
    if not text:
        return 0
    if not re.fullmatch(r"[0-9]{1,5}", text, re.ASCII) or not _MTU[0] <= int(text) <= _MTU[1]:
        line.fail(
            _("--mtu={text} is not a number from {least} to {most}").format(text=text, least=_MTU[0], most=_MTU[1])
        )
    return int(text)

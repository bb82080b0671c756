"""From ``iscsiname`` and ``iscsi`` lines to :class:`IscsiRequest`."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Sequence

from org_ovirt_node.i18n import N_, _, translated
from org_ovirt_node.kickstart.commands import Line, line_of, lines_of
from org_ovirt_node.kickstart.model import IscsiRequest, IscsiTarget
from org_ovirt_node.kickstart.network import INTERFACE

#: RFC 7143, 4.2.7: iqn.YEAR-MONTH.DOMAIN[:ANYTHING], eui. with 16 and naa. with 16 or 32 hexadecimal digits.
_NAME = re.compile(
    r"iqn\.[0-9]{4}-[0-9]{2}\.[A-Za-z0-9][A-Za-z0-9._-]*(:[A-Za-z0-9.:_-]+)?|"
    r"eui\.[0-9A-Fa-f]{16}|naa\.([0-9A-Fa-f]{16}|[0-9A-Fa-f]{32})",
    re.ASCII,
)
#: RFC 7143, 4.2.7.1: bytes of a name.
_LONGEST_NAME = 223
#: open-iscsi keeps names and secrets of CHAP in fields of 256 bytes (config.h, AUTH_STR_MAX_LEN), each a line's rest.
_SECRET = re.compile(r"[!-~]([ -~]{0,253}[!-~])?", re.ASCII)
_NO_INITIATOR, _NO_TARGET = N_("{text} is not an initiator name"), N_("{text} is not the name of a target")
DEFAULT_PORT = 3260
_HIGHEST_PORT = 65535


def iscsi(lines: Sequence[Line]) -> IscsiRequest:
    """Raises KickstartProblem for values that mean nothing, or that could not work together."""
    named = line_of(lines, "iscsiname")
    initiator = _iscsi_name(named, str(named.data.iscsiname), _NO_INITIATOR) if named else ""
    targets: list[IscsiTarget] = []
    for line in lines_of(lines, "iscsi"):
        target = _target(line)
        for other in targets:
            if (target.address, target.port) != (other.address, other.port):
                continue
            if target.iface == other.iface and (target.target == other.target or not (target.target and other.target)):
                line.fail(_("this target is on line {line} already").format(line=other.line))
        targets.append(target)
    bound = [target for target in targets if target.iface]
    if bound and len(bound) != len(targets):
        free = next(line for line in lines_of(lines, "iscsi") if not line.text("--iface"))
        free.fail(_("--iface is missing"), hint=_("Give it with all iscsi lines, or with none."))
    return IscsiRequest(initiator, tuple(targets))


def _iscsi_name(line: Line, text: str, wrong: str) -> str:
    if not _NAME.fullmatch(text) or len(text) > _LONGEST_NAME:
        line.fail(
            translated(wrong).format(text=repr(text)),
            hint=_("Accepted are names such as iqn.2024-01.org.example:name."),
        )
    return text


def _target(line: Line) -> IscsiTarget:
    iface = line.text("--iface")
    if iface and not INTERFACE.fullmatch(iface):
        line.fail(_("--iface={iface} is no network card").format(iface=iface), hint=_("Accepted is the name of one."))
    user, password = _credentials(line, "--user", "--password")
    reverse_user, reverse_password = _credentials(line, "--reverse-user", "--reverse-password")
    if reverse_user and not user:
        line.fail(
            _("--reverse-user needs --user and --password"), hint=_("The host shows who it is, then the target does.")
        )
    return IscsiTarget(
        address=_address(line),
        port=_port(line),
        target=_iscsi_name(line, line.text("--target"), _NO_TARGET) if "--target" in line.given else "",
        user=user,
        password=password,
        reverse_user=reverse_user,
        reverse_password=reverse_password,
        iface=iface,
        line=line.place.line,
    )


def _address(line: Line) -> str:
    text = line.text("--ipaddr")
    bare = text[1:-1] if text.startswith("[") and text.endswith("]") else text
    try:
        address = ipaddress.ip_address(bare)
    except ValueError:
        line.fail(
            _("--ipaddr={text} is not an address").format(text=text), hint=_("Accepted are IPv4 and IPv6 addresses.")
        )
    if address.is_unspecified or address.is_multicast or (address.version == 6 and address.is_link_local):
        line.fail(_("--ipaddr={text} cannot be the address of a portal").format(text=text))
    return str(address)


def _port(line: Line) -> int:
    text = line.text("--port")
    if not text:
        return DEFAULT_PORT
    if not re.fullmatch(r"[0-9]{1,5}", text, re.ASCII) or not 0 < int(text) <= _HIGHEST_PORT:
        line.fail(_("--port={text} is not a number from 1 to {most}").format(text=text, most=_HIGHEST_PORT))
    return int(text)


def _credentials(line: Line, user: str, password: str) -> tuple[str, str]:
    """A user and a password, both or none.  The password is in no message."""
    if not line.text(user) and not line.text(password):
        return "", ""
    for one, other in ((user, password), (password, user)):
        if not line.text(one):
            line.fail(_("{option} needs {other}").format(option=other, other=one))
    if not _SECRET.fullmatch(line.text(user)):
        line.fail(
            _("{option}={text} is not a user name").format(option=user, text=repr(line.text(user))),
            hint=_("Accepted are 1 to 255 letters of ASCII."),
        )
    if not _SECRET.fullmatch(line.text(password)):
        line.fail(
            _("{option} has something in it that cannot be kept").format(option=password),
            hint=_("Accepted are 1 to 255 letters of ASCII, no blank at either end."),
        )
    return line.text(user), line.text(password)

"""From the parsed commands that describe the installed system to :class:`SystemRequest`."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Optional

from org_ovirt_node.i18n import N_, _, translated
from org_ovirt_node.kickstart.commands import SPELLED, Line, line_of, lines_of
from org_ovirt_node.kickstart.model import GroupRequest, SshKeyRequest, SystemRequest, UserRequest
from org_ovirt_node.kickstart.network import hostname, profiles

#: What useradd(8) takes, with the capital letters and dots that administrators are used to.
_USER = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,31}\$?", re.ASCII)
#: The largest id that is not reserved: (uid_t) -1 and the one before it mean "none".
_LARGEST_ID = 0xFFFFFFFD
_WORD = re.compile(r"[A-Za-z0-9_.@+,:-]+", re.ASCII)
_UNIT = re.compile(r"[A-Za-z0-9_.@\\:][A-Za-z0-9_.@\\:-]*", re.ASCII)
_ZONE = re.compile(r"[A-Za-z0-9_+-]+(/[A-Za-z0-9_+-]+)*", re.ASCII)
_KEY = re.compile(r"(ssh-|ecdsa-|sk-)[a-z0-9@.-]+ +[A-Za-z0-9+/=]+( .*)?", re.ASCII)
_ENDINGS = {"reboot": "reboot", "poweroff": "poweroff", "shutdown": "poweroff", "halt": "halt"}


_NO_USER, _NO_GROUP = N_("{text} is not a user name"), N_("{text} is not a group name")


def _matching(line: Line, wrong: str, text: str, pattern: re.Pattern[str]) -> str:
    if not pattern.fullmatch(text):
        line.fail(translated(wrong).format(text=repr(text)))
    return text


def _id(line: Line, option: str) -> Optional[int]:
    text = line.text(option)
    if not text:
        return None
    if not re.fullmatch(r"[0-9]{1,10}", text, re.ASCII) or int(text) > _LARGEST_ID:
        line.fail(
            _("{option}={text} is not a number from 0 to {most}").format(option=option, text=text, most=_LARGEST_ID)
        )
    return int(text)


def _encrypted(line: Line) -> bool:
    if "--iscrypted" in line.given and "--plaintext" in line.given:
        line.fail(_("--iscrypted and --plaintext exclude each other"))
    return "--iscrypted" in line.given


def _secret(line: Line, text: str) -> str:
    """A password; the text itself is in no message."""
    if "\n" in text or (":" in text and _encrypted(line)):
        line.fail(_("the password has a character in it that /etc/shadow cannot hold"))
    if _encrypted(line) and text and not re.match(r"[$!*_]", text):
        line.fail(
            _("--iscrypted needs a hash such as 'openssl passwd -6' prints"), hint=_("Take it away for a plain one.")
        )
    return text


def root(lines: Sequence[Line]) -> Optional[UserRequest]:
    """``rootpw``."""
    line = line_of(lines, "rootpw")
    if line is None:
        return None
    return UserRequest(
        name="root",
        password=_secret(line, line.data.password or ""),
        encrypted=_encrypted(line),
        locked="--lock" in line.given,
        line=line.place.line,
    )


def user(line: Line) -> UserRequest:
    """A ``user`` line."""
    name = _matching(line, _NO_USER, line.text("--name"), _USER)
    if name == "root":
        line.fail(_("--name=root is not for this command"), hint=_("Use rootpw."))
    groups = [word.strip() for word in line.text("--groups").split(",") if word.strip()]
    for group in groups:
        _matching(line, _NO_GROUP, group, _USER)
    for option in ("--homedir", "--shell"):
        path = line.text(option)
        if path and (not path.startswith("/") or ":" in path or not path.isprintable()):
            line.fail(_("{option}={path} is not an absolute path").format(option=option, path=path))
    gecos = line.text("--gecos")
    if ":" in gecos or not gecos.isprintable():
        line.fail(_("--gecos={gecos} has a colon or a control character in it").format(gecos=repr(gecos)))
    return UserRequest(  # nosec B604 # "shell" is a login shell
        name=name,
        password=_secret(line, line.text("--password")),
        encrypted=_encrypted(line),
        locked="--lock" in line.given,
        uid=_id(line, "--uid"),
        gid=_id(line, "--gid"),
        groups=tuple(groups),
        home=line.text("--homedir"),
        shell=line.text("--shell"),
        gecos=gecos,
        line=line.place.line,
    )


def _group(line: Line) -> GroupRequest:
    name = _matching(line, _NO_GROUP, line.text("--name"), _USER)
    return GroupRequest(name, _id(line, "--gid"), line.place.line)


def _sshkey(line: Line) -> SshKeyRequest:
    name = _matching(line, _NO_USER, line.text("--username"), _USER)
    words = line.data.key
    key = " ".join(words) if isinstance(words, (list, tuple)) else str(words)
    if not _KEY.fullmatch(key.strip()):
        line.fail(_("this is not a public key"), hint=_("Accepted is a line of a .pub file, in quotes."))
    return SshKeyRequest(name, key.strip(), line.place.line)


def _no_twins(lines: Sequence[Line], option: str) -> None:
    seen: dict[str, int] = {}
    for line in lines:
        name = line.text(option)
        if name in seen:
            line.fail(
                _("{option}={name} was given on line {line} already").format(option=option, name=name, line=seen[name])
            )
        seen[name] = line.place.line


def _services(lines: Sequence[Line]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    line = line_of(lines, "services")
    if line is None:
        return (), ()
    lists = []
    for option in ("--enabled", "--disabled"):
        names = [word.strip() for word in line.text(option).split(",") if word.strip()]
        lists.append(tuple(_matching(line, N_("{text} is not the name of a service"), name, _UNIT) for name in names))
    both = sorted(set(lists[0]) & set(lists[1]))
    if both:
        line.fail(_("{name} is both enabled and disabled").format(name=both[0]))
    return lists[0], lists[1]


def _choice(lines: Sequence[Line], command: str, options: Sequence[str]) -> str:
    """The one of ``options`` that is given; more than one, or none, is an error."""
    line = line_of(lines, command)
    if line is None:
        return ""
    found = [option for option in options if option in line.given]
    if len(found) != 1:
        line.fail(
            _("give exactly one of {options}").format(
                options=", ".join(SPELLED.get((command, option), option) for option in options)
            )
        )
    return found[0]


def _keyboard(lines: Sequence[Line]) -> tuple[str, tuple[str, ...]]:
    line = line_of(lines, "keyboard")
    if line is None:
        return "", ()
    plain = str(getattr(line.data, "_keyboard", "") or "")
    keymap = line.text("--vckeymap") or plain
    layouts = tuple(word.strip() for word in line.text("--xlayouts").split(",") if word.strip())
    if keymap:
        _matching(line, N_("{text} is not a keymap"), keymap, _WORD)
    for layout in layouts:
        _matching(
            line,
            N_("{text} is not a keyboard layout"),
            layout,
            re.compile(r"[A-Za-z0-9_-]+( ?\([A-Za-z0-9_ -]+\))?", re.ASCII),
        )
    if not keymap and not layouts:
        line.fail(_("no keymap"), hint=_("Accepted are keyboard MAP, --vckeymap=MAP and --xlayouts=LAYOUT,…."))
    return keymap, layouts


def _timezone(lines: Sequence[Line]) -> tuple[str, bool, tuple[str, ...]]:
    line = line_of(lines, "timezone")
    servers = [hostname(source, source.text("--ntp-server")) for source in lines_of(lines, "timesource")]
    if line is None:
        return "", True, tuple(servers)
    servers += [hostname(line, word.strip()) for word in line.text("--ntpservers").split(",") if word.strip()]
    zone = str(line.data.timezone or "")
    if not zone:
        line.fail(
            _("no zone"), hint=_("Give one, such as Europe/Vienna; time servers alone are timesource --ntp-server=.")
        )
    _matching(line, N_("{text} is not a time zone such as Europe/Vienna"), zone, _ZONE)
    return zone, "--utc" in line.given or "--isUtc" in line.given, tuple(servers)


def _lang(lines: Sequence[Line]) -> str:
    line = line_of(lines, "lang")
    return _matching(line, N_("{text} is not a locale such as en_US.UTF-8"), str(line.data.lang), _WORD) if line else ""


def system(lines: Sequence[Line]) -> SystemRequest:
    """All commands that describe the installed system.  Raises KickstartProblem for values that mean nothing."""
    _no_twins(lines_of(lines, "user"), "--name")
    _no_twins(lines_of(lines, "group"), "--name")
    enabled, disabled = _services(lines)
    keymap, layouts = _keyboard(lines)
    zone, utc, servers = _timezone(lines)
    name, networks = profiles(lines_of(lines, "network"))
    firewall = _choice(lines, "firewall", ("--enable", "--disable"))
    return SystemRequest(
        root=root(lines),
        users=tuple(user(line) for line in lines_of(lines, "user")),
        groups=tuple(_group(line) for line in lines_of(lines, "group")),
        sshkeys=tuple(_sshkey(line) for line in lines_of(lines, "sshkey")),
        lang=_lang(lines),
        keymap=keymap,
        xlayouts=layouts,
        timezone=zone,
        utc=utc,
        ntp_servers=servers,
        hostname=name,
        networks=networks,
        services_enabled=enabled,
        services_disabled=disabled,
        selinux=_choice(lines, "selinux", ("--enforcing", "--permissive", "--disabled")).lstrip("-"),
        firewall=None if not firewall else firewall == "--enable",
    )


def ending(lines: Sequence[Line]) -> str:
    """What happens to the machine at the end."""
    return next((_ENDINGS[line.command] for line in lines if line.command in _ENDINGS), "")

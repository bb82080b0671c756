"""What a person is asked about a new node, and the answers as kickstart lines: pure, whatever the terminal is.

The lines are read by the same parser as a kickstart's, so an answer is accepted exactly where that would be.
"""

from __future__ import annotations

import ipaddress
import shlex
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from org_ovirt_node.errors import NodeError
from org_ovirt_node.firstboot.record import HOSTNAME, NETWORK, PASSWORD
from org_ovirt_node.run import run

DHCP, FIXED, NONE = "1", "2", "3"
NETWORKS = "1) DHCP   2) a fixed address   3) none"


@dataclass(frozen=True)
class Terminal:
    """How questions are asked: ``ask`` and ``ask_secret`` show a prompt and return a line, ``say`` shows a text.

    Both raise EOFError when nobody can answer.
    """

    ask: Callable[[str], str]
    ask_secret: Callable[[str], str]
    say: Callable[[str], None]


def hostname_line(name: str) -> str:
    """The ``network`` line that sets a host name."""
    return f"network --hostname={shlex.quote(name)}"


def network_line(address: str = "", gateway: str = "", servers: str = "") -> str:
    """The ``network`` line for any wired card: DHCP, or the fixed ``address`` with its prefix (192.0.2.10/24).

    Raises NodeError for what is no address with a prefix.
    """
    if not address:
        return "network --device=link --bootproto=dhcp"
    try:
        interface = ipaddress.ip_interface(address)
    except ValueError as error:
        raise NodeError(f"{address!r} is no address: {error}", hint="Write it as 192.0.2.10/24.") from error
    if "/" not in address:
        raise NodeError(f"{address} has no prefix", hint=f"Write it as {address}/24.")
    names = ",".join(word for word in servers.replace(",", " ").split())
    end = f" --nameserver={shlex.quote(names)}" if names else ""
    if interface.version == 4:
        way = f" --gateway={shlex.quote(gateway)}" if gateway else ""
        return f"network --device=link --bootproto=static --ip={interface.ip} --netmask={interface.netmask}{way}{end}"
    way = f" --ipv6gateway={shlex.quote(gateway)}" if gateway else ""
    return f"network --device=link --noipv4 --ipv6={interface}{way}{end}"


def hashed(password: str) -> str:
    """``password`` as crypt(5) has it, with SHA-512; it is on no command line, and the hash in no log."""
    return run(["openssl", "passwd", "-6", "-stdin"], input=password + "\n", private=True).stdout.strip()


def password_line(password: str, hash_it: Callable[[str], str] = hashed) -> str:
    """The ``rootpw`` line."""
    return f"rootpw --iscrypted {shlex.quote(hash_it(password))}"


def dialogue(open_: Sequence[str], terminal: Terminal, check: Callable[[str], None]) -> list[str]:
    """Ask for what is open and return kickstart lines; ``check`` raises NodeError for a line that is no good.

    Raises EOFError when nobody answers.
    """
    asked = {HOSTNAME: _hostname, NETWORK: _network, PASSWORD: _password}
    lines: list[str] = []
    for name in (HOSTNAME, NETWORK, PASSWORD):
        while name in open_:
            line = asked[name](terminal)
            try:
                made = line()
                if made:
                    check(made)
                    lines.append(made)
                break
            except NodeError as error:
                terminal.say(str(error))
    return lines


_Line = Callable[[], str]


def _hostname(terminal: Terminal) -> _Line:
    name = terminal.ask("Host name (ENTER: none): ").strip()
    return lambda: hostname_line(name) if name else ""


def _network(terminal: Terminal) -> _Line:
    terminal.say(f"Network: {NETWORKS}")
    choice = terminal.ask("Network [1]: ").strip() or DHCP
    if choice == NONE:
        return lambda: ""
    if choice == DHCP:
        return network_line
    if choice != FIXED:
        return lambda: _refuse(choice)
    address = terminal.ask("Address (as 192.0.2.10/24): ").strip()
    gateway = terminal.ask("Gateway (ENTER: none): ").strip()
    servers = terminal.ask("Name servers (ENTER: none): ").strip()

    def line() -> str:
        if not address:
            raise NodeError("an address is needed")
        return network_line(address, gateway, servers)

    return line


def _refuse(choice: str) -> str:
    raise NodeError(f"{choice!r} is none of the choices", hint=f"{NETWORKS}.")


def _password(terminal: Terminal) -> _Line:
    first = terminal.ask_secret("Password for root: ")
    second = terminal.ask_secret("The same again: ")

    def line() -> str:
        if not first or first != second:
            raise NodeError("the password is empty" if not first else "the two passwords differ")
        return password_line(first)

    return line

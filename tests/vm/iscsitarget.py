"""An iSCSI target on loopback (Debian's tgt, in user space) that machines reach at 10.0.2.2, and booting from it."""

from __future__ import annotations

import secrets
import socket
import subprocess
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Optional

from org_ovirt_node.run import run
from tests.vm.errors import ScenarioFailed, TimedOut
from tests.vm.installer import HOST_ADDRESS, InstallerMachine

IQN = "iqn.2024-01.org.example:storage"
#: The disk's number; tgt keeps 0 for itself.
LUN = 1
#: QEMU's user network (libslirp 4.7) takes 5 s to go on after a receive window of zero, which a guest under emulation
#: has often: reading then comes at 2 MB/s instead of 30.  A socket with this much room has none.
RECEIVE = 4 << 20
ROOM = f"sysctl.net.core.rmem_max={2 * RECEIVE}"
#: Seconds for the target to answer.
START = 30.0
LOOPBACK = "127.0.0.1"


@dataclass(frozen=True)
class Account:
    """What one side shows to the other (CHAP)."""

    user: str
    password: str


class Target:
    """A target with one disk, and a portal on each of ``addresses``; it can go away and come back at the same ports."""

    def __init__(
        self,
        disk: Path,
        folder: Path,
        *,
        addresses: Sequence[str] = (LOOPBACK,),
        account: Optional[Account] = None,
        outgoing: Optional[Account] = None,
    ) -> None:
        self.disk = disk
        self.log = folder / "tgtd.log"
        self.addresses = tuple(addresses)
        self.account, self.outgoing = account, outgoing
        self.control = str(secrets.randbelow(30000) + 1000)
        with ExitStack() as held:
            # Held together, so that no port is given twice.
            self.ports = [_free_port(held, address) for address in addresses]
        self.process: Optional[subprocess.Popen[bytes]] = None

    @property
    def port(self) -> int:
        return self.ports[0]

    def link(self, host: str = HOST_ADDRESS, port: int = 0) -> str:
        """The link below /dev/disk that a machine has for the disk."""
        return f"disk/by-path/ip-{host}:{port or self.port}-iscsi-{IQN}-lun-{LUN}"

    def start(self) -> None:
        """Raises ScenarioFailed when it ends instead."""
        argv = ["tgtd", "-f", "-C", self.control, "--iscsi", f"portal={self._portal(0)}"]
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                ["setpriv", "--pdeathsig", "KILL", *argv], stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
        self._await(self.process)
        for number in range(1, len(self.ports)):
            self._admin("portal", "new", "--param", f"portal={self._portal(number)}")
        self._admin("target", "new", "--tid", "1", "-T", IQN)
        unit = ("--tid", "1", "--lun", str(LUN))
        self._admin("logicalunit", "new", *unit, "-b", str(self.disk))
        # It takes back what is discarded, as a storage does.
        self._admin("logicalunit", "update", *unit, "--params", "thin_provisioning=1")
        for account, kind in ((self.account, ()), (self.outgoing, ("--outgoing",))):
            if account is not None:
                self._admin("account", "new", "--user", account.user, "--password", account.password)
                self._admin("account", "bind", "--tid", "1", "--user", account.user, *kind)
        self._admin("target", "bind", "--tid", "1", "-I", "ALL")

    def stop(self) -> None:
        """Go away, as a storage does that loses its power."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None

    def _portal(self, number: int) -> str:
        address = self.addresses[number]
        return f"{f'[{address}]' if ':' in address else address}:{self.ports[number]}"

    def _await(self, process: subprocess.Popen[bytes]) -> None:
        deadline = time.monotonic() + START
        while not self._answers():
            if process.poll() is not None:
                raise ScenarioFailed(f"tgtd ended with {process.returncode}; see {self.log}")
            if time.monotonic() > deadline:
                raise TimedOut(f"tgtd did not answer within {START:g} s; see {self.log}")
            time.sleep(0.1)

    def _answers(self) -> bool:
        return run(["tgtadm", "-C", self.control, "--mode", "system", "--op", "show"], check=False).ok

    def _admin(self, mode: str, operation: str, *options: str) -> str:
        argv = ["tgtadm", "-C", self.control, "--lld", "iscsi", "--mode", mode, "--op", operation, *options]
        return run(argv, secrets=[one.password for one in (self.account, self.outgoing) if one]).stdout


class Way:
    """A further way to a port of the host, over TCP, that can be cut while the other ways go on."""

    def __init__(self, port: int) -> None:
        self.goal = port
        self.ends: list[socket.socket] = []
        self.door = socket.create_server((LOOPBACK, 0))
        self.port = int(self.door.getsockname()[1])
        threading.Thread(target=self._accept, daemon=True).start()

    def __enter__(self) -> Way:
        return self

    def __exit__(self, *_: object) -> None:
        self.cut()

    def cut(self) -> None:
        """Drop what goes through, and let nobody in any more."""
        for end in (self.door, *self.ends):
            # A thread that waits in accept() or recv() is woken by this, and not by close().
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                outer = self.door.accept()[0]
                inner = socket.create_connection((LOOPBACK, self.goal))
                self.ends += [outer, inner]
                for source, sink in ((outer, inner), (inner, outer)):
                    threading.Thread(target=_pump, args=(source, sink), daemon=True).start()


def _pump(source: socket.socket, sink: socket.socket) -> None:
    with suppress(OSError):
        while data := source.recv(1 << 16):
            sink.sendall(data)
    for end in (source, sink):
        with suppress(OSError):
            end.shutdown(socket.SHUT_RDWR)


def _free_port(held: ExitStack, address: str) -> int:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    probe = held.enter_context(socket.socket(family))
    probe.bind((address, 0))
    return int(probe.getsockname()[1])


@contextmanager
def running(target: Target) -> Iterator[Target]:
    """``target`` for the length of the block."""
    try:
        target.start()
        yield target
    finally:
        target.stop()


def make_room(installer: InstallerMachine) -> None:
    """Let the installer's sessions, and those of its node, have room; the node's kernel needs ROOM too."""
    installer.shell.run(
        f"sysctl -qw {ROOM.removeprefix('sysctl.')} && "
        f"echo 'node.conn[0].tcp.window_size = {RECEIVE}' >> /etc/iscsi/iscsid.conf"
    )


def boot_script(
    folder: Path, target: Target, initiator: str, *, describe: bool, then: Sequence[str] = ()
) -> tuple[str, ...]:
    """QEMU's network options for a card whose iPXE boots from ``target``; ``describe``: it leaves an iBFT.

    With ``then`` it only has the disk at hand, and goes on with these lines.
    """
    place = folder / "tftp"
    place.mkdir(exist_ok=True)
    lines = ["#!ipxe", f"set initiator-iqn {initiator}"]
    for account, prefix in ((target.account, ""), (target.outgoing, "reverse-")):
        if account is not None:
            lines += [f"set {prefix}username {account.user}", f"set {prefix}password {account.password}"]
    command = "sanhook" if then else "sanboot"
    options = "" if describe else "--no-describe "
    lines.append(f"{command} {options}iscsi:{HOST_ADDRESS}::{target.port}:{LUN:x}:{IQN} || poweroff")
    lines += then
    (place / "boot.ipxe").write_text("\n".join(lines) + "\n", encoding="ascii")
    return (f"tftp={place}", "bootfile=boot.ipxe")

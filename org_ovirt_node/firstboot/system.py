"""The half of a first boot in the new system: a kickstart on a medium, questions on the console, the firmware's entry.

It runs before the network, the logins and whatever reads the host's name come up.
"""

from __future__ import annotations

import getpass
import logging
import os
import signal
import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from org_ovirt_node.boot import efi, files
from org_ovirt_node.errors import CommandError, NodeError
from org_ovirt_node.firstboot import answers, partitions
from org_ovirt_node.firstboot.record import FIRST_BOOT, Record, left_open, load
from org_ovirt_node.install import accounts, system
from org_ovirt_node.install.scripts import run_scripts
from org_ovirt_node.kickstart.fetch import MEDIUM_FILE, MEDIUM_LABEL
from org_ovirt_node.kickstart.model import SystemRequest
from org_ovirt_node.mounts import mounted
from org_ovirt_node.node.places import Places
from org_ovirt_node.progress import Progress
from org_ovirt_node.run import run

log = logging.getLogger(__name__)

MEDIUM = Path("/dev/disk/by-label") / MEDIUM_LABEL
#: Seconds for a USB stick to show up when something is open that only it, or a person, can say.
PATIENCE = 10
#: systemd(1): status lines on the console off and on.
QUIET, TALKING = signal.SIGRTMIN + 21, signal.SIGRTMIN + 20


@contextmanager
def quiet_console() -> Iterator[None]:
    """Keep systemd's status lines away from questions."""
    os.kill(1, QUIET)
    try:
        yield
    finally:
        os.kill(1, TALKING)


def console() -> answers.Terminal:
    """Standard input and output."""

    def say(text: str) -> None:
        print(text, flush=True)

    return answers.Terminal(input, getpass.getpass, say)


class SystemHalf:
    """This half of one first boot."""

    def __init__(self, progress: Progress, places: Places, record: Path = Path(FIRST_BOOT)) -> None:
        self.progress = progress
        self.places = places
        self.path = record
        self.record: Record = load(record)

    @property
    def root(self) -> Path:
        return self.places.live

    def run(self, terminal: answers.Terminal) -> bool:
        """Do it; False when something stays open, and is asked for again at the next boot."""
        self._register()
        try:
            self._take_kickstart()
        except NodeError as error:
            if not self.record.open:
                raise
            # A person on the console can still say what it does not.
            log.error("%s was not taken: %s", MEDIUM_FILE, error)
            terminal.say(f"\n{MEDIUM_FILE} on the medium {MEDIUM_LABEL} was not taken: {error}")
        if self.record.open:
            self._ask(terminal)
        if self.record.open:
            return False
        # What was written is on the disk before the record that would have it written again is not.
        os.sync()
        self.path.unlink()
        files.sync_folder(self.path.parent)
        return True

    def _register(self) -> None:
        """The firmware's own entry; without one it starts the fallback on the ESP."""
        if not (self.places.live / "sys/firmware/efi").is_dir():
            return
        esp = run(["findmnt", "--noheadings", "--output", "SOURCE", f"/{efi.ESP}"], check=False).stdout.strip()
        disk, number = partitions.parent(esp) if esp else ("", 0)
        started = sorted((self.root / efi.ESP / "EFI").glob("*/shimx64.efi"))
        if not (disk and started):
            return
        try:
            efi.register(disk, number, str(started[0].relative_to(self.root / efi.ESP)), [])
        except CommandError as error:
            log.warning("no boot entry in the firmware: %s", error)

    def _take_kickstart(self) -> None:
        run(["udevadm", "settle", "--timeout=30"], check=False)
        if self.record.open and not MEDIUM.exists():
            run(["udevadm", "wait", f"--timeout={PATIENCE}", MEDIUM], check=False)
        if not MEDIUM.exists():
            return
        with mounted(os.fspath(MEDIUM), self.places.work, options=["ro"]) as medium:
            if (medium / MEDIUM_FILE).is_file():
                self.progress.step("kickstart", f"Reading {MEDIUM_FILE} on the medium {MEDIUM_LABEL}")
                self._apply_kickstart(medium / MEDIUM_FILE)

    def _apply_kickstart(self, file: Path) -> None:
        from org_ovirt_node.kickstart.standard import load_system

        request = load_system(os.fspath(file))
        self._apply(request.system)
        run_scripts(request.scripts, "post", self.root, self.progress)

    def _apply(self, request: SystemRequest) -> None:
        system.configure(self.root, request)
        # A boot that was cut short has made some of them already.
        accounts.configure(self.root, request, again=True)
        if request.hostname:
            socket.sethostname(request.hostname)
        still = left_open(request)
        self._keep(tuple(name for name in self.record.open if name in still))

    def _keep(self, still_open: Sequence[str]) -> None:
        self.record = replace(self.record, open=tuple(still_open))
        files.write_durably(self.path, self.record.render().encode())

    def _ask(self, terminal: answers.Terminal) -> None:
        from org_ovirt_node.kickstart.standard import load_system

        def check(line: str) -> None:
            load_system("the answer", fetch=lambda _name: line + "\n")

        with quiet_console():
            terminal.say("\noVirt Node: this machine starts for the first time.\n")
            try:
                lines = answers.dialogue(self.record.open, terminal, check)
            except EOFError:
                terminal.say("Nobody answers; the questions come again at the next boot.")
                return
        self._apply(load_system("the answers", fetch=lambda _name: "".join(f"{line}\n" for line in lines)).system)
        # A person was asked; what is empty is meant so.
        self._keep(())


def perform(progress: Progress, places: Places, terminal: answers.Terminal) -> bool:
    """This half, to its end; False when something stays open.  Raises NodeError."""
    try:
        return SystemHalf(progress, places).run(terminal)
    except ImportError as error:
        raise NodeError(
            f"this image cannot read kickstarts: {error}", hint="Build it on a host that has pykickstart."
        ) from error

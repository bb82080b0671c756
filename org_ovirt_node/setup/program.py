"""``ovirt-node-setup``: what an installer medium runs on its console."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn, Optional

from org_ovirt_node.cli import common
from org_ovirt_node.cli.install import ENDINGS, end_machine
from org_ovirt_node.i18n import _
from org_ovirt_node.install.options import Options
from org_ovirt_node.install.runner import install, only_plan
from org_ovirt_node.kickstart.standard import load
from org_ovirt_node.layout import describe
from org_ovirt_node.mounts import mounted
from org_ovirt_node.progress import Progress, Silent, TextProgress
from org_ovirt_node.run import run
from org_ovirt_node.setup import medium
from org_ovirt_node.setup.answers import Answers
from org_ovirt_node.setup.network import Network
from org_ovirt_node.setup.source import LABELS, MOUNT, Kickstart, wanted
from org_ovirt_node.setup.text import Work
from org_ovirt_node.setup.text import run as show

CMDLINE = Path("/proc/cmdline")
SHELL_HINT = "The log is /var/log/ovirt-node/ovirt-node-setup.log."


@contextmanager
def reachable(kickstart: Kickstart) -> Iterator[str]:
    """The kickstart as :func:`load` reads it: its medium is mounted.  Raises NodeError."""
    if not kickstart.label:
        yield kickstart.path
        return
    device = LABELS / kickstart.label
    run(
        ["udevadm", "wait", "--timeout=30", device],
        hint=_("No file system has the label {label}: is its medium in the machine?").format(label=kickstart.label),
    )
    with mounted(os.fspath(device), MOUNT, options=["ro"]) as folder:
        yield os.fspath(folder / kickstart.path.lstrip("/"))


def unattended(kickstart: Kickstart, progress: Progress) -> str:
    """Install as the kickstart says; returns how it ends.  Raises NodeError."""
    progress.detail(f"kickstart: {kickstart.shown}")
    medium.check(progress)
    network = Network(progress)
    with reachable(kickstart) as source:
        request = load(source, fetch=network.fetch)
        network.prepare(request)
        done = install(request, Options(), progress)
    print(f"Installed {done.layer}.", flush=True)
    return request.ending


class Engine(Work):
    """The installation behind the screen."""

    def __init__(self, progress: Progress) -> None:
        self.progress = progress

    def plan(self, kickstart: str) -> str:
        """See :class:`Work`."""
        print("Looking at the disks ...", flush=True)
        request = load("the answers", fetch=lambda _name: kickstart)
        return describe.as_text(only_plan(request, Options(), Silent()))

    def install(self, kickstart: str) -> None:
        """See :class:`Work`."""
        medium.check(self.progress)
        done = install(load("the answers", fetch=lambda _name: kickstart), Options(), self.progress)
        print(f"Installed {done.layer}.", flush=True)
        self.done = True

    def leave(self, key: str) -> None:
        """See :class:`Work`."""
        if key == "q":
            run(["systemctl", "poweroff"])
        else:
            subprocess.run(["/bin/bash"], check=False)


def interactive(progress: Progress) -> str:
    """Ask, install, and say how it ends."""
    show(Answers(medium.images()), medium.disks(), Engine(progress))
    input("Take the medium out and press ENTER to restart: ")
    return "reboot"


def act(options: argparse.Namespace) -> int:
    """Do what the machine was started for."""
    progress = TextProgress(sys.stdout)
    print("\noVirt Node installer\n", flush=True)
    kickstart = wanted(options.cmdline.read_text(encoding="utf-8", errors="replace"))
    ending = unattended(kickstart, progress) if kickstart else interactive(progress)
    if ending in ENDINGS:
        end_machine(ending)
    return 0


def parser() -> argparse.ArgumentParser:
    """The command line."""
    made = argparse.ArgumentParser(prog="ovirt-node-setup", description="Install oVirt Node from this medium.")
    made.add_argument("--cmdline", type=Path, default=CMDLINE, metavar="FILE", help="the kernel command line")
    common.add_common_options(made)
    return made


def main(argv: Optional[Sequence[str]] = None) -> int:
    """The program; returns its exit status.  After a failure there is a shell to look around in."""
    status = common.main(parser(), act, argv)
    if status and argv is None:
        print(f"The installation has failed; this is a shell. {SHELL_HINT}", flush=True)
        subprocess.run(["/bin/bash"], check=False)
    return status


def program() -> NoReturn:
    """The command."""
    common.leave(main())

"""Kills and faults of an update, on a node in a folder: real images, file systems and mounts, LVM's programs faked.

The steps come from the list in code.  A kill is SIGKILL of the program, before, in and after each step; a fault is an
error of the system at one of the places where data are brought to the disk.
"""

from __future__ import annotations

import errno
import hashlib
import os
import pickle
import random
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Optional
from unittest import mock

from org_ovirt_node.errors import NodeError
from org_ovirt_node.kickstart.model import NodeSection
from org_ovirt_node.node import update_run
from org_ovirt_node.node.layers import boot_state
from org_ovirt_node.node.update import Request
from org_ovirt_node.progress import Silent
from tests.support import deadly
from tests.support.fakenode import NEW, OLD, FakeNode, make_node, path_with_fakes

#: What a disk answers: an error, no room, a file system that has become read-only.
ERRORS = (errno.EIO, errno.ENOSPC, errno.EROFS)


@dataclass
class Outcome:
    """How many were tried, how many of them ended an operation with an error, and each violation."""

    tried: int = 0
    refused: int = 0
    violations: list[str] = field(default_factory=list)


@contextmanager
def fresh_node() -> Iterator[FakeNode]:
    """A node in memory: its many small flushes would take minutes on a busy disk."""
    with tempfile.TemporaryDirectory(dir="/dev/shm", prefix="ovirt-node-") as folder:
        made = make_node(Path(folder) / "node")
        with mock.patch.dict(os.environ, {"OVIRT_NODE_PATH": path_with_fakes(made.home)}):
            yield made


def run(node: FakeNode) -> None:
    """The update to NEW.  Raises NodeError."""
    file = node.home / "new.squashfs"
    section = NodeSection(images=(f"file://{file}",), sha256=hashlib.sha256(file.read_bytes()).hexdigest())
    update_run.update(Request(section, inhibit=False), Silent(), node.places)


def bootable(node: FakeNode) -> Iterator[str]:
    """What is wrong with what GRUB would boot now."""
    state = boot_state(node.places.boot)
    if state.next not in (f"{OLD}+1", f"{NEW}+1"):
        yield f"GRUB boots {state.next or 'nothing'}"
    if state.good != f"{OLD}+1":
        yield f"GRUB falls back to {state.good or 'nothing'}"
    for name in state.names:
        if name not in node.volumes:
            yield f"the entry {name} names a volume that is gone"
        if not (node.places.boot / name / "vmlinuz").is_file():
            yield f"the entry {name} has no kernel"


def finished(node: FakeNode) -> Iterator[str]:
    """Run the update again, and say what is wrong then; one that had come to its end before says so."""
    try:
        run(node)
    except NodeError as exc:
        if boot_state(node.places.boot).next != f"{NEW}+1":
            yield f"running it again fails: {exc}"
            return
    state = boot_state(node.places.boot)
    if state.next != f"{NEW}+1" or NEW not in node.volumes:
        yield f"after running it again GRUB boots {state.next}"


def kills() -> Outcome:
    """SIGKILL before, in and after each step."""
    outcome = Outcome()
    for step in update_run.STEPS:
        for where in ("before", "in", "after"):
            with fresh_node() as node:
                outcome.tried += 1
                wrong = [*_killed(node, step.name, where), *bootable(node), *finished(node)]
                outcome.violations += [f"killed {where} {step.name}: {one}" for one in wrong]
    return outcome


def killed_update(home: str, places: str, name: str, where: str) -> None:
    """The update in a program of its own; it is killed ``where`` (before, in, after) the step ``name``.

    "in" a step is at the second file that it brings to the disk, or where it would have ended.
    """

    def arm() -> None:
        os.fsync = deadly.at_second(os.fsync)

    update_run.run_steps.__defaults__ = (deadly.deadly(update_run.STEPS, name, where, arm),)
    run(FakeNode(Path(home), pickle.loads(bytes.fromhex(places))))


def _killed(node: FakeNode, name: str, where: str) -> Iterator[str]:
    program = "import sys; from tests.crash import matrix; matrix.killed_update(*sys.argv[1:])"
    argv = [sys.executable, "-c", program, str(node.home), pickle.dumps(node.places).hex(), name, where]
    project = Path(__file__).resolve().parents[2]
    done = subprocess.run(
        argv, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": str(project)}, check=False
    )
    if done.returncode != -signal.SIGKILL:
        yield f"it ended with {done.returncode}: {done.stderr.strip().splitlines()[-1:]}"


def faults(seed: int, count: Optional[int] = None) -> Outcome:
    """An error at each place where an update brings a file to the disk (of ``count`` of them, chosen by ``seed``)."""
    source = random.Random(seed)
    outcome = Outcome()
    places = _places()
    chosen = sorted(source.sample(range(places), min(places, count or places)))
    for number in chosen:
        error = source.choice(ERRORS)
        with fresh_node() as node:
            outcome.tried += 1
            wrong = [*_failed(node, number, error), *bootable(node), *finished(node)]
            outcome.violations += [f"{errno.errorcode[error]} at flush {number}: {one}" for one in wrong]
    return outcome


def _places() -> int:
    with fresh_node() as node:
        count = 0
        real = os.fsync

        def counted(descriptor: int) -> None:
            nonlocal count
            count += 1
            real(descriptor)

        with mock.patch("os.fsync", counted):
            run(node)
    return count


def _failed(node: FakeNode, number: int, error: int) -> Iterator[str]:
    """The update with an error at its flush ``number``, counted from 0: it must end with an error of ours, or whole."""
    with mock.patch("os.fsync", _failing(number, error)):
        try:
            run(node)
        except NodeError as exc:
            if not exc.message:
                yield "an error that says nothing"
        except Exception as exc:
            yield f"a defect shows: {exc!r}"


def _failing(number: int, error: int) -> Callable[[int], None]:
    real, count = os.fsync, -1

    def fail(descriptor: int) -> None:
        nonlocal count
        count += 1
        if count == number:
            raise OSError(error, os.strerror(error))
        real(descriptor)

    return fail

"""Only one program changes the node's images at a time (flock(2)); the lock goes with the process that holds it."""

from __future__ import annotations

import fcntl
import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Optional

from org_ovirt_node.errors import NodeError

LOCK = Path("/run/ovirt-node-update.lock")
#: What an update calls itself; it alone can be stopped from outside.
UPDATE = "the update"
#: Seconds that a running update gets to undo what it did.
PATIENCE = 120.0
#: Seconds between two looks at the lock.
LOOK = 0.1


@dataclass(frozen=True)
class Holder:
    """The process that has the lock, and what it does with it; 0 and empty where the file does not tell."""

    process: int = 0
    what: str = ""

    def __str__(self) -> str:
        return f"{self.what or 'an update'} is running (process {self.process or 'unknown'})"


@contextmanager
def locked(what: str, path: Path = LOCK, *, other: str = "", hint: str = "", patience: float = 0.0) -> Iterator[None]:
    """Hold the lock for ``what`` for the length of the block.

    Raises NodeError when another program has it, and still has it after ``patience`` seconds; ``other`` says what that
    does, where the lock itself does not.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        deadline = time.monotonic() + patience
        while not _taken(descriptor):
            if time.monotonic() >= deadline:
                held = holder(path) or Holder()
                if other:
                    held = Holder(held.process, other)
                stop = ", or stop it with 'nodectl update --cancel'" if held.what == UPDATE else ""
                raise NodeError(f"{what} has to wait: {held}", hint=hint or f"Let it end{stop}.")
            time.sleep(LOOK)
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()} {what}\n".encode(), 0)
        yield
    finally:
        os.close(descriptor)


def _taken(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def holder(path: Path = LOCK) -> Optional[Holder]:
    """Who holds the lock; None when nobody does."""
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
    except OSError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        process, _, what = os.pread(descriptor, 128, 0).decode("ascii", errors="replace").strip().partition(" ")
        return Holder(int(process) if process.isdigit() else 0, what)
    else:
        return None
    finally:
        os.close(descriptor)


def interrupt_holder(path: Path = LOCK, patience: float = PATIENCE) -> bool:
    """Ask the update that holds the lock to stop and undo, and wait for its end; False when there is none.

    Raises NodeError when something else holds it, or it does not end within ``patience`` seconds.
    """
    held = holder(path)
    if held is None:
        return False
    if held.what != UPDATE or not held.process:
        raise NodeError(f"there is no update to cancel: {held}", hint="Let it end.")
    with suppress(ProcessLookupError):
        os.kill(held.process, signal.SIGINT)
    deadline = time.monotonic() + patience
    while holder(path) == held:
        if time.monotonic() > deadline:
            raise NodeError(f"the running update (process {held.process}) did not stop within {patience:g} s")
        time.sleep(LOOK)
    return True

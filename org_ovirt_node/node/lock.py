"""Only one program changes the node's images at a time (flock(2)); the lock goes with the process that holds it."""

from __future__ import annotations

import fcntl
import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from org_ovirt_node.errors import NodeError

LOCK = Path("/run/ovirt-node-update.lock")
#: Seconds that a running update gets to undo what it did.
PATIENCE = 120.0
#: Seconds between two looks at the lock.
LOOK = 0.1


@contextmanager
def locked(
    what: str,
    path: Path = LOCK,
    *,
    other: str = "an update",
    hint: str = "Let it end, or stop it with 'nodectl update --cancel'.",
    patience: float = 0.0,
) -> Iterator[None]:
    """Hold the lock for the length of the block.

    Raises NodeError when another program, ``other``, has it, and still has it after ``patience`` seconds.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        deadline = time.monotonic() + patience
        while not _taken(descriptor):
            if time.monotonic() >= deadline:
                raise NodeError(
                    f"{what} has to wait: {other} is running (process {holder(path) or 'unknown'})", hint=hint
                )
            time.sleep(LOOK)
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
        yield
    finally:
        os.close(descriptor)


def _taken(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def holder(path: Path = LOCK) -> int:
    """The process that holds the lock, 0 when nobody does."""
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
    except OSError:
        return 0
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        text = os.pread(descriptor, 32, 0).decode("ascii", errors="replace").strip()
        return int(text) if text.isdigit() else 0
    else:
        return 0
    finally:
        os.close(descriptor)


def interrupt_holder(path: Path = LOCK, patience: float = PATIENCE) -> bool:
    """Ask the process that holds the lock to stop and undo, and wait for it; False when there is none.

    Raises NodeError when it does not end within ``patience`` seconds.
    """
    process = holder(path)
    if not process:
        return False
    os.kill(process, signal.SIGINT)
    deadline = time.monotonic() + patience
    while holder(path) == process:
        if time.monotonic() > deadline:
            raise NodeError(f"the running update (process {process}) did not stop within {patience:g} s")
        time.sleep(LOOK)
    return True

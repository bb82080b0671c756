"""Runs an installation to its end, or takes everything apart again."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from types import FrameType
from typing import Optional

from org_ovirt_node.errors import Interrupted
from org_ovirt_node.install.engine import DEVICE_BOUND, PREPARE, STEPS, Installation, run_steps
from org_ovirt_node.install.options import Options
from org_ovirt_node.kickstart.model import InstallRequest
from org_ovirt_node.layout.model import Layout
from org_ovirt_node.progress import Progress

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@contextmanager
def interruptible() -> Iterator[None]:
    """Turn the signals that end a program into :class:`Interrupted`, once: what follows is the way back."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(number: int, frame: Optional[FrameType]) -> None:
        for other in SIGNALS:
            signal.signal(other, signal.SIG_IGN)
        raise Interrupted(
            f"interrupted by {signal.Signals(number).name}; everything is unmounted and released",
            hint="The disk holds no bootable node; run the installation again.",
        )

    before = {number: signal.signal(number, stop) for number in SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def install(request: InstallRequest, options: Options, progress: Progress) -> Installation:
    """Do all steps, then release everything.  Raises NodeError; nothing stays mounted or active either way."""
    with interruptible(), ExitStack() as stack:
        installation = Installation(request, options, progress, stack)
        run_steps(installation, STEPS)
        progress.step("release", "Unmounting")
    return installation


def only_plan(request: InstallRequest, options: Options, progress: Progress) -> Layout:
    """What an installation would do; no disk is written."""
    with interruptible(), ExitStack() as stack:
        installation = Installation(request, options, progress, stack)
        run_steps(installation, PREPARE)
        return installation.layout


def own_seconds(installation: Installation) -> float:
    """The time of the steps that are ours: all but scan, partitioning and transfer."""
    return sum(seconds for name, seconds in installation.seconds.items() if name not in DEVICE_BOUND)

"""Signals that end a program, as exceptions: what is held is released on the way back."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Optional

from org_ovirt_node.errors import Interrupted
from org_ovirt_node.i18n import _

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
#: A shell's exit status of a program that a signal ended, less the signal's number (POSIX, Shell, 2.8.2).
BY_SIGNAL = 128


def _left_alone(number: signal.Signals) -> bool:
    """True for a hang-up that whoever started the program has switched off, as nohup(1) does."""
    return number == signal.SIGHUP and signal.getsignal(number) == signal.SIG_IGN


@contextmanager
def _handled(handler: signal._HANDLER) -> Iterator[None]:
    """Only the main thread may have handlers; elsewhere nothing changes."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, handler) for number in SIGNALS if not _left_alone(number)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _stop(number: int, frame: Optional[FrameType]) -> None:
    # A second signal must not cut the release of mounts and devices short.
    for each in SIGNALS:
        signal.signal(each, signal.SIG_IGN)
    stopped = Interrupted(
        _("interrupted by {signal}; everything was released").format(signal=signal.Signals(number).name)
    )
    stopped.status = BY_SIGNAL + number
    raise stopped


@contextmanager
def interruptible() -> Iterator[None]:
    """Turn the signals that end a program into :class:`Interrupted`, once: what follows is the way back."""
    with _handled(_stop):
        yield


@contextmanager
def uninterrupted() -> Iterator[None]:
    """Ignore the signals that end a program: what undoes or releases must not be cut short by the next Ctrl-C."""
    with _handled(signal.SIG_IGN):
        yield


@contextmanager
def blocked() -> Iterator[None]:
    """Keep the signals that end a program waiting until the block is done, for its children too.

    A Ctrl-C goes to all programs of a terminal: one that must not be left half done does not see it.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def end_quietly() -> None:
    """From now on these signals end the program at once and without a word.

    For a program that has released everything and takes the machine down: being stopped then is no failure.
    """
    for each in SIGNALS:
        if not _left_alone(each):
            signal.signal(each, signal.SIG_DFL)

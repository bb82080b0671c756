"""Signals that end a program: turned into an exception once, and put back."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from org_ovirt_node import signals
from org_ovirt_node.errors import Interrupted
from org_ovirt_node.run import run


@pytest.fixture
def hang_up() -> Iterator[None]:
    """SIGHUP as a terminal leaves it, also where the tests run under nohup(1)."""
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGHUP, before)


@pytest.mark.usefixtures("hang_up")
@pytest.mark.parametrize("number", signals.SIGNALS)
def test_a_signal_releases_everything_in_order(number: signal.Signals) -> None:
    released: list[str] = []
    before = signal.getsignal(number)

    def second() -> None:
        os.kill(os.getpid(), number)
        released.append("second")

    with pytest.raises(Interrupted, match=number.name), signals.interruptible(), ExitStack() as stack:
        stack.callback(released.append, "first")
        stack.callback(second)
        os.kill(os.getpid(), number)
        signal.pause()
    assert released == ["second", "first"]
    assert signal.getsignal(number) == before


@pytest.mark.usefixtures("hang_up")
def test_a_hang_up_that_nohup_switched_off_stays_off() -> None:
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    with signals.interruptible():
        os.kill(os.getpid(), signal.SIGHUP)
        assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
        assert signal.getsignal(signal.SIGTERM) != signal.SIG_DFL
    assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN


@pytest.mark.usefixtures("hang_up")
def test_a_program_that_takes_the_machine_down_is_not_interrupted_by_it() -> None:
    before = {number: signal.getsignal(number) for number in signals.SIGNALS}
    with signals.interruptible():
        signals.end_quietly()
        assert {signal.getsignal(number) for number in signals.SIGNALS} == {signal.SIG_DFL}
    assert {number: signal.getsignal(number) for number in signals.SIGNALS} == before


@pytest.mark.usefixtures("hang_up")
@pytest.mark.parametrize("to", ["$PPID", "$$"])
def test_a_program_that_is_run_whole_is_not_cut_short(tmp_path: Path, to: str) -> None:
    file = tmp_path / "thawed"
    script = f'kill -INT $PPID {to}; read -r line < "$1"; echo thawed > "$2"'
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    writer = subprocess.Popen(["sh", "-c", 'sleep 0.2; echo go > "$1"', "sh", str(pipe)])
    with pytest.raises(Interrupted), signals.interruptible():
        run(["sh", "-c", script, "sh", pipe, file], whole=True)
    writer.wait()
    assert file.read_text() == "thawed\n"

"""A private bus with Anaconda's Boss, its Storage and Payloads modules and our service on it, as they really are."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

CONFIG = """<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig>
  <type>session</type>
  <listen>unix:dir={folder}</listen>
  <servicedir>/usr/share/anaconda/dbus/services</servicedir>
  <limit name="service_start_timeout">300000</limit>
  <policy context="default">
    <allow send_destination="*" eavesdrop="true"/>
    <allow eavesdrop="true"/>
    <allow own="*"/>
  </policy>
</busconfig>
"""
#: Where Anaconda looks for its bus (pyanaconda.core.constants).
VARIABLE = "DBUS_ANACONDA_SESSION_BUS_ADDRESS"
SECONDS = 60.0


@contextmanager
def anaconda_bus(log: Path) -> Iterator[str]:
    """A bus; its address is in the environment.  What its services print goes to ``log``."""
    folder = Path(tempfile.mkdtemp(prefix="bus-"))
    config = folder / "bus.conf"
    config.write_text(CONFIG.format(folder=folder), encoding="ascii")
    before = os.environ.get(VARIABLE)
    with log.open("ab") as out:
        daemon = subprocess.Popen(
            ["dbus-daemon", f"--config-file={config}", "--print-address=1", "--nofork"],
            stdout=subprocess.PIPE,
            stderr=out,
            text=True,
        )
    assert daemon.stdout is not None
    try:
        address = daemon.stdout.readline().strip()
        os.environ[VARIABLE] = address
        yield address
    finally:
        daemon.send_signal(signal.SIGTERM)
        daemon.wait(timeout=SECONDS)
        daemon.stdout.close()
        if before is None:
            os.environ.pop(VARIABLE, None)
        else:
            os.environ[VARIABLE] = before


@contextmanager
def started(module: str, log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A module of Anaconda's, or ours, as a process on the bus."""
    with log.open("ab") as out:
        process = subprocess.Popen([sys.executable, "-m", module], stdout=out, stderr=out)
    try:
        yield process
    finally:
        process.terminate()
        process.wait(timeout=SECONDS)


def wait_for(service_name: str, process: subprocess.Popen[bytes]) -> float:
    """Seconds until ``service_name`` is on the bus; raises when its process ends before."""
    from dasbus.connection import AddressedMessageBus

    begun = time.monotonic()
    bus = AddressedMessageBus(os.environ[VARIABLE])
    try:
        while time.monotonic() - begun < SECONDS:
            if bus.proxy.NameHasOwner(service_name):
                return time.monotonic() - begun
            if process.poll() is not None:
                raise AssertionError(f"{service_name} ended with status {process.returncode}")
            time.sleep(0.05)
    finally:
        bus.disconnect()
    raise AssertionError(f"{service_name} did not come within {SECONDS:g} s")

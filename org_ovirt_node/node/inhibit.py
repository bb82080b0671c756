"""Shutdown and sleep are held off while a disk is written: logind's inhibitor lock on the system bus.

Protocol: systemd.io/INHIBITOR_LOCKS; org.freedesktop.login1(5).  The lock lives as long as its file descriptor.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

from org_ovirt_node.errors import NodeError

SERVICE, PATH, INTERFACE = "org.freedesktop.login1", "/org/freedesktop/login1", "org.freedesktop.login1.Manager"
WHAT = "shutdown:sleep"
WITHOUT = "Use --no-inhibit to go on without it, and make sure that nobody shuts the node down."


def take(why: str) -> int:
    """Take the lock and return its file descriptor.  Raises NodeError when that is not possible."""
    try:
        import dbus
    except ImportError as exc:
        raise NodeError(
            "a shutdown cannot be held off: Python's dbus module is not installed",
            hint=f"Install dbus-python (python3-dbus). {WITHOUT}",
        ) from exc
    try:
        manager = dbus.SystemBus().get_object(SERVICE, PATH)
        lock = manager.Inhibit(WHAT, "nodectl", why, "block", dbus_interface=INTERFACE)
    except dbus.exceptions.DBusException as exc:
        raise NodeError(
            f"a shutdown cannot be held off: logind does not answer ({exc.get_dbus_message()})",
            hint=f"See 'systemctl status systemd-logind'. {WITHOUT}",
        ) from exc
    return int(lock.take())


@contextmanager
def held_off(why: str, *, wanted: bool = True) -> Iterator[None]:
    """No shutdown and no sleep for the length of the block."""
    if not wanted:
        yield
        return
    descriptor = take(why)
    try:
        yield
    finally:
        os.close(descriptor)

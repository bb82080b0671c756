"""Anaconda's text mode without a kickstart, natively: its summary and our screen on a terminal, by keys.

There is no disk to choose, so it goes as far as that.  The rest is done in a machine (scenarios_text).
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import pty
import re
import select
import struct
import subprocess
import tempfile
import termios
import time
from pathlib import Path
from re import Match

from tests.anaconda import chroot
from tests.anaconda.scenarios_text import Keys, choose_image, choose_password, choose_time_zone
from tests.vm.channel import plain
from tests.vm.errors import ScenarioFailed, TimedOut, check

NAME = "anaconda-text-hub"
#: What a boot has running before Anaconda: the system's bus and NetworkManager, here in namespaces of their own.
START = "mkdir -p /run/dbus && dbus-daemon --system --fork && NetworkManager && exec anaconda --text"
#: Anaconda starts a systemd for its user, for which a chroot has no control groups.
USERS_SYSTEMD = "usr/lib/systemd/systemd"
#: Seconds between two screens, the first one excepted, which comes after all of Anaconda has started.
PATIENCE = 240.0


class Terminal:
    """A program on a terminal of 80 columns and 24 lines; what Keys needs of a channel."""

    def __init__(self, argv: list[str], environment: dict[str, str]) -> None:
        self.master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
        self.process = subprocess.Popen(
            argv, env={**environment, "TERM": "vt100"}, stdin=slave, stdout=slave, stderr=slave, start_new_session=True
        )
        os.close(slave)
        self.heard = b""

    def send(self, text: str) -> None:
        os.write(self.master, text.encode())

    def wait_for(self, pattern: str, timeout: float) -> Match[str]:
        """Wait for ``pattern`` in what came since the last match."""
        end = time.monotonic() + min(timeout, PATIENCE)
        while True:
            said = plain(self.heard)
            found = re.search(pattern, said, re.MULTILINE)
            if found:
                self.heard = said[found.end() :].encode()
                return found
            if time.monotonic() > end or not self._read():
                raise TimedOut(f"{pattern!r} did not come; on the screen is:\n{said[-3000:]}")

    def _read(self) -> bool:
        if not select.select([self.master], [], [], 1.0)[0]:
            return True
        try:
            part = os.read(self.master, 65536)
        except OSError:
            return False
        self.heard += part
        return bool(part)

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        os.close(self.master)


def one(tree: Path, image: Path) -> str:
    """Choose time zone, image and password in the real summary; what was wrong, or nothing."""
    layer = Path(tempfile.mkdtemp(prefix="text-"))
    (layer / USERS_SYSTEMD).parent.mkdir(parents=True)
    (layer / USERS_SYSTEMD).write_text("#!/bin/sh\nexec sleep infinity\n", encoding="ascii")
    (layer / USERS_SYSTEMD).chmod(0o755)
    (layer / "media").mkdir()
    (layer / "media/node-1.squashfs").write_bytes(image.read_bytes())
    with chroot.root_with_addon(tree, layer, interactive=True) as root:
        terminal = Terminal(*root.argv(["sh", "-c", START]))
        try:
            walk(Keys(terminal), hashlib.sha256(image.read_bytes()).hexdigest())
        except ScenarioFailed as exc:
            return str(exc)
        finally:
            terminal.close()
    return ""


def walk(keys: Keys, digest: str) -> None:
    """From the first screen to where only a disk is missing."""
    keys.read()
    check("(No image chosen)" in keys.screen, f"the summary does not ask for an image:\n{keys.screen}")
    choose_time_zone(keys)
    choose_image(keys, "file:/media/node-1.squashfs", digest, "node-1")
    choose_password(keys)
    check(re.search(r"\[x\] oVirt Node", keys.screen) is not None, f"the spoke is incomplete:\n{keys.screen}")
    check("(node-1)" in keys.screen, f"the summary does not name the image:\n{keys.screen}")
    keys.type("b")
    keys.channel.wait_for("Please complete all spokes before continuing", PATIENCE)

"""The text spoke on a terminal of 80 columns and 24 lines, driven by keys."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import struct
import subprocess
import sys
import termios
import time
import unittest
from contextlib import ExitStack
from typing import Any

from tests.anaconda import boss, need

need.pyanaconda()

from org_ovirt_node.tui.spokes.ovirt_node import MOST_VOLUMES, shortened  # noqa: E402

SECONDS = 60.0
DIGEST = "5a" * 32


class Terminal:
    """A program on a terminal of its own."""

    def __init__(self, module: str) -> None:
        self.master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
        self.process = subprocess.Popen(
            [sys.executable, "-m", module], stdin=slave, stdout=slave, stderr=slave, env={**os.environ, "TERM": "vt100"}
        )
        os.close(slave)
        self.text = ""

    def expect(self, pattern: str) -> str:
        """Read until ``pattern`` is there, however its words are broken into lines; returns all up to it."""
        end = time.monotonic() + SECONDS
        while True:
            found = re.search(pattern.replace(" ", r"\s+"), self.text)
            if found:
                before, self.text = self.text[: found.end()], self.text[found.end() :]
                return before
            if time.monotonic() > end or not self._read():
                raise AssertionError(f"{pattern!r} did not come; on the screen is:\n{self.text}")

    def _read(self) -> bool:
        if not select.select([self.master], [], [], 1.0)[0]:
            return True
        try:
            part = os.read(self.master, 65536)
        except OSError:
            return False
        self.text += part.decode(errors="replace").replace("\r", "")
        return bool(part)

    def type(self, text: str) -> None:
        """Type ``text`` and Enter."""
        os.write(self.master, text.encode() + b"\n")

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        os.close(self.master)


class Spoke(unittest.TestCase):
    """With Boss and the service on a bus, as in Anaconda."""

    stack: ExitStack
    proxy: Any

    @classmethod
    def setUpClass(cls) -> None:
        cls.stack = ExitStack()
        cls.proxy = cls.stack.enter_context(boss.only_our_service()).proxy

    @classmethod
    def tearDownClass(cls) -> None:
        cls.stack.close()

    def setUp(self) -> None:
        self.proxy.Images = []
        self.proxy.NoSignature = False
        self.proxy.Digest = ""
        self.proxy.Volumes = []
        self.terminal = Terminal("tests.anaconda.tui_app")
        self.addCleanup(self.terminal.close)

    def test_fits_on_a_serial_console(self) -> None:
        screen = self.terminal.expect("to refresh\\]: ")
        # Before it libraries may complain, as libblockdev does where no system bus is.
        lines = screen[screen.index("=" * 80) :].splitlines()
        self.assertLessEqual(max(len(line) for line in lines), 80, screen)
        self.assertLessEqual(len(lines), 24, screen)

    def test_image_by_keys(self) -> None:
        terminal = self.terminal
        terminal.expect("1\\) Image")
        terminal.type("1")
        terminal.expect("Enter a new value")
        terminal.type("gopher://server/node")
        terminal.expect("gopher")
        terminal.type("file:/nowhere/node-1.squashfs")
        terminal.expect("1\\) Image[^\n]*\n[^\n]*/nowhere/node-1.squashfs")
        self.assertEqual(self.proxy.Images, ["file:/nowhere/node-1.squashfs"])
        terminal.type("c")
        terminal.expect("completed=False mandatory=True status=The image cannot be verified yet")

    def test_digest_makes_it_complete(self) -> None:
        self.proxy.Images = ["file:/nowhere/node-1.squashfs"]
        terminal = self.terminal
        terminal.expect("2\\) SHA-256")
        terminal.type("2")
        terminal.expect("Enter a new value")
        terminal.type("12")
        terminal.expect("12")
        terminal.type(DIGEST)
        terminal.expect(DIGEST)
        terminal.type("c")
        terminal.expect("completed=True")
        self.assertEqual(self.proxy.Digest, DIGEST)

    def test_unverified_is_a_switch(self) -> None:
        self.proxy.Images = ["file:/nowhere/node-1.squashfs"]
        self.terminal.expect("4\\) \\[ \\]")
        self.terminal.type("4")
        self.terminal.expect("4\\) \\[x\\]")
        self.assertTrue(self.proxy.NoSignature)

    def test_numbers(self) -> None:
        terminal = self.terminal
        terminal.expect("5\\) Images to have room for")
        terminal.type("5")
        terminal.expect("Enter a new value")
        terminal.type("none")
        terminal.expect("none")
        terminal.type("5")
        terminal.expect("5\\) Images to have room for[^\n]*\n\\s*5")
        self.assertEqual(self.proxy.ImageSlots, 5)
        self.proxy.ImageSlots = 3

    def test_volumes(self) -> None:
        terminal = self.terminal
        terminal.expect("6\\) Volumes")
        terminal.type("6")
        terminal.expect("Enter a new value")
        terminal.type("volume /data")
        terminal.expect("--size is missing")
        terminal.type("volume /data --size=20GiB")
        terminal.expect("volume /data --size=20GiB\n")
        terminal.expect("6\\) Volumes")
        self.assertEqual(self.proxy.Volumes, ["volume /data --size=20GiB"])

    def test_check_shows_the_problem(self) -> None:
        self.proxy.Images = ["file:/nowhere/node-1.squashfs"]
        self.proxy.NoSignature = True
        terminal = self.terminal
        terminal.expect("7\\) Check")
        terminal.type("7")
        terminal.expect("/nowhere/node-1.squashfs")
        terminal.expect("No such file")

    def test_help(self) -> None:
        self.terminal.expect("8\\) Help")
        self.terminal.type("8")
        self.terminal.expect("installed as one image")
        self.terminal.expect("go back")
        self.terminal.type("")
        self.terminal.expect("1\\) Image")


class Lines(unittest.TestCase):
    """What does not fit is counted."""

    def test_shortened(self) -> None:
        self.assertEqual(shortened(["x"] * MOST_VOLUMES), ["x"] * MOST_VOLUMES)
        lines = shortened([str(number) for number in range(MOST_VOLUMES + 5)])
        self.assertEqual(len(lines), MOST_VOLUMES)
        self.assertEqual((lines[-2:]), [str(MOST_VOLUMES - 2), "… and 6 more"])


if __name__ == "__main__":
    unittest.main()

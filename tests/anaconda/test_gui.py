"""The graphical spoke with Anaconda's own widgets on a virtual display."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import unittest
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from tests.anaconda import boss, need

need.pyanaconda()

SECONDS = 120.0


def need_widgets() -> None:
    """Skip where there is no display server or where the widgets are not compiled."""
    if shutil.which("Xvfb") is None:
        raise unittest.SkipTest("Xvfb is not installed here: the graphical spoke is not tested")
    try:
        import gi

        gi.require_version("AnacondaWidgets", "3.4")
    except (ImportError, ValueError) as exc:
        raise unittest.SkipTest(f"Anaconda's widgets are not here ({exc}): the graphical spoke is not tested") from exc


need_widgets()


@contextmanager
def display() -> Iterator[str]:
    """A virtual display; its name."""
    server = subprocess.Popen(
        ["Xvfb", "-displayfd", "1", "-screen", "0", "1280x1024x24", "-nolisten", "tcp"],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert server.stdout is not None
    try:
        yield ":" + server.stdout.readline().strip()
    finally:
        server.terminate()
        server.wait()
        server.stdout.close()


class Spoke(unittest.TestCase):
    """With Boss and the service on a bus, as in Anaconda."""

    stack: ExitStack
    node: boss.Node
    display: str

    @classmethod
    def setUpClass(cls) -> None:
        cls.stack = ExitStack()
        cls.display = cls.stack.enter_context(display())
        cls.node = cls.stack.enter_context(boss.only_our_service())

    @classmethod
    def tearDownClass(cls) -> None:
        cls.stack.close()

    def walked(self, *arguments: str) -> dict[str, str]:
        """What gui_app found."""
        self.node.proxy.Images = []
        self.node.proxy.Digest = ""
        with tempfile.TemporaryFile() as errors:
            done = subprocess.run(
                [sys.executable, "-m", "tests.anaconda.gui_app", *arguments],
                stdout=subprocess.PIPE,
                stderr=errors,
                timeout=SECONDS,
                check=False,
                env={**os.environ, "DISPLAY": self.display, "GDK_BACKEND": "x11", "NO_AT_BRIDGE": "1"},
            )
            errors.seek(0)
            said = errors.read().decode(errors="replace")
        lines = [line.partition("=") for line in done.stdout.decode(errors="replace").splitlines() if "=" in line]
        found = {name: value for name, _, value in lines}
        self.assertEqual(found.get("end"), "True", said + str(found))
        return found

    def test_walk(self) -> None:
        picture = os.environ.get("OVIRT_NODE_PICTURE", "")
        found = self.walked(*([picture] if picture else []))
        mnemonics = {name: value for name, value in found.items() if name.startswith("mnemonic.")}
        self.assertEqual(len(mnemonics), len(set(mnemonics.values())), mnemonics)
        self.assertIn("mnemonic.Done", mnemonics)
        own = [value for name, value in found.items() if name.startswith("own.")]
        self.assertEqual((len(own), "VoidSymbol" in own), (7, False))
        self.assertEqual({value for name, value in found.items() if name.startswith("target.")}, {"True"})
        self.assertEqual((found["wrong.check"], found["wrong.bar"]), ("False", "True"))
        self.assertEqual((found["right.check"], found["right.bar"]), ("True", "False"))
        self.assertIn("/nowhere/node-1.squashfs", found["checked.bar"])
        self.assertEqual(found["completed"], "True")
        self.assertEqual(found["status"], "file:/nowhere/node-1.squashfs")
        self.assertLessEqual(int(found["width"]), 1024)

    def test_right_to_left(self) -> None:
        self.assertEqual(self.walked("--rtl")["completed"], "True")

    def test_glade_has_no_left_and_right(self) -> None:
        text = (Path(__file__).parents[2] / "org_ovirt_node/gui/spokes/ovirt_node.glade").read_text(encoding="utf-8")
        for word in ("margin-left", "margin-right", "padding-left"):
            self.assertNotIn(word, text)


if __name__ == "__main__":
    unittest.main()

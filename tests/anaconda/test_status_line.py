"""Progress on the status line of a real tmux, in a session as Anaconda's tmux.conf makes it."""

from __future__ import annotations

import shutil
import subprocess
import unittest

from tests.anaconda import need

need.pyanaconda()

from org_ovirt_node.service import status_line  # noqa: E402

OWN = "#[fg=blue]Switch tab: Alt+Tab | Help: F1 "


def tmux(*arguments: str) -> str:
    done = subprocess.run(["tmux", *arguments], capture_output=True, text=True, check=True)
    return done.stdout.rstrip("\n")


class Line(unittest.TestCase):
    """It is there while the image is written, and Anaconda's own again afterwards."""

    def setUp(self) -> None:
        if shutil.which("tmux") is None:
            self.skipTest("tmux is not installed here")

    def test_shown_and_restored(self) -> None:
        tmux("-f", "/dev/null", "new-session", "-d", "-s", "anaconda", "cat")
        self.addCleanup(tmux, "kill-server")
        tmux("set-option", "-t", "anaconda", "status-right", OWN)
        with status_line.status_line() as show:
            show("Writing the image: 40 % #1")
            self.assertIn("40 % ##1", tmux("show-options", "-v", "-t", "anaconda", "status-right"))
            self.assertEqual(
                tmux("display-message", "-p", "-t", "anaconda", "#{T:status-right}"), "Writing the image: 40 % #1 "
            )
        self.assertEqual(tmux("show-options", "-v", "-t", "anaconda", "status-right").strip('"'), OWN.rstrip("\n"))

    def test_without_a_session(self) -> None:
        with status_line.status_line() as show:
            show("nobody sees it")


if __name__ == "__main__":
    unittest.main()

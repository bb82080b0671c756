"""Which of the kernel arguments that Anaconda finds a node has."""

from __future__ import annotations

import unittest

from tests.anaconda import need

need.pyanaconda()

from org_ovirt_node.service.bootloader import without_resume  # noqa: E402


class Arguments(unittest.TestCase):
    """Anaconda finds them in one of its own tasks."""

    def test_no_waiting_for_the_swap(self) -> None:
        found = ["console=ttyS0", "resume=UUID=1-2", "rd.luks.uuid=luks-3", "crashkernel=auto"]
        self.assertEqual(without_resume(found, ["console=ttyS0"]), ["console=ttyS0", *found[2:]])

    def test_what_is_asked_for_stays(self) -> None:
        self.assertEqual(without_resume(["resume=/dev/vda3"], ["resume=/dev/vda3"]), ["resume=/dev/vda3"])


if __name__ == "__main__":
    unittest.main()

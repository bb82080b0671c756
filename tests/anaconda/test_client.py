"""What both spokes show of the service."""

from __future__ import annotations

import unittest
from types import SimpleNamespace
from typing import Any
from unittest import mock

from tests.anaconda import need

need.pyanaconda()

from org_ovirt_node.kickstart.model import NodeSection  # noqa: E402
from org_ovirt_node.payload.facts import ImageFacts  # noqa: E402
from org_ovirt_node.service import client, installation  # noqa: E402
from org_ovirt_node.service.node import OvirtNodeService  # noqa: E402
from org_ovirt_node.service.report import plan_report  # noqa: E402

URL = "http://me:geheim@h/node.squashfs?token=geheim"


def of(**properties: Any) -> client.Client:
    """A client of a service with these properties."""
    made = client.Client()
    plan = plan_report(NodeSection(), None, None, "")
    defaults = {"Images": [URL], "ImageName": "", "Problem": "", "GetPlan": lambda: plan}
    made._proxy = SimpleNamespace(**{**defaults, **properties})
    return made


class Status(unittest.TestCase):
    """The line on the hub."""

    def test_no_secret_on_the_screen(self) -> None:
        with mock.patch.object(client, "available", return_value=True):
            self.assertEqual(of().status, "http://h/node.squashfs?…")
            self.assertEqual(of(ImageName="node-1.0-1").status, "node-1.0-1")


class Problems(unittest.TestCase):
    """Each says which of the entries it is about."""

    def test_named(self) -> None:
        for option, text in (
            ("--image", "gopher://x"),
            ("--sha256", "xyz"),
            ("--manifest", "x"),
            ("--image-slots", "0"),
        ):
            self.assertTrue(client.problem_of(option, text).startswith(f"{client.LABELS[option]}: "), option)
        self.assertEqual(client.problem_of("--sha256", "5a" * 32), "")
        said = client.problem_of_line("volume /data")
        self.assertTrue(said.startswith("Volumes to require: volume /data: --size is missing"), said)
        self.assertEqual(client.problem_of_line("volume /data --size=1GiB"), "")


class Signature(unittest.TestCase):
    """What the check finds out is kept, until another image is asked for."""

    def test_kept_and_forgotten(self) -> None:
        node = OvirtNodeService()
        node.change(images=("file:/x",))
        with mock.patch.object(installation, "look_at", return_value=(ImageFacts("node-1.0-1", 4096), True)):
            node.check_image_with_task().run()
        self.assertEqual((node.facts and node.facts.nvr, node.signed), ("node-1.0-1", True))
        node.change(images=("file:/y",))
        self.assertEqual((node.facts, node.signed), (None, False))


if __name__ == "__main__":
    unittest.main()

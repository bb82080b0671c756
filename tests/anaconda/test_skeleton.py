"""An installation of nothing but our skeleton is stopped."""

from __future__ import annotations

import unittest
from types import SimpleNamespace
from typing import Any
from unittest import mock

from tests.anaconda import need

need.pyanaconda()

from pyanaconda.modules.common.structures.live_image import LiveImageConfigurationData  # noqa: E402

from org_ovirt_node.anaconda_compat import PayloadInstallationError  # noqa: E402
from org_ovirt_node.service import skeleton  # noqa: E402
from org_ovirt_node.service.node import OvirtNodeService  # noqa: E402

OURS = "file:///usr/share/ovirt-node/skeleton.tar"


def payloads(url: str, kind: str = "LIVE_TAR") -> Any:
    """Anaconda's payload module with one source; no payload at all where there is no ``url``."""
    data = LiveImageConfigurationData()
    data.url = url
    objects = {
        "": SimpleNamespace(ActivePayload="/payload" if url else ""),
        "/payload": SimpleNamespace(Sources=["/source"]),
        "/source": SimpleNamespace(Type=kind, Configuration=LiveImageConfigurationData.to_structure(data)),
    }
    return SimpleNamespace(get_proxy=lambda path="": objects[path])


def run_with(module: Any) -> None:
    """What the service does before a disk is written, with no image chosen."""
    (task,) = OvirtNodeService().configure_with_tasks()
    with (
        mock.patch.object(skeleton, "PAYLOADS", module),
        mock.patch.object(skeleton, "is_module_available", return_value=True),
    ):
        task.run()


class Skeleton(unittest.TestCase):
    """Only ours, and only where no image is chosen."""

    def test_stopped(self) -> None:
        for kind in ("LIVE_TAR", "LIVE_IMAGE"):
            with self.subTest(kind), self.assertRaises(PayloadInstallationError) as caught:
                run_with(payloads(OURS, kind))
        for word in ("no image of oVirt Node is chosen", "inst.text", "--image="):
            self.assertIn(word, str(caught.exception))

    def test_other_payloads_are_not_ours_to_judge(self) -> None:
        for module in (payloads("file:///root.tar"), payloads(""), payloads(OURS, "URL")):
            run_with(module)


if __name__ == "__main__":
    unittest.main()

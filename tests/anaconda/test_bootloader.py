"""What is asked of Anaconda's boot loader module, and which of its kernel arguments a node has."""

from __future__ import annotations

import unittest
from types import SimpleNamespace
from typing import Any
from unittest import mock

from tests.anaconda import need

need.pyanaconda()

from org_ovirt_node.anaconda_compat import BootloaderInstallationError  # noqa: E402
from org_ovirt_node.errors import BootError  # noqa: E402
from org_ovirt_node.kickstart.model import NodeSection  # noqa: E402
from org_ovirt_node.service import installation, storage_facts  # noqa: E402
from org_ovirt_node.service.bootloader import DISABLED, ENABLED, SKIPPED, BootLoader, without_added  # noqa: E402

#: A property of Anaconda's module, its value after one option, and the option.
OPTIONS = (
    ("BootloaderMode", DISABLED, "--disabled"),
    ("IsPasswordSet", True, "--password"),
    ("KeepMBR", True, "--nombr"),
    ("KeepBootOrder", True, "--leavebootorder"),
    ("DriveOrder", ["vda"], "--driveorder"),
    ("GetDefaultType", lambda: "EXTLINUX", "--extlinux"),
)


def module(**changed: Any) -> SimpleNamespace:
    """Anaconda's boot loader module as it is where the kickstart says nothing."""
    properties: dict[str, Any] = {
        "BootloaderMode": ENABLED,
        "IsPasswordSet": False,
        "KeepMBR": False,
        "KeepBootOrder": False,
        "DriveOrder": [],
        "GetDefaultType": lambda: "DEFAULT",
        "Timeout": -1,
        "Drive": "vda",
        "ExtraArguments": ["quiet"],
        "GetArguments": lambda: ["quiet", "rd.luks.uuid=1"],
        "InstallBootloaderWithTasks": lambda _payload, _kernels: [],
    }
    return SimpleNamespace(**{**properties, **changed})


def boot_loader(proxy: SimpleNamespace) -> BootLoader:
    made = BootLoader()
    patch = mock.patch.object(BootLoader, "_proxy", new_callable=mock.PropertyMock, return_value=proxy)
    patch.start()
    return made


class Options(unittest.TestCase):
    """What a node's boot loader does not have is refused; what it has is handed on."""

    def tearDown(self) -> None:
        mock.patch.stopall()

    def test_nothing_is_refused_where_nothing_is_asked(self) -> None:
        boot_loader(module()).check()
        boot_loader(module(BootloaderMode=SKIPPED)).check()

    def test_each_is_refused_by_name(self) -> None:
        for name, value, option in OPTIONS:
            with self.subTest(option), self.assertRaises(BootError) as caught:
                boot_loader(module(**{name: value})).check()
            self.assertIn(f"'bootloader {option}", str(caught.exception))
            self.assertTrue(caught.exception.hint)

    def test_before_a_disk_is_written(self) -> None:
        loader = boot_loader(module(BootloaderMode=DISABLED))
        session = installation.Session()
        session.boot_loader = loader
        task = installation.PrepareTask(NodeSection(images=("file:/x",)), session, directory=False)
        with (
            mock.patch.object(installation, "look_at", return_value=(None, False)),
            mock.patch.object(storage_facts, "read_planned", side_effect=AssertionError),
            self.assertRaises(BootloaderInstallationError) as caught,
        ):
            task.run()
        self.assertIn("--disabled", str(caught.exception))

    def test_off_and_back(self) -> None:
        for mode, wanted in ((ENABLED, True), (SKIPPED, False)):
            proxy = module(BootloaderMode=mode)
            loader = boot_loader(proxy)
            loader.switch_off()
            self.assertEqual((proxy.BootloaderMode, loader.wanted), (DISABLED, wanted))
            loader.switch_back()
            self.assertEqual(proxy.BootloaderMode, mode)

    def test_request(self) -> None:
        proxy = module()
        loader = boot_loader(proxy)
        loader.switch_off()
        request = loader.request()
        self.assertEqual((request.append, request.timeout), ("quiet rd.luks.uuid=1", 5))
        self.assertEqual((request.location, request.boot_drive), ("mbr", "vda"))
        self.assertEqual(proxy.BootloaderMode, DISABLED)
        loader.mode = SKIPPED
        self.assertEqual((loader.request().append, loader.request().location), ("quiet", "none"))


class Arguments(unittest.TestCase):
    """Anaconda finds them in one of its own tasks."""

    def test_no_waiting_for_the_swap(self) -> None:
        found = ["console=ttyS0", "resume=UUID=1-2", "rd.luks.uuid=luks-3", "crashkernel=auto", "rd.lvm.lv=vg/root"]
        self.assertEqual(without_added(found, ["console=ttyS0"]), ["console=ttyS0", *found[2:4]])

    def test_what_is_asked_for_stays(self) -> None:
        self.assertEqual(without_added(["resume=/dev/vda3"], ["resume=/dev/vda3"]), ["resume=/dev/vda3"])


if __name__ == "__main__":
    unittest.main()

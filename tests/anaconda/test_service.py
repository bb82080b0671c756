"""The service as a process on a bus, asked as Anaconda asks it."""

from __future__ import annotations

import json
import os
import tempfile
import time
import unittest
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from tests.anaconda import bus, need

need.pyanaconda()

SECTION = "%addon org_ovirt_node --image=file:{image} --nosignature --image-slots=2\nvolume /data --size=2GiB\n%end\n"
#: The service must be there this soon; seconds of processor time, so that other work on the machine does not count.
START_LIMIT = 2.0
TICKS = os.sysconf("SC_CLK_TCK")


class Service(unittest.TestCase):
    """Started once for all tests."""

    stack: ExitStack
    log: Path
    bus: Any
    name: str
    proxy: Any
    seconds: float

    @classmethod
    def setUpClass(cls) -> None:
        from dasbus.connection import AddressedMessageBus

        from org_ovirt_node.constants import OVIRT_NODE

        cls.stack = ExitStack()
        cls.log = Path(tempfile.mkstemp(prefix="service-", suffix=".log")[1])
        cls.stack.enter_context(bus.anaconda_bus(cls.log))
        process = cls.stack.enter_context(bus.started("org_ovirt_node.service", cls.log))
        bus.wait_for(OVIRT_NODE.service_name, process)
        fields = Path(f"/proc/{process.pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
        cls.seconds = (int(fields[11]) + int(fields[12])) / TICKS
        cls.bus = AddressedMessageBus(os.environ[bus.VARIABLE])
        cls.stack.callback(cls.bus.disconnect)
        cls.name = OVIRT_NODE.service_name
        cls.proxy = cls.bus.get_proxy(cls.name, OVIRT_NODE.object_path)

    @classmethod
    def tearDownClass(cls) -> None:
        cls.stack.close()

    def setUp(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="image-"))
        self.image = self.folder / "node-1.0-1.squashfs"

    def read(self, text: str) -> Any:
        return self.proxy.ReadKickstart(text)

    def run_task(self, path: str) -> None:
        task = self.bus.get_proxy(self.name, path)
        task.Start()
        while task.IsRunning:
            time.sleep(0.02)
        task.Finish()

    def test_starts_soon(self) -> None:
        print(f"the service took {self.seconds:.2f} s of processor time to start", flush=True)
        self.assertLess(self.seconds, START_LIMIT)

    def test_kickstart_round_trip(self) -> None:
        self.assertIn("org_ovirt_node", self.proxy.KickstartAddons)
        report = self.read(SECTION.format(image=self.image))
        self.assertEqual(len(report["error-messages"].unpack()), 0)
        once = self.proxy.GenerateKickstart()
        self.assertIn(f"--image=file:{self.image}", once)
        self.read(once)
        self.assertEqual(self.proxy.GenerateKickstart(), once)
        self.assertEqual(self.proxy.ImageSlots, 2)
        self.assertEqual(self.proxy.Volumes, ["volume /data --size=2GiB"])

    def test_no_secret_in_the_journal(self) -> None:
        url, proxy = "http://me:geheim@h/node.squashfs?token=geheim", "http://me:geheim@p:3128"
        report = self.read(f"%addon org_ovirt_node --image={url} --nosignature --proxy={proxy}\n%end\n")
        self.assertEqual(len(report["error-messages"].unpack()), 0)
        self.assertIn("geheim", self.proxy.GenerateKickstart())
        self.proxy.Images = [url + "2"]
        written = self.log.read_text(errors="replace")
        self.assertTrue(written)
        self.assertNotIn("geheim", written)

    def test_wrong_section(self) -> None:
        report = self.read("%addon org_ovirt_node --image=file:/x --nosignature --vg=a/b\n%end\n")
        messages = report["error-messages"].unpack()
        self.assertEqual(len(messages), 1)
        for word in ("%addon org_ovirt_node", "--vg", "a/b"):
            self.assertIn(word, messages[0]["message"])

    def test_properties(self) -> None:
        self.proxy.Images = ["http://server/node.squashfs"]
        self.proxy.Digest = "ab" * 32
        self.assertFalse(self.proxy.NoSignature)
        self.proxy.NoSignature = True
        self.assertEqual(self.proxy.Digest, "")
        self.proxy.LayerSize = 7 << 30
        self.assertEqual(self.proxy.LayerSize, 7 << 30)
        for name, value in (
            ("Images", ["gopher://x/y"]),
            ("Digest", "xyz"),
            ("VolumeGroup", "a b"),
            ("ImageSlots", 0),
            ("BootTries", 99),
            ("Volumes", ["volume /data"]),
        ):
            with self.subTest(name), self.assertRaises(Exception) as caught:
                setattr(self.proxy, name, value)
            self.assertRegex(str(caught.exception), rf"(^|\W){name}(, line 1)?: [a-z]")
            self.assertNotIn("Traceback", str(caught.exception))

    def test_check_says_what_is_wrong(self) -> None:
        self.read(SECTION.format(image=self.image))
        with self.assertRaises(Exception) as missing:
            self.run_task(self.proxy.CheckImageWithTask())
        self.assertIn(str(self.image), str(missing.exception))
        self.image.write_bytes(b"\x1f\x8b" + bytes(4096))
        with self.assertRaises(Exception) as wrong:
            self.run_task(self.proxy.CheckImageWithTask())
        self.assertIn("not a squashfs", str(wrong.exception))

    def test_check_finds(self) -> None:
        import subprocess

        (self.folder / "tree/usr").mkdir(parents=True)
        subprocess.run(
            ["mksquashfs", str(self.folder / "tree"), str(self.image), "-quiet", "-no-progress"],
            check=True,
            stdout=subprocess.DEVNULL,
        )
        self.read(SECTION.format(image=self.image))
        self.run_task(self.proxy.CheckImageWithTask())
        self.assertEqual(self.proxy.ImageName, "node-1.0-1")
        self.assertEqual(self.proxy.ImageSize, self.image.stat().st_size)
        self.assertFalse(self.proxy.Signed)
        self.assertFalse(json.loads(self.proxy.GetPlan())["image"]["signed"])
        self.proxy.Images = ["file:/another.squashfs"]
        self.assertEqual(self.proxy.ImageName, "")

    def test_plan_without_storage(self) -> None:
        self.proxy.Images = ["file:/x.squashfs"]
        plan = json.loads(self.proxy.GetPlan())
        self.assertEqual(plan["images"], ["file:/x.squashfs"])
        self.assertTrue(plan["problem"])

    def test_tasks(self) -> None:
        self.proxy.Images = []
        (path,) = self.proxy.ConfigureWithTasks()
        # There is no payload here at all: nothing of ours is in the way.
        self.run_task(path)
        self.assertEqual(self.proxy.InstallWithTasks(), [])
        # Anaconda may end before anything was installed.
        self.proxy.LetGo()
        self.assertEqual(self.proxy.GenerateKickstart().strip(), "")
        self.proxy.Images = ["file:/x.squashfs"]
        names = []
        for paths in (
            self.proxy.ConfigureWithTasks(),
            self.proxy.ConfigureBootloaderWithTasks([]),
            self.proxy.InstallWithTasks(),
        ):
            names += [self.bus.get_proxy(self.name, path).Name for path in paths]
        self.assertEqual(names, ["Check what oVirt Node needs", "Write the image of oVirt Node", "Finish oVirt Node"])


if __name__ == "__main__":
    unittest.main()

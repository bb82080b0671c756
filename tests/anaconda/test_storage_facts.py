"""Which partitionings are refused before any disk is written, and in which words."""

from __future__ import annotations

import dataclasses
import unittest

from tests.anaconda import need

need.pyanaconda()

from org_ovirt_node.errors import LayoutError  # noqa: E402
from org_ovirt_node.kickstart.model import NodeSection, VolumeRequest  # noqa: E402
from org_ovirt_node.payload.facts import ImageFacts  # noqa: E402
from org_ovirt_node.service.client import parse_plan  # noqa: E402
from org_ovirt_node.service.report import plan_report  # noqa: E402
from org_ovirt_node.service.storage_facts import Device, PlannedStorage, check  # noqa: E402

GIB = 1 << 30
IMAGE = ImageFacts("node-1.0-1", GIB)
SECTION = NodeSection(images=("file:/x",), nosignature=True)


def device(name: str, kind: str = "lvmthinlv", size: int = 4 * GIB, fstype: str = "ext4") -> Device:
    return Device(name, kind, size, (), (), fstype)


GOOD = PlannedStorage(
    mounts={
        "/": device("onn-root"),
        "/boot": device("vda2", "partition", GIB),
        "/var": device("onn-var"),
        "/data": device("onn-data", size=2 * GIB),
    },
    vg="onn",
    vg_size=40 * GIB,
    free=4 * GIB,
    pool="onn-pool00",
    pool_size=30 * GIB,
)


def with_mount(path: str, found: Device) -> PlannedStorage:
    return dataclasses.replace(GOOD, mounts={**GOOD.mounts, path: found})


def without(path: str) -> PlannedStorage:
    return dataclasses.replace(GOOD, mounts={key: value for key, value in GOOD.mounts.items() if key != path})


#: A partitioning, what is asked for, and the words of the refusal.
REFUSED = (
    (with_mount("/", device("onn-root", "lvmlv")), SECTION, ("onn-root", "lvmlv", "thin")),
    (dataclasses.replace(with_mount("/", device("vda3", "partition")), vg=""), SECTION, ("vda3", "partition")),
    (without("/boot"), SECTION, ("/boot", "part of the root")),
    (with_mount("/boot", device("onn-boot", "lvmlv")), SECTION, ("/boot", "onn-boot")),
    (with_mount("/boot", device("vda2", "partition", fstype="xfs")), SECTION, ("/boot", "xfs", "ext4")),
    (without("/var"), SECTION, ("/var",)),
    (dataclasses.replace(GOOD, free=GIB - 1), SECTION, ("image", "onn", "free")),
    (dataclasses.replace(GOOD, volumes=("root", "node-1.0-1")), SECTION, ("onn", "node-1.0-1 already")),
    (dataclasses.replace(GOOD, volumes=("node-1.0-1+1", "var")), SECTION, ("onn", "node-1.0-1+1 already")),
    (GOOD, dataclasses.replace(SECTION, vg="other"), ("--vg=other", "onn")),
    (GOOD, dataclasses.replace(SECTION, layer_size=5 * GIB), ("--layer-size=5 GiB", "4 GiB")),
    (GOOD, dataclasses.replace(SECTION, volumes=(VolumeRequest("/srv", GIB),)), ("volume /srv", "logvol")),
    (GOOD, dataclasses.replace(SECTION, volumes=(VolumeRequest("/data", 3 * GIB),)), ("/data", "3 GiB", "2 GiB")),
    (GOOD, dataclasses.replace(SECTION, novolumes=("/data",)), ("novolume /data",)),
)


class Check(unittest.TestCase):
    """Each in a sentence that names it."""

    def test_good(self) -> None:
        self.assertEqual(check(GOOD, SECTION, IMAGE), ())

    def test_fewer_slots_is_a_warning(self) -> None:
        warnings = check(GOOD, dataclasses.replace(SECTION, image_slots=9), IMAGE)
        self.assertEqual(len(warnings), 1)
        self.assertIn("--image-slots=9", warnings[0])

    def test_refused(self) -> None:
        for planned, section, words in REFUSED:
            with self.subTest(words), self.assertRaises(LayoutError) as caught:
                check(planned, section, IMAGE)
            for word in words:
                self.assertIn(word, str(caught.exception))


class Plan(unittest.TestCase):
    """The JSON of the service, as a spoke reads it."""

    def test_there_and_back(self) -> None:
        plan = parse_plan(plan_report(SECTION, IMAGE, GOOD, "", ("careful",)))
        self.assertEqual(plan.image, "node-1.0-1, 1.0 GiB")
        self.assertEqual((plan.problem, plan.warnings, plan.partitioned), ("", ("careful",), True))
        self.assertIn("onn", plan.disks[0])
        self.assertEqual(len(plan.disks), 5)

    def test_nothing_known(self) -> None:
        plan = parse_plan(plan_report(NodeSection(), None, None, "not yet"))
        self.assertEqual((plan.image, plan.disks, plan.problem, plan.partitioned), ("", (), "not yet", False))


if __name__ == "__main__":
    unittest.main()

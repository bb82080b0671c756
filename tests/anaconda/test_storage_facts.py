"""Which partitionings are refused before any disk is written, and in which words."""

from __future__ import annotations

import dataclasses
import unittest
from types import SimpleNamespace
from typing import Any
from unittest import mock

from tests.anaconda import need

need.pyanaconda()

from pyanaconda.modules.common.constants.objects import BOOTLOADER  # noqa: E402
from pyanaconda.modules.common.structures.storage import DeviceData, DeviceFormatData  # noqa: E402

from org_ovirt_node.errors import LayoutError  # noqa: E402
from org_ovirt_node.kickstart.model import NodeSection, VolumeRequest  # noqa: E402
from org_ovirt_node.layout.model import Firmware  # noqa: E402
from org_ovirt_node.payload.facts import ImageFacts  # noqa: E402
from org_ovirt_node.service import storage_facts  # noqa: E402
from org_ovirt_node.service.bootloader import ENABLED, SKIPPED  # noqa: E402
from org_ovirt_node.service.client import parse_plan  # noqa: E402
from org_ovirt_node.service.report import plan_report  # noqa: E402
from org_ovirt_node.service.storage_facts import Device, PlannedStorage, check  # noqa: E402

GIB = 1 << 30
IMAGE = ImageFacts("node-1.0-1", GIB)
SECTION = NodeSection(images=("file:/x",), nosignature=True)


def device(name: str, kind: str = "lvmthinlv", size: int = 4 * GIB, fstype: str = "ext4", disk: str = "vda") -> Device:
    return Device(name, kind, size, (disk,), (), fstype)


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
    firmware=(Firmware.BIOS,),
    table="gpt",
    biosboot=("vda",),
    boot_drive="vda",
)


def with_mount(path: str, found: Device) -> PlannedStorage:
    return dataclasses.replace(GOOD, mounts={**GOOD.mounts, path: found})


def without(path: str) -> PlannedStorage:
    return dataclasses.replace(GOOD, mounts={key: value for key, value in GOOD.mounts.items() if key != path})


ESP = device("vdb1", "partition", GIB, "efi", "vdb")
EFI = dataclasses.replace(with_mount("/boot/efi", ESP), firmware=(Firmware.EFI,), biosboot=(), boot_drive="vdb")
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
    (GOOD, dataclasses.replace(SECTION, pool="mine"), ("--pool=mine", "pool00")),
    (GOOD, dataclasses.replace(SECTION, volumes=(VolumeRequest("/data", GIB, "xfs"),)), ("/data --fstype=xfs", "ext4")),
    (dataclasses.replace(GOOD, biosboot=()), SECTION, ("vda", "BIOS boot partition", "inst.gpt")),
    (dataclasses.replace(GOOD, biosboot=("vdb",)), SECTION, ("vda", "BIOS boot partition")),
    (dataclasses.replace(GOOD, table="msdos"), SECTION, ("vda", "GPT")),
    (dataclasses.replace(GOOD, boot_drive="vdb"), SECTION, ("vdb (--boot-drive)", "--boot-drive=vda")),
    (dataclasses.replace(GOOD, firmware=(Firmware.EFI,)), SECTION, ("/boot/efi", "EFI system partition")),
    (
        dataclasses.replace(EFI, mounts={**EFI.mounts, "/boot/efi": device("md0", "mdarray", GIB, "efi")}),
        SECTION,
        ("/boot/efi", "EFI system partition"),
    ),
    (dataclasses.replace(EFI, boot_drive="vda"), SECTION, ("vda (--boot-drive)", "--boot-drive=vdb")),
)


class Check(unittest.TestCase):
    """Each in a sentence that names it."""

    def test_good(self) -> None:
        self.assertEqual(check(GOOD, SECTION, IMAGE), ())

    def test_good_for_efi_and_without_a_boot_loader(self) -> None:
        self.assertEqual(check(EFI, SECTION, IMAGE), ())
        self.assertEqual(check(dataclasses.replace(GOOD, firmware=(), biosboot=()), SECTION, IMAGE), ())
        self.assertEqual(check(GOOD, dataclasses.replace(SECTION, volumes=(VolumeRequest("/data", GIB),)), IMAGE), ())

    def test_the_layers_name_may_be_the_roots(self) -> None:
        mounted = with_mount("/", device("onn-node-1.0-1+1"))
        planned = dataclasses.replace(mounted, volumes=("node-1.0-1+1", "var"))
        self.assertEqual(check(planned, SECTION, IMAGE), ())

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


#: A device tree as blivet has it: type, size, parents, children, type and description of the format.
TREE = {
    "vda": ("disk", 64 * GIB, [], ["vda1", "vda2", "vda3"], "disklabel", "partition table (GPT)"),
    "vda1": ("partition", 1 << 20, ["vda"], [], "biosboot", "BIOS Boot"),
    "vda2": ("partition", GIB, ["vda"], [], "ext4", "ext4"),
    "vda3": ("partition", 60 * GIB, ["vda"], ["onn"], "lvmpv", "physical volume (LVM)"),
    "onn": ("lvmvg", 60 * GIB, ["vda3"], ["onn-pool00", "onn-swap"], "", ""),
    "onn-pool00": ("lvmthinpool", 40 * GIB, ["onn"], ["onn-root"], "", ""),
    "onn-swap": ("lvmlv", 4 * GIB, ["onn"], [], "swap", "swap"),
    "onn-root": ("lvmthinlv", 30 * GIB, ["onn-pool00"], [], "ext4", "ext4"),
}


def storage_module(mode: int = ENABLED, drive: str = "/dev/vda", ident: str = "") -> Any:
    """Anaconda's storage module with that tree; its devices are asked for by ``ident`` and the name (42: an ID)."""

    def data(name: str) -> Any:
        made = DeviceData()
        name = name.removeprefix(ident)
        made.name, (made.type, made.size) = name, TREE[name][:2]
        made.parents, made.children = ([ident + other for other in others] for others in TREE[name][2:4])
        return DeviceData.to_structure(made)

    def form(name: str) -> Any:
        made = DeviceFormatData()
        made.type, made.description = TREE[name.removeprefix(ident)][4:]
        return DeviceFormatData.to_structure(made)

    tree = SimpleNamespace(
        GetDevices=lambda: [ident + name for name in TREE],
        GetMountPoints=lambda: {"/": f"{ident}onn-root", "/boot": f"{ident}vda2"},
        GetDeviceData=data,
        GetFormatData=form,
        ResolveDevice=lambda spec: ident + spec.rpartition("/")[2],
    )
    loader = SimpleNamespace(BootloaderMode=mode, Drive=drive)
    return SimpleNamespace(get_proxy=lambda which: loader if which == BOOTLOADER else tree)


class Read(unittest.TestCase):
    """What is asked of Anaconda's device tree."""

    def test_the_tree(self) -> None:
        for ident in ("", "DISK-"):
            with self.subTest(ident), mock.patch.object(storage_facts, "STORAGE", storage_module(ident=ident)):
                self._look(storage_facts.read_planned())

    def _look(self, planned: PlannedStorage) -> None:
        self.assertEqual((planned.vg, planned.pool, planned.volumes), ("onn", "onn-pool00", ("pool00", "swap", "root")))
        self.assertEqual((planned.table, planned.biosboot, planned.boot_drive), ("gpt", ("vda",), "vda"))
        self.assertEqual(planned.mounts["/boot"].disk, "vda")
        self.assertEqual(len(planned.firmware), 1)
        # 64 bytes for each 64 KiB of the pool, twice: LVM keeps as much to spare.
        self.assertEqual(planned.free, 60 * GIB - 40 * GIB - 4 * GIB - 2 * 40 * (1 << 20))

    def test_without_a_boot_loader(self) -> None:
        with mock.patch.object(storage_facts, "STORAGE", storage_module(SKIPPED, "")):
            planned = storage_facts.read_planned()
        self.assertEqual((planned.firmware, planned.boot_drive), ((), ""))


class Plan(unittest.TestCase):
    """The JSON of the service, as a spoke reads it."""

    def test_there_and_back(self) -> None:
        plan = parse_plan(plan_report(SECTION, IMAGE, GOOD, "", ("careful",)))
        self.assertEqual(plan.image, "node-1.0-1, 1.0 GiB, not signed")
        self.assertEqual((plan.problem, plan.warnings, plan.partitioned), ("", ("careful",), True))
        self.assertIn("onn", plan.disks[0])
        self.assertEqual(len(plan.disks), 5)

    def test_who_signed(self) -> None:
        plan = parse_plan(plan_report(dataclasses.replace(SECTION, key="/tmp/k.pem"), IMAGE, GOOD, "", signed=True))
        self.assertEqual(plan.image, "node-1.0-1, 1.0 GiB, signed by /tmp/k.pem")
        own = parse_plan(plan_report(SECTION, IMAGE, GOOD, "", signed=True)).image
        self.assertRegex(own, "signed by /")

    def test_nothing_known(self) -> None:
        plan = parse_plan(plan_report(NodeSection(), None, None, "not yet"))
        self.assertEqual((plan.image, plan.disks, plan.problem, plan.partitioned), ("", (), "not yet", False))


if __name__ == "__main__":
    unittest.main()

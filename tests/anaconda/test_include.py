"""A plan that ovirt-node-install prints, included in a kickstart, is a partitioning for a node."""

from __future__ import annotations

import unittest

from tests.anaconda import need

need.pyanaconda()

from pyanaconda.core.kickstart import specification  # noqa: E402
from pyanaconda.modules.storage.kickstart import StorageKickstartSpecification  # noqa: E402

from org_ovirt_node.kickstart.model import DiskSelection, NodeSection, StorageRequest  # noqa: E402
from org_ovirt_node.layout.describe import as_kickstart  # noqa: E402
from org_ovirt_node.layout.model import Disk, Firmware  # noqa: E402
from org_ovirt_node.layout.plan import plan  # noqa: E402
from org_ovirt_node.payload.facts import ImageFacts  # noqa: E402
from org_ovirt_node.service.storage_facts import Device, PlannedStorage, check  # noqa: E402

MIB = 1 << 20
GIB = 1 << 30
IMAGE = ImageFacts("node-1.0-1", GIB)
NODE = NodeSection(images=("file:/x",), nosignature=True)
AUTOMATIC = StorageRequest(selection=DiskSelection(clear="all", initlabel=True, zerombr=True), autopart=True)


def printed() -> str:
    """What the program prints for a blank disk of a machine with either firmware."""
    disks = [Disk("vda", 120 * GIB, blank=True)]
    return as_kickstart(plan(disks, AUTOMATIC, NODE, IMAGE, (Firmware.BIOS, Firmware.EFI)))


def as_planned(text: str) -> PlannedStorage:
    """What Anaconda's storage module reads in ``text``, as it would be in its device tree."""
    handler = specification.KickstartSpecificationHandler(StorageKickstartSpecification)
    specification.KickstartSpecificationParser(handler, StorageKickstartSpecification).readKickstartFromString(text)
    group = handler.volgroup.vgList[0].vgname
    mounts = {
        part.mountpoint: Device(f"vda{number}", "partition", part.size * MIB, ("vda",), (), part.fstype)
        for number, part in enumerate(handler.partition.partitions, start=1)
        if part.mountpoint.startswith("/")
    }
    volumes = handler.logvol.lvList
    for volume in volumes:
        if volume.mountpoint.startswith("/"):
            kind = "lvmthinlv" if volume.thin_volume else "lvmlv"
            name = f"{group}-{volume.name}"
            mounts[volume.mountpoint] = Device(name, kind, volume.size * MIB, (), (), volume.fstype)
    pv = next(part for part in handler.partition.partitions if part.mountpoint.startswith("pv."))
    pool = next(volume for volume in volumes if volume.thin_pool)
    used = sum(volume.size for volume in volumes if not volume.thin_volume) + 2 * pool.metadata_size
    return PlannedStorage(
        mounts=mounts,
        vg=group,
        vg_size=pv.size * MIB,
        free=(pv.size - used) * MIB,
        volumes=tuple(volume.name for volume in volumes),
        pool=f"{group}-{pool.name}",
        pool_size=pool.size * MIB,
    )


class Include(unittest.TestCase):
    """From the planner to Anaconda and back."""

    def test_anaconda_reads_it_and_it_passes(self) -> None:
        planned = as_planned(printed())
        self.assertEqual(planned.mounts["/"].name, f"onn-{IMAGE.nvr}+1")
        self.assertEqual(check(planned, NODE, IMAGE), ())


if __name__ == "__main__":
    unittest.main()

"""The half of a first boot that happens before the system starts: in a chroot of the initramfs (docs/media.md).

/ is mounted, nothing else of the node is.  PVs and VG have new UUIDs already.  Every step may have been done before, by
a first boot that was cut short; the last one takes the record out of host.img, and with it the whole half.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from org_ovirt_node.boot import bls, files, hostfiles, hostinitrd
from org_ovirt_node.errors import StorageError
from org_ovirt_node.firstboot import growth, partitions, uuids
from org_ovirt_node.firstboot.record import FIRST_BOOT, Record, load
from org_ovirt_node.i18n import N_
from org_ovirt_node.inside import place_for_file
from org_ovirt_node.install import labels, system
from org_ovirt_node.install.root import NodeRoot
from org_ovirt_node.layout.model import ThinPool
from org_ovirt_node.mounts import mounted
from org_ovirt_node.node import bootstate, lvm, rootfacts
from org_ovirt_node.node.places import Places
from org_ovirt_node.progress import Progress
from org_ovirt_node.run import Completed, run
from org_ovirt_node.steps import Step

#: dmeventd would stay behind in an initramfs that goes away.
UNWATCHED = ("--config", "activation { monitoring = 0 }")
#: e2fsck(8): 1 repaired; 4 and more not repaired.
E2FSCK_FAILED = 4
FSTAB = "etc/fstab"


class FirstBoot:
    """One first boot; its methods are the steps, in the order of STEPS."""

    def __init__(self, progress: Progress, places: Places, record: Path = Path(FIRST_BOOT)) -> None:
        self.progress = progress
        self.places = places
        self.path = record
        self.record: Record = load(record)
        self.seconds: dict[str, float] = {}
        self.pvs: tuple[str, ...] = ()
        self.disks: tuple[str, ...] = ()
        self.found: dict[str, uuids.FileSystem] = {}

    @property
    def root(self) -> Path:
        return self.places.live

    def look(self) -> None:
        """Activate all volumes, and find the node's disks and file systems."""
        run(["vgchange", *UNWATCHED, "--activate", "y", self.record.vg])
        self.pvs = tuple(sorted(rootfacts.physical_volumes(self.record.vg)))
        self.disks = tuple(sorted({disk for disk, _ in map(partitions.parent, self.pvs) if disk}))
        fstab = system.read(self.root, FSTAB)
        if not self.record.uuids:
            self._keep(replace(self.record, uuids=uuids.decide(fstab)))
        there = tuple(map(self._probe, self._candidates()))
        there += self._elsewhere(uuids.missing(self.record.uuids, there))
        self.found = uuids.find(self.record.uuids, there)
        holding = {partitions.parent(one.device)[0] for one in self.found.values()}
        self.disks = tuple(sorted({*self.disks, *filter(None, holding)}))

    def _keep(self, record: Record) -> None:
        self.record = record
        files.write_durably(self.path, record.render().encode())

    def _candidates(self) -> list[str]:
        inside = [part for disk in self.disks for part in partitions.partitions_of(disk)]
        volumes = lvm.group(self.record.vg).volumes
        return [*inside, *(volume.path for volume in volumes if volume.path and volume.active)]

    def _elsewhere(self, missing: Sequence[str]) -> tuple[uuids.FileSystem, ...]:
        """What is on a disk without a PV: /boot may be on one of its own.  All disks are asked, so only then."""
        found: dict[str, None] = {}
        for uuid in missing:
            argv = ["blkid", "--cache-file", "/dev/null", "--match-token", f"UUID={uuid}", "--output", "device"]
            found |= dict.fromkeys(run(argv, check=False).stdout.split())
        return tuple(self._probe(device) for device in found if partitions.parent(device)[0])

    def _probe(self, device: str) -> uuids.FileSystem:
        values = dict(
            line.partition("=")[::2]
            for line in run(["blkid", "-p", "-o", "export", device], check=False).stdout.splitlines()
        )
        return uuids.FileSystem(device, values.get("TYPE", ""), values.get("UUID", ""))

    def grow(self) -> None:
        """Grow partitions, PVs, pool and volumes into the disk that is there."""
        for pv in self.pvs:
            disk, number = partitions.parent(pv)
            table = partitions.read(disk) if disk else None
            if table is not None and table.last == number:
                partitions.grow_last(table)
            run(["pvresize", *UNWATCHED, pv])
        group = lvm.group(self.record.vg)
        found = self._sizes(group)
        plan = growth.plan(found, self.record)
        if plan.pool is not None:
            self._grow_pool(found.pool, plan.pool)
        for name, size in plan.volumes.items():
            run(["lvextend", *UNWATCHED, "--size", f"{size}b", f"{group.name}/{name}"])
        self._grow_file_systems([volume for volume in group.volumes if volume.name in found.thin])

    def _grow_pool(self, old: ThinPool, pool: ThinPool) -> None:
        name = f"{self.record.vg}/{pool.name}"
        if pool.metadata_size > old.metadata_size:
            run(["lvextend", *UNWATCHED, "--poolmetadatasize", f"{pool.metadata_size}b", name])
        run(["lvextend", *UNWATCHED, "--size", f"{pool.size}b", name])
        self.progress.detail(f"the pool has {pool.size >> 20} MiB now")

    def _sizes(self, group: lvm.Group) -> growth.Found:
        pool = group.find(self.record.pool)
        if pool is None:
            raise StorageError(f"the volume group {group.name} has no pool {self.record.pool}")
        fields = ["--noheadings", "--nosuffix", "--units", "b", "--options", "chunk_size"]
        chunk = run(["lvs", *fields, f"{group.name}/{pool.name}"])
        return growth.Found(
            vg_size=group.size,
            free=group.free,
            extent=group.extent_size,
            pool=ThinPool(pool.name, pool.size, pool.metadata_size, int(chunk.stdout.strip())),
            thin={volume.name: volume.size for volume in group.volumes if volume.pool == pool.name},
        )

    def _grow_file_systems(self, thin: Sequence[lvm.LogicalVolume]) -> None:
        """Let the file systems fill their volumes; each is mounted meanwhile, as growing xfs wants it."""
        for volume in thin:
            if volume.name not in self.record.usual:
                continue
            one = self._probe(volume.path)
            if volume.name == self.record.layer:
                _grow(one, self.places.run / "layer")
            else:
                if one.fstype == "ext4":
                    # The kernel grows none that says of itself that it has errors; / was looked at in the initramfs.
                    _check(["e2fsck", "-p", one.device], one)
                with mounted(volume.path, self.places.work, fstype=one.fstype) as place:
                    _grow(one, place)

    def identity(self) -> None:
        """Machine-id, initiator name and NVMe host names of its own."""
        system.identity(self.root)

    def file_systems(self) -> None:
        """New UUIDs: in fstab first, where the record says for a second try what is meant; then on the disks."""
        changes = self.record.uuids
        fstab = uuids.with_new(system.read(self.root, FSTAB), changes)
        files.write_durably(place_for_file(self.root, FSTAB), fstab.encode())
        self._edit_stubs(uuids.stub_on_the_way)
        for old, one in self.found.items():
            if one.uuid != changes[old]:
                self._renew(one, changes[old])
        self._edit_stubs(uuids.stub_at_the_end)

    def _renew(self, one: uuids.FileSystem, uuid: str) -> None:
        """Give an unmounted file system its new ``uuid``.  Raises StorageError when it has another one afterwards."""
        if one.fstype == "xfs":
            # xfs_admin changes nothing while the journal has something in it, and ends with 0 all the same.
            with mounted(one.device, self.places.work, fstype="xfs"):
                pass
        said = ""
        for argv in uuids.commands(one, uuid):
            done = _check(argv, one) if argv[0] == "e2fsck" else run(argv)
            said = " ".join((done.stdout + done.stderr).split())
        found = self._probe(one.device).uuid
        if found != uuid:
            raise StorageError(
                f"the {one.fstype} on {one.device} has the UUID {found or 'of nothing'} and not its new one "
                f"{uuid}: {said}"
            )

    def _edit_stubs(self, edit: Callable[[str, Mapping[str, str]], str]) -> None:
        """Change the small grub.cfg on the ESP, where there is one."""
        for one in self.found.values():
            if one.fstype == "vfat":
                with mounted(one.device, self.places.work, fstype="vfat") as esp:
                    for path in sorted(esp.glob("EFI/*/grub.cfg")):
                        text = path.read_text(encoding="ascii", errors="surrogateescape")
                        changed = edit(text, self.record.uuids)
                        if changed != text:
                            files.write_durably(path, changed.encode("ascii", "surrogateescape"))

    def guids(self) -> None:
        """New GUIDs for disks and partitions."""
        for disk in self.disks:
            partitions.renew_guids(partitions.read(disk))

    def devices_file(self) -> None:
        """Let LVM know the PVs, now that they are the customer's."""
        system.lvm_devices_file(self.root, self.pvs)

    def boot_files(self) -> None:
        """host.img and boot entries of this host; without the record in host.img this half is over."""
        boot = self._boot_device()
        stack = rootfacts.below(self.record.vg).stack
        with mounted(boot.device, self.places.boot, fstype=boot.fstype) as place:
            machine_id = system.read(self.root, "etc/machine-id").strip()
            entries = [replace(entry, machine_id=machine_id) for entry in bls.read_all(place)]
            for entry in entries:
                files.write_durably(bls.entry_path(place, entry.name), entry.render().encode())
            node = NodeRoot(self.places.image_tree, self.places.run / "layer", self.root)
            labels.label_new(node, [])
            host = hostfiles.collect(self.root, {}, stack)
            host.pop(FIRST_BOOT, None)
            # The ids in /etc are on the disk before the host.img that says that they are.
            os.sync()
            own = next(entry for entry in entries if entry.name == self.record.layer)
            bootstate.write_host(place, own, hostinitrd.build(host), self.record.layer)

    def _boot_device(self) -> uuids.FileSystem:
        for line in system.read(self.root, FSTAB).splitlines():
            fields = line.split()
            if len(fields) > 1 and fields[1] == "/boot":
                found = [one for old, one in self.found.items() if fields[0] == f"UUID={self.record.uuids[old]}"]
                if found:
                    return found[0]
        raise StorageError("fstab has no line for /boot by its UUID", hint="Install the disk again.")


def _check(argv: Sequence[str], one: uuids.FileSystem) -> Completed:
    """Have an unmounted file system checked and mended.  Raises StorageError for one that cannot be."""
    done = run(argv, check=False)
    if done.status >= E2FSCK_FAILED:
        raise StorageError(f"the file system on {one.device} is damaged: {done.stdout.strip()}")
    return done


def _grow(one: uuids.FileSystem, place: Path) -> None:
    run(["xfs_growfs", place] if one.fstype == "xfs" else ["resize2fs", one.device])


STEPS: Sequence[Step[FirstBoot]] = (
    Step("look", N_("Looking at this machine's disks"), FirstBoot.look),
    Step("grow", N_("Growing into the disks"), FirstBoot.grow),
    Step("identity", N_("Giving this machine its own ids"), FirstBoot.identity),
    Step("file-systems", N_("Giving the file systems their own ids"), FirstBoot.file_systems),
    Step("guids", N_("Giving disks and partitions their own ids"), FirstBoot.guids),
    Step("devices-file", N_("Registering the disks with LVM"), FirstBoot.devices_file),
    Step("boot-files", N_("Writing the boot files of this machine"), FirstBoot.boot_files),
)

"""Does a :class:`Layout` with blivet; every decision has been taken by the planner."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Union

from org_ovirt_node.errors import NodeError, StorageError
from org_ovirt_node.i18n import _
from org_ovirt_node.layout.model import Array, Disk, Layout, Partition, Role, Volume
from org_ovirt_node.node import lvm
from org_ovirt_node.node.rootfacts import md_uuid
from org_ovirt_node.progress import Progress, human
from org_ovirt_node.run import run
from org_ovirt_node.storage.clear import clear_begin, clear_boot_code

log = logging.getLogger(__name__)

FORMATS = {Role.BIOSBOOT: "biosboot", Role.ESP: "efi", Role.PV: "lvmpv"}
#: Versions of md's metadata (md(4)): GRUB reads a half of /boot as a file system, so nothing may lie before it.
METADATA = {Role.BOOT: "1.0", Role.PV: "1.2"}
#: blivet puts what is heavier first on a disk: what GRUB reads, as with a plain /boot, whose weight is 2000 (its
#: Platform.weight); it does not see what the members of an array are for.
WEIGHTS = {Role.BOOT: 2000, Role.ENVIRONMENT: 1000}


@dataclass(frozen=True)
class MadePartition:
    """A partition that was made: its number on the disk and where its device is."""

    request: Partition
    number: int
    path: str
    uuid: str
    disk_path: str
    #: The partition's own unique id in the GPT, which EFI boot entries name.
    partuuid: str = ""


@dataclass(frozen=True)
class MadeVolume:
    """A volume that was made, with the UUID of its file system."""

    request: Volume
    path: str
    uuid: str


@dataclass(frozen=True)
class MadeArray:
    """An array that was made, with the UUID of what is on it, and its own as mdadm(8) writes it."""

    request: Array
    path: str
    uuid: str
    md_uuid: str


@dataclass(frozen=True)
class MadeFileSystem:
    """A file system, or swap (with no ``mountpoint``), that the node mounts besides its root; as fstab(5) wants it."""

    path: str
    uuid: str
    mountpoint: str
    fstype: str
    options: tuple[str, ...]


PVS_FIELDS = "pv_name,vg_name,vg_missing_pv_count"
#: Seconds for udev to handle its events, where it is not done at once: a busy machine takes its time.
SETTLE = 120
#: What the kernel calls the file systems that blivet names otherwise.
FSTYPES = {Role.ESP: "vfat"}


@dataclass(frozen=True)
class Created:
    """The devices of a layout, ready to be written to."""

    layout: Layout
    partitions: tuple[MadePartition, ...]
    volumes: tuple[MadeVolume, ...]
    arrays: tuple[MadeArray, ...] = ()

    @property
    def boots(self) -> tuple[MadePartition, ...]:
        """The partition of /boot, or its halves: one on each disk that can be booted."""
        return tuple(part for part in self.partitions if part.request.role is Role.BOOT)

    @property
    def boot(self) -> MadePartition:
        return self.boots[0]

    @property
    def environment(self) -> int:
        """The number of the partition with GRUB's environment block on each disk of a mirror, else 0.

        Raises StorageError when the disks were partitioned differently: GRUB's one configuration serves all of them.
        """
        numbers = {part.number for part in self.partitions if part.request.role is Role.ENVIRONMENT}
        if len(numbers) > 1:
            raise StorageError(_("the disks of the mirror have their partitions in different orders"))
        return next(iter(numbers), 0)

    @property
    def esps(self) -> tuple[MadePartition, ...]:
        return tuple(part for part in self.partitions if part.request.role is Role.ESP)

    @property
    def encrypted(self) -> tuple[str, ...]:
        """The UUIDs of the LUKS containers that must be opened for the VG."""
        return tuple(part.uuid for part in self.partitions if part.request.encryption is not None)

    @property
    def layer(self) -> MadeVolume:
        return next(volume for volume in self.volumes if volume.request.is_layer)

    @property
    def file_systems(self) -> tuple[MadeFileSystem, ...]:
        """All but the layer's."""
        found = []
        for part in self.partitions:
            wanted = part.request
            if wanted.mountpoint:
                fstype = FSTYPES.get(wanted.role, wanted.fstype)
                found.append(MadeFileSystem(part.path, part.uuid, wanted.mountpoint, fstype, wanted.options))
        for array in self.arrays:
            on = array.request
            if on.mountpoint:
                found.append(MadeFileSystem(array.path, array.uuid, on.mountpoint, on.fstype, on.options))
        for made in self.volumes:
            volume = made.request
            if not volume.is_layer:
                found.append(MadeFileSystem(made.path, made.uuid, volume.mountpoint, volume.fstype, volume.options))
        return tuple(found)


def create(handle: Any, layout: Layout, progress: Progress) -> Created:
    """Make partitions, VG, thin pool and volumes.  Raises StorageError with what failed."""
    try:
        return _Creation(handle, layout, progress).run()
    except NodeError:
        raise
    except (OSError, ValueError, RuntimeError, LookupError) as exc:
        raise _failed(exc) from exc
    except Exception as exc:
        if type(exc).__module__.split(".")[0] not in ("blivet", "gi", "_ped", "parted"):
            raise
        raise _failed(exc) from exc


def _failed(exc: Exception) -> StorageError:
    return StorageError(
        _("the disks could not be set up: {error}").format(error=exc),
        hint=_("The log has the device; run the installation again after."),
    )


class _Creation:
    """One run of blivet over one layout."""

    def __init__(self, handle: Any, layout: Layout, progress: Progress) -> None:
        from blivet.size import Size

        self.handle = handle
        self.layout = layout
        self.progress = progress
        self.size: Any = Size

    def run(self) -> Created:
        from blivet.partitioning import do_partitioning

        self._disable()
        if drop_incomplete(self.layout.wiped):
            self.handle.reset()
        self._wipe()
        parts = [(request, self._partition(request)) for request in self.layout.partitions]
        do_partitioning(self.handle)
        arrays = [(array, self._array(array, parts)) for array in self.layout.arrays]
        pvs = [self._pv(request, device) for request, device in parts if request.role is Role.PV and not request.array]
        pvs += [device for array, device in arrays if array.role is Role.PV]
        vg = self.handle.new_vg(name=self.layout.vg.name, parents=pvs, pe_size=self.size(self.layout.vg.extent_size))
        self.handle.create_device(vg)
        image = self.handle.new_lv(parents=[vg], name=self.layout.image.name, size=self.size(self.layout.image.size))
        self.handle.create_device(image)
        volumes = self._volumes(vg)
        self._do()
        self._rename([(self.layout.image.name, image), *((request.name, device) for request, device in volumes)])
        return Created(
            layout=self.layout,
            partitions=tuple(self._made(request, device) for request, device in parts),
            volumes=tuple(
                MadeVolume(request, str(mapper_path(self.layout.vg.name, request.name)), str(device.format.uuid or ""))
                for request, device in volumes
            ),
            arrays=tuple(
                MadeArray(array, device.path, str(device.format.uuid or ""), md_uuid(device.path))
                for array, device in arrays
            ),
        )

    def _disk(self, name: str) -> Any:
        device = self.handle.devicetree.get_device_by_name(name)
        if device is None:
            raise StorageError(
                _("the disk {name} has gone").format(name=name), hint=_("Check its cable or path and start again.")
            )
        return device

    def _emptied(self) -> list[Disk]:
        return [known for known in self.layout.disks if known.name in self.layout.wiped or known.blank]

    def _disable(self) -> None:
        """Let neither firmware nor boot loader find what was installed before anything of it goes.

        A new system partition may lie where the old one did, and would show it until it is formatted.
        """
        for name in self.layout.startable:
            clear_begin(self._disk(name).path)
        for known in self._emptied():
            clear_boot_code(self._disk(known.name).path)
        settle()

    def _wipe(self) -> None:
        for known in self._emptied():
            disk = self._disk(known.name)
            content = _("blank") if known.blank else _("its previous content is removed")
            self.progress.detail(f"{known.name}: {human(int(disk.size))}, {content}")
            self.handle.recursive_remove(disk)
            self.handle.initialize_disk(disk)

    def _partition(self, request: Partition) -> Any:
        arguments: dict[str, Any] = {
            "size": self.size(request.size),
            "parents": [self._disk(request.disk)],
            "fmt_type": FORMATS.get(request.role, request.fstype),
        }
        if request.encryption is not None:
            arguments["fmt_type"] = "luks"
            arguments["fmt_args"] = {
                "passphrase": request.encryption.passphrase,
                "luks_version": request.encryption.version,
            }
        if request.array:
            arguments["fmt_type"] = "mdmember"
        if self.layout.arrays and request.role in WEIGHTS:
            arguments["weight"] = WEIGHTS[request.role]
        device = self.handle.new_partition(**{**arguments, **_of_file_system(request)})
        self.handle.create_device(device)
        return device

    def _array(self, request: Array, parts: Sequence[tuple[Partition, Any]]) -> Any:
        members = [device for part, device in parts if part.array == request.name]
        arguments: dict[str, Any] = {
            "name": request.name,
            "level": "raid1",
            "parents": members,
            "member_devices": len(members),
            "total_devices": len(members),
            "metadata_version": METADATA[request.role],
            "fmt_type": FORMATS.get(request.role, request.fstype),
        }
        device = self.handle.new_mdarray(**{**arguments, **_of_file_system(request)})
        self.handle.create_device(device)
        return device

    def _pv(self, request: Partition, device: Any) -> Any:
        if request.encryption is None:
            return device
        from blivet.devices import LUKSDevice
        from blivet.formats import get_format

        opened = LUKSDevice(f"luks-{device.name}", fmt=get_format("lvmpv"), size=device.size, parents=[device])
        self.handle.create_device(opened)
        return opened

    def _volumes(self, vg: Any) -> list[tuple[Volume, Any]]:
        wanted = self.layout.pool
        pool = self.handle.new_lv(
            parents=[vg],
            thin_pool=True,
            name=wanted.name,
            size=self.size(wanted.size),
            metadata_size=self.size(wanted.metadata_size),
            chunk_size=self.size(wanted.chunk_size),
        )
        self.handle.create_device(pool)
        made = []
        for request in self.layout.volumes:
            arguments: dict[str, Any] = {
                "name": request.name,
                "size": self.size(request.size),
                "fmt_type": request.fstype,
                "parents": [pool if request.thin else vg],
                "thin_volume": request.thin,
            }
            if request.mountpoint and not request.is_layer:
                arguments["mountpoint"] = request.mountpoint
            device = self.handle.new_lv(**arguments)
            self.handle.create_device(device)
            made.append((request, device))
        return made

    def _rename(self, made: Sequence[tuple[str, Any]]) -> None:
        """Give the LVs the names that were asked for: blivet cuts long ones and takes out the "+" of a layer."""
        for wanted, device in made:
            if device.lvname != wanted:
                run(["lvrename", self.layout.vg.name, device.lvname, wanted])
        settle()

    def _do(self) -> None:
        from blivet.callbacks import create_new_callbacks_register

        callbacks = create_new_callbacks_register(
            create_format_pre=lambda info: self.progress.detail(info.msg),
            report_progress=lambda info: log.debug("blivet: %s", info.msg),
        )
        self.handle.do_it(callbacks)

    def _made(self, request: Partition, device: Any) -> MadePartition:
        return MadePartition(
            request,
            int(device.parted_partition.number),
            device.path,
            str(device.format.uuid or ""),
            _below_image(device.disk),
            str(getattr(device, "uuid", "") or ""),
        )


def _of_file_system(request: Union[Partition, Array]) -> dict[str, Any]:
    """blivet's arguments for the mount point and the label of what has a file system."""
    arguments: dict[str, Any] = {"mountpoint": request.mountpoint} if request.mountpoint else {}
    if request.label:
        arguments["fmt_args"] = {"label": request.label}
    return arguments


def _below_image(disk: Any) -> str:
    """The path of a disk as GRUB knows it: of a disk image's linear mapping the loop device below.

    GRUB looks through a linear mapping of device-mapper, and its device map must name what it finds.
    """
    return str(disk.parents[0].path if disk.type == "dm-linear" and disk.parents else disk.path)


def incomplete_groups(report: str, disks_below: Callable[[str], Collection[str]], wiped: Collection[str]) -> list[str]:
    """The VGs that lack a PV and whose other PVs are all on ``wiped`` disks.

    ``report`` is pvs' in JSON with PVS_FIELDS, ``disks_below`` tells the names of what a PV is on.
    """
    placed: dict[str, bool] = {}
    for row in lvm.parse_rows(report, "pv"):
        if row["vg_name"] and row["vg_missing_pv_count"] != "0":
            lost = not row["pv_name"].startswith("/")
            ours = lost or bool(set(disks_below(row["pv_name"])) & set(wiped))
            placed[row["vg_name"]] = placed.get(row["vg_name"], True) and ours
    return [name for name, ours in placed.items() if ours]


def drop_incomplete(wiped: Collection[str]) -> bool:
    """Remove what is left on ``wiped`` disks of VGs that have lost a disk; True when there was one.

    blivet takes the names of such a VG's volumes for used, and cannot remove them.
    """
    report = run(["pvs", "--reportformat", "json", "--options", PVS_FIELDS]).stdout
    found = incomplete_groups(
        report, lambda pv: run(["lsblk", "--noheadings", "--inverse", "--list", "-o", "NAME", pv]).stdout.split(), wiped
    )
    for name in found:
        run(["vgchange", "--activate", "n", name], check=False)
        run(["vgreduce", "--removemissing", "--force", name])
        run(["vgremove", "--force", "--force", "--yes", name])
    return bool(found)


def deactivate(vg: str) -> None:
    """Deactivate every LV of ``vg``; raises CommandError when one is in use."""
    run(["vgchange", "--activate", "n", vg], hint=_("Something still uses a volume of {vg}: see lsblk.").format(vg=vg))


def settle() -> None:
    """Wait until udev has handled all events."""
    run(["udevadm", "settle", f"--timeout={SETTLE}"])


def mapper_path(vg: str, lv: str) -> Path:
    """The device of an LV: device-mapper doubles the hyphens of its names."""
    return Path("/dev/mapper") / f"{vg.replace('-', '--')}-{lv.replace('-', '--')}"

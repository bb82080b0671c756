"""What boot/reachable.py asks for, gathered from the machine that installs or updates.

Programs and formats: ``pvs(8)`` and ``lsblk(8)`` as JSON; drivers from sysfs (kernel: Documentation/driver-api).
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Optional

from org_ovirt_node.boot import bls, cpio, files
from org_ovirt_node.boot.reachable import RootFacts
from org_ovirt_node.errors import StorageError
from org_ovirt_node.inside import inside
from org_ovirt_node.node import lvm
from org_ovirt_node.payload.facts import LIVEOS, ImageFacts
from org_ovirt_node.run import run

SYS_BLOCK = Path("/sys/class/block")
SYS_NET = Path("/sys/class/net")
SYS = Path("/sys")
MPATH_UUID = "mpath-"
#: lsblk's TYPE and TRAN → the part of the stack that the initramfs must know.
TYPES = {"mpath": "multipath", "crypt": "crypt"}
RAID = {
    "raid0": "raid0",
    "raid1": "raid1",
    "raid10": "raid10",
    "raid4": "raid456",
    "raid5": "raid456",
    "raid6": "raid456",
}
TRANSPORTS = {"iscsi": "iscsi"}


@dataclass(frozen=True)
class Assembled:
    """A new layer, put together: the image is mounted at ``tree``, the whole at ``root``, its files are on ``boot``."""

    layer: str
    layer_fstype: str
    kernel: str
    tree: Path
    root: Path
    boot: Path


@dataclass(frozen=True)
class Below:
    """What lies below a VG: its PVs (device → UUID), and of their disks the stack, the drivers and the maps' WWIDs.

    ``arrays`` are the UUIDs of md arrays, as mdadm(8) writes them.
    """

    pvs: Mapping[str, str]
    stack: frozenset[str]
    drivers: tuple[str, ...]
    maps: tuple[str, ...]
    arrays: tuple[str, ...] = ()


def below(vg: str) -> Below:
    """Look at what lies below ``vg``.  Raises StorageError and CommandError."""
    pvs = physical_volumes(vg)
    disks = block_tree(sorted(pvs))
    stack = stack_of(disks)
    drivers = drivers_of(disks) + (drivers_of_cards() if "iscsi" in stack else ())
    return Below(pvs, stack, tuple(dict.fromkeys(drivers)), maps_of(disks), arrays_of(disks))


def gather(
    assembled: Assembled,
    image: ImageFacts,
    under: Below,
    *,
    options: str,
    vg: str,
    volumes: Collection[str],
    devices_file: Optional[bool] = None,
) -> RootFacts:
    """The facts of a new layer of ``image`` whose kernel gets the arguments ``options``.

    ``volumes`` are the names of the LVs that ``vg`` will have, ``devices_file`` says whether the layer's LVM uses one
    (None: its LVM is asked).  Raises BootError for an initramfs or host.img that cannot be read.
    """
    folder = assembled.boot / assembled.layer
    beside = files.find_kernel(assembled.tree, assembled.kernel).initramfs
    return RootFacts(
        options=options,
        vg=vg,
        volumes=frozenset(volumes),
        pvs=under.pvs,
        initramfs=cpio.listed_names(folder / bls.INITRAMFS, beside.with_name(beside.name + cpio.LISTING)),
        host=cpio.read_host_initrd(bls.host_image(assembled.boot, assembled.layer).read_bytes()),
        drivers=under.drivers,
        builtin=builtin_modules(assembled.tree, assembled.kernel),
        stack=under.stack | ({"verity"} if image.roothash else frozenset()),
        maps=under.maps,
        layer_fstype=assembled.layer_fstype,
        liveos=image.form == LIVEOS,
        uses_devices_file=uses_devices_file(assembled.root) if devices_file is None else devices_file,
        kernel=assembled.kernel,
    )


def physical_volumes(vg: str) -> dict[str, str]:
    """The PVs of ``vg``: device → UUID.  Raises StorageError and CommandError."""
    text = run(["pvs", "--reportformat", "json", "--options", "pv_name,pv_uuid", "--select", f"vg_name={vg}"]).stdout
    return {row["pv_name"]: row["pv_uuid"] for row in lvm.parse_rows(text, "pv")}


def block_tree(devices: list[str]) -> list[dict[str, Any]]:
    """What lies below ``devices``, as lsblk's inverse tree."""
    if not devices:
        return []
    text = run(["lsblk", "--json", "--inverse", "--output", "KNAME,TYPE,TRAN", *devices]).stdout
    try:
        found: list[dict[str, Any]] = json.loads(text)["blockdevices"]
    except (ValueError, KeyError, TypeError) as exc:
        raise StorageError("lsblk's report could not be read", hint="Run 'lsblk --json --inverse' to see it.") from exc
    return found


def walk(nodes: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Every device in a tree of lsblk."""
    for node in nodes:
        yield node
        yield from walk(node.get("children") or [])


def stack_of(nodes: list[dict[str, Any]]) -> frozenset[str]:
    """Which parts of the storage stack are in the tree."""
    found = set()
    for node in walk(nodes):
        kind, transport = str(node.get("type") or ""), str(node.get("tran") or "")
        found |= {TYPES[kind]} if kind in TYPES else set()
        found |= {TRANSPORTS[transport]} if transport in TRANSPORTS else set()
        found |= {RAID[kind]} if kind in RAID else set()
    return frozenset(found)


def arrays_of(nodes: list[dict[str, Any]]) -> tuple[str, ...]:
    """The UUIDs of the md arrays in the tree."""
    names = [f"/dev/{node['kname']}" for node in walk(nodes) if str(node.get("type") or "") in RAID]
    return tuple(md_uuid(name) for name in dict.fromkeys(names))


def md_uuid(path: str) -> str:
    """The UUID of an array as mdadm(8) and rd.md.uuid= (dracut.cmdline(7)) write it."""
    for line in run(["mdadm", "--detail", "--export", path]).stdout.splitlines():
        name, _, value = line.partition("=")
        if name == "MD_UUID":
            return value
    raise StorageError(f"mdadm does not tell the UUID of {path}", hint="See 'mdadm --detail'.")


def maps_of(nodes: list[dict[str, Any]], sys_block: Path = SYS_BLOCK) -> tuple[str, ...]:
    """The WWIDs of the multipath maps in the tree: device-mapper's UUID is ``mpath-<wwid>``."""
    found = []
    for node in walk(nodes):
        uuid = sys_block / str(node.get("kname")) / "dm/uuid"
        text = uuid.read_text(encoding="ascii").strip() if uuid.is_file() else ""
        if text.startswith(MPATH_UUID):
            found.append(text[len(MPATH_UUID) :])
    return tuple(dict.fromkeys(found))


def drivers_of(nodes: list[dict[str, Any]], sys_block: Path = SYS_BLOCK, sys: Path = SYS) -> tuple[str, ...]:
    """The kernel modules that drive the disks in the tree, from the disk up to its bus.

    A driver that is built into the kernel has no module, and is left out.
    """
    found: list[str] = []
    for node in walk(nodes):
        if node.get("type") != "disk":
            continue
        found += _drivers_from((sys_block / str(node.get("kname"))).resolve(), sys.resolve())
    return tuple(dict.fromkeys(found))


def _drivers_from(place: Path, top: Path) -> Iterator[str]:
    """The kernel modules of the drivers from the device at ``place`` up to its bus."""
    while place not in (top, place.parent):
        module = place / "driver/module"
        if module.exists():
            yield module.resolve().name
        place = place.parent


def drivers_of_cards(sys_net: Path = SYS_NET, sys: Path = SYS) -> tuple[str, ...]:
    """The kernel modules that drive the network cards with a link: one of them carries the sessions of iSCSI."""
    found: list[str] = []
    for card in sorted(sys_net.iterdir()):
        link = card / "operstate"
        if (card / "device").exists() and link.is_file() and link.read_text(encoding="ascii").strip() == "up":
            found += _drivers_from((card / "device").resolve(), sys.resolve())
    return tuple(dict.fromkeys(found))


def builtin_modules(tree: Path, kernel: str) -> frozenset[str]:
    """The modules that the kernel of the image mounted at ``tree`` has built in (kbuild: modules.builtin)."""
    path = inside(tree, f"usr/lib/modules/{kernel}/modules.builtin")
    if not path.is_file():
        return frozenset()
    return frozenset(Path(line).stem.replace("-", "_") for line in path.read_text(encoding="utf-8").split())


def uses_devices_file(root: Path) -> bool:
    """True when the LVM of the system at ``root`` looks only at the disks in its devices file."""
    asked = run(["lvmconfig", "--type", "full", "devices/use_devicesfile"], root=root, check=False)
    return asked.ok and asked.stdout.strip() == "use_devicesfile=1"

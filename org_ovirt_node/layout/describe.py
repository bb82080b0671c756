"""A layout in words: for people, for programs, and as kickstart lines that give the same layout again."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from typing import Any

from org_ovirt_node.kickstart.units import human_size
from org_ovirt_node.layout.model import MIB, Layout, Partition, Role, Volume

KIB = 1 << 10
#: The form of :func:`as_dict`; raised when a field changes its meaning or goes.
FORMAT = 1
_PURPOSE = {
    Role.BIOSBOOT: "BIOS boot loader",
    Role.ESP: "EFI system partition",
    Role.BOOT: "kernels and boot entries",
    Role.PV: "physical volume",
    Role.ENVIRONMENT: "GRUB's environment block",
}


def _table(rows: Sequence[tuple[str, ...]]) -> list[str]:
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return ["  " + "  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip() for row in rows]


def as_text(layout: Layout) -> str:
    """The layout as tables for an administrator."""
    lines = ["Disks"]
    for disk in layout.disks:
        facts = [human_size(disk.size), *filter(None, [disk.model, disk.serial and f"serial {disk.serial}"])]
        fate = "its content is LOST" if disk.name in layout.wiped else "blank"
        boot = ", boots by " + " and ".join(kind.name for kind in layout.firmware) if disk is layout.boot_disk else ""
        lines.append(f"  {disk.name}: {', '.join(facts)}; {fate}{boot}")
    lines += ["", "Partitions"]
    rows = [("DISK", "SIZE", "TYPE", "MOUNT POINT", "PURPOSE")]
    for part in layout.partitions:
        purpose = _PURPOSE[part.role] + (f" of {layout.vg.name}" if part.role is Role.PV else "")
        purpose += f", encrypted ({part.encryption.version})" if part.encryption else ""
        purpose += f", in the mirror {part.array}" if part.array else ""
        rows.append((part.disk, human_size(part.size), part.fstype or "-", part.mountpoint or "-", purpose))
    lines += _table(rows)
    if layout.arrays:
        lines += ["", "Mirrors (RAID1)"]
        mirrors = [("NAME", "TYPE", "MOUNT POINT", "DISKS")]
        for array in layout.arrays:
            disks = ", ".join(part.disk for part in layout.partitions if part.array == array.name)
            mirrors.append((array.name, array.fstype or _PURPOSE[array.role], array.mountpoint or "-", disks))
        lines += _table(mirrors)
    lines += ["", f"Volume group {layout.vg.name}"]
    rows = [("NAME", "SIZE", "TYPE", "MOUNT POINT", "PURPOSE")]
    rows.append((layout.image.name, human_size(layout.image.size), "image", "-", "the image, read-only"))
    pool = layout.pool
    meta = f"{human_size(pool.metadata_size)} of metadata, chunks of {human_size(pool.chunk_size)}"
    rows.append((pool.name, human_size(pool.size), "thin pool", "-", meta))
    for volume in layout.volumes:
        where = f"in {pool.name}" if volume.thin else "linear"
        purpose = "the writable layer" if volume.is_layer else ",".join(volume.options) or "-"
        rows.append(
            (volume.name, human_size(volume.size), f"{volume.fstype} {where}", volume.mountpoint or "-", purpose)
        )
    rows.append(("(free)", human_size(layout.reserved), "-", "-", "further images, growth"))
    return "\n".join([*lines, *_table(rows)]) + "\n"


def _partition_dict(part: Partition) -> dict[str, Any]:
    return {
        "disk": part.disk,
        "role": part.role.value,
        "size": part.size,
        "fstype": part.fstype,
        "mountpoint": part.mountpoint,
        "label": part.label,
        "options": list(part.options),
        "encryption": part.encryption.version if part.encryption else None,
        "array": part.array or None,
    }


def _volume_dict(volume: Volume) -> dict[str, Any]:
    return {
        "name": volume.name,
        "size": volume.size,
        "fstype": volume.fstype,
        "mountpoint": volume.mountpoint,
        "options": list(volume.options),
        "thin": volume.thin,
        "layer": volume.is_layer,
    }


def as_dict(layout: Layout) -> dict[str, Any]:
    """The layout for JSON, as docs/layout.md describes it.  Sizes in bytes; no passphrase."""
    return {
        "format": FORMAT,
        "firmware": [kind.value for kind in layout.firmware],
        "disks": [
            {
                "name": disk.name,
                "size": disk.size,
                "model": disk.model,
                "serial": disk.serial,
                "wwn": disk.wwn,
                "boot": disk is layout.boot_disk,
                "wiped": disk.name in layout.wiped,
            }
            for disk in layout.disks
        ],
        "partitions": [_partition_dict(part) for part in layout.partitions],
        "arrays": [
            {
                "name": array.name,
                "level": 1,
                "role": array.role.value,
                "fstype": array.fstype,
                "mountpoint": array.mountpoint,
                "label": array.label,
                "options": list(array.options),
            }
            for array in layout.arrays
        ],
        "vg": {"name": layout.vg.name, "extent_size": layout.vg.extent_size, "disks": list(layout.vg.disks)},
        "image": {"name": layout.image.name, "size": layout.image.size},
        "pool": {
            "name": layout.pool.name,
            "size": layout.pool.size,
            "metadata_size": layout.pool.metadata_size,
            "chunk_size": layout.pool.chunk_size,
        },
        "volumes": [_volume_dict(volume) for volume in layout.volumes],
        "reserved": layout.reserved,
    }


def _pv_names(layout: Layout) -> dict[str, str]:
    return {disk: f"pv.{number:02}" for number, disk in enumerate(layout.vg.disks, start=1)}


def _part_line(part: Partition, pvs: dict[str, str], passphrases: bool) -> str:
    name = {Role.BIOSBOOT: "biosboot", Role.PV: pvs.get(part.disk, "")}.get(part.role, part.mountpoint)
    fstype = {Role.BIOSBOOT: "biosboot", Role.ESP: "efi", Role.PV: "lvmpv"}.get(part.role, part.fstype)
    words = ["part", name, f"--fstype={fstype}", f"--size={part.size // MIB}", f"--ondisk={part.disk}"]
    if part.label:
        words.append(f"--label={part.label}")
    if part.options:
        words.append(f"--fsoptions={','.join(part.options)}")
    if part.encryption:
        words += ["--encrypted", f"--luks-version={part.encryption.version}"]
        words += [f"--passphrase={part.encryption.passphrase}"] if passphrases else []
    return shlex.join(words)


def _mirror_lines(layout: Layout) -> list[str]:
    """The part and raid lines; the partitions with GRUB's environment blocks are made without a line."""
    lines, members = [], {array.name: list[str]() for array in layout.arrays}
    for part in layout.partitions:
        if part.array:
            name = f"raid.{sum(map(len, members.values())) + 1:02}"
            members[part.array].append(name)
            lines.append(f"part {name} --fstype=mdmember --size={part.size // MIB} --ondisk={part.disk}")
        elif part.role is not Role.ENVIRONMENT:
            lines.append(_part_line(part, {}, False))
    for array in layout.arrays:
        words = ["raid", array.mountpoint or "pv.01", "--level=1", f"--device={array.name}"]
        words.append(f"--fstype={array.fstype or 'lvmpv'}")
        words += [f"--label={array.label}"] if array.label else []
        words += [f"--fsoptions={','.join(array.options)}"] if array.options else []
        lines.append(shlex.join([*words, *members[array.name]]))
    return lines


def _volume_line(volume: Volume, layout: Layout) -> str:
    words = ["logvol", volume.mountpoint or "swap", f"--vgname={layout.vg.name}", f"--name={volume.name}"]
    words += [f"--fstype={volume.fstype}", f"--size={volume.size // MIB}"]
    if volume.thin:
        words += ["--thin", f"--poolname={layout.pool.name}"]
    if volume.options:
        words.append(f"--fsoptions={','.join(volume.options)}")
    return shlex.join(words)


def as_kickstart(layout: Layout, *, passphrases: bool = False) -> str:
    """The layout as part, volgroup and logvol lines; planned again on the same disks, they give the same layout.

    With ``passphrases`` they are in the text in the clear; without, the lines of encrypted PVs want
    ``--passphrase=`` added.
    """
    pvs, pool = _pv_names(layout), layout.pool
    if layout.arrays:
        lines, names = _mirror_lines(layout), ["pv.01"]
    else:
        lines = [_part_line(part, pvs, passphrases) for part in layout.partitions]
        names = [pvs[disk] for disk in layout.vg.disks]
    group = [layout.vg.name, *names]
    lines.append(shlex.join(["volgroup", *group, f"--pesize={layout.vg.extent_size // KIB}"]))
    thinpool = ["logvol", "none", f"--vgname={layout.vg.name}", f"--name={pool.name}", "--thinpool"]
    thinpool += [f"--size={pool.size // MIB}", f"--metadatasize={pool.metadata_size // MIB}"]
    lines.append(shlex.join([*thinpool, f"--chunksize={pool.chunk_size // KIB}"]))
    lines += [_volume_line(volume, layout) for volume in layout.volumes]
    return "\n".join(lines) + "\n"

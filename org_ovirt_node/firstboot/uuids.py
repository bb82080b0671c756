"""New UUIDs for the file systems of a copied disk, and the texts that name them: pure, but for the randomness.

The layer's is changed by the initramfs, which mounts it; nothing names it.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from uuid import uuid4

from org_ovirt_node.errors import StorageError

_UUID_LINE = re.compile(r"^UUID=(\S+)\s+\S+\s+(\S+)", re.MULTILINE)
_SEARCH = re.compile(r"^search --no-floppy --fs-uuid --set=root (\S+)\n", re.MULTILINE)


@dataclass(frozen=True)
class FileSystem:
    """A device and what blkid(8) reads from it."""

    device: str
    fstype: str
    uuid: str


def in_fstab(text: str) -> dict[str, str]:
    """The file systems that fstab(5) names by UUID, with their types."""
    return {found.group(1): found.group(2) for found in _UUID_LINE.finditer(text)}


def new_uuid(fstype: str) -> str:
    """A UUID for a new file system; FAT has a serial number of 32 bits instead."""
    if fstype == "vfat":
        number = secrets.token_hex(4).upper()
        return f"{number[:4]}-{number[4:]}"
    return str(uuid4())


def decide(fstab: str) -> dict[str, str]:
    """Old → new for all that ``fstab`` names."""
    return {uuid: new_uuid(fstype) for uuid, fstype in in_fstab(fstab).items()}


def with_new(text: str, uuids: Mapping[str, str]) -> str:
    """``text`` with every old UUID replaced; a text that has the new ones already stays as it is."""
    for old, new in uuids.items():
        text = re.sub(rf"(?<![0-9A-Za-z-]){re.escape(old)}(?![0-9A-Za-z-])", new, text)
    return text


def stub_on_the_way(text: str, uuids: Mapping[str, str]) -> str:
    """The ESP's grub.cfg while /boot changes its UUID: both are looked for, and the one that is there is found."""

    def both(found: re.Match[str]) -> str:
        old = found.group(1)
        return "".join(f"search --no-floppy --fs-uuid --set=root {uuid}\n" for uuid in (old, uuids.get(old, old)))

    return _SEARCH.sub(both, text) if any(old in text for old in uuids) else text


def stub_at_the_end(text: str, uuids: Mapping[str, str]) -> str:
    """The ESP's grub.cfg when /boot has its new UUID: that one alone is looked for."""
    replaced = with_new(text, uuids)
    lines = dict.fromkeys(_SEARCH.findall(replaced))
    for uuid in lines:
        line = f"search --no-floppy --fs-uuid --set=root {uuid}\n"
        replaced = replaced.replace(line + line, line)
    return replaced


def find(uuids: Mapping[str, str], there: tuple[FileSystem, ...]) -> dict[str, FileSystem]:
    """The file system of each old UUID, whether it has its new one already or not.

    Raises StorageError when one is missing, or is there twice.
    """
    found = {}
    for old, new in uuids.items():
        matching = [one for one in there if one.uuid in (old, new)]
        if len(matching) != 1:
            what = "is on none of the node's disks" if not matching else "is there more than once"
            raise StorageError(
                f"the file system {old} {what}",
                hint="Is another disk of the same image in this machine? Take it out for the first boot.",
            )
        found[old] = matching[0]
    return found


def missing(uuids: Mapping[str, str], there: tuple[FileSystem, ...]) -> tuple[str, ...]:
    """The UUIDs, old and new, of those that have no file system in ``there``."""
    seen = {one.uuid for one in there}
    return tuple(uuid for old, new in uuids.items() if not seen & {old, new} for uuid in (old, new))


def commands(one: FileSystem, uuid: str) -> list[list[str]]:
    """What gives an unmounted file system ``uuid``.  Raises StorageError for a type that cannot be changed."""
    if one.fstype in ("ext4", "ext3", "ext2"):
        # Without the feature metadata_csum_seed tune2fs changes all checksums, and wants to know that they are right.
        return [["e2fsck", "-f", "-p", one.device], ["tune2fs", "-U", uuid, one.device]]
    if one.fstype == "xfs":
        return [["xfs_admin", "-U", uuid, one.device]]
    if one.fstype == "swap":
        return [["swaplabel", "-U", uuid, one.device]]
    if one.fstype == "vfat":
        return [["fatlabel", "-i", one.device, uuid.replace("-", "")]]
    raise StorageError(f"{one.device} holds {one.fstype or 'nothing'}, which cannot be given a new UUID")

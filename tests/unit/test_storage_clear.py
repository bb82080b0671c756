"""What was installed on a disk cannot be started any more once an installation has begun to change the disk."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import NoReturn

import pytest

from org_ovirt_node.layout.model import GIB, MIB, ExistingPartition
from org_ovirt_node.progress import Silent
from org_ovirt_node.storage import clear, execute
from tests.unit.layouts import BOTH, automatic, disk

#: As an installation with EFI leaves a disk, and a disk of another system with its system partition behind /boot.
OLD = (
    ExistingPartition("sda1", MIB, "biosboot"),
    ExistingPartition("sda2", 200 * MIB, "efi"),
    ExistingPartition("sda3", GIB, "ext4"),
    ExistingPartition("sda4", 40 * GIB, "lvmpv"),
)
OTHER = (ExistingPartition("sdb1", GIB, "xfs"), ExistingPartition("sdb2", 200 * MIB, "vfat"))


def test_system_partitions_and_boot_of_what_goes_are_cleared_system_partitions_first() -> None:
    layout = automatic(disk("sda", partitions=OLD), disk("sdb", partitions=OTHER), firmware=BOTH)
    assert layout.wiped == ("sda", "sdb")
    assert layout.startable == ("sda2", "sdb2", "sda3", "sdb1")


def test_a_blank_disk_has_nothing_to_clear() -> None:
    assert automatic().startable == ()


class Device:
    """A device of blivet's that is a file."""

    def __init__(self, path: Path) -> None:
        self.path = str(path)


def test_nothing_can_be_started_before_anything_else_is_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the power cut at the first change of the disk's table or volumes, and at any later one."""
    for name in ("sda", "sda1", "sda2", "sda3", "sda4"):
        (tmp_path / name).write_bytes(b"\x90" * MIB)
    for name, program in (("sda2", "mkfs.vfat"), ("sda3", "mke2fs")):
        with (tmp_path / name).open("wb") as file:
            file.truncate(40 * MIB)
        subprocess.run([program, str(tmp_path / name)], check=True, capture_output=True)

    def changed(*_: object) -> NoReturn:
        raise InterruptedError

    for module in ("blivet", "blivet.size", "blivet.partitioning"):
        monkeypatch.setitem(sys.modules, module, ModuleType(module))
    sys.modules["blivet.size"].Size = int  # type: ignore[attr-defined]
    sys.modules["blivet.partitioning"].do_partitioning = changed  # type: ignore[attr-defined]
    tree = SimpleNamespace(get_device_by_name=lambda name: Device(tmp_path / name))
    handle = SimpleNamespace(devicetree=tree, recursive_remove=changed, reset=changed, initialize_disk=changed)
    settled: list[bool] = []
    monkeypatch.setattr(execute, "settle", lambda: settled.append(True))
    monkeypatch.setattr(execute, "drop_incomplete", changed)
    layout = automatic(disk("sda", partitions=OLD), firmware=BOTH)
    with pytest.raises(InterruptedError):
        execute._Creation(handle, layout, Silent()).run()
    for name in ("sda2", "sda3"):
        assert subprocess.run(["blkid", "-p", str(tmp_path / name)], check=False, capture_output=True).returncode == 2
        assert (tmp_path / name).read_bytes()[: clear.BEGIN] == bytes(clear.BEGIN)
    assert (tmp_path / "sda").read_bytes()[: len(clear.BOOTS_NOTHING)] == clear.BOOTS_NOTHING
    assert settled, "udev still looks at what was written"
    # Of LVM's volumes blivet takes care; without their labels it could not.
    assert (tmp_path / "sda4").read_bytes() == b"\x90" * MIB


def test_a_partition_that_is_smaller_than_what_is_cleared_keeps_its_size(tmp_path: Path) -> None:
    (tmp_path / "small").write_bytes(b"\x90" * 4096)
    clear.clear_begin(str(tmp_path / "small"))
    assert (tmp_path / "small").read_bytes() == bytes(4096)

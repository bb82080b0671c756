"""Which files of a new system want a label."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from org_ovirt_node.boot.files import LABEL
from org_ovirt_node.install import labels
from org_ovirt_node.mounts import mounted


def test_all_of_one_file_system_and_nothing_mounted_below(tmp_path: Path) -> None:
    base = tmp_path / "boot"
    for folder in ("grub", "efi"):
        (base / folder).mkdir(parents=True)
    (base / "grub/grub.cfg").touch()
    (base / "link").symlink_to("grub")
    (base / "broken").symlink_to("nowhere")
    (base / "labelled").touch()
    os.setxattr(base / "labelled", LABEL, b"system_u:object_r:boot_t:s0")
    with mounted("tmpfs", base / "efi", fstype="tmpfs"):
        (base / "efi/BOOTX64.EFI").touch()
        found = sorted(labels.unlabelled(base, "/boot"))
    assert found == ["/boot", "/boot/broken", "/boot/grub", "/boot/grub/grub.cfg", "/boot/link"]


def test_what_the_new_system_has_deleted_is_left_out(tmp_path: Path) -> None:
    (tmp_path / "kept").touch()
    os.mknod(tmp_path / "deleted", stat.S_IFCHR, os.makedev(0, 0))
    os.mknod(tmp_path / "device", stat.S_IFCHR, os.makedev(1, 3))
    assert sorted(labels.unlabelled(tmp_path, "/x")) == ["/x", "/x/device", "/x/kept"]

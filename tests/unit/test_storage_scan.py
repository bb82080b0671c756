"""What is looked at before the disks are written."""

from __future__ import annotations

from pathlib import Path

import pytest

from org_ovirt_node.errors import LayoutError
from org_ovirt_node.storage.scan import check_vg_name


def test_a_name_in_dev_that_is_no_volume_group_is_refused(tmp_path: Path) -> None:
    (tmp_path / "taken").touch()
    (tmp_path / "folder/deeper").mkdir(parents=True)
    (tmp_path / "dangling").symlink_to("nowhere")
    for name in ("taken", "folder", "dangling"):
        with pytest.raises(LayoutError, match=f"{name} is there and is no volume group"):
            check_vg_name(name, tmp_path)


def test_a_volume_group_that_is_there_may_be_made_anew(tmp_path: Path) -> None:
    (tmp_path / "onn").mkdir()
    (tmp_path / "onn/root").symlink_to("../dm-3")
    check_vg_name("onn", tmp_path)
    check_vg_name("other", tmp_path)

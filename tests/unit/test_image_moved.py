"""What an image keeps below /usr because /var is shared by all layers."""

from __future__ import annotations

from pathlib import Path

import pytest

from org_ovirt_node.errors import ImageError
from org_ovirt_node.image import packagedb

PLACES = [("var/lib/dpkg", "dpkg"), ("var/lib/rpm", "rpm"), ("var/lib/selinux", "selinux")]


@pytest.mark.parametrize(("old", "name"), PLACES)
def test_it_moves_below_usr_and_is_found_at_its_old_place(tmp_path: Path, old: str, name: str) -> None:
    folder = tmp_path / old / "deep"
    folder.mkdir(parents=True)
    (folder / "file").write_text("content")
    for _twice in range(2):
        packagedb.move(tmp_path)
    assert (tmp_path / "usr/lib/sysimage" / name / "deep/file").read_text() == "content"
    assert str((tmp_path / old).readlink()) == f"../../usr/lib/sysimage/{name}"
    assert (tmp_path / old / "deep/file").read_text() == "content"
    assert (f"/usr/lib/sysimage/{name}", f"/{old}") in packagedb.SAME_LABELS


@pytest.mark.parametrize(("old", "name"), PLACES)
def test_a_tree_with_both_places_is_refused(tmp_path: Path, old: str, name: str) -> None:
    for folder in (tmp_path / old, tmp_path / "usr/lib/sysimage" / name):
        folder.mkdir(parents=True)
        (folder / "file").write_text("x")
    with pytest.raises(ImageError, match=f"/{old} and another one"):
        packagedb.move(tmp_path)

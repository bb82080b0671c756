"""Building an image from what is in another one."""

from __future__ import annotations

from pathlib import Path

import pytest

from org_ovirt_node.errors import PayloadError
from org_ovirt_node.image import build, squash
from org_ovirt_node.image.profile import Profile
from org_ovirt_node.install.root import image_tree
from org_ovirt_node.progress import Silent
from tests.support.packages import squashfs, write


def request(root: Path, output: Path) -> build.BuildRequest:
    profile = Profile(name="node")
    return build.BuildRequest(profile, "1.0", "1", output, root=root, cache=None, compression="lz4", verity=False)


@pytest.mark.parametrize("form", ["tree", "liveos"])
def test_an_image_is_a_source_too(form: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is in it becomes the tree that is made a node."""
    source, image = tmp_path / "source", tmp_path / "any-1-1.squashfs"
    write(source, {"usr/lib/os-release": "NAME=x\n", "etc/list": "one\n"})
    if form == "tree":
        squashfs(source, image)
    else:
        squash.pack_liveos(source, image, tmp_path / "l", compression="lz4", level=0, epoch=1800000000)
    seen = []

    def make_node(tree: Path, *others: object) -> str:
        seen.append((tree / "etc/list").read_text())
        (tree / "etc/list").write_text("two\n")
        return "6.1"

    monkeypatch.setattr(build, "make_node", make_node)
    made = build.build(request(image, tmp_path / "out"), Silent())
    assert seen == ["one\n"]
    with image_tree(str(made.path), tmp_path / "mnt") as tree:
        assert (tree / "etc/list").read_text() == "two\n"
    assert str(tmp_path) not in Path("/proc/self/mountinfo").read_text()


def test_a_file_that_is_no_image_is_no_source(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("x")
    with pytest.raises(PayloadError, match="is not a squashfs image"):
        build.build(request(tmp_path / "text", tmp_path / "out"), Silent())
    assert not list((tmp_path / "out").iterdir())

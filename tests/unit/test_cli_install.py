"""ovirt-node-install as a program: what it refuses before it does anything, and what it must not write."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from org_ovirt_node.cli import install as program
from org_ovirt_node.errors import CommandError, LayoutError, NodeError
from org_ovirt_node.install import diskimages
from org_ovirt_node.install.diskimages import DiskImage
from org_ovirt_node.install.options import Options

MIB = 1 << 20
KICKSTART = "autopart --type=thinp\n%addon org_ovirt_node --image=file:/a.squashfs --nosignature\n%end\n"


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.ks").write_text(KICKSTART)
    return tmp_path


def started(here: Path, *arguments: str) -> int:
    return program.main(["--log", str(here / "log"), "--kickstart", "a.ks", *arguments])


def never(*_arguments: object) -> None:
    raise AssertionError("this would install")


@pytest.mark.parametrize("form", program.FORMATS)
def test_a_format_without_a_plan_installs_nothing(
    here: Path, form: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(program, "install", never)
    assert started(here, "--format", form) == 2
    assert "Add --plan" in capsys.readouterr().err


def test_a_plan_makes_no_disk_image(
    here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    seen: list[tuple[str, int]] = []

    def planned(_request: object, options: Options, _progress: object) -> None:
        seen.extend((name, path.stat().st_size) for name, path in options.images.items())
        raise LayoutError("no room")

    monkeypatch.setattr(program, "only_plan", planned)
    (here / "old.raw").write_bytes(b"x" * MIB)
    assert started(here, "--plan", "--disk-image", "new.raw,30GiB", "--disk-image", "old.raw") == 1
    assert seen == [("new", 30 << 30), ("old", MIB)]
    assert sorted(path.name for path in here.iterdir()) == ["a.ks", "log", "old.raw"]
    assert (here / "old.raw").read_bytes() == b"x" * MIB
    assert "no room" in capsys.readouterr().err


def test_a_wrong_kickstart_leaves_no_disk_image(here: Path) -> None:
    (here / "a.ks").write_text(f"foo\n{KICKSTART}")
    assert started(here, "--disk-image", "new.raw,30GiB") == 2
    assert not (here / "new.raw").exists()


SLIPS = [
    ("x.raw,20", "has no unit"),
    ("x.raw,20XB", "unknown unit"),
    ("x.raw,-1GiB", "is not a size"),
    ("x.raw,", "is not a size"),
    ("x.raw,0B", "less than 1 MiB"),
    ("x.raw", "Add ',SIZE'"),
    ("none/x.raw,20GiB", "the folder .*/none .* is not there"),
    (".raw,20GiB", "no name that can be used"),
    ("a b.raw,20GiB", "no name that can be used"),
    ("old.raw,2MiB", "has 1048576 bytes, not 2097152"),
    ("folder,2MiB", "no regular file"),
    ("folder", "no regular file"),
]


@pytest.mark.parametrize(("argument", "said"), SLIPS)
def test_a_slip_in_a_disk_image_is_said_in_words(here: Path, argument: str, said: str) -> None:
    (here / "old.raw").write_bytes(b"x" * MIB)
    (here / "folder").mkdir()
    before = sorted(here.iterdir())
    with pytest.raises(NodeError, match=said):
        diskimages.parse([argument])
    assert started(here, "--disk-image", argument) == 1
    assert sorted(here.iterdir()) == sorted([*before, here / "log"])


def test_disk_images_that_are_there_and_that_are_to_be_made(here: Path) -> None:
    for name in ("a,20GiB.raw", "b.raw"):
        (here / name).write_bytes(b"x" * MIB)
    with pytest.raises(NodeError, match="no name that can be used"):  # found as a file: the comma is in its name
        diskimages.parse(["a,20GiB.raw"])
    (here / "c.v1,2GiB").write_bytes(b"x")
    assert diskimages.parse(["c.v1,2GiB", "b.raw,1MiB", "d.raw,1.5G"]) == (
        DiskImage("c", here / "c.v1,2GiB"),
        DiskImage("b", here / "b.raw"),
        DiskImage("d", here / "d.raw", 3 << 29),
    )
    with pytest.raises(NodeError, match="two disk images would be called b"):
        diskimages.parse(["b.raw", "b.img,1GiB"])


def test_a_disk_image_is_made_sparse_and_stays(here: Path) -> None:
    with diskimages.ready(diskimages.parse(["d.raw,20GiB"]), only_plan=False) as images:
        assert images == {"d": here / "d.raw"}
    status = (here / "d.raw").stat()
    assert (status.st_size, status.st_blocks) == (20 << 30, 0)


def test_a_disk_image_that_its_file_system_cannot_hold_leaves_no_file(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def too_large(_descriptor: int, _size: int) -> None:
        raise OSError(27, "File too large")

    monkeypatch.setattr(os, "truncate", too_large)
    made = diskimages.ready(diskimages.parse(["d.raw,100TiB"]), only_plan=False)
    with pytest.raises(NodeError, match=r"100 TiB cannot be made: File too large"), made:
        pass
    assert not (here / "d.raw").exists()


def test_a_machine_that_cannot_be_restarted_is_said(
    here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    class Done:
        seconds: dict[str, float] = {}  # noqa: RUF012
        layer = sha256 = ""
        facts = type("Facts", (), {"nvr": "a-1-1"})

    def refused(argv: list[str], *, hint: str) -> None:
        raise CommandError(argv, 1, "no systemd here", hint=hint)

    (here / "a.ks").write_text(f"reboot\n{KICKSTART}")
    monkeypatch.setattr(program, "install", lambda *_arguments: Done())
    monkeypatch.setattr(program, "run", refused)
    assert started(here) == 1
    assert "The node is installed; reboot the machine by hand" in capsys.readouterr().err
    assert started(here, "--no-reboot") == 0

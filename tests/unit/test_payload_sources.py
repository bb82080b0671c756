"""The URL schemes: each opens the file that it names and releases everything afterwards."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from org_ovirt_node.errors import PayloadError
from org_ovirt_node.mounts import loop_device
from org_ovirt_node.payload.sources import open_source

CONTENT = b"what the image holds " * 1000


@pytest.fixture
def workdir(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "work"
    yield folder
    assert not folder.exists() or list(folder.iterdir()) == []


def content_of(url: str, workdir: Path) -> bytes:
    with open_source(url, workdir=workdir) as source:
        assert source.size == len(CONTENT)
        buffer = bytearray(1 << 20)
        with source.stream() as stream:
            count = stream.readinto(memoryview(buffer))
        assert source.read_at(5, 7) == CONTENT[5:12]
    return bytes(buffer[:count])


@pytest.mark.parametrize("form", ["file:{}", "file://{}", "file://localhost{}", "{}"])
def test_files(form: str, tmp_path: Path, workdir: Path) -> None:
    (tmp_path / "node.img").write_bytes(CONTENT)
    assert content_of(form.format(tmp_path / "node.img"), workdir) == CONTENT


def test_a_file_with_an_escaped_name(tmp_path: Path, workdir: Path) -> None:
    (tmp_path / "my node.img").write_bytes(CONTENT)
    assert content_of(f"file://{tmp_path}/my%20node.img", workdir) == CONTENT


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[str]:
    """A disk with an ext4 that is labelled and holds /images/node.img."""
    tree = tmp_path / "tree"
    (tree / "images").mkdir(parents=True)
    (tree / "images/node.img").write_bytes(CONTENT)
    (tmp_path / "disk").touch()
    os.truncate(tmp_path / "disk", 4 << 20)
    label = f"t{os.getpid()}"
    argv = ["mkfs.ext4", "-q", "-L", label, "-U", "0c1ea9ad-0000-4000-8000-0000deadbeef", "-d", str(tree)]
    subprocess.run([*argv, str(tmp_path / "disk")], check=True)
    with loop_device(tmp_path / "disk") as device:
        yield device


def test_disks(disk: str, workdir: Path) -> None:
    for device in (disk, disk[len("/dev/") :], f"LABEL=t{os.getpid()}", "UUID=0c1ea9ad-0000-4000-8000-0000deadbeef"):
        assert content_of(f"hd:{device}:/images/node.img", workdir) == CONTENT
        assert content_of(f"hd:{device}:/../images/../images/node.img", workdir) == CONTENT


def test_a_disk_without_the_file(disk: str, workdir: Path) -> None:
    with pytest.raises(PayloadError, match=r"nothing[.]img cannot be read: No such file or directory"):
        content_of(f"hd:{disk}:/nothing.img", workdir)


def test_a_disk_that_is_not_there(workdir: Path) -> None:
    with pytest.raises(PayloadError, match=r"hd:sdzz:/a: /dev/sdzz cannot be mounted: .*does not exist"):
        content_of("hd:sdzz:/a", workdir)


@pytest.fixture
def fakes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A "mount" that logs its arguments and binds the folder "medium" (this kernel has neither NFS nor ISO 9660)."""
    folder, medium = tmp_path / "bin", tmp_path / "medium"
    folder.mkdir()
    medium.mkdir()
    (medium / "node.img").write_bytes(CONTENT)
    (folder / "mount").write_text(
        f'#!/bin/sh\necho "$*" >> {folder}/log\n'
        'case "$*" in *empty*) echo "no medium found" >&2; exit 32;; esac\n'
        f'for target; do :; done\nexec /usr/bin/mount --bind {medium} "$target"\n'
    )
    (folder / "blkid").write_text(f'#!/bin/sh\necho "blkid $*" >> {folder}/log\necho /dev/empty\necho /dev/iso\n')
    (folder / "umount").symlink_to("/usr/bin/umount")
    for name in ("mount", "blkid"):
        (folder / name).chmod(0o755)
    monkeypatch.setenv("OVIRT_NODE_PATH", f"{folder}:/usr/bin")
    monkeypatch.setenv("OVIRT_NODE_DRIVES", "/nonexistent/sr*")
    return folder / "log"


@pytest.mark.parametrize("host", ["server.example", "[fd00::1]"])
def test_nfs(fakes: Path, workdir: Path, host: str) -> None:
    assert content_of(f"nfs:{host}:/export/images/node.img", workdir) == CONTENT
    assert fakes.read_text().startswith(f"-t nfs -o ro,nolock,soft {host}:/export/images {workdir}/source-")


def test_a_cdrom_is_the_first_medium_that_holds_the_file(fakes: Path, workdir: Path) -> None:
    assert content_of("cdrom:/node.img", workdir) == CONTENT
    lines = fakes.read_text().splitlines()
    assert lines[0] == "blkid -t TYPE=iso9660 -o device"
    assert [line.split()[2] for line in lines[1:]] == ["/dev/empty", "/dev/iso"]
    assert all(line.startswith("-o ro,") for line in lines[1:])


def test_no_cdrom_holds_the_file(fakes: Path, workdir: Path) -> None:
    with pytest.raises(
        PayloadError, match=r"is on no medium \(/dev/empty: .*no medium found; /dev/iso: .*No such file"
    ):
        content_of("cdrom:/other.img", workdir)


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("ftp://host/x", "ftp://host/x is not an address of an image. Accepted: file:, http:"),
        ("node.img", "is not an address of an image"),
        ("file:node.img", "does not name a file of this machine"),
        ("file://server/node.img", "does not name a file of this machine"),
        ("hd:sda1", "hd:sda1 is not complete. Write hd:DEVICE:/path"),
        ("hd::/x", "is not complete"),
        ("hd:sda1:/", "is not complete"),
        ("nfs:host", "is not complete. Write nfs:HOST:/path/file"),
        ("cdrom:node.img", "is not an address of an image"),
        ("file:/nonexistent/x", "cannot be read: No such file or directory"),
        ("file:/dev/null", "is not a file"),
        ("file:/", "is not a file"),
    ],
)
def test_addresses_that_are_refused(url: str, message: str, workdir: Path) -> None:
    with pytest.raises(PayloadError, match=message):
        content_of(url, workdir)

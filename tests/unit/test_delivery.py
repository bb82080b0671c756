"""The files for an installer: complete, in the right places, the same bytes every time."""

from __future__ import annotations

import gzip
import io
import subprocess
import tarfile
from configparser import ConfigParser
from pathlib import Path

import pytest

from org_ovirt_node.image import delivery

PROJECT = Path(__file__).resolve().parents[2]
#: What Anaconda looks for.
NEEDED = (
    "usr/share/anaconda/addons/org_ovirt_node/service/__main__.py",
    "usr/share/anaconda/addons/org_ovirt_node/tui/spokes/ovirt_node.py",
    "usr/share/anaconda/addons/org_ovirt_node/gui/spokes/ovirt_node.glade",
    "usr/share/anaconda/dbus/services/org.fedoraproject.Anaconda.Addons.OvirtNode.service",
    "usr/share/anaconda/dbus/confs/org.fedoraproject.Anaconda.Addons.OvirtNode.conf",
    "usr/share/ovirt-node/skeleton.tar",
    "etc/anaconda/profile.d/ovirt-node.conf",
    "etc/anaconda/product.d/ovirt-node.conf",
    "etc/anaconda/conf.d/50-ovirt-node.conf",
)


def contents(archive: bytes, folder: Path) -> Path:
    """The archive unpacked by cpio itself."""
    subprocess.run(
        ["cpio", "--extract", "--make-directories", "--quiet"], input=gzip.decompress(archive), cwd=folder, check=True
    )
    return folder


@pytest.mark.parametrize("interactive", [False, True])
def test_image(tmp_path: Path, interactive: bool) -> None:
    found = list(delivery.items(PROJECT, interactive=interactive))
    archive = delivery.archive(found)
    assert archive == delivery.archive(list(delivery.items(PROJECT, interactive=interactive)))
    tree = contents(archive, tmp_path)
    for path in NEEDED:
        assert (tree / path).is_file(), path
    assert (tree / "usr/share/anaconda/interactive-defaults.ks").is_file() is interactive
    assert (tree / "usr/bin/ovirt-node-install").stat().st_mode & 0o111
    assert not (tree / "usr/share/anaconda/addons/org_ovirt_node/image").exists()


def test_install_is_the_same(tmp_path: Path) -> None:
    unpacked, installed = tmp_path / "unpacked", tmp_path / "installed"
    unpacked.mkdir()
    contents(delivery.archive(list(delivery.items(PROJECT, interactive=False))), unpacked)
    delivery.install(PROJECT, installed, interactive=False)
    assert subprocess.run(["diff", "-r", unpacked, installed], check=False).returncode == 0


def test_skeleton() -> None:
    with tarfile.open(fileobj=io.BytesIO(delivery.skeleton())) as archive:
        assert all(member.isdir() for member in archive.getmembers())
        assert "etc/sysconfig" in archive.getnames()


def test_no_module_of_an_installer_needs_what_is_left_out() -> None:
    for item in delivery.items(PROJECT, interactive=False):
        if item.path.endswith(".py") and "/cli/" not in item.path:
            text = item.content.decode()
            assert "org_ovirt_node.image" not in text, item.path


@pytest.mark.parametrize(
    ("path", "section"),
    [
        ("profile.d/ovirt-node.conf", "Profile"),
        ("product.d/ovirt-node.conf", "Product"),
        ("conf.d/50-ovirt-node.conf", ""),
    ],
)
def test_profile(tmp_path: Path, path: str, section: str) -> None:
    delivery.install(PROJECT, tmp_path, interactive=False)
    parser = ConfigParser()
    parser.read(tmp_path / "etc/anaconda" / path)
    assert {name for name in parser.sections() if name in ("Profile", "Product")} == ({section} if section else set())
    volumes = parser["Storage"]["default_partitioning"].split("\n")
    assert {line.split()[0] for line in volumes if line.strip()} >= {"/", "/var", "/var/log", "/home", "swap"}

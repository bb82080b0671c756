"""ovirt-node-image inspect --packages, diff and verify: on real squashfs files and package databases."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from org_ovirt_node.cli.common import main as program
from org_ovirt_node.cli.image import parser
from org_ovirt_node.cli.nodectl_update import url_of
from org_ovirt_node.image import squash
from org_ovirt_node.node.installed import DEB, RPM, Package, PackageChange, compare_packages, dpkg_packages, packages
from org_ovirt_node.payload.manifest import Manifest, as_text
from org_ovirt_node.payload.verity import append_tree
from tests.support.packages import rpm, rpm_database, squashfs, write

PROJECT = Path(__file__).parents[2]
STATUS = """\
Package: beta
Status: install ok installed
Installed-Size: 3
Architecture: amd64
Version: 1:2.0-1
Conffiles:
 /etc/beta 0123
Description: a text
 with Version: 9 in it
 .

Package: gone
Status: deinstall ok config-files
Architecture: all
Version: 1

Package: alpha
Status: hold ok installed
Architecture: all
Version: 1.0~rc1
"""


def image(*arguments: object) -> subprocess.CompletedProcess[str]:
    """The program, in a process of its own: some commands give themselves mounts of their own."""
    command = [sys.executable, "-m", "org_ovirt_node.cli.image", *map(str, arguments)]
    return subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=False)


def test_what_dpkg_says_is_installed() -> None:
    assert list(dpkg_packages(STATUS)) == [
        Package("beta", "amd64", "1:2.0-1", 3072, DEB),
        Package("alpha", "all", "1.0~rc1", 0, DEB),
    ]


def make_tree(root: Path) -> Path:
    write(root, {"usr/lib/sysimage/dpkg/status": STATUS, "etc/list": "one\n", "usr/bin/tool": "x"})
    (root / "var/lib").mkdir(parents=True)
    (root / "var/lib/dpkg").symlink_to("../../usr/lib/sysimage/dpkg")
    return root


@pytest.mark.parametrize("place", ["usr/lib/sysimage/dpkg", "var/lib/dpkg"])
def test_the_database_is_found_at_either_place(tmp_path: Path, place: str) -> None:
    write(tmp_path, {f"{place}/status": STATUS})
    assert [package.name for package in packages(tmp_path)] == ["alpha", "beta"]


@pytest.mark.parametrize("place", ["/usr/lib/sysimage/rpm", "/var/lib/rpm"])
def test_an_rpm_database_in_a_read_only_image(tmp_path: Path, place: str) -> None:
    root = tmp_path / "root"
    (root / "usr").mkdir(parents=True)
    made = [rpm(tmp_path, "one", "1.0", {"usr/share/one": "x" * 100}), rpm(tmp_path, "two", "2~rc1", {})]
    rpm_database(root, *made, place=place)
    done = image("inspect", "--packages", "--json", squashfs(root, tmp_path / "rpm-1-1.squashfs"))
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == [
        {"name": "one", "arch": "noarch", "version": "1.0-1", "size": 100, "kind": RPM},
        {"name": "two", "arch": "noarch", "version": "2~rc1-1", "size": 0, "kind": RPM},
    ]


def test_packages_of_an_image_as_text(tmp_path: Path) -> None:
    done = image("inspect", "--packages", squashfs(make_tree(tmp_path / "root"), tmp_path / "n-1-1.squashfs"))
    assert done.stdout == "alpha 1.0~rc1 all\nbeta 1:2.0-1 amd64\n"
    assert "2 packages, 3.0 KiB" in done.stderr
    devices = subprocess.run(["losetup", "--list"], capture_output=True, text=True, check=True).stdout
    assert str(tmp_path) not in Path("/proc/self/mountinfo").read_text() + devices


def test_an_image_without_a_package_database_is_told(tmp_path: Path) -> None:
    write(tmp_path / "root", {"usr/x": "x"})
    done = image("inspect", "--packages", squashfs(tmp_path / "root", tmp_path / "n-1-1.squashfs"))
    assert done.returncode == 1
    assert "no package database" in done.stderr and "Traceback" not in done.stderr


def test_package_differences() -> None:
    def package(name: str, version: str, arch: str = "all") -> Package:
        return Package(name, arch, version, 1, DEB)

    before = [package("same", "1"), package("old", "1"), package("up", "1"), package("kernel", "1")]
    after = [package("same", "1"), package("new", "2"), package("up", "2")]
    after += [package("kernel", "1"), package("kernel", "2"), package("same", "1", "i386")]
    assert compare_packages(before, after) == (
        PackageChange("kernel.all", "1", "1, 2"),
        PackageChange("new.all", "", "2"),
        PackageChange("old.all", "1", ""),
        PackageChange("same.i386", "", "1"),
        PackageChange("up.all", "1", "2"),
    )


def test_the_difference_of_two_images(tmp_path: Path) -> None:
    one = squashfs(make_tree(tmp_path / "root"), tmp_path / "n-1-1.squashfs")
    write(tmp_path / "root", {"etc/list": "two\n", "etc/new": "n"})
    (tmp_path / "root/usr/bin/tool").unlink()
    status = tmp_path / "root/usr/lib/sysimage/dpkg/status"
    status.write_text(STATUS.replace("1:2.0-1", "1:2.0-2"))
    two = squashfs(tmp_path / "root", tmp_path / "n-1-2.squashfs")
    done = image("diff", one, two)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [
        "changed  beta.amd64 1:2.0-1 → 1:2.0-2",
        "",
        "changed  /etc/list",
        "added    /etc/new",
        "deleted  /usr/bin/tool",
        "changed  /usr/lib/sysimage/dpkg/status",
    ]
    found = json.loads(image("diff", "--json", two, one).stdout)
    assert found["packages"] == [{"name": "beta.amd64", "kind": "changed", "before": "1:2.0-2", "after": "1:2.0-1"}]
    assert {"path": "/etc/new", "kind": "deleted", "size": 0} in found["files"]
    assert image("diff", one, one).stdout == "Nothing differs.\n"
    assert image("diff", one, tmp_path / "root").stdout == done.stdout, "an image against the tree of the other"


def test_a_liveos_image_is_looked_into(tmp_path: Path) -> None:
    root = make_tree(tmp_path / "root")
    squash.pack_liveos(root, tmp_path / "l-1-1.squashfs", tmp_path / "l", compression="gzip", level=0, epoch=0)
    assert image("diff", root, tmp_path / "l-1-1.squashfs").stdout == "added    /lost+found\n"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["diff", "none", "none"], "none cannot be read: No such file"),
        (["diff", "text", "text"], "text is not a squashfs image"),
        (["inspect", "--packages", "folder"], "folder is not a root tree"),
        (["verify", "none"], "there is no file none"),
        (["verify", "text"], "nothing to compare text with"),
        (["verify", "bad.json"], "not sound JSON"),
        (["verify", "text", "--manifest", "gone.json"], "there is no file gone.json"),
        (["verify", "bad.json", "--manifest", "bad.json"], "is a manifest, and --manifest names another"),
        (["verify", "summed", "--key", "text"], "--key checks the signature of a manifest"),
        (["verify", "other"], "other.sha256 holds no SHA-256 of other"),
    ],
)
def test_what_cannot_be_looked_at_is_refused(
    arguments: list[str],
    said: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    write(tmp_path, {"text": "no image\n", "folder/x": "", "bad.json": "{", "summed": "x", "other": "x"})
    write(tmp_path, {"summed.sha256": f"{squash.sha256(tmp_path / 'summed')}  summed\n", "other.sha256": "0  other\n"})
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("org_ovirt_node.cli.image_look.keep_private", lambda: None)
    assert program(parser(), lambda options: int(options.action(options)), arguments) == 1
    said_words = capsys.readouterr().err
    assert said in said_words and "Traceback" not in said_words


def published(folder: Path) -> tuple[Path, Manifest]:
    """An image with a hash tree, and its manifest."""
    record = {"format": 1, "nvr": "n-1-1", "kernel": "6.1", "boot_args": ""}
    write(folder / "root", {"usr/lib/ovirt-node/image.json": json.dumps(record), "usr/big": "data" * 9000})
    made = squashfs(folder / "root", folder / "n-1-1.squashfs")
    tree = append_tree(made)
    size, digest = made.stat().st_size, squash.sha256(made)
    manifest = Manifest("n-1-1", made.name, size, digest, "tree", "6.1", "2024-01-01T00:00:00Z", verity=tree)
    (folder / "n-1-1.json").write_text(as_text(manifest))
    return made, manifest


def results(*arguments: object) -> tuple[int, dict[str, object]]:
    done = image("verify", "--json", *arguments)
    assert done.stderr == ""
    return done.returncode, {one["name"]: one["ok"] for one in json.loads(done.stdout)["checks"]}


def test_an_image_that_is_as_its_manifest_says(tmp_path: Path) -> None:
    made, _ = published(tmp_path)
    good = {"signature": None, "size": True, "SHA-256": True, "content": True, "hash tree": True}
    for file in (made, tmp_path / "n-1-1.json"):
        assert results(file) == (0, good)
    assert "hash tree ... OK" in image("verify", made).stdout


def test_a_damaged_byte_is_found_twice(tmp_path: Path) -> None:
    made, _ = published(tmp_path)
    with made.open("r+b") as stream:
        stream.seek(200)
        byte = stream.read(1)
        stream.seek(200)
        stream.write(bytes([byte[0] ^ 1]))
    status, checks = results(made)
    assert status == 1
    assert (checks["SHA-256"], checks["hash tree"], checks["size"]) == (False, False, True)


def test_an_image_beside_another_ones_manifest(tmp_path: Path) -> None:
    made, manifest = published(tmp_path)
    other = replace(manifest, nvr="n-1-2", kernel="6.2", size=manifest.size + 1)
    (tmp_path / "n-1-1.json").write_text(as_text(other))
    status, checks = results(made)
    assert status == 1
    assert (checks["size"], checks["content"], checks["SHA-256"]) == (False, False, True)
    assert "nvr 'n-1-1' where the manifest says 'n-1-2'" in image("verify", made).stdout


def test_a_digest_is_enough_where_there_is_no_manifest(tmp_path: Path) -> None:
    made, manifest = published(tmp_path)
    (tmp_path / "n-1-1.json").unlink()
    (tmp_path / "n-1-1.squashfs.sha256").write_text(f"{manifest.sha256}  {made.name}\n")
    assert results(made) == (0, {"SHA-256": True})
    made.write_bytes(b"x")
    assert results(made) == (1, {"SHA-256": False})


def openssl(*arguments: object) -> None:
    subprocess.run(["openssl", *map(str, arguments)], check=True, capture_output=True)


def test_the_signature_of_the_manifest(tmp_path: Path) -> None:
    made, _ = published(tmp_path)
    certificate, secret = tmp_path / "cert.pem", tmp_path / "key.pem"
    subject = ["-x509", "-nodes", "-newkey", "rsa:2048", "-days", "2", "-subj", "/CN=builder"]
    openssl("req", *subject, "-keyout", secret, "-out", certificate)
    assert results(made, "--key", certificate)[1]["signature"] is False, "there is none"
    files = ["-in", tmp_path / "n-1-1.json", "-out", tmp_path / "n-1-1.json.p7s"]
    openssl("cms", "-sign", "-binary", "-signer", certificate, "-inkey", secret, "-outform", "DER", *files)
    assert results(made, "--key", certificate)[1]["signature"] is True
    with (tmp_path / "n-1-1.json").open("a") as stream:
        stream.write("\n")
    status, checks = results(made, "--key", certificate)
    assert status == 1 and checks["signature"] is False


def test_any_file_name_is_taken_as_it_is(tmp_path: Path) -> None:
    tree = make_tree(tmp_path / "root")
    for name in ("a#b", "a?b", "a%41"):
        file = tmp_path / name / "n-1-1.squashfs"
        file.parent.mkdir()
        done = image("inspect", "--json", squashfs(tree, file))
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout)["size"] == file.stat().st_size
        assert url_of(str(file)) == file.as_uri()

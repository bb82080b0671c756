"""The update RPM of an image: what is in it, and what its installation does on a node and elsewhere."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from org_ovirt_node.errors import ImageError, PayloadError
from org_ovirt_node.image import squash, updaterpm
from org_ovirt_node.node.listing import as_text
from org_ovirt_node.payload import manifest as manifests
from org_ovirt_node.payload.manifest import Manifest
from org_ovirt_node.progress import Silent
from tests.support import smalltree
from tests.support.fakenode import OLD, VG, make_node, path_with_fakes
from tests.support.packages import squashfs, write

PROJECT = Path(__file__).parents[2]
NVR = "node-1.0-2"
DATABASE = "/usr/lib/sysimage/rpm"
#: Says what it was called with, and shows a list of images.
NODECTL = """#!/bin/sh
case $1 in
list) cat /list ;;
update) echo "$@" >> /called; read -r first < "${2%.json}.squashfs"; echo "${#first}" >> /called; exit $(cat /status) ;;
esac
"""


def make_image(folder: Path, nvr: str = NVR) -> Path:
    write(folder / f"root-{nvr}", {"usr/share/big": "data\n" * 5000})
    image = squashfs(folder / f"root-{nvr}", folder / f"{nvr}.squashfs", "-all-time", "0", "-mkfs-time", "0")
    size, digest = image.stat().st_size, squash.sha256(image)
    manifest = Manifest(nvr, image.name, size, digest, "tree", "6.1", "2024-01-01T00:00:00Z", minimum_memory=1 << 30)
    (folder / f"{nvr}.json").write_text(manifests.as_text(manifest))
    (folder / f"{nvr}.json.asc").write_text("a signature")
    return image


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """An image, and its RPM."""
    folder = tmp_path_factory.mktemp("update")
    image = make_image(folder)
    return image, updaterpm.make(image, folder / "out", Silent())


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = smalltree.make(tmp_path_factory.mktemp("tree") / "root", rpm=True)
    smalltree.add_programs(root, "grep")
    return root


@pytest.fixture
def node(base: Path, tmp_path: Path) -> Iterator[Path]:
    """A root tree that looks like a running node's to the scripts."""
    root = tmp_path / "root"
    subprocess.run(["cp", "-a", base, root], check=True)
    write(root, {"usr/sbin/nodectl": NODECTL, "run/ovirt-node/layer/x": "", "list": f"{OLD} (base)\n", "status": "0"})
    (root / "usr/sbin/nodectl").chmod(0o755)
    yield root


def of(root: Path) -> list[str]:
    return ["--root", str(root), "--dbpath", DATABASE]


def install(root: Path, package: Path, *options: str) -> subprocess.CompletedProcess[str]:
    # Debian's rpm has something to say about installing RPMs on Debian.
    command = ["rpm", "--force-debian", *of(root), "--upgrade", *options, str(package)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def installed(root: Path, query: str = "%{NVR}\\n") -> list[str]:
    command = ["rpm", *of(root), "-qa", "--qf", query]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()


def test_what_is_in_it(package: tuple[Path, Path]) -> None:
    image, made = package
    assert made.name.startswith("node-update-1.0-2.")
    listed = subprocess.run(["rpm", "-qlp", made], capture_output=True, text=True, check=True).stdout.splitlines()
    names = [f"{updaterpm.FOLDER}/{NVR}{suffix}" for suffix in (".json", ".json.asc", ".squashfs")]
    assert listed == [updaterpm.FOLDER, *names]
    assert made.stat().st_size < image.stat().st_size + 16384, "an image is compressed as it is"


def test_failures_row_22_nothing_is_required_that_a_node_might_not_have(package: tuple[Path, Path]) -> None:
    """What cannot be resolved is never installed."""
    done = subprocess.run(["rpm", "-qp", "--requires", package[1]], capture_output=True, text=True, check=True)
    assert {line for line in done.stdout.split("\n") if line and not line.startswith("rpmlib(")} == {"/bin/sh"}


def test_installing_it_updates_the_node_once(package: tuple[Path, Path], node: Path) -> None:
    image, made = package
    done = install(node, made)
    assert done.returncode == 0 and not done.stderr
    called, seen = (node / "called").read_text().splitlines()
    assert called == f"update {updaterpm.FOLDER}/{NVR}.json --sha256={squash.sha256(image)}"
    assert int(seen) > 0, "the image is there when it is called"
    place = node / updaterpm.FOLDER.lstrip("/")
    assert (place / f"{NVR}.squashfs").stat().st_size == 0, "it has a volume of its own by then"
    verify = ["rpm", *of(node), "--verify", "node-update"]
    assert subprocess.run(verify, capture_output=True, text=True, check=False).stdout == ""
    (node / "list").write_text(f"{OLD} (base)\n{NVR} (base)\n")
    done = install(node, made, "--replacepkgs")
    assert done.returncode == 0 and f"{NVR} is on this node already" in done.stdout
    assert len((node / "called").read_text().splitlines()) == 2, "not called again"


@pytest.mark.parametrize(
    "line", [f"{NVR} (base, unfinished)", f"x{NVR} (base)", "node-1x0-2 (base)", f"{NVR}.e1 (base)"]
)
def test_an_image_that_is_not_wholly_there_is_installed(line: str, package: tuple[Path, Path], node: Path) -> None:
    (node / "list").write_text(f"{line}\n")
    assert install(node, package[1]).returncode == 0
    assert (node / "called").exists()


def test_the_list_is_what_nodectl_prints(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from org_ovirt_node.node.layers import state

    made = make_node(tmp_path / "node")
    monkeypatch.setenv("OVIRT_NODE_PATH", path_with_fakes(made.home))
    text = as_text(state(VG, made.places.boot, made.places.cmdline))
    assert any(line.startswith(f"{OLD} (") for line in text.splitlines())


def test_nodectl_takes_what_it_is_called_with(package: tuple[Path, Path]) -> None:
    """The words in the script, read by nodectl itself, find the image and are enough to take it."""
    from org_ovirt_node.cli import nodectl, nodectl_update
    from org_ovirt_node.payload.choose import open_payload

    image, made = package
    scripts = subprocess.run(["rpm", "-qp", "--scripts", made], capture_output=True, text=True, check=True).stdout
    call = next(line for line in scripts.splitlines() if line.startswith("elif ! /usr/sbin/nodectl update"))
    words = call.removeprefix("elif ! /usr/sbin/nodectl ").removesuffix("; then").split()
    words = [word.replace(updaterpm.FOLDER, str(image.parent)) for word in words]
    request = nodectl_update.request_of(nodectl.parser().parse_args(words))
    with open_payload(request.section) as payload:
        assert (payload.facts.nvr, payload.sha256) == (NVR, squash.sha256(image))
        assert payload.manifest is not None and payload.manifest.minimum_memory == 1 << 30


def test_an_update_that_fails_keeps_the_image_and_says_what_to_do(package: tuple[Path, Path], node: Path) -> None:
    image, made = package
    (node / "status").write_text("1")
    done = install(node, made)
    assert f"{NVR} was not installed; when the cause is gone: nodectl update" in done.stderr
    kept = node / updaterpm.FOLDER.lstrip("/") / f"{NVR}.squashfs"
    assert kept.read_bytes() == image.read_bytes()


@pytest.mark.parametrize("missing", ["usr/sbin/nodectl", "run/ovirt-node/layer"])
def test_a_host_that_is_no_node_refuses_it(missing: str, package: tuple[Path, Path], node: Path) -> None:
    subprocess.run(["rm", "-r", node / missing], check=True)
    before = installed(node)
    done = install(node, package[1])
    assert done.returncode != 0
    assert f"{NVR}: this host does not run from an image of oVirt Node" in done.stderr
    assert installed(node) == before and not (node / updaterpm.FOLDER.lstrip("/")).exists()


def test_the_next_one_takes_its_place(package: tuple[Path, Path], node: Path, tmp_path: Path) -> None:
    assert install(node, package[1]).returncode == 0
    other = updaterpm.make(make_image(tmp_path, "node-1.0-3"), tmp_path / "out", Silent())
    done = install(node, other)
    assert done.returncode == 0 and not done.stderr
    assert "node-update-1.0-3" in installed(node) and "node-update-1.0-2" not in installed(node)
    place = node / updaterpm.FOLDER.lstrip("/")
    assert sorted(path.name for path in place.iterdir()) == [
        f"node-1.0-3{end}" for end in (".json", ".json.asc", ".squashfs")
    ]


def test_the_same_image_gives_the_same_bytes(package: tuple[Path, Path], tmp_path: Path) -> None:
    again = updaterpm.make(package[0], tmp_path / "out", Silent())
    assert again.read_bytes() == package[1].read_bytes()


def test_an_image_without_a_manifest_goes_by_its_name(tmp_path: Path) -> None:
    image = make_image(tmp_path)
    for beside in tmp_path.glob("*.json*"):
        beside.unlink()
    payload = updaterpm.look(image)
    assert (payload.nvr, payload.beside) == (NVR, ())
    assert f"{updaterpm.FOLDER}/{NVR}.json" not in updaterpm.spec(payload)


def test_what_does_not_fit_is_refused(tmp_path: Path) -> None:
    image = make_image(tmp_path)
    manifest = tmp_path / f"{NVR}.json"
    said = manifests.parse(manifest.read_bytes(), "m")
    manifest.write_text(manifests.as_text(replace(said, sha256="0" * 64)))
    with pytest.raises(ImageError, match="its digest is another one"):
        updaterpm.look(image)
    manifest.write_text(manifests.as_text(replace(said, file="other.squashfs")))
    with pytest.raises(ImageError, match=r"names the file other\.squashfs"):
        updaterpm.look(image)
    with pytest.raises(ImageError, match="there is no image"):
        updaterpm.look(tmp_path / "none")
    (tmp_path / "text").write_text("x")
    with pytest.raises(PayloadError, match="is not a squashfs image"):
        updaterpm.look(tmp_path / "text")
    manifest.unlink()
    for beside in tmp_path.glob("*.json*"):
        beside.unlink()
    with pytest.raises(ImageError, match="is no NVR"):
        updaterpm.make(image.rename(tmp_path / "plain.squashfs"), tmp_path / "out", Silent())
    assert not (tmp_path / "out").exists()


def test_the_command(package: tuple[Path, Path], tmp_path: Path) -> None:
    command = [sys.executable, "-m", "org_ovirt_node.cli.image", "rpm", str(package[0]), "--output", str(tmp_path)]
    done = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=True)
    assert Path(done.stdout.strip()).read_bytes() == package[1].read_bytes()
    assert [path.name for path in tmp_path.iterdir()] == [package[1].name]

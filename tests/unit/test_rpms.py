"""The project's RPMs: built by rpmbuild, and what is in them."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import org_ovirt_node
from org_ovirt_node.errors import NodeError
from org_ovirt_node.image import delivery, rpms, runtime

PROJECT = Path(__file__).parents[2]
PLACES = rpms.Places()
EPOCH = "1700000000"


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The RPMs by their names."""
    folder = tmp_path_factory.mktemp("rpms")
    before = os.environ.get("SOURCE_DATE_EPOCH")
    os.environ["SOURCE_DATE_EPOCH"] = EPOCH
    try:
        found = rpms.build(PROJECT, folder / "out", folder / "work", PLACES)
    finally:
        os.environ.pop("SOURCE_DATE_EPOCH")
        if before is not None:
            os.environ["SOURCE_DATE_EPOCH"] = before
    return {query(path, "%{NAME}"): path for path in found}


def query(package: Path, form: str) -> str:
    done = subprocess.run(["rpm", "-qp", "--qf", form, package], check=True, capture_output=True, text=True)
    return done.stdout


def files(package: Path) -> dict[str, str]:
    """The files (no folders) that rpm lists, without a leading slash, with their modes."""
    listed = query(package, "[%{FILEMODES:perms} %{FILENAMES}\\n]").splitlines()
    found = [line.split(" ", 1) for line in listed if not line.startswith("d")]
    return {name.lstrip("/"): mode for mode, name in found}


def unpacked(package: Path, folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    archive = subprocess.run(["rpm2cpio", package], check=True, capture_output=True).stdout
    command = ["cpio", "--extract", "--make-directories", "--quiet"]
    subprocess.run(command, input=archive, cwd=folder, check=True)
    return folder


@pytest.mark.parametrize("name", [rpms.ADDON, rpms.RUNTIME, rpms.DRACUT, rpms.TOOLS])
def test_the_files_are_those_that_are_installed_otherwise(name: str, built: dict[str, Path]) -> None:
    expected = {
        item.path: "-rwxr-xr-x" if item.mode == 0o755 else "-rw-r--r--" for item in rpms.items(PROJECT, PLACES)[name]
    }
    found = {path: mode for path, mode in files(built[name]).items() if not path.startswith("usr/share/doc/")}
    licences = [path for path in found if path.startswith("usr/share/licenses/")]
    assert len(licences) == 1 and licences[0].endswith("/LICENSE")
    del found[licences[0]]
    assert found == expected
    assert len(expected) > 5


def test_there_are_no_others(built: dict[str, Path]) -> None:
    assert set(built) == {rpms.ADDON, rpms.RUNTIME, rpms.DRACUT, rpms.TOOLS}
    assert {query(path, "%{VERSION}") for path in built.values()} == {org_ovirt_node.__version__}


def test_the_add_on_is_what_make_install_puts_there(built: dict[str, Path], tmp_path: Path) -> None:
    delivery.install(PROJECT, tmp_path / "made", interactive=False)
    tree = unpacked(built[rpms.ADDON], tmp_path / "rpm")
    shutil.rmtree(tree / "usr/share/licenses")
    done = subprocess.run(["diff", "-r", tmp_path / "made", tree], capture_output=True, text=True, check=False)
    assert not done.stdout + done.stderr


def test_the_run_time_is_what_an_image_gets(built: dict[str, Path]) -> None:
    """Everything that building an image copies, at the places where it copies it to, and nodectl."""
    data = runtime.data_folder()
    places = {
        runtime.PACKAGE: f"{PLACES.sitelib}/org_ovirt_node",
        data / "systemd": str(runtime.UNITS),
        data / "dracut": "usr/lib/dracut/modules.d",
    }
    expected = set()
    for path in runtime.sources():
        if data / "selinux" in path.parents:
            # For Debian's policy alone, which no system of RPM packages has.
            continue
        folder = next(folder for folder in places if folder in path.parents)
        expected.add(f"{places[folder]}/{path.relative_to(folder)}")
    found = {name for package in (rpms.RUNTIME, rpms.DRACUT) for name in files(built[package])}
    assert expected <= found
    extra = {name for name in found - expected if not name.startswith(("usr/share/doc/", "usr/share/licenses/"))}
    assert extra == {"usr/sbin/nodectl", f"{PLACES.presetdir}/85-ovirt-node.preset"}


def test_the_programs_are_those_of_setup(built: dict[str, Path]) -> None:
    named = set(re.findall(r'"([\w-]+) = org_ovirt_node\.cli', (PROJECT / "setup.py").read_text()))
    programs = {
        Path(name).name for path in built.values() for name in files(path) if name.startswith(("usr/bin/", "usr/sbin/"))
    }
    assert programs == named == {"nodectl", "ovirt-node-image", "ovirt-node-install"}


def test_every_unit_that_can_be_enabled_is_preset() -> None:
    units = {
        path.name for path in (PROJECT / "data/systemd").glob("*.service") if "[Install]" in path.read_text("utf-8")
    }
    preset = re.findall(r"(?m)^enable (\S+)$", (PROJECT / rpms.PRESET).read_text())
    named = re.search(r"(?m)^%global units (.*)$", (PROJECT / rpms.SPEC).read_text())
    assert named is not None
    assert set(preset) == units == set(named[1].split())


def test_what_is_installed_runs(built: dict[str, Path], tmp_path: Path) -> None:
    """The programs of the RPMs, with no checkout to fall back to."""
    tree = tmp_path / "tree"
    for name in (rpms.RUNTIME, rpms.TOOLS):
        unpacked(built[name], tree)
    env = {"PYTHONPATH": str(tree / PLACES.sitelib), "PATH": os.environ["PATH"]}
    for program, said in (
        ("usr/sbin/nodectl", "rollback"),
        ("usr/bin/ovirt-node-image", "verify"),
        ("usr/bin/ovirt-node-install", "--disk-image"),
    ):
        source = (tree / program).read_text()
        # As it stands, but for the first line, which shuts PYTHONPATH out, and for the machine's own Python.
        script = source.split("\n", 1)[1]
        command = [sys.executable, "-c", f"import sys; sys.argv = ['{program}', '--help']\n{script}"]
        done = subprocess.run(command, capture_output=True, text=True, check=False, env=env, cwd=tmp_path)
        assert done.returncode == 0 and said in done.stdout, done.stderr
    where = "import org_ovirt_node.image.runtime as r; print(r.PACKAGE, [str(p) for p in r.DATA_FOLDERS])"
    command = [sys.executable, "-c", where]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=env, cwd=tmp_path)
    assert str(tree) in done.stdout and "/usr/share/ovirt-node" in done.stdout
    for folder in rpms.TOOLS_DATA:
        assert (tree / "usr/share/ovirt-node" / folder).is_dir()


def test_the_same_source_gives_the_same_bytes(built: dict[str, Path], tmp_path: Path) -> None:
    environment = {**os.environ, "SOURCE_DATE_EPOCH": EPOCH}
    command = [sys.executable, "-m", "org_ovirt_node.image.rpms", "build", str(tmp_path / "out")]
    source = ["--source", str(copy_of_source(tmp_path / "copy"))]
    subprocess.run([*command, *source], cwd=PROJECT, env=environment, check=True, capture_output=True)
    for path in built.values():
        assert (tmp_path / "out" / path.name).read_bytes() == path.read_bytes(), path.name


def copy_of_source(target: Path) -> Path:
    """The source without git, as from an archive."""
    for path in rpms.source_files(PROJECT):
        (target / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(PROJECT / path, target / path)
    return target


def test_another_python_can_be_named(tmp_path: Path) -> None:
    found = rpms.items(PROJECT, rpms.Places(sitelib="usr/lib/python3.9/site-packages"))[rpms.RUNTIME]
    assert any(item.path == "usr/lib/python3.9/site-packages/org_ovirt_node/run.py" for item in found)
    with pytest.raises(NodeError, match="no folder of Python"):
        rpms.build(PROJECT, tmp_path / "out", tmp_path / "work", rpms.Places(sitelib="usr/lib/elsewhere"))
    command = [sys.executable, "-m", "org_ovirt_node.image.rpms", "build", str(tmp_path), "--sitelib", "/x"]
    done = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=False)
    assert done.returncode == 1 and "Traceback" not in done.stderr and len(done.stderr.splitlines()) == 1


def test_no_file_has_two_owners_but_the_one_that_is_the_same(built: dict[str, Path]) -> None:
    seen: dict[str, str] = {}
    both = set()
    for name, path in built.items():
        for file, digest in json.loads(
            "{" + query(path, '["%{FILENAMES}": "%{FILEDIGESTS}",]').replace("\\", "\\\\").rstrip(",") + "}"
        ).items():
            if digest and file in seen:
                assert seen[file] == digest, f"{name}: {file}"
                both.add(file)
            elif digest:
                seen[file] = digest
    assert both == {"/usr/bin/ovirt-node-install"}

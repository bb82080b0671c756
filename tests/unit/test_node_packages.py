"""Packages that a node keeps over its updates."""

from __future__ import annotations

import os
import stat
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Optional

import pytest

from org_ovirt_node.errors import CommandError, NodeError
from org_ovirt_node.install import labels
from org_ovirt_node.node import packages
from org_ovirt_node.node.packages import Package
from org_ovirt_node.node.places import Places
from org_ovirt_node.run import Completed
from tests.support.packages import write


def make_deb(folder: Path, name: str, version: str) -> Path:
    """A package with one file, as dpkg-deb builds it."""
    tree = folder / f"{name}.d"
    (tree / "DEBIAN").mkdir(parents=True)
    control = f"Package: {name}\nVersion: {version}\nArchitecture: all\nMaintainer: x <x@example.org>\nDescription: x\n"
    (tree / "DEBIAN/control").write_text(control)
    target = folder / f"{name}_{version}.deb"
    subprocess.run(["dpkg-deb", "--build", "--root-owner-group", tree, target], check=True, capture_output=True)
    return target


@pytest.fixture
def places(tmp_path: Path) -> Places:
    (tmp_path / "state/packages").mkdir(parents=True)
    return Places(state=tmp_path / "state")


def test_the_files_in_the_folder_are_the_packages(tmp_path: Path, places: Places) -> None:
    made = make_deb(tmp_path, "tool", "1.2-3")
    made.rename(places.state / "packages/tool.deb")
    (places.state / "packages/README").write_text("not a package")
    (found,) = packages.kept(places)
    assert (found.file, str(found), found.size) == (
        "tool.deb",
        "tool 1.2-3",
        (places.state / "packages/tool.deb").stat().st_size,
    )
    assert packages.size((found,)) == packages.UNPACKED * found.size


def test_without_the_folder_there_are_none(tmp_path: Path) -> None:
    assert packages.kept(Places(state=tmp_path)) == ()


def test_a_file_that_is_no_package_is_named_before_the_first_write(places: Places) -> None:
    (places.state / "packages/broken.deb").write_text("?")
    with pytest.raises(NodeError, match=r"kept package .*/broken\.deb cannot be read: .*Replace the file"):
        packages.kept(places)


def database(root: Path, **versions: str) -> Path:
    """A tree with dpkg's status file."""
    text = "".join(
        f"Package: {name}\nStatus: install ok installed\nArchitecture: all\nVersion: {version}\n\n"
        for name, version in versions.items()
    )
    write(root, {"usr/lib/sysimage/dpkg/status": text})
    return root


HERE, KEPT = {"base": "1", "tool": "2", "up": "2", "same": "3"}, (Package("same.deb", "same", "3", 10),)


@pytest.mark.parametrize(
    ("new", "said"),
    [
        (
            {"base": "1", "gone": "1", "up": "1", "same": "1"},
            [
                "gone.all was removed here: it comes back with the new image",
                "same.all 3 was installed here: its file is kept, so it goes along unless",
                "tool.all 2 was installed here: it stays in the old layer alone (put its file into /var/lib/ovirt-node",
                "up.all 2 was installed here: the new image has 1, and this one stays in the old layer alone",
            ],
        ),
        (
            {"base": "2", "tool": "2", "up": "2"},
            [
                "gone.all was removed here",
                "same.all 3 was installed here: its file is kept",
                "tool.all 2 was installed here: the new image has it, too",
                "up.all 2 was installed here: the new image has it, too",
            ],
        ),
        (
            None,
            [
                "gone.all was removed here: it comes back with an image that has it",
                "same.all 3 was installed here: its file is kept",
                "tool.all 2 was installed here: it stays in the old layer alone",
                "up.all 2 was installed here: it stays in the old layer alone",
            ],
        ),
    ],
)
def test_failures_row_8_what_becomes_of_packages_that_were_installed_on_the_node_is_told(
    tmp_path: Path, new: Optional[dict[str, str]], said: list[str]
) -> None:
    database(tmp_path / "run/image", base="1", up="1", gone="1")
    places = Places(live=database(tmp_path / "live", **HERE), run=tmp_path / "run")
    tree = None if new is None else database(tmp_path / "new", **new)
    found = packages.changed(KEPT, places, tree)
    assert [str(one)[: len(text)] for one, text in zip(found, said)] == said and len(found) == len(said)


def test_a_node_without_a_package_database_has_no_packages_of_its_own(tmp_path: Path) -> None:
    assert packages.changed((), Places(live=tmp_path, run=tmp_path), tmp_path) == ()


@dataclass
class Managers:
    """Stands in for dpkg and rpm in the new root: ``installed`` are versions by name."""

    installed: dict[str, str]
    newer: set[str] = field(default_factory=set)
    refused: str = ""
    calls: list[list[str]] = field(default_factory=list)

    def run(self, argv: Sequence[Any], *, root: Optional[Path] = None, check: bool = True, **_: Any) -> Completed:
        words = [str(word) for word in argv]
        assert root is not None, "a program would change the running node"
        self.calls.append(words)
        status, text = 0, ""
        if words[0] == "dpkg-query":
            text = self.installed.get(words[-1], "")
        elif words[:2] == ["rpm", "--query"]:
            text = self.installed.get(words[-1], f"package {words[-1]} is not installed")
            status = 0 if words[-1] in self.installed else 1
        elif words[:2] == ["dpkg", "--compare-versions"]:
            status = 0 if words[2] in self.newer else 1
        elif words[:2] == ["rpm", "--eval"]:
            text = "1" if any(f"'{version}'," in words[2] for version in self.newer) else "-1"
        elif self.refused:
            raise CommandError(words, 1, self.refused)
        return Completed(tuple(words), status, text, "")


def installed(
    managers: Managers, places: Places, root: Path, monkeypatch: pytest.MonkeyPatch, *chosen: Package
) -> list[str]:
    monkeypatch.setattr(packages, "run", managers.run)
    return packages.install(chosen, places, root)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for name in ("dev", "proc", "sys", "run", "mnt"):
        (tmp_path / "root" / name).mkdir(parents=True)
    return tmp_path / "root"


DEB, RPM = Package("tool.deb", "tool", "2", 10), Package("hook.rpm", "hook", "0:1-1", 10)


def test_failures_row_8_what_the_image_lacks_is_installed(
    places: Places, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    managers = Managers({})
    said = installed(managers, places, root, monkeypatch, DEB, RPM)
    assert managers.calls[-2:] == [
        ["rpm", "--upgrade", "/mnt/hook.rpm"],
        ["dpkg", "--install", "--force-confold", "--force-confdef", "/mnt/tool.deb"],
    ]
    assert said == ["the kept package hook 0:1-1 was installed", "the kept package tool 2 was installed"]
    assert str(root) not in Path("/proc/self/mountinfo").read_text(), "something is left mounted"


@pytest.mark.parametrize(("labelled", "refused"), [(True, ""), (True, "setfiles: EINVAL"), (False, "")])
def test_failures_row_7_what_packages_bring_gets_the_labels_of_the_new_image(
    root: Path, monkeypatch: pytest.MonkeyPatch, labelled: bool, refused: str
) -> None:
    """Their managers see no SELinux in the new layer, and let files have the labels of their folders."""
    upper = root.with_name("upper")
    for tree in (root, upper):
        write(tree, {"etc/selinux/config": "SELINUXTYPE=default\n", "etc/list": "x"})
        (tree / "usr").mkdir(exist_ok=True)
    write(root, {"etc/selinux/default/contexts/files/file_contexts": "", "usr/sbin/setfiles": ""})
    before = packages.marks(upper)
    for tree in (root, upper):
        write(tree, {"usr/bin/tool": "x", "etc/list": "y"})
        (tree / "usr/link").symlink_to("bin")
    os.mknod(upper / "usr/gone", stat.S_IFCHR)
    calls: list[tuple[list[str], str]] = []

    def answer(argv: Sequence[Any], *, root: Path, input: str = "", **_: Any) -> Completed:
        calls.append(([str(word) for word in argv], input))
        return Completed(tuple(calls[-1][0]), int(bool(refused)), "", refused)

    monkeypatch.setattr(labels, "run", answer)
    monkeypatch.setattr(packages, "labelled", lambda _: labelled)
    said = packages.label(root, upper, before)
    assert ("EINVAL" in said and "restorecon" in said) == bool(refused)
    if not labelled:
        assert not calls and not said
        return
    ((words, listed),) = calls
    assert words[0] == "setfiles" and words[-1] == "/etc/selinux/default/contexts/files/file_contexts"
    assert listed == "/etc/list\0/usr\0/usr/bin\0/usr/bin/tool\0/usr/link\0"


@pytest.mark.parametrize(
    ("version", "newer", "done"),
    [
        ("installed 2", False, False),
        ("installed 3", False, False),
        ("installed 1", True, True),
        # Removed, and its configuration is left: it is not there.
        ("config-files 3", False, True),
    ],
)
def test_the_image_wins_when_it_has_the_same_or_a_newer_version(
    places: Places, root: Path, monkeypatch: pytest.MonkeyPatch, version: str, newer: bool, done: bool
) -> None:
    managers = Managers({"tool": version}, {"2"} if newer else set())
    said = installed(managers, places, root, monkeypatch, DEB)
    assert any(call[:2] == ["dpkg", "--install"] for call in managers.calls) == done
    assert ("was installed" in said[0]) == done


def test_rpm_decides_by_its_own_order(places: Places, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said = installed(Managers({"hook": "0:2-1"}), places, root, monkeypatch, RPM)
    assert said == ["the kept package hook 0:1-1 is left out: the image has 0:2-1"]
    managers = Managers({"hook": "0:0-1"}, {"0:1-1"})
    assert installed(managers, places, root, monkeypatch, RPM) == ["the kept package hook 0:1-1 was installed"]


def test_a_package_that_does_not_fit_ends_the_update_with_its_reason(
    places: Places, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    managers = Managers({}, refused="dpkg: dependency problems\n tool depends on libtool\n")
    with pytest.raises(NodeError, match=r"\(tool 2\): .*depends on libtool.*Get versions that fit it"):
        installed(managers, places, root, monkeypatch, DEB)
    assert str(root) not in Path("/proc/self/mountinfo").read_text(), "something is left mounted"


def test_scripts_see_an_empty_run(places: Places, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[list[str]] = []

    class Looking(Managers):
        def run(self, argv: Sequence[Any], **more: Any) -> Completed:
            seen.append(sorted(path.name for path in (root / "run").iterdir()))
            return super().run(argv, **more)

    (places.state / "packages/tool.deb").write_text("")
    (root / "run/of-the-node").write_text("")
    installed(Looking({}), places, root, monkeypatch, DEB)
    assert seen and all(not names for names in seen)

"""What a killed installation left mounted is released by the next one; two at a time do not meet."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from org_ovirt_node.errors import NodeError
from org_ovirt_node.install import engine, runner
from org_ovirt_node.install.options import Options
from org_ovirt_node.node import lock
from org_ovirt_node.progress import Silent
from org_ovirt_node.steps import Step


def mount(target: Path) -> None:
    target.mkdir(parents=True, exist_ok=True)
    subprocess.run(["mount", "-t", "tmpfs", "test", target], check=True)


def mounted_below(folder: Path) -> bool:
    return str(folder) in Path("/proc/self/mountinfo").read_text()


def installed(options: Options, monkeypatch: pytest.MonkeyPatch, act: Any) -> None:
    """``install`` with one step."""
    monkeypatch.setattr(runner, "STEPS", (Step("only", "Only", act),))
    runner.install(None, options, Silent())  # type: ignore[arg-type]


def test_what_a_killed_installation_left_mounted_is_released(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    options = Options(work=tmp_path / "work", root=tmp_path / "root")
    for target in (options.work / "layer", options.root, options.root / "var", options.root / "var/log"):
        mount(target)
    seen = []
    installed(options, monkeypatch, lambda doing: seen.append(mounted_below(tmp_path)))
    assert seen == [False]


def test_what_somebody_uses_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    options = Options(work=tmp_path / "work", root=tmp_path / "root")
    mount(options.root)
    holder = os.open(options.root, os.O_RDONLY)
    try:
        with pytest.raises(NodeError, match="could not be unmounted"):
            installed(options, monkeypatch, lambda doing: None)
    finally:
        os.close(holder)
        subprocess.run(["umount", options.root], check=True)


def test_a_second_installation_leaves_the_first_ones_mounts_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = Options(work=tmp_path / "work", root=tmp_path / "root")
    mount(options.root)
    try:
        with lock.locked("the first", options.lock), pytest.raises(NodeError, match="another one is running"):
            installed(options, monkeypatch, lambda doing: None)
        assert mounted_below(tmp_path)
    finally:
        subprocess.run(["umount", options.root], check=True)


def test_the_steps_have_names_of_their_own() -> None:
    names = [step.name for step in engine.STEPS]
    assert len(set(names)) == len(names)
    assert names[-2:] == ["entry", "start"], "what makes the node bootable comes last"

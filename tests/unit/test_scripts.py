"""%pre-install and %post scripts: what they see, where their output goes, and how they fail."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from org_ovirt_node.errors import KickstartProblem
from org_ovirt_node.install.engine import STEPS
from org_ovirt_node.install.scripts import run_scripts
from org_ovirt_node.kickstart.model import Script
from org_ovirt_node.mounts import bound
from org_ovirt_node.progress import Silent


class Said(Silent):
    """Progress that keeps its details."""

    def __init__(self) -> None:
        self.details: list[str] = []

    def detail(self, text: str) -> None:
        self.details.append(text)


@pytest.fixture
def new_root(tmp_path: Path) -> Path:
    (tmp_path / "etc").mkdir()
    return tmp_path


@pytest.fixture
def whole_root(tmp_path: Path) -> Iterator[Path]:
    """A root that has a shell: this machine's /, with a /tmp of its own."""
    root, folder = tmp_path / "root", tmp_path / "tmp"
    folder.mkdir()
    with bound(Path("/"), root), bound(folder, root / "tmp"):
        yield root


def script(body: str, **fields: Any) -> Script:
    return Script(**{"stage": "post", "body": body, "chroot": False, "line": 7, "file": "a.ks", **fields})


def test_a_failing_script_stops_only_when_it_says_so(new_root: Path) -> None:
    body = f"echo ran >> {new_root}/log; echo no disk >&2; exit 3"
    said = Said()
    run_scripts([script(body)], "post", new_root, said)
    assert said.details == ["a.ks:7: the %post script failed with exit status 3: no disk"]
    with pytest.raises(KickstartProblem, match=r"^a\.ks:9: the %post script failed with exit status 3: no disk$"):
        run_scripts([script(body), script(body, erroronfail=True, line=9)], "post", new_root, said)
    assert (new_root / "log").read_text() == "ran\n" * 3
    assert list(Path("/tmp").glob("ks-script-*")) == []


def test_a_script_without_chroot_knows_where_the_new_system_is(new_root: Path) -> None:
    body = f"test -d $ANA_INSTALL_PATH/etc && echo hello > {new_root}/out"
    run_scripts([script(body)], "post", new_root, Silent())
    assert (new_root / "out").read_text() == "hello\n"


def test_a_script_in_the_new_system_writes_its_log_there(whole_root: Path) -> None:
    first = script("echo $ANA_INSTALL_PATH; pwd", chroot=True, log="/tmp/logs/post.log")
    run_scripts([first, script("echo 2 >&2", chroot=True, log="/tmp/logs/post.log")], "post", whole_root, Silent())
    log = whole_root / "tmp/logs/post.log"
    assert log.read_text() == "/\n/\n2\n"
    assert log.stat().st_mode & 0o777 == 0o600
    assert [path.name for path in (whole_root / "tmp").iterdir()] == ["logs"]


def test_what_a_script_prints_is_in_the_log_and_its_text_is_not(
    new_root: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    body = "password=geheim\nfor i in $(seq 30); do echo said $i; done\n"
    run_scripts([script(body, log=str(new_root / "log"))], "post", new_root, Silent())
    assert "said 30" in caplog.text
    assert "said 10\n" not in caplog.text
    assert "geheim" not in caplog.text


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"interpreter": "/nonexistent"}, "cannot be run: the program /nonexistent is not installed"),
        ({"interpreter": "/nonexistent", "stage": "pre-install"}, "cannot be run: the program /nonexistent"),
        ({"interpreter": "/etc/passwd"}, "cannot be run: "),
        ({"log": "/proc/nope/x"}, "--log=/proc/nope/x: No such file or directory"),
        ({"log": "/etc"}, "--log=/etc: Is a directory"),
        ({"log": "/dev/null/x"}, "--log=/dev/null/x: "),
    ],
)
def test_a_script_that_cannot_be_run_is_an_error_with_its_place(
    fields: dict[str, Any], said: str, new_root: Path
) -> None:
    wrong = script("echo", **fields)
    with pytest.raises(KickstartProblem) as caught:
        run_scripts([wrong], wrong.stage, new_root, Silent())
    assert caught.value.message.startswith(f"a.ks:7: %{wrong.stage} {said}")


def test_an_interpreter_that_the_new_system_does_not_have_is_an_error(whole_root: Path) -> None:
    with pytest.raises(KickstartProblem, match=r"^a\.ks:7: %post cannot be run: failed to run command .*nonexistent"):
        run_scripts([script("echo", chroot=True, interpreter="/nonexistent -x")], "post", whole_root, Silent())


def test_a_program_that_is_no_program_is_an_error(new_root: Path) -> None:
    wrong = new_root / "interpreter"
    wrong.write_bytes(b"\x7fELF nonsense")
    wrong.chmod(0o755)
    with pytest.raises(KickstartProblem, match=r"cannot be started: Exec format error"):
        run_scripts([script("echo", interpreter=str(wrong))], "post", new_root, Silent())


def test_what_a_script_leaves_running_keeps_nobody_waiting(new_root: Path) -> None:
    body = f"sleep 60 & echo $! > {new_root}/pid"
    started = time.monotonic()
    run_scripts([script(body)], "post", new_root, Silent())
    assert time.monotonic() - started < 30
    assert Path("/proc", (new_root / "pid").read_text().strip()).exists()
    run_scripts([script(f"kill $(cat {new_root}/pid)", erroronfail=True)], "post", new_root, Silent())


def test_pre_install_scripts_run_before_the_host_is_configured(new_root: Path) -> None:
    (step,) = (step for step in STEPS if step.name == "pre-install")
    scripts = [script(f"echo {stage} $ANA_INSTALL_PATH >> {new_root}/ran", stage=stage) for stage in ("post", "pre")]
    scripts.append(script(f"echo pre-install $ANA_INSTALL_PATH >> {new_root}/ran", stage="pre-install"))
    doing = SimpleNamespace(
        request=SimpleNamespace(scripts=scripts), node=SimpleNamespace(root=new_root), progress=Silent()
    )
    step.action(cast("Any", doing))
    assert (new_root / "ran").read_text() == f"pre-install {new_root}\n"

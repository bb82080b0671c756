"""No secret is an argument of a program, and nothing that a program prints of it is in a log or an error."""

from __future__ import annotations

import logging
import os
import stat
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import pytest

from org_ovirt_node.cli import common
from org_ovirt_node.errors import CommandError, NodeError, PayloadError
from org_ovirt_node.firstboot import answers
from org_ovirt_node.install import accounts
from org_ovirt_node.kickstart.model import IscsiTarget, SystemRequest, UserRequest
from org_ovirt_node.kickstart.standard import load
from org_ovirt_node.layout.model import GIB, Disk, Firmware
from org_ovirt_node.layout.plan import plan
from org_ovirt_node.payload import oci
from org_ovirt_node.payload.facts import ImageFacts
from org_ovirt_node.payload.sources import Access
from org_ovirt_node.run import run
from org_ovirt_node.storage import iscsi
from org_ovirt_node.urls import RedactingFormatter

SECRET = "geheim-und-lang"
IQN = "iqn.2024-01.org.example:storage"
#: Prints all that it is told, on both outputs: the worst that a program can do.
CHATTY = """#!/bin/sh
echo "$0 $*" >> {calls}
said=$(cat; env)
echo "$said"
echo "$said" >&2
{more}
"""


class Programs:
    """Stand-ins on PATH, and what they were called with."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.calls = folder / "bin", folder / "calls"
        self.folder.mkdir()
        self.calls.touch()

    def add(self, name: str, more: str) -> None:
        (self.folder / name).write_text(CHATTY.format(calls=self.calls, more=more))
        (self.folder / name).chmod(0o755)

    def called(self) -> str:
        return self.calls.read_text()


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> Programs:
    made = Programs(tmp_path)
    monkeypatch.setenv("OVIRT_NODE_PATH", f"{made.folder}:/usr/bin:/bin")
    caplog.set_level(logging.DEBUG)
    return made


def failing(action: Callable[[], object]) -> str:
    """All that the error of ``action`` has in it, with what the log of a program shows of its causes."""
    try:
        action()
    except NodeError as error:
        shown = logging.Formatter().formatException((type(error), error, error.__traceback__))
        whole = [vars(one) for one in (error, error.__cause__) if one is not None]
        return f"{error}\n{shown}\n{whole}"
    raise AssertionError("nothing failed")


def test_roots_password_and_its_hash_are_in_no_log(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG):
        made = answers.hashed(SECRET)
    assert made.startswith("$6$")
    assert "openssl passwd" in caplog.text
    assert made not in caplog.text and made.rpartition("$")[2] not in caplog.text and SECRET not in caplog.text


def test_a_hash_that_could_not_be_made_shows_nothing(programs: Programs, caplog: pytest.LogCaptureFixture) -> None:
    programs.add("openssl", "exit 1")
    said = failing(lambda: answers.hashed(SECRET))
    assert "openssl failed with exit status 1: what it printed may be secret and is not shown" in said
    assert SECRET not in said + caplog.text + programs.called()


def test_the_passwords_of_a_kickstart_reach_chpasswd_alone(
    programs: Programs, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    programs.add("chroot", "exit 1")
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/passwd").write_text("root:x:0:0::/root:/bin/sh\n")
    request = SystemRequest(root=UserRequest("root", password=SECRET))
    said = failing(lambda: accounts.configure(tmp_path, request))
    assert "chpasswd" in programs.called()
    assert "root:********" in said
    assert SECRET not in said + caplog.text + programs.called()


def test_the_passwords_of_an_iscsi_target_reach_its_record_alone(
    programs: Programs, caplog: pytest.LogCaptureFixture, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(iscsi, "DATABASE", str(tmp_path / "iscsi"))
    record = tmp_path / f"iscsi/nodes/{IQN}/192.0.2.20,3260,1/default"
    programs.add("iscsiadm", f"mkdir -p {record.parent}; printf '# BEGIN RECORD 2\\n# END RECORD\\n' > {record}")
    target = IscsiTarget("192.0.2.20", 3260, IQN, "me", SECRET, "it", SECRET + "-back")
    assert iscsi._record(target) == str(record)
    assert record.read_text().count(SECRET) == 2
    assert stat.S_IMODE(record.stat().st_mode) == 0o600
    programs.add("iscsiadm", "exit 24")
    with ExitStack() as stack:
        said = failing(lambda: iscsi._log_in(target, stack))
    assert SECRET not in said + caplog.text + programs.called()


def test_the_password_of_a_proxy_is_no_argument_of_skopeo(
    programs: Programs, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    programs.add("skopeo", "exit 1")
    access = Access(proxy=f"http://me:{SECRET}@proxy.example:3128")
    with ExitStack() as stack:
        said = failing(lambda: oci.open_registry("docker://h.example/node:1", access, tmp_path, stack))
    assert "HTTPS_PROXY=********" in caplog.text
    assert SECRET not in said + caplog.text + programs.called()
    with pytest.raises(PayloadError) as caught, ExitStack() as stack:
        oci.open_registry(f"docker://me:{SECRET}@h.example/node:1", Access(), tmp_path, stack)
    assert SECRET not in str(caught.value) + caplog.text + programs.called()


def test_what_a_kickstart_asks_for_is_shown_without_its_secrets() -> None:
    text = (
        f"autopart --type=thinp --encrypted --passphrase={SECRET}\n"
        f"rootpw {SECRET}\nuser --name=a --password={SECRET}\n"
        f"iscsi --ipaddr=192.0.2.20 --target={IQN} --user=me --password={SECRET}"
        f" --reverse-user=it --reverse-password={SECRET}\n"
        f"%addon org_ovirt_node --image=http://me:{SECRET}@h/a.squashfs --proxy=http://me:{SECRET}@p:3128"
        " --nosignature\n%end\n"
    )
    request = load("a.ks", fetch=lambda _name: text)
    layout = plan((Disk("vda", 80 * GIB),), request.storage, request.node, ImageFacts("n-1-1", GIB), (Firmware.BIOS,))
    record = logging.LogRecord("a", logging.DEBUG, "a.py", 1, "%r, %r", (request, layout), None)
    shown = RedactingFormatter().format(record)
    assert "passphrase='********'" in shown
    assert SECRET not in shown


@pytest.mark.parametrize(
    ("argv", "timeout", "said"),
    [
        (["no-such-program", SECRET], None, "not installed"),
        (["broken", SECRET], None, "cannot be started"),
        (["sleep", "9", SECRET], 0.1, "no answer within"),
    ],
)
def test_a_program_that_does_not_answer_shows_no_secret_argument(
    argv: list[str], timeout: float, said: str, programs: Programs, caplog: pytest.LogCaptureFixture
) -> None:
    (programs.folder / "broken").write_bytes(b"\x7fELF")
    (programs.folder / "broken").chmod(0o755)
    programs.add("sleep", "exec /bin/sleep 9")
    shown = failing(lambda: run(argv, secrets=[SECRET], timeout=timeout))
    assert said in shown and "'********'" in shown
    assert SECRET not in shown + caplog.text


def test_a_program_whose_output_is_private_is_logged_without_it(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG):
        assert run(["cat"], input=SECRET, private=True).stdout == SECRET
        with pytest.raises(CommandError) as caught:
            run(["sh", "-c", "cat; cat >&2; exit 3"], input=SECRET, private=True)
    assert caught.value.exit_status == 3
    assert SECRET not in caplog.text + str(caught.value) + caught.value.output


@pytest.mark.parametrize("before", [None, 0o644, 0o666])
def test_a_log_is_for_its_owner_alone(tmp_path: Path, before: int | None) -> None:
    log = tmp_path / "log"
    if before is not None:
        log.write_text("of an earlier version\n")
        log.chmod(before)
    root = logging.getLogger()
    handlers, level, umask = root.handlers[:], root.level, os.umask(0)
    try:
        assert common.start_log("a-program", log, verbose=False) == log
        logging.getLogger("org_ovirt_node").debug("at %s", time.time())
    finally:
        os.umask(umask)
        root.setLevel(level)
        for handler in [one for one in root.handlers if one not in handlers]:
            root.removeHandler(handler)
            handler.close()
    assert stat.S_IMODE(log.stat().st_mode) == 0o600
    assert ("of an earlier version" in log.read_text()) == (before is not None)
    assert "at " in log.read_text()

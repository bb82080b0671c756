"""A password in a kickstart or a URL is in no message and in no log, whatever else is wrong with the line."""

from __future__ import annotations

import argparse
import io
import logging
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from org_ovirt_node.cli import common, install
from org_ovirt_node.errors import KickstartProblem, PayloadError
from org_ovirt_node.kickstart.section import parse_section
from org_ovirt_node.service import logs
from org_ovirt_node.urls import redact_url, redact_urls, redact_value

ADDON = "%addon org_ovirt_node --image=file:/a.squashfs --nosignature\n%end\n"
#: Nothing listens there (RFC 6335 keeps the port for tcpmux).
DEAD = "127.0.0.1:1"


@pytest.fixture(autouse=True)
def own_log() -> Iterator[None]:
    """The program adds handlers to the root logger; they end with the test."""
    root = logging.getLogger()
    before, level = [(handler, handler.formatter) for handler in root.handlers], root.level
    yield
    for handler, formatter in before:
        handler.setFormatter(formatter)
    for handler in root.handlers[:]:
        if handler not in dict(before):
            root.removeHandler(handler)
            handler.close()
    root.setLevel(level)


def said_and_logged(folder: Path, capsys: pytest.CaptureFixture[str], kickstart: str) -> str:
    """Everything that a run leaves for others to read."""
    assert install.main(["--log", str(folder / "log"), "--verbose", "--plan", "--kickstart", kickstart]) == 2
    shown = capsys.readouterr()
    return shown.out + shown.err + (folder / "log").read_text()


LINES = [
    "rootpw geheim1 geheim2",
    "rootpw --plaintext --nonsense geheim",
    "rootpw=geheim",
    "rootpw 'geheim\\x' geheim\\\\y",
    "user --name=a geheim",
    "user --name=a --passwrd=geheim",
    "user --name=a --passwrd geheim",
    "user --name=a --password=x --password=geheim",
    "user --name=a --password='geheim eins' geheim\"zwei\"",
    "user --name=a --p=geheim",
    "autopart geheim",
    "autopart --encrypted --passphrase=eins geheim",
    "autopart --encrypted --passfrase=geheim",
    "part pv.01 --size=1 --encrypted --passphrase=eins geheim",
    "part pv.01 --size=1 --encrypted --pass geheim geheim2",
    "bootloader --password=geheim",
    "bootloader --pasword=geheim",
    "network --wpakey=geheim",
    "%include http://me:geheim@127.0.0.1:1/part.ks?token=geheim",
    "%addon org_ovirt_node --imagee=http://me:geheim@h/x\n%end",
    "%addon org_ovirt_node --image=http://h/x --proxy=me:geheim@h:3128\n%end",
    "%addon org_ovirt_node --image=http://h/x --proxy=me:ge/heim@h:3128\n%end",
    "%addon org_ovirt_node --image=http://me:geheim@h/?token=geheim\n%end",
    "%addon org_ovirt_node --image http://h/x http://me:geheim@h/x\n%end",
    "%addon org_ovirt_node --image=http://me:ge/heim@h/x\n%end",
    "%addon org_ovirt_node --image=http://me:heim/@h/x\n%end",
    "%addon --proxy=http://me:geheim@h org_ovirt_node\n%end",
    "%addon org_ovirt_node --image=http://h/x\nrootpw geheim\n%end",
    "%addon org_ovirt_node --image=http://h/x\nrootpw 'geheim\n%end",
]


@pytest.mark.parametrize("line", LINES)
def test_a_wrong_line_shows_no_secret(line: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "a.ks").write_text(f"autopart\n{line}\n{ADDON}")
    text = said_and_logged(tmp_path, capsys, str(tmp_path / "a.ks"))
    assert "a.ks:2: " in text or "a.ks:3: " in text, text
    assert "heim" not in text


@pytest.mark.parametrize("url", [f"http://me:geheim@{DEAD}/ks.cfg?token=geheim", "ftp://me:geheim@h/ks.cfg"])
def test_the_kickstarts_own_url_shows_no_secret(url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = said_and_logged(tmp_path, capsys, url)
    assert "ks.cfg" in text
    assert "geheim" not in text


def test_a_place_in_a_kickstart_from_a_server_shows_no_secret() -> None:
    problem = KickstartProblem("wrong", file="http://me:geheim@h/a.ks?token=geheim", line=3)
    assert str(problem) == "http://h/a.ks?…:3: wrong"


def test_the_log_has_no_secret_of_another_librarys_error(tmp_path: Path) -> None:
    def action(_options: argparse.Namespace) -> int:
        try:
            requests.get(f"http://me:geheim@{DEAD}/x?token=geheim", timeout=5)
        except requests.RequestException as error:
            raise PayloadError("no image") from error
        return 0

    parser = argparse.ArgumentParser(prog="a")
    common.add_common_options(parser)
    parser.add_argument("url")
    log = tmp_path / "log"
    assert common.main(parser, action, ["--log", str(log), "https://me:geheim@h/x?token=geheim"]) == 1
    text = log.read_text()
    assert "Max retries exceeded with url: /x?…" in text
    assert "https://h/x?…" in text
    assert "geheim" not in text


def test_the_journal_of_anacondas_service_has_no_secret() -> None:
    """Anaconda's handlers write to standard error at DEBUG, and from there to the journal."""
    written = io.StringIO()
    root, library = logging.getLogger(), logging.getLogger("urllib3.connectionpool")
    handler = logging.StreamHandler(written)
    root.addHandler(handler)
    root.setLevel(logging.DEBUG)
    logs.keep_secrets()
    library.debug('%s://%s:%s "%s %s %s" %s', "http", "h", 80, "GET", "/x?token=geheim", "HTTP/1.1", 200)
    library.info("of the library")
    logging.getLogger("org_ovirt_node").debug(
        "asked for %s by %s", "http://h/x?token=geheim", "http://me:geheim@p:3128"
    )
    assert "of the library" in written.getvalue()
    assert "asked for http://h/x?… by http://p:3128" in written.getvalue()
    assert "geheim" not in written.getvalue()


def test_the_value_of_a_mistyped_option_is_not_shown_and_its_name_is() -> None:
    with pytest.raises(KickstartProblem, match="unknown option '--imagee'"):
        parse_section(["--imagee=http://me:geheim@h/x"], [])


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("http://a:b@host:80/x?y=z#f", "http://host:80/x?…"),
        ("https://host/a@b", "https://host/a@b"),
        ("http://me:ge/heim@host/x", "http:…"),
        ("ftp://me:geheim@host/x", "ftp://host/x"),
        ("nfs:host:/x@y", "nfs:host:/x@y"),
        ("file:///x?y#z", "file:///x?y#z"),
        ("http://me:geheim@[broken", "http:…"),
        ("http://[broken", "http://[broken"),
    ],
)
def test_redacted_urls(text: str, shown: str) -> None:
    assert redact_url(text) == shown


def test_redacted_text_and_values() -> None:
    assert redact_urls("'https://a:b@h/x?y', then http://h/z.") == "'https://h/x?…', then http://h/z."
    assert redact_value("me:geheim@h:3128") == "********@h:3128"
    assert redact_value("hd:LABEL=a@b:/x") == "hd:LABEL=a@b:/x"
    assert redact_value("h:3128") == "h:3128"

"""What a kickstart includes, the scripts that it runs first, and where it comes from."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from org_ovirt_node.errors import KickstartProblem
from org_ovirt_node.kickstart.standard import load

ADDON = "%addon org_ovirt_node --image=file:/a.squashfs --nosignature\n%end\n"
LEAST = "autopart --type=thinp\n" + ADDON


def write(folder: Path, text: str, name: str = "ks.cfg") -> str:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return str(path)


def test_includes_are_relative_to_the_file_that_includes_them(tmp_path: Path) -> None:
    (tmp_path / "parts").mkdir()
    write(tmp_path / "parts", "lang de_AT.UTF-8\n%include deeper.ks\n", "first.ks")
    write(tmp_path / "parts", "keyboard de\n", "deeper.ks")
    request = load(write(tmp_path, f"%include parts/first.ks\n{LEAST}"))
    assert (request.system.lang, request.system.keymap) == ("de_AT.UTF-8", "de")


INCLUDED = [
    ("lang en_US.UTF-8\n\nfoo\n", "autopart\n", r"part\.ks:3: the command 'foo'"),
    ("\n\n\n\n\nlang en_US.UTF-8\n", "autopart\nfoo\n", r"ks\.cfg:3: the command 'foo'"),
    ("lang en_US.UTF-8\n", "autopart\n%include none.ks\n", r"ks\.cfg:3: %include none\.ks: .*No such file"),
    ("%include part.ks\n", "autopart\n", r"part\.ks:1: %include part\.ks: .*deep"),
    ("%post\necho\n", "autopart\n", r"ks\.cfg:1: %include part\.ks: .*middle of a section"),
    ("user --name=a:b\n", LEAST, r"part\.ks:1: user: "),
    ("%addon org_ovirt_node --image=file:/a --nosignature\n\nvolume x\n%end\n", "autopart\n", r"part\.ks:3: %addon"),
    ("%addon other\n%end\n", "autopart\n", r"part\.ks:1: the add-on 'other'"),
    ('lang "en\n', "autopart\n", r"part\.ks:1: this line cannot be read"),
]


@pytest.mark.parametrize(("part", "rest", "said"), INCLUDED)
def test_errors_in_and_after_an_include_have_their_own_file_and_line(
    tmp_path: Path, part: str, rest: str, said: str
) -> None:
    write(tmp_path, part, "part.ks")
    with pytest.raises(KickstartProblem, match=said):
        load(write(tmp_path, f"%include part.ks\n{rest}"))


def test_the_section_includes_nothing(tmp_path: Path) -> None:
    write(tmp_path, "\nvolume /data --size=1GiB\n", "part.ks")
    with pytest.raises(KickstartProblem, match=r"part\.ks:2: %include within %addon"):
        load(write(tmp_path, f"autopart\n{ADDON.replace('%end', '%include part.ks' + chr(10) + '%end')}"))


def test_a_script_may_include_a_file(tmp_path: Path) -> None:
    write(tmp_path, "echo 2\n\n# 3\n", "part.sh")
    request = load(write(tmp_path, f"{LEAST}%post\necho 1\n%include part.sh\necho 4\n%end\nlang de_AT.UTF-8\n"))
    assert [line for line in request.scripts[0].body.splitlines() if line] == ["echo 1", "echo 2", "# 3", "echo 4"]
    assert request.system.lang == "de_AT.UTF-8"


def test_pre_scripts_run_first_and_make_what_is_included(tmp_path: Path) -> None:
    log = tmp_path / "logs" / "pre.log"
    made = tmp_path / "made.ks"
    text = (
        f"%include {made}\n{LEAST}"
        f"%pre --erroronfail --log={log}\necho said\necho 'lang de_AT.UTF-8' > {made}\n%end\n"
        f"%pre --interpreter='/bin/sh -e'\necho 'keyboard de' >> {made}\n%end\n"
    )
    path = write(tmp_path, text)
    with pytest.raises(KickstartProblem, match=r"ks\.cfg:1: %include .*made\.ks"):
        load(path, run_pre=False)
    request = load(path)
    assert (request.system.lang, request.system.keymap) == ("de_AT.UTF-8", "de")
    assert log.read_text() == "said\n"
    assert [script.stage for script in request.scripts] == ["pre", "pre"]


def test_a_pre_script_that_fails(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    body = "echo 'no disk of mine' >&2\nexit 3\n%end\n"
    with pytest.raises(KickstartProblem, match=r"ks\.cfg:4: .*exit status 3: no disk of mine"):
        load(write(tmp_path, f"{LEAST}%pre --erroronfail\n{body}"))
    with caplog.at_level(logging.WARNING):
        assert load(write(tmp_path, f"{LEAST}%pre\n{body}")).ending == ""
    assert "exit status 3" in caplog.text


def test_a_pre_script_without_its_interpreter_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(KickstartProblem, match=r"ks\.cfg:4: %pre cannot be run: the program /no/such is not installed"):
        load(write(tmp_path, f"{LEAST}%pre --interpreter=/no/such\necho\n%end\n"))


def test_the_text_of_a_pre_script_is_in_no_log(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG):
        request = load(write(tmp_path, f"{LEAST}%pre\npassword=geheim\n%end\n"))
    assert "geheim" not in caplog.text
    assert "geheim" not in repr(request)


@contextmanager
def served(folder: Path) -> Iterator[str]:
    handler = partial(SimpleHTTPRequestHandler, directory=str(folder))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()


def test_a_kickstart_and_what_it_includes_come_from_a_web_server(tmp_path: Path) -> None:
    write(tmp_path, "lang de_AT.UTF-8\n", "part.ks")
    write(tmp_path, f"{LEAST}%include part.ks\n")
    write(tmp_path, f"{LEAST}%include none.ks\n", "broken.cfg")
    with served(tmp_path) as url:
        assert load(f"{url}/ks.cfg").system.lang == "de_AT.UTF-8"
        with pytest.raises(KickstartProblem, match=r"none\.cfg cannot be read: the server says 404"):
            load(f"{url}/none.cfg")
        with pytest.raises(KickstartProblem, match=r"broken\.cfg:4: %include none\.ks: .*404"):
            load(f"{url}/broken.cfg")


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("/no/such.ks", r"/no/such\.ks cannot be read: No such file"),
        ("/", "cannot be read: Is a directory"),
        ("ftp://host/ks.cfg", "Accepted are a path"),
        ("file://host/ks.cfg", "file://host/ks.cfg does not name a file of this machine"),
        ("file:/ks.cfg#a", "does not name a file of this machine"),
        ("http://", "it is no web address"),
        ("http://127.0.0.1:1/ks.cfg", "cannot be read: .*refused"),
    ],
)
def test_a_kickstart_that_cannot_be_read(source: str, said: str) -> None:
    with pytest.raises(KickstartProblem, match=said):
        load(source)


@pytest.mark.parametrize("content", [b"lang\n\xff\n", b"lang\n\x00\n"])
def test_what_is_no_text_is_refused_with_its_line(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "ks.cfg").write_bytes(content)
    with pytest.raises(KickstartProblem, match=r"ks\.cfg:2: this is not"):
        load(str(tmp_path / "ks.cfg"))


def test_an_image_given_as_kickstart_by_mistake_is_not_read_to_its_end(tmp_path: Path) -> None:
    with (tmp_path / "ks.cfg").open("wb") as file:
        file.truncate(1 << 40)
    with pytest.raises(KickstartProblem, match="not a kickstart"):
        load(str(tmp_path / "ks.cfg"))

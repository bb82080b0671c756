"""What is wrong is said in the user's language."""

from __future__ import annotations

import ast
import pickle
from collections.abc import Iterator
from pathlib import Path

import pytest

from org_ovirt_node.errors import KickstartProblem, PayloadError
from org_ovirt_node.i18n import N_, Text, _, translated
from org_ovirt_node.kickstart.section import parse_section
from org_ovirt_node.payload.squashfs import read_superblock
from tests.support.catalogue import LANGUAGE, compiled, installed
from tests.support.marked import Finder, error_names, unmarked

PACKAGE = Path(__file__).resolve().parents[2] / "org_ovirt_node"
#: What docs/anaconda.md (Translations) says is translated.
FOLDERS = ("kickstart", "layout", "payload", "install", "storage", "service", "boot", "setup", "tui", "gui")
MODULES = ("errors", "run", "steps", "mounts", "signals", "inside", "node/lvm", "node/mounted")
FILES = [
    *sorted(path for folder in FOLDERS for path in (PACKAGE / folder).rglob("*.py")),
    *(PACKAGE / f"{name}.py" for name in MODULES),
]
HEX = "0" * 64
GERMAN = {
    "it is not a SHA-256 digest; accepted are 64 hexadecimal digits, and it has {count} letters": (
        "das ist keine SHA-256-Prüfsumme; verlangt sind 64 Hexadezimalziffern, und es sind {count} Zeichen"
    ),
    "nothing says how the image is verified": "nichts sagt, wie das Abbild geprüft wird",
    "Give it once.": "Nur einmal angeben.",
    "Put the word in quotes.": "Das Wort in Anführungszeichen setzen.",
    "{title}{option} is given {count} times": "{count}-mal {option} ({title})",
    "{name} is truncated: it has {count} bytes": "{name} ist abgeschnitten: {falsch} Bytes",
    "Fetch the image again.": "Das Abbild neu holen.",
}


@pytest.fixture
def german(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("LANGUAGE", LANGUAGE)
    with installed(compiled(GERMAN), tmp_path):
        yield


def section(*args: str, lines: tuple[str, ...] = ()) -> KickstartProblem:
    """What is wrong with a section."""
    with pytest.raises(KickstartProblem) as caught:
        parse_section(list(args), list(enumerate(lines, start=2)), file="ks.cfg", line=1)
    return caught.value


@pytest.mark.usefixtures("german")
def test_an_error_of_the_section_is_translated() -> None:
    problem = section("--image=file:/image", "--sha256=abc")
    assert str(problem) == (
        "ks.cfg:1: %addon org_ovirt_node: --sha256=abc: das ist keine SHA-256-Prüfsumme; "
        "verlangt sind 64 Hexadezimalziffern, und es sind 3 Zeichen"
    )


@pytest.mark.usefixtures("german")
def test_a_translation_may_order_the_values_anew() -> None:
    problem = section("--image=file:/image", f"--sha256={HEX}", "--vg=one", "--vg=two")
    assert problem.message.endswith(": 2-mal --vg ()")
    assert problem.hint == "Nur einmal angeben."


@pytest.mark.usefixtures("german")
def test_a_text_of_a_table_is_translated_where_it_is_used() -> None:
    problem = section("--image=file:/image", "--nosignature", lines=("volume /data#1 --size=1GiB",))
    assert problem.hint == "Das Wort in Anführungszeichen setzen."


@pytest.mark.usefixtures("german")
def test_a_wrong_placeholder_in_a_translation_gives_the_english_text() -> None:
    with pytest.raises(PayloadError) as caught:
        read_superblock(b"hsqs", "image")
    assert caught.value.message == "image is truncated: it has 4 bytes"
    assert caught.value.hint == "Das Abbild neu holen."


def test_without_a_catalogue_the_text_is_english() -> None:
    assert section("--image=file:/image").message.endswith(": nothing says how the image is verified")


@pytest.mark.parametrize(
    "wrong", ["{0} {1}", "{value", "}", "{value.nothing}", "{value[x]}", "{value:d}", "{!x}", "{}"]
)
def test_no_translation_makes_a_traceback(wrong: str) -> None:
    assert Text(wrong, "it is {value}").format(value="so") == "it is so"


def test_values_with_braces_stay_as_they_are() -> None:
    assert Text("{{x}} {value}", "").format(value="{value} {}") == "{x} {value} {}"


def test_a_text_is_a_string_for_everybody_else() -> None:
    text = pickle.loads(pickle.dumps(Text("{falsch}", "{value}")))
    assert (text, text.format(value=1)) == ("{falsch}", "1")
    assert (_(""), translated(N_("x"))) == ("", "x")


@pytest.mark.parametrize("cut", [0, 3, 20, 30, 60])
def test_a_damaged_catalogue_gives_the_english_texts(cut: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LANGUAGE", LANGUAGE)
    with installed(compiled(GERMAN)[:cut], tmp_path):
        assert _("Give it once.") == "Give it once."


def test_every_error_that_a_user_of_the_installer_meets_is_marked() -> None:
    errors = error_names([ast.parse(path.read_text(encoding="utf-8")) for path in PACKAGE.rglob("*.py")])
    assert {"PayloadError", "StartOver"} <= errors
    found = unmarked([path for path in FILES if path.parent.name != "kickstart"], errors)
    found += unmarked([path for path in FILES if path.parent.name == "kickstart"], errors | {"ValueError"})
    assert not found, "\n".join(["mark it with _() or N_() of org_ovirt_node.i18n:", *found])


@pytest.mark.parametrize(
    "source",
    [
        'raise NodeError("it is wrong")',
        'raise NodeError(f"{x} is wrong")',
        'raise NodeError(_("{x}").format(x=1), hint="Do it again.")',
        'raise NodeError("it is wrong" if x else _("no"))',
        'raise NodeError("it is {x}".format(x=1))',
        'raise NodeError(_("it") + " is wrong")',
        'def f():\n    text = f"it is {x}"\n    raise NodeError(text)',
        'def f():\n    why, hint = "it is wrong", _("x")\n    raise NodeError(why, hint=hint)',
        'WHY = "it is wrong"\ndef f():\n    raise NodeError(WHY)',
        'WHY = {"a": "it is wrong"}\ndef f():\n    raise NodeError(translated(WHY["a"]))',
        'place.fail(f"part {x} is wrong")',
        'run([], hint="Is it there?")',
        'NodeError(_("it is {x}").format(y=1))',
        'def f():\n    text = _("it is {x}")\n    raise NodeError(text.format(y=1))',
        'def f():\n    a, _, b = x\n    raise NodeError(_("it"))',
        '[_("it") for _ in x]',
    ],
)
def test_what_is_not_marked_is_found(source: str) -> None:
    assert Finder(ast.parse(source), {"NodeError"}).look()


@pytest.mark.parametrize(
    "source",
    [
        'raise NodeError(_("it is wrong"), hint=_("{x}").format(x=1))',
        'raise NodeError(f"{place}: {error}")',
        'place.fail(f"volume {x} --size={y}: {error}")',
        'def f():\n    text = _("it is {x}") if x else N_("it is")\n    raise NodeError(text.format(x=1, y=2))',
        'WHY = {"a": N_("it is wrong")}\ndef f():\n    raise NodeError(translated(WHY["a"]))',
        'log.info("it is wrong")',
        'def f():\n    [x for _ in y]\n    raise NodeError(_("it"))',
    ],
)
def test_what_is_marked_is_not_found(source: str) -> None:
    assert Finder(ast.parse(source), {"NodeError"}).look() == []

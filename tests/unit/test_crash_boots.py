"""Which cuts count as booted, and which are tried again."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from tests.crash import __main__ as program
from tests.crash import boots
from tests.crash.cuts import Cut, Window
from tests.crash.record import Recording
from tests.crash.run import Booted


@pytest.mark.parametrize(
    ("said", "again"),
    [
        ("", False),
        ("the layer that was booted: expected 'b', found 'a'", False),
        (boots.LEFT, True),
        (f"{boots.UNSOUND}/boot: no menu", True),
    ],
)
def test_only_what_a_machine_did_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, said: str, again: bool
) -> None:
    recording = Recording(tmp_path, "install", 1, {}, [])
    one = cast(Any, SimpleNamespace(recording=recording))
    monkeypatch.setattr(boots, "booted", lambda *_: said)
    known = Booted(recording)
    assert program.boot_one(one, Cut(Window(1, 2, 1)), known) == said
    assert list(known.results.values()) == [said]
    assert (Booted(recording).results == {}) == again

"""The template for translations has what users read."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

FILE = Path(__file__).resolve().parents[2] / "tools/pot.py"


@pytest.fixture
def pot() -> ModuleType:
    spec = importlib.util.spec_from_file_location("pot", FILE)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_template_is_what_make_pot_writes(pot: ModuleType) -> None:
    assert pot.TARGET.read_text() == pot.render(pot.collect()), "run make pot"


def test_what_is_collected(pot: ModuleType) -> None:
    found = pot.collect()
    assert found["_SHA-256 of the image:"] == ["org_ovirt_node/gui/spokes/ovirt_node.glade"]
    assert found["No image chosen"] == ["org_ovirt_node/service/client.py"]


@pytest.mark.parametrize("mark", ["_(f'{x}')", "_(x.y)", "N_(a[0])"])
def test_only_whole_strings_are_marked(pot: ModuleType, mark: str, tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text(mark)
    with pytest.raises(ValueError, match="only a whole string"):
        list(pot.in_python(tmp_path / "a.py"))

"""docs/testing.md says which tests hold the failures of earlier systems: they are there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

PROJECT = Path(__file__).resolve().parents[2]
ROWS = re.findall(
    r"^\| (\d+) \| ([^|]+) \| ([^|]+) \| ([^|]*) ?\|$", (PROJECT / "docs/testing.md").read_text(), re.MULTILINE
)
SCENARIOS = "\n".join(path.read_text() for path in (PROJECT / "tests/vm/scenarios").glob("*.py"))


def test_the_table_has_rows() -> None:
    assert len(ROWS) > 25


@pytest.mark.parametrize(("row", "files", "scenarios"), [(row, files, vm) for row, _, files, vm in ROWS])
def test_each_row_has_the_tests_that_the_table_names(row: str, files: str, scenarios: str) -> None:
    for name in files.split(", "):
        text = (PROJECT / f"tests/unit/test_{name}.py").read_text()
        assert re.search(rf"def test_(failures_)?rows?_(\d+_and_)*{row}_", text), f"{name} has no test for row {row}"
    for name in filter(None, scenarios.strip().split(", ")):
        assert f'"{name}' in SCENARIOS, f"there is no scenario {name}"

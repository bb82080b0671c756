"""The bench's own arithmetic and its payload's shape; what it measures is not for a unit test."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from tests.bench import content, report
from tests.bench.rows import Bench, Row, order
from tests.bench.server import parts

MIB = 1 << 20
#: Medians: dd 2 s, ours 1.6, 2, 2.5, HTTP 4, rsync 30.
SECONDS = {
    "dd_direct": [2.0, 9.0, 1.0],
    "dd_buffered": [4.0],
    "plain": [1.6],
    "sha256": [2.0],
    "sha256_read_back": [2.5],
    "http": [4.0],
    "rsync": [30.0, 31.0, 2.0],
    "unsquashfs": [9.0],
}


@pytest.fixture
def figures() -> dict[str, Any]:
    rows = [Row(name, f"label & {name}", lambda: 0.0, seconds) for name, seconds in SECONDS.items()]
    return report.summary(rows, 1024 * MIB, 40 * MIB, {"processors": 2})


def test_ratios_are_of_medians(figures: dict[str, Any]) -> None:
    expected = {"plain_to_dd": 1.25, "sha256_to_dd": 1.0, "http_to_dd": 0.5, "rsync_to_ours": 12.0, "peak_mib": 40.0}
    assert {key: figures[key] for key in expected} == expected
    rows = {row["name"]: row for row in figures["rows"]}
    assert rows["dd_direct"]["mib_per_second"] == 512.0
    assert rows["rsync"]["time_to_ours"] == 12.0
    assert rows["sha256_read_back"]["speed_to_dd"] == 0.8


def test_the_table_names_what_was_missed(figures: dict[str, Any]) -> None:
    lines = report.table(figures).splitlines()
    missed = [line for line in lines if line.endswith("MISSED")]
    assert len(missed) == 1
    assert "over HTTP" in missed[0]
    assert sum(line.endswith(" met") for line in lines) == 4


def test_what_is_written(figures: dict[str, Any], tmp_path: Path) -> None:
    report.write(figures, tmp_path)
    assert json.loads((tmp_path / "bench.json").read_text()) == figures
    bars = ElementTree.parse(tmp_path / "bench.svg").getroot().findall("{http://www.w3.org/2000/svg}rect")
    widths = [float(bar.attrib["width"]) for bar in bars[1:]]
    assert len(widths) == len(SECONDS)
    assert max(widths) == 480
    assert widths[0] == pytest.approx(480 * 2 / 30, abs=0.1)


def test_sizes_follow_the_quantiles() -> None:
    for share, size in content.QUANTILES:
        assert abs(content.size_of(share) - size) <= 1
    dice = random.Random(1)
    sizes = [content.size_of(share) for share in sorted(dice.random() for _ in range(1000))]
    assert sizes == sorted(sizes)


@pytest.mark.parametrize(
    ("begin", "end"), [(0, 3 * MIB + 77), (0, 4096), (4096, 5000), (MIB + 1, 3 * MIB + 77), (MIB - 1, MIB + 1), (5, 6)]
)
def test_the_server_sends_what_is_asked_for(begin: int, end: int, tmp_path: Path) -> None:
    data = random.Random(3).randbytes(3 * MIB + 77)
    (tmp_path / "file").write_bytes(data)
    # Each part is only good until the next one is asked for.
    assert b"".join(bytes(part) for part in parts(tmp_path / "file", begin, end)) == data[begin:end]


def test_every_row_is_measured_in_every_round_behind_another_one() -> None:
    rows = Bench(Path("image"), Path("work"), 0).rows
    rounds = [order(rows, number) for number in range(4)]
    for measured in rounds:
        assert sorted(row.name for row in measured) == sorted(row.name for row in rows)
    before = [{row.name: measured[at - 1].name for at, row in enumerate(measured) if at} for measured in rounds]
    for row in rows:
        ahead = [places[row.name] for places in before if row.name in places]
        assert len(set(ahead)) == len(ahead) >= 3

"""What comes out: a table, a bar chart (SVG) and build/bench.json."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any
from xml.sax.saxutils import escape

from tests.bench.rows import Row

MIB = 1 << 20


@dataclass(frozen=True)
class Bound:
    """What a figure must reach."""

    key: str
    text: str
    value: float
    least: bool = True

    def met(self, figure: float) -> bool:
        """True when ``figure`` is good enough."""
        return figure >= self.value if self.least else figure <= self.value


BOUNDS = (
    Bound("plain_to_dd", "speed of ours without hash, dd direct = 1", 0.95),
    Bound("sha256_to_dd", "speed of ours with SHA-256, dd direct = 1", 0.85),
    Bound("http_to_dd", "speed of ours with SHA-256 over HTTP, dd direct = 1", 0.60),
    Bound("rsync_to_ours", "time of rsync, ours with SHA-256 and read-back = 1", 10),
    Bound("peak_mib", "peak memory of the transfer process, MiB", 64, least=False),
)


def summary(rows: Sequence[Row], size: int, peak: int, facts: Mapping[str, Any]) -> dict[str, Any]:
    """All figures: ``seconds`` are medians, ratios are of medians."""
    medians = {row.name: median(row.seconds) for row in rows}
    direct, complete = medians["dd_direct"], medians["sha256_read_back"]
    return {
        "plain_to_dd": round(direct / medians["plain"], 3),
        "sha256_to_dd": round(direct / medians["sha256"], 3),
        "http_to_dd": round(direct / medians["http"], 3),
        "rsync_to_ours": round(medians["rsync"] / complete, 2),
        "peak_mib": round(peak / MIB, 1),
        "payload_bytes": size,
        **facts,
        "rows": [
            {
                "name": row.name,
                "label": row.label,
                "runs": [round(seconds, 3) for seconds in row.seconds],
                "seconds": round(medians[row.name], 3),
                "mib_per_second": round(size / MIB / medians[row.name], 1),
                "speed_to_dd": round(direct / medians[row.name], 3),
                "time_to_ours": round(medians[row.name] / complete, 2),
            }
            for row in rows
        ],
    }


def table(figures: Mapping[str, Any]) -> str:
    """The figures for a terminal."""
    lines = [f"{'':28} {'median':>9} {'spread':>17} {'MiB/s':>7} {'speed, dd = 1':>14} {'time, ours = 1':>15}"]
    for row in figures["rows"]:
        spread = f"{min(row['runs']):.2f} to {max(row['runs']):.2f} s"
        lines.append(
            f"{row['label']:28} {row['seconds']:7.2f} s {spread:>17} {row['mib_per_second']:7.0f} "
            f"{row['speed_to_dd']:14.2f} {row['time_to_ours']:15.2f}"
        )
    lines += ["", "(ours = 1: with SHA-256 and read-back)", ""]
    for bound in BOUNDS:
        figure = figures[bound.key]
        wanted = f"{'at least' if bound.least else 'at most'} {bound.value:g}"
        lines.append(f"{bound.text:54} {figure:7.2f}  {wanted:13} {'met' if bound.met(figure) else 'MISSED'}")
    return "\n".join(lines)


def chart(figures: Mapping[str, Any]) -> str:
    """The medians as bars, shortest is fastest."""
    rows = figures["rows"]
    longest = max(row["seconds"] for row in rows)
    left, width, step = 210, 480, 34
    size = f"{figures['payload_bytes'] / (1 << 30):.2f} GiB"
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{left + width + 110}" height="{step * len(rows) + 60}" '
        'font-family="sans-serif" font-size="14">',
        '<rect width="100%" height="100%" fill="white"/>',
        f'<text x="12" y="26" font-size="16">Seconds to install an image of {size} (median, less is better)</text>',
    ]
    for at, row in enumerate(rows):
        y = 46 + at * step
        length = max(1.0, row["seconds"] / longest * width)
        colour = "#2a6f97" if row["label"].startswith("ours") else "#a9a9a9"
        parts += [
            f'<text x="{left - 10}" y="{y + 16}" text-anchor="end">{escape(row["label"])}</text>',
            f'<rect x="{left}" y="{y}" width="{length:.1f}" height="22" fill="{colour}"/>',
            f'<text x="{left + length + 8:.1f}" y="{y + 16}">{row["seconds"]:.2f} s</text>',
        ]
    return "\n".join([*parts, "</svg>", ""])


def write(figures: Mapping[str, Any], folder: Path) -> None:
    """Leave bench.json and bench.svg in ``folder``."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "bench.json").write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")
    (folder / "bench.svg").write_text(chart(figures), encoding="utf-8")

"""build/reliability.json, and the table in docs/reliability.md that is made from it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tests.vm import artefacts

FIGURES = artefacts.PROJECT / "build" / "reliability.json"
PAGE = artefacts.PROJECT / "docs" / "reliability.md"
BEGIN, END = "<!-- table: python -m tests.crash table -->", "<!-- end of the table -->"
#: Keys of the file that are sums over its parts.
SUMS = ("cuts", "boots", "kills", "faults", "fuzz", "violations", "left")


def load(file: Path = FIGURES) -> dict[str, Any]:
    """The figures so far."""
    try:
        found: dict[str, Any] = json.loads(file.read_text())
    except (OSError, ValueError):
        return {"parts": {}}
    return found


def note(part: str, figures: dict[str, Any], file: Path = FIGURES, *, sample: bool = False) -> dict[str, Any]:
    """Replace the figures of ``part``, and sum all up anew.

    A ``sample`` without a violation does not take the place of more cuts.
    """
    data = load(file)
    before = data.get("parts", {}).get(part, {})
    if sample and not figures.get("violations") and int(before.get("cuts", 0)) > int(figures.get("cuts", 0)):
        return data
    parts: dict[str, Any] = {**data.get("parts", {}), part: figures}
    data = {key: sum(int(one.get(key, 0)) for one in parts.values()) for key in SUMS}
    data["parts"] = dict(sorted(parts.items()))
    file.parent.mkdir(parents=True, exist_ok=True)
    partial = file.with_suffix(".partial")
    partial.write_text(json.dumps(data, indent=1) + "\n")
    partial.rename(file)
    return data


def table(data: dict[str, Any]) -> str:
    """The figures as a table in Markdown."""
    lines = ["| what | " + " | ".join(SUMS) + " | seed |", "|---" * (len(SUMS) + 2) + "|"]
    for name, part in data.get("parts", {}).items():
        cells = [str(part.get(key, "")) for key in SUMS]
        lines.append(f"| {name} | " + " | ".join(cells) + f" | {part.get('seed', '')} |")
    lines.append("| **all** | " + " | ".join(f"**{data.get(key, 0)}**" for key in SUMS) + " | |")
    return "\n".join(lines)


def write_table(data: dict[str, Any], page: Path = PAGE) -> None:
    """Put the table between the two comments of the page.  Raises ValueError when the page has none."""
    text = page.read_text(encoding="utf-8")
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"{page} has no place for the table")
    page.write_text(f"{before}{BEGIN}\n{table(data)}\n{END}{after}", encoding="utf-8")

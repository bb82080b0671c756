"""python -m tests.bench [--runs N] [--work FOLDER] [--check]: a table, and build/bench.{json,svg}."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from org_ovirt_node.signals import interruptible
from tests.bench import content, report
from tests.bench.rows import Bench, serving

BUILD = Path("build")
MIN_RUNS = 5
MIN_PAYLOAD = 1 << 30


def main() -> int:
    """0, or with --check 1 when a bound was missed."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument("--runs", type=int, default=MIN_RUNS, help="how often each row is measured (at least 5)")
    parser.add_argument("--work", type=Path, default=BUILD / "bench", help="a folder on the disk that is measured")
    parser.add_argument("--check", action="store_true", help="exit with 1 when a bound is missed")
    options = parser.parse_args()
    if options.runs < MIN_RUNS:
        parser.error(f"a median of fewer than {MIN_RUNS} runs says little")
    image = content.payload()
    size = image.stat().st_size
    if size < MIN_PAYLOAD:
        raise SystemExit(f"{image} has {size} bytes: too few to measure with")
    options.work.mkdir(parents=True, exist_ok=True)
    load = os.getloadavg()[0]
    # A signal unmounts what is measured on the way out.
    with interruptible(), serving(image.parent) as port:
        bench = Bench(image, options.work.resolve(), port)
        bench.run(options.runs)
    facts = {"processors": os.cpu_count(), "load_before": round(load, 2), "load_after": round(os.getloadavg()[0], 2)}
    figures = report.summary(bench.rows, size, bench.peak, facts)
    report.write(figures, BUILD)
    print(f"\n{report.table(figures)}\n\n{BUILD / 'bench.json'}, {BUILD / 'bench.svg'}")
    missed = [bound.key for bound in report.BOUNDS if not bound.met(figures[bound.key])]
    return 1 if options.check and missed else 0


if __name__ == "__main__":
    sys.exit(main())

"""The longer fuzzing: ``python -m tests.fuzz [--seconds N] [--seed N] [TARGET …]``."""

from __future__ import annotations

import argparse
import sys

from tests.crash import report
from tests.fuzz import guided, run, targets

SEED = 20261123
SECONDS = 600.0


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description="Hostile input for every reader.")
    parser.add_argument("targets", nargs="*", metavar="TARGET", help=f"of {', '.join(targets.TARGETS)}; default: all")
    parser.add_argument("--seconds", type=float, default=SECONDS, help="for all of them together (default: 600)")
    parser.add_argument("--seed", type=int, default=SEED, help=f"which inputs (default: {SEED})")
    parser.add_argument("--plain", action="store_true", help="by chance only, also where atheris is there")
    options = parser.parse_args()
    unknown = [name for name in options.targets if name not in targets.TARGETS]
    if unknown:
        parser.error(f"there is no target {unknown[0]}")
    print(f"seed {options.seed}")
    names = options.targets or list(targets.TARGETS)
    by_atheris = guided.available() and not options.plain
    print("with atheris" if by_atheris else "by chance: there is no atheris for this Python")
    how = guided.guided if by_atheris else run.fuzz
    executions, findings = how(names, options.seconds, options.seed)
    report.note("fuzz", {"fuzz": executions, "violations": findings, "seed": options.seed})
    print(f"{executions} inputs, {findings} findings")
    return 1 if findings else 0


if __name__ == "__main__":
    sys.exit(main())

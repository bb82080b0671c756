"""The same targets under atheris, which looks for input that reaches new code; one process for each target."""

from __future__ import annotations

import re
import subprocess
import sys

from tests.crash import report
from tests.fuzz import run, targets

#: Where atheris keeps what reached new code.
FOUND = report.FIGURES.parent / "fuzz"
#: Seconds that a process may take beyond its time.
GRACE = 120.0


def guided(names: list[str], seconds: float, seed: int) -> tuple[int, int]:
    """Attack each of ``names`` for its share of ``seconds``; returns executions and findings."""
    executions = findings = 0
    for name in names:
        share = max(int(seconds / len(names)), 1)
        folder = FOUND / name
        folder.mkdir(parents=True, exist_ok=True)
        for number, sample in enumerate([*targets.TARGETS[name].samples, *targets.corpus(name)]):
            (folder / f"sample-{number}").write_bytes(sample)
        argv = [sys.executable, "-m", "tests.fuzz.child", name, f"-max_total_time={share}", f"-seed={seed}"]
        argv += [
            f"-timeout={run.LIMIT:.0f}",
            f"-rss_limit_mb={run.MEMORY >> 20}",
            f"-artifact_prefix={folder}/finding-",
        ]
        argv += ["-print_final_stats=1", str(folder)]
        done = subprocess.run(
            argv, capture_output=True, text=True, errors="replace", timeout=share + GRACE, check=False
        )
        counted = re.search(r"number_of_executed_units: (\d+)", done.stderr)
        count = int(counted.group(1)) if counted else 0
        executions += count
        if done.returncode != 0:
            findings += 1
            for file in folder.glob("finding-*"):
                print(f"kept as {run.keep(name, file.read_bytes())}")
                file.unlink()
            print("\n".join(done.stderr.splitlines()[-30:]))
        print(f"{name}: {count} inputs, {int(done.returncode != 0)} findings", flush=True)
    return executions, findings


def available() -> bool:
    """Whether atheris is there: it has wheels for some versions of Python only."""
    try:
        import atheris  # noqa: F401
    except ImportError:
        return False
    return True

"""Running scenarios: one in this process, many each in a process of its own."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import traceback
from pathlib import Path
from types import FrameType
from typing import Any, Optional

from org_ovirt_node.errors import NodeError
from org_ovirt_node.image.cache import key_of
from tests.vm import artefacts
from tests.vm.channel import plain
from tests.vm.errors import ScenarioFailed, TimedOut
from tests.vm.scenario import Context, Scenario

#: Lines of each console that a failure prints.
SHOWN = 80
#: Seconds for a scenario to clean up after its limit.
GRACE = 60.0
#: Seconds between two looks at the running scenarios.
LOOK = 0.5
STATE = artefacts.BUILD / "results.json"


def prepare() -> int:
    """Build what the scenarios start from, so that their times are their own."""
    artefacts.installer()
    return 0


def run_one(scenario: Scenario) -> int:
    """Run ``scenario`` here; print its result as the last line, and return the exit status."""
    folder = artefacts.BUILD / scenario.name
    subprocess.run(["rm", "-rf", str(folder)], check=True)
    folder.mkdir(parents=True)
    context = Context(folder)
    print(f"{scenario.name}: {scenario.about}", flush=True)
    artefacts.installer()
    started = time.monotonic()

    def late(_number: int, _frame: Optional[FrameType]) -> None:
        raise TimedOut(f"{scenario.name} took longer than its {scenario.limit:g} s")

    signal.signal(signal.SIGALRM, late)
    signal.alarm(int(scenario.limit))
    error = ""
    try:
        scenario.function(context)
    except (ScenarioFailed, NodeError) as exc:
        error = str(exc)
    except Exception:
        error = traceback.format_exc()
    finally:
        signal.alarm(0)
    seconds = round(time.monotonic() - started, 1)
    result: dict[str, Any] = {"scenario": scenario.name, "result": "fail" if error else "pass", "seconds": seconds}
    if error:
        show_consoles(folder)
        print(f"\n{scenario.name} failed: {error}", flush=True)
        result["error"] = error.splitlines()[0]
    else:
        for disk in folder.rglob("*.raw"):
            disk.unlink()
    result.update(context.figures)
    print(json.dumps(result), flush=True)
    return 1 if error else 0


def show_consoles(folder: Path) -> None:
    """Print the end of what every machine of a scenario said."""
    for log in sorted(folder.rglob("*.log")):
        lines = [line for line in plain(log.read_bytes()).splitlines() if line.strip()]
        print(f"\n--- {log} (the last {min(SHOWN, len(lines))} of {len(lines)} lines)")
        print("\n".join(lines[-SHOWN:]), flush=True)


def tree_key() -> str:
    """A key of everything in the work tree that a scenario's result can depend on."""
    files = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=artefacts.PROJECT,
        capture_output=True,
        check=True,
    ).stdout.split(b"\0")
    parts: list[bytes] = []
    for name in sorted(set(files)):
        path = artefacts.PROJECT / os.fsdecode(name)
        if name and path.is_file() and not name.startswith(b"docs/"):
            parts += [name, path.read_bytes()]
    return key_of(*parts)


def _remembered(key: str) -> dict[str, dict[str, Any]]:
    try:
        state = json.loads(STATE.read_text())
    except (OSError, ValueError):
        return {}
    results = state.get("results", {}) if state.get("tree") == key else {}
    return {name: result for name, result in results.items() if result["result"] == "pass"}


def _remember(key: str, results: dict[str, dict[str, Any]]) -> None:
    STATE.parent.mkdir(parents=True, exist_ok=True)
    partial = STATE.with_suffix(".partial")
    partial.write_text(json.dumps({"tree": key, "results": results}, indent=1))
    partial.rename(STATE)


def run_many(scenarios: list[Scenario], *, resume: bool, jobs: int) -> int:
    """Run ``scenarios``, ``jobs`` at a time; show the output of those that fail, and a table at the end."""
    key = tree_key()
    results = _remembered(key) if resume else {}
    waiting = [one for one in scenarios if one.name not in results]
    if len(waiting) < len(scenarios):
        print(f"{len(scenarios) - len(waiting)} of {len(scenarios)} have passed with this very tree before")
    artefacts.installer()
    running: dict[str, tuple[Scenario, subprocess.Popen[bytes], float, Path]] = {}
    try:
        while waiting or running:
            while waiting and len(running) < jobs:
                scenario = waiting.pop(0)
                running[scenario.name] = _start(scenario)
                print(f"... {scenario.name}", flush=True)
            time.sleep(LOOK)
            for name, (scenario, process, started, log) in list(running.items()):
                if process.poll() is None and time.monotonic() - started > scenario.limit + GRACE:
                    process.kill()
                    process.wait()
                if process.poll() is not None:
                    del running[name]
                    results[name] = _result(scenario, process, log)
                    _remember(key, results)
    finally:
        for _scenario, process, _started, _log in running.values():
            process.kill()
            process.wait()
    return _table([results[one.name] for one in scenarios])


def _start(scenario: Scenario) -> tuple[Scenario, subprocess.Popen[bytes], float, Path]:
    log = artefacts.BUILD / f"{scenario.name}.out"
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.vm", "run", scenario.name],
            cwd=artefacts.PROJECT,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
        )
    return scenario, process, time.monotonic(), log


def _result(scenario: Scenario, process: subprocess.Popen[bytes], log: Path) -> dict[str, Any]:
    """What a finished scenario said; a pass needs both its word and its exit status."""
    text = log.read_text(errors="replace")
    try:
        result: dict[str, Any] = json.loads(text.splitlines()[-1])
    except (ValueError, IndexError):
        result = {"scenario": scenario.name, "result": "fail", "seconds": 0.0, "error": "it ended without a result"}
    if process.returncode != 0 or result.get("scenario") != scenario.name:
        result["result"] = "fail"
    print(f"{result['result'].upper()} {scenario.name} ({result['seconds']:.0f} s)", flush=True)
    if result["result"] != "pass":
        print(text, flush=True)
    return result


def _table(results: list[dict[str, Any]]) -> int:
    """Print one line for each result and the count; 0 when all passed."""
    print()
    for result in results:
        figures = {name: value for name, value in result.items() if name not in ("scenario", "result", "seconds")}
        said = ", ".join(f"{name} {value}" for name, value in figures.items())
        print(f"{result['result']:<5} {result['seconds']:>7.1f} s  {result['scenario']:<28} {said}")
    failed = sum(1 for result in results if result["result"] != "pass")
    print(f"{len(results) - failed} passed, {failed} failed")
    return 1 if failed else 0

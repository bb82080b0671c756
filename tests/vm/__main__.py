"""Run scenarios: ``python -m tests.vm {list,run NAME,core,all}``."""

from __future__ import annotations

import argparse
import sys
from fnmatch import fnmatchcase

from tests.vm import demo, runner
from tests.vm.scenario import load_all


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.vm", description="Scenarios that boot virtual machines.")
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("list", help="what scenarios there are")
    one = commands.add_parser("run", help="one scenario; the last line is a JSON object")
    one.add_argument("name")
    commands.add_parser("demo", help="install the demo node, boot it and look at it")
    commands.add_parser("prepare", help="build what the scenarios start from")
    for name, about in (("core", "the scenarios of make check"), ("all", "every scenario")):
        many = commands.add_parser(name, help=about + ", two machines at a time, with a table at the end")
        many.add_argument("--resume", action="store_true", help="keep the results that this very tree already has")
        many.add_argument("--only", default="*", metavar="PATTERN", help="those whose name matches, e.g. 'install-*'")
        many.add_argument("--jobs", type=int, default=2, help="machines at a time (default: 2)")
    arguments = parser.parse_args()
    scenarios = load_all()
    if arguments.command == "list":
        for scenario in scenarios.values():
            mark = "check" if scenario.core else "     "
            print(f"{scenario.name:<28} {mark}  {scenario.about}")
        return 0
    if arguments.command == "prepare":
        return runner.prepare()
    if arguments.command == "demo":
        return demo.main()
    if arguments.command == "run":
        if arguments.name not in scenarios:
            print(f"There is no scenario {arguments.name}; 'python -m tests.vm list' shows them.", file=sys.stderr)
            return 2
        return runner.run_one(scenarios[arguments.name])
    chosen = [
        one
        for one in scenarios.values()
        if (one.core or arguments.command == "all") and fnmatchcase(one.name, arguments.only)
    ]
    if not chosen:
        print(f"No scenario matches {arguments.only!r}; 'python -m tests.vm list' shows them.", file=sys.stderr)
        return 2
    return runner.run_many(chosen, resume=arguments.resume, jobs=arguments.jobs)


if __name__ == "__main__":
    sys.exit(main())

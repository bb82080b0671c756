"""``nodectl``: look at a running node and change what it boots."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from typing import Optional

from org_ovirt_node.cli import common
from org_ovirt_node.node import info
from org_ovirt_node.node.layers import state


def _info(options: argparse.Namespace) -> int:
    node = state()
    if options.machine_readable:
        print(json.dumps(info.as_dict(node), sort_keys=True))
    else:
        print(info.as_text(node), end="")
    return 0


def parser() -> argparse.ArgumentParser:
    """The command line."""
    made = argparse.ArgumentParser(prog="nodectl", description="Look at this oVirt Node and manage its images.")
    common.add_common_options(made)
    commands = made.add_subparsers(dest="command", required=True, metavar="COMMAND")
    shown = commands.add_parser("info", help="show images, layers, and what is booted")
    shown.add_argument("--machine-readable", action="store_true", help="as JSON")
    shown.set_defaults(action=_info)
    return made


def _act(options: argparse.Namespace) -> int:
    status: int = options.action(options)
    return status


def main(argv: Optional[Sequence[str]] = None) -> int:
    """The program; returns its exit status."""
    return common.main(parser(), _act, argv)


if __name__ == "__main__":
    sys.exit(main())

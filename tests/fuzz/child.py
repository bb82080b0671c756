"""The process for one target under atheris: its name, then libFuzzer's own options."""

from __future__ import annotations

import logging
import sys

import atheris

# What is imported here is watched; so this comes before anything of the project.
with atheris.instrument_imports(include=["org_ovirt_node"]):
    from tests.fuzz import targets


def main() -> None:
    logging.disable(logging.CRITICAL)
    name = sys.argv[1]
    atheris.Setup([sys.argv[0], *sys.argv[2:]], lambda data: targets.attack(name, data))
    atheris.Fuzz()


if __name__ == "__main__":
    main()

"""``nodectl first-boot``: for the initramfs and the unit that run it on a machine that got a ready disk."""

from __future__ import annotations

import argparse
from typing import Any

from org_ovirt_node.cli import common
from org_ovirt_node.node.places import Places


def disks(options: argparse.Namespace, places: Places) -> int:
    """``disks``: ids and size, before the system starts."""
    from org_ovirt_node.firstboot.disks import STEPS, FirstBoot
    from org_ovirt_node.steps import run_steps

    run_steps(FirstBoot(common.progress_for(options), places), STEPS)
    return 0


def system(options: argparse.Namespace, places: Places) -> int:
    """``system``: what was left open."""
    from org_ovirt_node.firstboot.system import console, perform

    perform(common.progress_for(options), places, console())
    return 0


HALVES = {"disks": disks, "system": system}


def add(commands: Any, places: Places) -> None:
    """Add the command to nodectl's."""
    text = "make a copied disk this machine's own (called at its first boot)"
    made: argparse.ArgumentParser = commands.add_parser("first-boot", help=text, description=text)
    made.add_argument("half", choices=sorted(HALVES))
    made.set_defaults(action=lambda options: HALVES[options.half](options, places))

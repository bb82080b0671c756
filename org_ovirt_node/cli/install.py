"""``ovirt-node-install``: the whole installation from a kickstart, with no Anaconda."""

from __future__ import annotations

import argparse
import json
import logging
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn, Optional

from org_ovirt_node.cli import common
from org_ovirt_node.errors import NodeError
from org_ovirt_node.install.options import Options
from org_ovirt_node.install.runner import install, only_plan, own_seconds
from org_ovirt_node.kickstart.standard import load
from org_ovirt_node.kickstart.units import parse_size
from org_ovirt_node.layout import describe
from org_ovirt_node.layout.model import Firmware
from org_ovirt_node.progress import Silent

FORMATS = ("text", "json", "kickstart")
FIRMWARES = {"bios": (Firmware.BIOS,), "efi": (Firmware.EFI,), "both": (Firmware.BIOS, Firmware.EFI)}
ENDINGS = ("reboot", "poweroff", "halt")


def parser() -> argparse.ArgumentParser:
    """The command line."""
    made = argparse.ArgumentParser(
        prog="ovirt-node-install",
        description="Install an oVirt Node image on this machine's disks, or on disk image files, as a kickstart says.",
        epilog="Everything the kickstart's clearpart and zerombr allow to be wiped is wiped without a question.",
    )
    made.add_argument("--kickstart", required=True, metavar="FILE|URL", help="the kickstart, a file or http(s) URL")
    made.add_argument(
        "--disk-image",
        action="append",
        default=[],
        metavar="FILE[,SIZE]",
        help="install to this file instead of the machine's disks; with SIZE (as 20GiB) it is made; may be repeated",
    )
    made.add_argument("--plan", action="store_true", help="show what would be done and write nothing")
    made.add_argument("--format", choices=FORMATS, default="text", help="how --plan shows it (default: text)")
    made.add_argument("--firmware", choices=sorted(FIRMWARES), help="what to boot from (default: as this machine)")
    made.add_argument("--no-reboot", action="store_true", help="stay when done, whatever the kickstart says")
    common.add_progress_option(made)
    common.add_common_options(made)
    return made


def disk_images(arguments: Sequence[str]) -> dict[str, Path]:
    """``FILE[,SIZE]`` arguments as image files by the name of their disk; those with a size are made, sparse."""
    images: dict[str, Path] = {}
    for argument in arguments:
        name, comma, size = argument.rpartition(",")
        path = Path(name if comma else argument).absolute()
        if comma:
            wanted = parse_size(size)
            if path.exists() and path.stat().st_size != wanted:
                raise NodeError(
                    f"the disk image {path} exists and has {path.stat().st_size} bytes, not {wanted}",
                    hint="Remove it, or leave the size out to use it as it is.",
                )
            with path.open("ab") as file:
                file.truncate(wanted)
        elif not path.is_file():
            raise NodeError(f"there is no disk image {path}", hint="Add ',SIZE' (as ',20GiB') to have it made.")
        disk = path.name.split(".", 1)[0]
        if disk in images:
            raise NodeError(f"two disk images would be called {disk}", hint="Give the files different names.")
        images[disk] = path
    return images


def act(options: argparse.Namespace) -> int:
    """Plan or install."""
    if os.geteuid() != 0:
        raise NodeError("only root can install", hint="Run it as root, for example with sudo.")
    images = {} if options.plan and not options.disk_image else disk_images(options.disk_image)
    chosen = Options(firmware=FIRMWARES[options.firmware] if options.firmware else (), images=images)
    request = load(options.kickstart, run_pre=not options.plan)
    if options.plan:
        layout = only_plan(request, chosen, Silent())
        if options.format == "json" or options.json_progress:
            print(json.dumps(describe.as_dict(layout), indent=2))
        elif options.format == "kickstart":
            print(describe.as_kickstart(layout), end="")
        else:
            print(describe.as_text(layout), end="")
        return 0
    progress = common.progress_for(options)
    done = install(request, chosen, progress)
    seconds = {name: round(value, 2) for name, value in done.seconds.items()}
    figures = {"event": "done", "nvr": done.facts.nvr, "layer": done.layer, "sha256": done.sha256, "seconds": seconds}
    if options.json_progress:
        print(json.dumps(figures), flush=True)
    else:
        print(f"Installed {done.layer} ({own_seconds(done):.1f} s besides disks and transfer).", file=sys.stderr)
    if request.ending in ENDINGS and not options.no_reboot and not images:
        subprocess.run(["systemctl", request.ending], check=False)
    return 0


def main(argv: Optional[Sequence[str]] = None) -> int:
    """The program; returns its exit status."""
    return common.main(parser(), act, argv)


def program() -> NoReturn:
    """The command: :func:`main`, and an end without Python's own taking apart.

    The generated bindings that blivet loads print a DeprecationWarning to standard error then, under any filter, and
    everything of ours is released and written by now.
    """
    status = main()
    logging.shutdown()
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    os._exit(status)


if __name__ == "__main__":
    program()

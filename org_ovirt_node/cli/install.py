"""``ovirt-node-install``: the whole installation from a kickstart, with no Anaconda."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from typing import NoReturn, Optional

from org_ovirt_node.cli import common
from org_ovirt_node.errors import WrongUsage
from org_ovirt_node.install import diskimages
from org_ovirt_node.install.options import Options
from org_ovirt_node.install.runner import install, only_plan, own_seconds
from org_ovirt_node.kickstart.model import InstallRequest
from org_ovirt_node.kickstart.standard import load
from org_ovirt_node.layout import describe
from org_ovirt_node.layout.model import Firmware
from org_ovirt_node.progress import Silent
from org_ovirt_node.run import run
from org_ovirt_node.signals import end_quietly

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
        help="install to this file instead of the machine's disks; with SIZE (as 20GiB) it is made where it is not "
        "there; may be repeated",
    )
    made.add_argument("--plan", action="store_true", help="show what would be done and write nothing")
    made.add_argument("--format", choices=FORMATS, help="how --plan shows it (default: text)")
    made.add_argument("--firmware", choices=sorted(FIRMWARES), help="what to boot from (default: as this machine)")
    made.add_argument(
        "--grow-on-first-boot",
        action="store_true",
        help="the disk is for another machine, or for many: its first boot there makes ids of its own, grows into the "
        "disk, and asks for what the kickstart leaves open",
    )
    made.add_argument("--no-reboot", action="store_true", help="stay when done, whatever the kickstart says")
    common.add_progress_option(made)
    common.add_common_options(made)
    return made


def act(options: argparse.Namespace) -> int:
    """Plan or install."""
    common.require_root("install")
    if options.format and not options.plan:
        raise WrongUsage(
            f"--format={options.format} is about --plan, and without it this would install",
            hint="Add --plan to see what would be done, or leave --format out to install.",
        )
    found = diskimages.parse(options.disk_image)
    request = load(options.kickstart, run_pre=not options.plan, plan=(options.format or "text") if options.plan else "")
    with diskimages.ready(found, only_plan=options.plan) as images:
        chosen = Options(
            firmware=FIRMWARES[options.firmware] if options.firmware else (),
            images=images,
            elsewhere=options.grow_on_first_boot,
            first_boot=options.grow_on_first_boot,
        )
        return _plan(options, request, chosen) if options.plan else _install(options, request, chosen)


def _plan(options: argparse.Namespace, request: InstallRequest, chosen: Options) -> int:
    if request.for_anaconda:
        said = ", ".join(request.for_anaconda)
        print(f"A kickstart of Anaconda's: left to Anaconda, and not looked at, are {said}.", file=sys.stderr)
    layout = only_plan(request, chosen, Silent())
    if options.format == "json" or (options.json_progress and not options.format):
        print(json.dumps(describe.as_dict(layout), indent=2))
    elif options.format == "kickstart":
        print(describe.as_kickstart(layout), end="")
    else:
        print(describe.as_text(layout), end="")
    return 0


def _install(options: argparse.Namespace, request: InstallRequest, chosen: Options) -> int:
    progress = common.progress_for(options)
    done = install(request, chosen, progress)
    seconds = {name: round(value, 2) for name, value in done.seconds.items()}
    figures = {"event": "done", "nvr": done.facts.nvr, "layer": done.layer, "sha256": done.sha256, "seconds": seconds}
    if options.json_progress:
        print(json.dumps(figures), flush=True)
    else:
        print(f"Installed {done.layer} ({own_seconds(done):.1f} s besides disks and transfer).", file=sys.stderr)
    if request.ending in ENDINGS and not options.no_reboot and not chosen.images:
        end_machine(request.ending)
    return 0


def end_machine(ending: str) -> None:
    """Restart the machine, power it off or halt it, as ENDINGS has it.  Raises CommandError."""
    end_quietly()
    run(["systemctl", ending], hint=f"The node is installed; {ending} the machine by hand.")


def main(argv: Optional[Sequence[str]] = None) -> int:
    """The program; returns its exit status."""
    return common.main(parser(), act, argv)


def program() -> NoReturn:
    """The command."""
    common.leave(main())


if __name__ == "__main__":
    program()

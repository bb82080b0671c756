"""``nodectl health``: for the units that run at boot (data/systemd/ovirt-node-*.service)."""

from __future__ import annotations

import argparse
import json
from typing import Any

from org_ovirt_node.node import health
from org_ovirt_node.node.places import Places


def run_checks(options: argparse.Namespace, places: Places) -> int:
    """``run``: the administrator's checks."""
    results = health.run_checks(places.live)
    failed = [health.describe(one) for one in results if not one.ok]
    ok = health.healthy(results)
    if not ok:
        required = [health.describe(one) for one in results if one.required and not one.ok]
        health.keep_reason(places, "; ".join(required))
    if not ok or health.fell_back(places):
        # Where the boot is not marked good, nobody else writes it.
        from org_ovirt_node.node import motd

        motd.refresh(places)
    if options.machine_readable:
        data = [
            {"name": one.name, "required": one.required, "status": one.status, "output": one.output} for one in results
        ]
        print(json.dumps({"healthy": ok, "checks": data}, sort_keys=True))
    else:
        for line in failed:
            print(f"{health.ERROR}{line}" if options.journal else line)
        print(f"{len(results)} checks ran, {len(failed)} failed")
    return 0 if ok else 1


def mark_good(options: argparse.Namespace, places: Places) -> int:
    """``good``: the boot has succeeded."""
    # Not needed by the checks, which are run right before it.
    from org_ovirt_node.node import checkfacts, motd

    said = health.boot_good(places)
    fallback = checkfacts.fallback_text(places, None)
    if options.machine_readable:
        print(json.dumps({"text": said}))
    else:
        print(f"{health.ERROR if fallback and options.journal else ''}{said}")
    motd.refresh(places)
    return 0


def note_bad(options: argparse.Namespace, places: Places) -> int:
    """``bad``: the boot has failed; the unit that calls this reboots unless the status is 0."""
    reason = health.boot_bad(places)
    reboot = health.worth_a_reboot(places)
    stays = "" if reboot else "; this layer is the default already, so there is nothing that a reboot falls back to"
    if options.machine_readable:
        print(json.dumps({"reason": reason, "reboot": reboot}, sort_keys=True))
    else:
        print(f"{health.ERROR if options.journal else ''}this boot has failed: {reason}{stays}")
    if not reboot:
        from org_ovirt_node.node import motd

        motd.refresh(places)
    return 1 if reboot else 0


ACTIONS = {"run": run_checks, "good": mark_good, "bad": note_bad}


def add(commands: Any, places: Places) -> None:
    """Add the command to nodectl's."""
    text = "run the health checks, or say how the boot ended (called at boot)"
    made: argparse.ArgumentParser = commands.add_parser("health", help=text, description=text)
    made.add_argument("--machine-readable", action="store_true", default=argparse.SUPPRESS, help="as JSON")
    made.add_argument("--journal", action="store_true", help="mark errors for the journal (sd-daemon(3))")
    made.add_argument("what", choices=sorted(ACTIONS), nargs="?", default="run")
    made.set_defaults(action=lambda options: ACTIONS[options.what](options, places))

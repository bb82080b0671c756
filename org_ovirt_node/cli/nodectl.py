"""``nodectl``: look at a running node and change what it boots.

Commands, options and the machine-readable forms of ``info`` and ``check`` are imgbased's, so that what uses them goes
on working; docs/nodectl.md describes all of them.

Commands import what they alone need when they run: two programs of a boot are nodectl, and half of its modules are for
updates.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Optional

from org_ovirt_node.cli import common, nodectl_firstboot, nodectl_health, nodectl_update
from org_ovirt_node.node import info, listing, lock, remove
from org_ovirt_node.node.layers import NodeState, config, state
from org_ovirt_node.node.places import Places

PLACES = Places()
ISSUE = Path("/etc/issue")


def _show(options: argparse.Namespace, data: Any, text: str) -> None:
    """As JSON or for people."""
    print(json.dumps(data, sort_keys=True) if options.machine_readable else text.rstrip("\n"))


def _state() -> NodeState:
    return state(config(PLACES.config)["vg"], PLACES.boot, PLACES.cmdline)


def _info(options: argparse.Namespace) -> int:
    node = _state()
    running = PLACES.cmdline.read_text(encoding="utf-8", errors="replace")
    _show(options, info.as_dict(node, running), info.as_text(node, running))
    return 0


def _list(options: argparse.Namespace) -> int:
    node = _state()
    _show(options, listing.as_dict(node), listing.as_text(node))
    return 0


def _check(options: argparse.Namespace) -> int:
    from org_ovirt_node.node import check, checkfacts

    groups = check.judge(checkfacts.gather(PLACES))
    text = check.as_text(groups)
    _show(options, check.as_dict(groups), f"  Node {text.splitlines()[0]}" if options.oneline else text)
    # Programs read the status in the JSON, and take another exit status for a failure of nodectl itself.
    return 1 if check.overall(groups) == check.BAD and not options.machine_readable else 0


def _motd(options: argparse.Namespace) -> int:
    from org_ovirt_node.node import check, checkfacts, motd

    facts = checkfacts.gather(PLACES)
    said = motd.message(facts, check.judge(facts))
    _show(options, said.as_dict(), said.as_text())
    return 0


def _banner(options: argparse.Namespace) -> int:
    from org_ovirt_node.node import motd

    found = motd.own_addresses()
    if options.update_issue:
        motd.write_issue(ISSUE, found)
    if options.machine_readable or not options.update_issue:
        _show(options, {"admin_console": found}, motd.banner(found) + "\n")
    return 0


def _rollback(options: argparse.Namespace) -> int:
    from org_ovirt_node.node import journal, motd, mounted, rollback, survey, targetroot

    common.require_root("roll the node back")
    with lock.locked("the rollback", PLACES.lock):
        node = _state()
        chosen = rollback.choose(node, options.to or "")
        changed = rollback.etc_differences(node, chosen, PLACES)
        conflicts: list[dict[str, str]] = []
        elsewhere = chosen.target != chosen.running
        renewal = targetroot.plan(node, chosen.target, PLACES) if elsewhere else None
        along = options.with_etc and elsewhere
        if along and options.plan:
            conflicts = rollback.planned_conflicts(node, chosen, PLACES)
        elif along:
            shared = [mount.target for mount in mounted.of_group(mounted.mounts(), node.group.name)]
            conflicts = rollback.take_etc_along(node, chosen, shared, PLACES)
        if not options.plan:
            if renewal is not None:
                targetroot.renew(renewal, node, PLACES)
            tries = int(config(PLACES.config).get("boot_tries", survey.DEFAULT_TRIES))
            rollback.perform(chosen, tries, PLACES)
            last = journal.load(PLACES.state)
            if last is not None and last.undecided and last.layer != chosen.target:
                last.reason = f"rolled back to {chosen.target} by hand"
                journal.save(last, PLACES.state)
    if options.plan:
        lines = [f"A rollback leads from {chosen.running} to {chosen.target}; nothing was changed."]
    else:
        motd.refresh(PLACES)
        lines = [f"The next boot is {chosen.target}; reboot to get there."]
    if chosen.retry:
        lines.append("It was never marked good, so it is on trial again.")
    if changed:
        verb = "would go along" if options.plan else "were otherwise there, and go along"
        verb = verb if options.with_etc else "are otherwise there (--with-etc takes yours)"
        lines.append(f"{len(changed)} paths of /etc {verb}:")
        lines += [f"  /etc/{path}" for path in changed[: rollback.SHOWN]]
        lines += [f"  and {len(changed) - rollback.SHOWN} more"] if len(changed) > rollback.SHOWN else []
    lines += [f"  conflict: {one['path']}: {one['text']}" for one in conflicts]
    unchecked = renewal.unchecked if renewal is not None else ""
    if unchecked:
        lines.append(f"Whether {chosen.target} reaches its root was not checked: {unchecked}")
    lines.append("/var and the other separate volumes are shared: they stay as they are.")
    data: dict[str, Any] = {"target": chosen.target, "running": chosen.running, "on_trial": chosen.retry}
    data.update(
        {"etc_differs": changed, "with_etc": bool(options.with_etc), "conflicts": conflicts, "unchecked": unchecked}
    )
    _show(options, data, "\n".join(lines))
    return 0


def _remove(options: argparse.Namespace) -> int:
    from org_ovirt_node.node import motd

    common.require_root("remove an image")
    with lock.locked("the removal", PLACES.lock):
        remove.remove_image(_state(), options.nvr, PLACES)
    motd.refresh(PLACES)
    _show(options, {"removed": options.nvr}, f"{options.nvr} was removed.")
    return 0


def _verify(options: argparse.Namespace) -> int:
    from org_ovirt_node.node.verify import choose, verify

    node = _state()
    results = verify(node, choose(node, options.nvr or ""), common.progress_for(options), PLACES.dev)
    data = {"images": [{"name": one.image, "ok": one.ok, "sha256": one.sha256, "text": one.text} for one in results]}
    words = {True: "OK", False: "FAILED", None: "UNKNOWN"}
    _show(options, data, "\n".join(f"{one.image} ... {words[one.ok]} - {one.text}" for one in results))
    return 1 if any(one.ok is False for one in results) else 0


def _diff(options: argparse.Namespace) -> int:
    from org_ovirt_node.node.diff import diff
    from org_ovirt_node.node.merge.names import escaped

    node = _state()
    found = diff(node, options.one or node.current, options.other or "", PLACES)
    data = {"changes": [{"path": f"/{escaped(one.path)}", "kind": one.kind.value, "size": one.size} for one in found]}
    lines = [f"{one['kind']:8} {one['path']}" for one in data["changes"]]
    _show(options, data, "\n".join(lines) or "Nothing differs.")
    return 0


def _command(commands: Any, name: str, help_text: str, action: common.Action) -> argparse.ArgumentParser:
    made: argparse.ArgumentParser = commands.add_parser(name, help=help_text, description=help_text)
    made.add_argument("--machine-readable", action="store_true", default=argparse.SUPPRESS, help="as JSON")
    made.set_defaults(action=action)
    return made


def parser() -> argparse.ArgumentParser:
    """The command line."""
    made = argparse.ArgumentParser(prog="nodectl", description="Look at this oVirt Node and manage its images.")
    common.add_common_options(made)
    made.add_argument("--machine-readable", action="store_true", help="as JSON")
    commands = made.add_subparsers(dest="command", required=True, metavar="COMMAND")
    _command(commands, "info", "show images, layers, and what is booted", _info)
    _command(commands, "list", "show images and layers, and what is known of them", _list)
    checked = _command(commands, "check", "check storage, boot and updates; ends with status 1 when it is bad", _check)
    checked.add_argument("--oneline", action="store_true", help="the overall state alone")
    nodectl_update.add(commands, PLACES)
    back = _command(commands, "rollback", "boot another layer, the next older good one unless it is named", _rollback)
    back.add_argument("--to", "--nvr", metavar="NVR[+N]", help="the layer, or the image that has one")
    back.add_argument("--plan", action="store_true", help="show where it leads and what of /etc is otherwise there")
    back.add_argument("--with-etc", action="store_true", help="take the running /etc along, merged as at an update")
    gone = _command(commands, "remove", "remove an image with its layers, or one layer", _remove)
    gone.add_argument("nvr", metavar="NVR[+N]")
    verified = _command(commands, "verify", "compare images with the digests recorded when they were written", _verify)
    verified.add_argument("nvr", nargs="?", metavar="NVR", help="one image (default: all)")
    compared = _command(
        commands,
        "diff",
        "show what a layer (default: the running one) has otherwise than its image, or B otherwise than A",
        _diff,
    )
    compared.add_argument("one", nargs="?", metavar="A", help="an image or a layer")
    compared.add_argument("other", nargs="?", metavar="B", help="an image or a layer")
    _command(commands, "motd", "what is to be said at login", _motd)
    shown = _command(commands, "generate-banner", "show where the administration console answers", _banner)
    shown.add_argument("--update-issue", action="store_true", help="write it to /etc/issue")
    nodectl_health.add(commands, PLACES)
    nodectl_firstboot.add(commands, PLACES)
    return made


def _act(options: argparse.Namespace) -> int:
    status: int = options.action(options)
    return status


def main(argv: Optional[Sequence[str]] = None) -> int:
    """The program; returns its exit status."""
    return common.main(parser(), _act, argv)


if __name__ == "__main__":
    sys.exit(main())

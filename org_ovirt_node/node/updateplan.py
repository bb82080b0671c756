"""What ``nodectl update --plan`` shows, as JSON (docs/nodectl.md) and as text."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from org_ovirt_node.node import preflight
from org_ovirt_node.node.merge.names import escaped
from org_ovirt_node.node.update import Prepared, Request
from org_ovirt_node.node.upper import Kind, is_kept
from org_ovirt_node.progress import human

#: Bytes per second that a transfer with its read-back reaches at the least on a disk of today; for the estimate.
RATE = 100 << 20
#: Seconds of everything else.
OWN = 10
SHOWN = 20


def as_dict(prepared: Prepared, request: Request) -> dict[str, Any]:
    """The plan; sizes in bytes."""
    facts, found = prepared.facts, prepared.preflight
    merge = prepared.merge
    return {
        "image": facts.nvr,
        "form": facts.form,
        "running": found.running,
        "possible": not prepared.problems,
        "problems": list(prepared.problems),
        "notes": list(preflight.notes(found, prepared.later)),
        "bytes": {
            "image": facts.size,
            "boot": found.need.boot,
            "boot_exact": found.need.boot_exact,
            "pool": found.need.pool,
            "vg_free": found.vg_free,
            "boot_free": found.boot_free,
            "pool_free": found.pool.free,
            "pool_metadata_free": found.pool.metadata_free,
        },
        "seconds_estimated": OWN + 2 * facts.size // RATE,
        "boot_tries": request.tries or prepared.node.tries,
        "removed_first": [image.name for image in found.room],
        "removed_later": list(prepared.later),
        "etc": {
            "known": merge is not None,
            "conflicts": merge.conflicts if merge else [],
            "notices": merge.notices if merge else [],
        },
        "left_behind": [
            {"path": f"/{escaped(change.path)}", "kind": change.kind.value, "size": change.size}
            for change in prepared.changes
            if not is_kept(change.path, request.keep)
        ],
        "kept": [f"/{escaped(change.path)}" for change in prepared.changes if is_kept(change.path, request.keep)],
        "packages": [str(package) for package in prepared.packages],
        "packages_changed": [
            {**asdict(one), "new": one.new or "", "text": str(one)} for one in prepared.changed_packages
        ],
    }


def as_text(plan: dict[str, Any]) -> str:
    """The plan for people."""
    size = plan["bytes"]
    lines = [
        f"Update to {plan['image']} ({plan['form']}), beside {plan['running']}",
        f"  image    {human(size['image'])} of {human(size['vg_free'])} free in the volume group",
        f"  layer    {human(size['pool'])} at once, of {human(size['pool_free'])} free in the thin pool",
        f"  /boot    {'' if size['boot_exact'] else 'some '}{human(size['boot'])} of {human(size['boot_free'])} free",
        f"  time     some {plan['seconds_estimated']} s",
        f"  tries    {plan['boot_tries']} boots until the running layer is taken again",
    ]
    lines += [f"  note     {note}" for note in plan["notes"]]
    etc = plan["etc"]
    if not etc["known"]:
        lines.append("  /etc     conflicts are not known: there is no room in /var/tmp to fetch the image for a look")
    else:
        lines.append(f"  /etc     {len(etc['conflicts'])} conflicts, {len(etc['notices'])} notices")
        lines += [f"           {one['topic']}: {one['path']}: {one['text']}" for one in etc["notices"]]
    left = [one for one in plan["left_behind"] if one["kind"] != Kind.DELETED.value]
    if left:
        lines.append(f"  outside /etc, {len(left)} paths stay in the old layer alone (--keep PATH takes one along):")
        lines += [f"           {one['kind']} {one['path']}" for one in left[:SHOWN]]
        lines += [f"           and {len(left) - SHOWN} more"] if len(left) > SHOWN else []
    lines += [f"  kept     {path}" for path in plan["kept"][:SHOWN]]
    lines += [f"  package  {package} is installed beside it, unless it is in the image" for package in plan["packages"]]
    lines += [f"  package  {one['text']}" for one in plan["packages_changed"]]
    lines += [f"  PROBLEM  {problem}" for problem in plan["problems"]]
    lines.append("It can start." if plan["possible"] else "It cannot start. Nothing was changed.")
    return "\n".join(lines)

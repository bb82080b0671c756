"""``nodectl update``: put a new image beside the running one."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from org_ovirt_node.boot.grubcfg import MAX_TRIES
from org_ovirt_node.cli import common
from org_ovirt_node.errors import NodeError
from org_ovirt_node.node.places import Places
from org_ovirt_node.progress import Silent

if TYPE_CHECKING:
    from org_ovirt_node.node.update import Request

SCHEMES = ("file:", "http:", "https:", "nfs:", "hd:", "cdrom:", "oci-archive:", "docker:")


def url_of(text: str) -> str:
    """An image as a URL; a path is one of this node's files.  Raises NodeError when there is none."""
    if text.startswith(SCHEMES):
        return text
    path = Path(text).absolute()
    if not path.exists():
        raise NodeError(f"there is no image {text}", hint=f"Give a file, or a URL that begins with {' '.join(SCHEMES)}")
    return path.as_uri()


def request_of(options: argparse.Namespace) -> Request:
    """What the command line asks for.  Raises NodeError."""
    # Here and below: the HTTP library takes its time to load, which other commands of nodectl need not wait for.
    from org_ovirt_node.kickstart.model import NodeSection
    from org_ovirt_node.node.update import Request

    if not options.image:
        raise NodeError("no image is named", hint="nodectl update IMAGE|URL, or nodectl update --cancel")
    if not 0 <= options.boot_tries <= MAX_TRIES:
        raise NodeError(f"--boot-tries takes 1 to {MAX_TRIES}, not {options.boot_tries}")
    section = NodeSection(
        images=tuple(url_of(image) for image in options.image),
        sha256=options.sha256,
        manifest=url_of(options.manifest) if options.manifest else "",
        key=options.key,
        nosignature=options.nosignature,
        proxy=options.proxy,
        noverifyssl=options.noverifyssl,
        cacert=options.cacert,
    )
    return Request(section, options.boot_tries, tuple(options.keep), not options.no_inhibit)


def run_update(options: argparse.Namespace, places: Places) -> int:
    """Plan, cancel or update."""
    from org_ovirt_node.node import motd, updateplan
    from org_ovirt_node.node.update_run import cancel, only_plan, own_seconds, update

    common.require_root("update the node")
    progress = common.progress_for(options)
    if options.cancel:
        said = cancel(progress, places)
        motd.refresh(places)
        print(json.dumps({"cancelled": True, "text": said}) if options.machine_readable else said)
        return 0
    request = request_of(options)
    if options.plan:
        prepared = only_plan(request, Silent() if options.machine_readable else progress, places)
        data = updateplan.as_dict(prepared, request)
        print(json.dumps(data, sort_keys=True) if options.machine_readable else updateplan.as_text(data), end="\n")
        return 1 if prepared.problems else 0
    done = update(request, progress, places)
    motd.refresh(places)
    data = {
        "image": done.facts.nvr,
        "layer": done.layer,
        "sha256": done.journal.sha256,
        "size": done.journal.size,
        "conflicts": done.journal.conflicts,
        "seconds": {name: round(seconds, 2) for name, seconds in done.seconds.items()},
        "own_seconds": round(own_seconds(done), 2),
    }
    if options.machine_readable:
        print(json.dumps(data, sort_keys=True))
    else:
        print(f"{done.layer} is installed; the next boot tries it. Reboot when it suits.")
        print("Changes of /etc until then stay in the running layer: cancel and update again to take them along.")
        for one in done.journal.conflicts:
            where = f"; the image's version is {one['beside']}" if one["beside"] else ""
            print(f"  conflict: {one['path']}: {one['text']}{where}")
    return 0


def add(commands: Any, places: Places) -> None:
    """Add the command to nodectl's."""
    text = "put a new image beside the running one, and boot it on trial"
    made: argparse.ArgumentParser = commands.add_parser("update", help=text, description=text)
    made.add_argument("--machine-readable", action="store_true", default=argparse.SUPPRESS, help="as JSON")
    made.add_argument(
        "image", nargs="*", metavar="IMAGE|URL", help="the image or its manifest; further ones are mirrors"
    )
    made.add_argument("--plan", action="store_true", help="show what would be done and change nothing")
    made.add_argument("--cancel", action="store_true", help="undo the update that runs, failed, or awaits its reboot")
    made.add_argument("--sha256", default="", metavar="HEX", help="the image's digest")
    made.add_argument("--manifest", default="", metavar="URL", help="the image's manifest")
    made.add_argument("--key", default="", metavar="FILE", help="the key that the manifest is signed with")
    made.add_argument("--nosignature", action="store_true", help="take an image that nothing vouches for")
    made.add_argument("--boot-tries", type=int, default=0, metavar="N", help="boots until the old layer is taken again")
    made.add_argument(
        "--keep", action="append", default=[], metavar="PATH", help="take this path outside /etc along; may be repeated"
    )
    made.add_argument("--no-inhibit", action="store_true", help="do not hold off a shutdown meanwhile")
    made.add_argument("--proxy", default="", metavar="URL")
    made.add_argument("--noverifyssl", action="store_true", help="do not check the server's certificate")
    made.add_argument("--cacert", default="", metavar="FILE", help="check it with this certificate authority")
    common.add_progress_option(made)
    made.set_defaults(action=lambda options: run_update(options, places))

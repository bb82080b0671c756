"""``ovirt-node-image``: the commands that look at finished images."""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

from org_ovirt_node.cli import common
from org_ovirt_node.image.contents import opened
from org_ovirt_node.mounts import keep_private
from org_ovirt_node.node.installed import packages
from org_ovirt_node.progress import Silent, human

WORDS = {True: "OK", False: "FAILED", None: "not checked"}


def show_packages(options: argparse.Namespace) -> int:
    """``inspect --packages``."""
    if not options.file.is_dir():
        keep_private()
    with opened(options.file) as tree:
        found = packages(tree)
    if options.json:
        print(json.dumps([asdict(package) for package in found]))
        return 0
    for package in found:
        print(f"{package.name} {package.version} {package.arch}")
    print(f"{len(found)} packages, {human(sum(package.size for package in found))}", file=sys.stderr)
    return 0


def run_diff(options: argparse.Namespace) -> int:
    """``diff``."""
    from org_ovirt_node.image.compare import as_dict, as_text, compare

    if not (options.one.is_dir() and options.other.is_dir()):
        keep_private()
    progress = Silent() if options.json else common.progress_for(options)
    with opened(options.one) as before, opened(options.other) as after:
        progress.step("compare", f"Comparing {options.one} with {options.other}")
        difference = compare(before, after)
    print(json.dumps(as_dict(difference)) if options.json else as_text(difference))
    return 0


def run_verify(options: argparse.Namespace) -> int:
    """``verify``; ends with status 1 when something is not as it should be."""
    from org_ovirt_node.image.verify import find, verify

    files = find(options.file, options.manifest)
    progress = Silent() if options.json else common.progress_for(options)
    results = []
    for one in verify(files, options.key, progress):
        results.append(one)
        if not options.json:
            print(f"{one.name} ... {WORDS[one.ok]} - {one.text}", flush=True)
    bad = any(one.ok is False for one in results)
    if options.json:
        print(json.dumps({"image": str(files.image), "ok": not bad, "checks": [asdict(one) for one in results]}))
    return 1 if bad else 0


def add(commands: Any) -> None:
    """The commands' options."""
    one = commands.add_parser(
        "diff",
        help="say what one image has otherwise than another",
        description="Say what B has otherwise than A: packages, then files.  Needs root.",
    )
    one.add_argument("one", type=Path, metavar="A", help="an image, or a root tree")
    one.add_argument("other", type=Path, metavar="B", help="an image, or a root tree")
    one.add_argument("--json", action="store_true", help="as JSON")
    one.set_defaults(action=run_diff)

    two = commands.add_parser(
        "verify",
        help="compare an image with its manifest",
        description="Compare an image with its manifest, or with the digest beside it.",
    )
    two.add_argument("file", type=Path, metavar="FILE", help="the image, or its manifest")
    two.add_argument("--manifest", type=Path, metavar="FILE", help="the manifest (default: the one beside the image)")
    two.add_argument("--key", type=Path, metavar="FILE", help="key ring or certificate that it must be signed by")
    two.add_argument("--json", action="store_true", help="as JSON")
    two.set_defaults(action=run_verify)

"""``ovirt-node-image``: build and look at images."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Optional

from org_ovirt_node.cli import common, image_look, image_make, image_media
from org_ovirt_node.image import build, profile, runtime, squash, summary
from org_ovirt_node.image.cache import default_folder
from org_ovirt_node.mounts import keep_private
from org_ovirt_node.progress import human

PROGRAM = "ovirt-node-image"


def request_from(options: argparse.Namespace) -> build.BuildRequest:
    """The build request that the command line asks for."""
    return build.BuildRequest(
        profile=profile.load(runtime.find_profile(options.profile)),
        version=options.version,
        release=options.release,
        output=options.output,
        root=options.root,
        form=options.form,
        compression=options.compression,
        level=options.level,
        cache=None if options.no_cache else default_folder(),
        refresh=options.refresh,
        verity=not options.no_verity,
        signer=image_make.signer_from(options),
    )


def run_build(options: argparse.Namespace) -> int:
    """``build``."""
    request = request_from(options)
    build.check(request)
    keep_private()
    built = build.build(request, common.progress_for(options))
    if options.summary:
        print(summary.as_text(built.summary, built.size), file=sys.stderr if options.json_progress else sys.stdout)
    print(build.as_json(built) if options.json_progress else os.fspath(built.path))
    return 0


def run_inspect(options: argparse.Namespace) -> int:
    """``inspect``."""
    if options.packages:
        return image_look.show_packages(options)
    # Only this command reads images, and building has to work where the payload's libraries are missing.
    from org_ovirt_node.payload import squashfs
    from org_ovirt_node.payload.sources import open_source
    from org_ovirt_node.payload.verity import with_tree

    with open_source(options.file.resolve().as_uri()) as source:
        facts = with_tree(squashfs.inspect(source), options.file)
    if options.json:
        print(json.dumps(asdict(facts), sort_keys=True))
        return 0
    for name, value in asdict(facts).items():
        if value:
            print(f"{name:12} {f'{value} ({human(value)})' if name == 'size' else value}")
    return 0


def parser() -> argparse.ArgumentParser:
    """The command line."""
    top = argparse.ArgumentParser(prog=PROGRAM, description="Build and look at oVirt Node images.")
    common.add_common_options(top)
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND")

    one = commands.add_parser("build", help="build an image", description="Build an image.  Needs root.")
    common.add_progress_option(one)
    one.add_argument("--profile", default="demo-node", help="what goes in: a file, or the name of one of ours")
    one.add_argument("--version", required=True, help="second part of the image's NVR")
    one.add_argument("--release", required=True, help="third part of the image's NVR")
    one.add_argument("--output", type=Path, default=Path(), metavar="DIR", help="where the image goes (default: here)")
    one.add_argument(
        "--root", type=Path, metavar="DIR|IMAGE", help="take this root tree, or what is in this image, not packages"
    )
    one.add_argument("--form", choices=build.FORMS, default=build.FORMS[0], help="a root tree, or a LiveOS/rootfs.img")
    one.add_argument("--compression", choices=squash.COMPRESSIONS, default=squash.COMPRESSIONS[0])
    one.add_argument("--level", type=int, default=squash.ZSTD_LEVEL, help="of zstd (default: %(default)s)")
    one.add_argument("--no-verity", action="store_true", help="append no hash tree (dm-verity)")
    image_make.add_signing(one)
    one.add_argument("--no-cache", action="store_true", help="make everything anew and keep nothing of it")
    one.add_argument("--refresh", action="store_true", help="take new packages even if there are some in the cache")
    one.add_argument("--summary", action="store_true", help="say what takes the space")
    one.set_defaults(action=run_build)

    two = commands.add_parser("inspect", help="say what an image is", description="Say what an image is.")
    two.add_argument("file", type=Path, metavar="FILE")
    two.add_argument("--json", action="store_true", help="as JSON")
    two.add_argument("--packages", action="store_true", help="list the packages in it (needs root)")
    two.set_defaults(action=run_inspect)
    image_look.add(commands)
    image_make.add(commands)
    image_media.add(commands)
    return top


def main(argv: Optional[Sequence[str]] = None) -> int:
    """The program."""
    return common.main(parser(), lambda options: int(options.action(options)), argv)


if __name__ == "__main__":
    sys.exit(main())

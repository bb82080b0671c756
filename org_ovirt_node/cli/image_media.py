"""``ovirt-node-image``: the commands that make media."""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from org_ovirt_node.cli import common
from org_ovirt_node.image import profile, publish, runtime
from org_ovirt_node.image.installer import Installer
from org_ovirt_node.mounts import keep_private
from org_ovirt_node.progress import Progress


def installer_for(options: argparse.Namespace, progress: Progress) -> Installer:
    """The installer over the root tree of the profile that the options name."""
    from org_ovirt_node.image.cache import Cache
    from org_ovirt_node.image.debian import stage_key, stage_root
    from org_ovirt_node.image.installer import build_installer
    from org_ovirt_node.image.mirror import host_mirrors

    chosen = profile.load(runtime.find_profile(options.profile))
    cache = Cache()
    tree = stage_root(chosen, cache, progress)
    return build_installer(tree, stage_key(chosen, host_mirrors()), cache, progress)


@contextmanager
def workshop(options: argparse.Namespace, progress: Progress) -> Iterator[tuple[Installer, Path]]:
    """The installer that the options name, and a folder beside their output to work in, whose mounts stay in it."""
    from org_ovirt_node.media import layers

    # Before what takes minutes.
    layers.check_image(options.file)
    publish.make_folder(options.output.parent)
    installer = installer_for(options, progress)
    keep_private()
    with tempfile.TemporaryDirectory(prefix=".media-", dir=options.output.parent) as work:
        yield installer, Path(work)


def run_pxe(options: argparse.Namespace) -> int:
    """``pxe``."""
    from org_ovirt_node.media import pxe

    template = options.kickstart or runtime.find_kickstart("pxe-unattended.ks")
    request = pxe.Request(options.file, options.output, options.url, template)
    pxe.check(request)
    progress = common.progress_for(options)
    with workshop(options, progress) as (installer, work):
        pxe.make(request, installer, work, progress)
    print(options.output)
    return 0


def run_iso(options: argparse.Namespace) -> int:
    """``iso``."""
    from org_ovirt_node.kickstart.fetch import fetch
    from org_ovirt_node.media import iso

    text = fetch(str(options.kickstart)) if options.kickstart else ""
    request = iso.Request(options.file, options.output, options.label, text, options.replace)
    iso.check(request)
    progress = common.progress_for(options)
    with workshop(options, progress) as (installer, work):
        made = iso.make(request, installer, work, progress)
    print(made.path)
    return 0


def run_derive(options: argparse.Namespace) -> int:
    """``derive``."""
    from org_ovirt_node.kickstart.fetch import fetch
    from org_ovirt_node.media import derive

    text = fetch(str(options.kickstart)) if options.kickstart else ""
    source = runtime.PACKAGE.parent
    request = derive.Request(options.boot_iso, options.file, options.output, source, text, options.replace)
    print(derive.make(request, common.progress_for(options)).path)
    return 0


def run_oci(options: argparse.Namespace) -> int:
    """``oci``."""
    from org_ovirt_node.image import oci

    print(oci.make(options.file, options.output, common.progress_for(options)))
    return 0


def add(commands: Any) -> None:
    """The commands' options."""
    from org_ovirt_node.media.iso import LABEL

    three = commands.add_parser(
        "oci",
        help="make an OCI archive of an image, for a registry",
        description="Write IMAGE as an OCI archive with one layer; 'skopeo copy' brings it to a registry.",
    )
    common.add_progress_option(three)
    three.add_argument("file", type=Path, metavar="IMAGE")
    three.add_argument("--output", type=Path, default=Path(), metavar="DIR", help="where it goes (default: here)")
    three.set_defaults(action=run_oci)
    two = commands.add_parser(
        "derive",
        help="make an ISO that installs an image from a distribution's boot.iso",
        description="Put IMAGE and the add-on on a copy of a distribution's boot.iso, and change its boot menus.",
    )
    common.add_progress_option(two)
    two.add_argument("boot_iso", type=Path, metavar="BOOT_ISO")
    two.add_argument("file", type=Path, metavar="IMAGE")
    two.add_argument("--output", type=Path, required=True, metavar="FILE", help="the new ISO image")
    two.add_argument("--kickstart", type=Path, metavar="FILE", help="install as this says (default: only the image is)")
    two.add_argument("--replace", action="store_true", help="write over an ISO image of that name")
    two.set_defaults(action=run_derive)
    four = commands.add_parser(
        "pxe",
        help="make a tree from which machines install themselves over the network",
        description="Write what a web and TFTP server needs for unattended installations of IMAGE.  Needs root.",
    )
    common.add_progress_option(four)
    four.add_argument("file", type=Path, metavar="IMAGE", help="an image from Debian packages, its manifest beside it")
    four.add_argument("--output", type=Path, required=True, metavar="DIR", help="where the tree goes")
    four.add_argument("--url", required=True, metavar="http://HOST/PATH", help="the address that the tree will have")
    four.add_argument("--kickstart", type=Path, metavar="FILE", help="what to install by (default: pxe-unattended.ks)")
    four.add_argument("--profile", default="demo-node", help="the profile that the image was built from")
    four.set_defaults(action=run_pxe)
    one = commands.add_parser(
        "iso",
        help="make an installer ISO of an image built from Debian packages",
        description="Make an ISO image that installs IMAGE: for CD and USB stick, BIOS and EFI.  Needs root.",
    )
    common.add_progress_option(one)
    one.add_argument("file", type=Path, metavar="IMAGE")
    one.add_argument("--output", type=Path, required=True, metavar="FILE", help="the ISO image")
    one.add_argument(
        "--kickstart", type=Path, metavar="FILE", help="install as this says, without a question (default: ask)"
    )
    one.add_argument("--replace", action="store_true", help="write over an ISO image of that name")
    one.add_argument("--label", default=LABEL, help="its volume label (default: %(default)s)")
    one.add_argument("--profile", default="demo-node", help="the profile that the image was built from")
    one.set_defaults(action=run_iso)

"""``ovirt-node-image``: the commands that make something of what is there: edit, rpm, disk."""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import Any

from org_ovirt_node.cli import common
from org_ovirt_node.image import build, disks, edit, insert, profile, publish, runtime
from org_ovirt_node.mounts import keep_private

EPILOG = """\
Packages are installed first, then files are copied, then scripts run, each in the order given.  The image itself stays
as it is.  What belongs to one host (machine-id, SSH host keys, initiator name …) is taken out again, but for what
--copy-in names.
"""


def add_signing(one: argparse.ArgumentParser) -> None:
    """The options that say who signs the manifest of what is made."""
    one.add_argument("--sign", default="", metavar="KEY", help="sign the manifest with this OpenPGP key of gpg's")
    one.add_argument("--sign-certificate", type=Path, metavar="FILE", help="sign it with this X.509 certificate (PEM)")
    one.add_argument("--sign-key", type=Path, metavar="FILE", help="and this is the certificate's key (PEM)")


def signer_from(options: argparse.Namespace) -> publish.Signer:
    """Who signs."""
    return publish.Signer(options.sign, options.sign_certificate, options.sign_key)


def request_from(options: argparse.Namespace) -> edit.EditRequest:
    """What the command line asks for.  Raises ImageError."""
    for files, suffix in ((options.install_deb, insert.DEB), (options.install_rpm, insert.RPM)):
        for file in files:
            insert.check_package(file, suffix)
    return edit.EditRequest(
        image=options.file,
        output=options.output,
        nvr=options.set_nvr,
        packages=(*options.install_deb, *options.install_rpm),
        copies=tuple(map(insert.parse_copy, options.copy_in)),
        scripts=tuple(options.run),
        boot_args=tuple(options.add_boot_arg),
        ssh_keys=tuple(key for file in options.ssh_key for key in insert.read_keys(file)),
        profile=profile.load(runtime.find_profile(options.profile)) if options.profile else None,
        signer=signer_from(options),
    )


def run_edit(options: argparse.Namespace) -> int:
    """``edit``."""
    request = request_from(options)
    edit.check(request)
    keep_private()
    built = edit.edit(request, common.progress_for(options))
    print(build.as_json(built) if options.json_progress else os.fspath(built.path))
    return 0


def run_rpm(options: argparse.Namespace) -> int:
    """``rpm``."""
    from org_ovirt_node.image.updaterpm import make

    print(make(options.file, options.output, common.progress_for(options)))
    return 0


def run_disk(options: argparse.Namespace) -> int:
    """``disk``."""
    formats = options.format or [disks.QCOW2]
    for made in disks.convert(options.file, formats, options.output, common.progress_for(options)):
        print(made.path)
    return 0


def add(commands: Any) -> None:
    """The commands' options."""
    three = commands.add_parser(
        "disk",
        help="make an installed disk image ready to be handed out",
        description="Write a raw disk image that was installed to as qcow2, or compressed with a block map (bmap).",
    )
    common.add_progress_option(three)
    three.add_argument("file", type=Path, metavar="DISK", help="what ovirt-node-install --disk-image made")
    three.add_argument(
        "--format", action="append", choices=disks.FORMATS, help="qcow2 (the default) or another; may be repeated"
    )
    three.add_argument("--output", type=Path, default=Path(), metavar="DIR", help="where it goes (default: here)")
    three.set_defaults(action=run_disk)

    two = commands.add_parser(
        "rpm",
        help="make an update RPM of an image",
        description="Make an RPM of an image; installing it on a node runs 'nodectl update'.  Needs rpmbuild.",
    )
    common.add_progress_option(two)
    two.add_argument("file", type=Path, metavar="IMAGE")
    two.add_argument("--output", type=Path, default=Path(), metavar="DIR", help="where the RPM goes (default: here)")
    two.set_defaults(action=run_rpm)

    one = commands.add_parser(
        "edit",
        help="make a new image from an old one",
        description="Make a new image from an old one.  Needs root.",
        epilog=EPILOG,
    )
    common.add_progress_option(one)

    def several(name: str, kind: Any, what: str, text: str) -> None:
        one.add_argument(name, action="append", default=[], type=kind, metavar=what, help=f"{text}; may be repeated")

    one.add_argument("file", type=Path, metavar="IMAGE")
    one.add_argument("--output", type=Path, default=Path(), metavar="DIR", help="where the image goes (default: here)")
    one.add_argument("--set-nvr", default="", metavar="NVR", help="its name (default: the image's, the release + .e1)")
    several("--install-deb", Path, "FILE", "install this .deb")
    several("--install-rpm", Path, "FILE", "install this .rpm")
    several("--copy-in", str, "SOURCE:TARGET", "copy a file or folder, as root's; into TARGET when it ends with /")
    several("--run", Path, "SCRIPT", "run this script in it, as root")
    several("--add-boot-arg", str, "ARG", "a kernel argument that every layer of it boots with")
    several("--ssh-key", Path, "FILE", "let the owners of the public keys in FILE log in as root")
    one.add_argument("--profile", default="", metavar="NAME", help="build the initramfs again, as this profile says")
    add_signing(one)
    one.set_defaults(action=run_edit)

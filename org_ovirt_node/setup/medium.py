"""What is on the medium that the installer was started from, and whether that is whole."""

from __future__ import annotations

import json
from pathlib import Path

from org_ovirt_node.errors import PayloadError
from org_ovirt_node.i18n import _
from org_ovirt_node.media import checksum
from org_ovirt_node.progress import Progress
from org_ovirt_node.run import run
from org_ovirt_node.setup.answers import Disk, Image, disks_of
from org_ovirt_node.setup.source import MEDIUM


def images(medium: Path = Path(MEDIUM)) -> tuple[Image, ...]:
    """The images on the medium that can be installed, by their manifests.  Raises PayloadError when there is none."""
    from org_ovirt_node.payload import manifest

    found = []
    for path in sorted((medium / "ovirt-node").glob("*.json")):
        read = manifest.parse(path.read_bytes(), str(path))
        if (path.parent / read.file).is_file():
            found.append(Image(str(path.parent / read.file), read.facts.nvr, read.sha256))
    if not found:
        raise PayloadError(
            _("there is no image on the medium ({medium}/ovirt-node)").format(medium=medium),
            hint=_("Make the medium anew."),
        )
    return tuple(found)


def check(progress: Progress, medium: Path = Path(MEDIUM)) -> None:
    """Compare the medium with the checksum in it, before anything is written.  Raises PayloadError.

    One that the boot loader has read into memory, or that has no checksum, is said to be unchecked.
    """
    source = run(["findmnt", "--noheadings", "--output", "SOURCE", medium], check=False).stdout.strip()
    progress.step("medium", "Checking the medium")
    if not source.startswith("/dev/"):
        progress.detail("it was read into memory: what is installed is still compared with its digest")
    elif not checksum.check(Path(source), progress.transferred):
        progress.detail("there is no checksum in it")


def disks() -> tuple[Disk, ...]:
    """The disks of this machine that could be installed to."""
    shown = run(["lsblk", "--json", "--bytes", "--output", "NAME,SIZE,MODEL,TYPE,RO,MOUNTPOINTS"]).stdout
    return disks_of(json.loads(shown))

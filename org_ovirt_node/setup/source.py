"""Which kickstart the machine was started with."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Optional

from org_ovirt_node.boot.cmdline import split
from org_ovirt_node.errors import WrongUsage
from org_ovirt_node.i18n import N_, _, translated
from org_ovirt_node.kickstart.fetch import MEDIUM_FILE, MEDIUM_LABEL
from org_ovirt_node.mounts import mounted
from org_ovirt_node.run import run
from org_ovirt_node.urls import redact_url

#: Where the medium is mounted, as in Anaconda's environment.
MEDIUM = "/run/install/repo"
LABELS = Path("/dev/disk/by-label")
#: Where the medium with the kickstart is mounted.
MOUNT = Path("/run/ovirt-node-ks")
#: On the kernel command line; the first is Anaconda's.
ARGUMENTS = ("inst.ks", "ovirt-node.ks")
#: What the installer of oVirt Node 3 took there; an unattended one that asks for it must not sit at a question.
LEGACY = ("storage_init", "storage_vol", "stateless", "uninstall", "reinstall", "firstboot", "standalone", "adminpw")
ACCEPTED = N_("http://…, https://…, file:/PATH or cdrom:/PATH on the medium, hd:LABEL=NAME:/PATH")


@dataclass(frozen=True)
class Kickstart:
    """Where a kickstart is.  With ``label`` it is the file ``path`` on the file system of that label."""

    path: str
    label: str = ""

    @property
    def web(self) -> bool:
        """True when the network has to be up for it."""
        return not self.label and "://" in self.path

    @property
    def shown(self) -> str:
        """For people: without a password."""
        return f"{self.path} on {self.label}" if self.label else redact_url(self.path)


def from_command_line(line: str) -> Optional[Kickstart]:
    """What the kernel command line asks for; None when it asks for nothing.  Raises WrongUsage."""
    for word in split(line):
        if word.partition("=")[0] in LEGACY:
            raise WrongUsage(
                _("{word} on the kernel command line is not supported").format(word=word.partition("=")[0]),
                hint=_("Give a kickstart, inst.ks=URL; a node is removed by what is installed over it."),
            )
    found = [word for word in split(line) if word.partition("=")[0] in ARGUMENTS]
    if not found:
        return None
    if len(set(found)) > 1:
        raise WrongUsage(
            _("the kernel command line names several kickstarts"),
            hint=_("Give one of {words}.").format(words=", ".join(found)),
        )
    value = found[0].partition("=")[2].strip('"')
    scheme, colon, rest = value.partition(":")
    if not value:
        return Kickstart(f"{MEDIUM}/{MEDIUM_FILE}")
    if scheme in ("http", "https") and rest.startswith("//"):
        return Kickstart(value)
    if scheme == "hd" and rest.startswith("LABEL=") and ":/" in rest:
        label, _colon, path = rest[len("LABEL=") :].partition(":")
        return Kickstart(path, label)
    path = rest if colon and scheme in ("file", "cdrom") else value
    if path.startswith("/"):
        inside = PurePosixPath("/", *[part for part in PurePosixPath(path).parts if part not in ("/", "..")])
        return Kickstart(f"{MEDIUM}{inside}")
    raise WrongUsage(
        _("{word}={value} names no kickstart").format(word=found[0].partition("=")[0], value=redact_url(value)),
        hint=_("Accepted: {accepted}.").format(accepted=translated(ACCEPTED)),
    )


def wanted(line: str) -> Optional[Kickstart]:
    """The kickstart of this start: of the command line, or on a medium of the label."""
    asked = from_command_line(line)
    if asked is not None:
        return asked
    run(["udevadm", "settle", "--timeout=60"], check=False)
    device = LABELS / MEDIUM_LABEL
    if not device.exists():
        return None
    # A disk with drivers has the label too, and no kickstart.
    with mounted(os.fspath(device), MOUNT, options=["ro"]) as folder:
        return Kickstart(f"/{MEDIUM_FILE}", MEDIUM_LABEL) if (folder / MEDIUM_FILE).is_file() else None

"""Which Debian mirror to use: the one that this host's own apt uses."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from org_ovirt_node.errors import ImageError
from org_ovirt_node.run import run

KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
#: What apt prints for each index file it would download, one line each (apt-get(8), indextargets).
TARGET_FORMAT = "$(REPO_URI)|$(LABEL)|$(COMPONENT)"


@dataclass(frozen=True)
class Mirrors:
    """Where packages come from; ``security`` is empty when there is no mirror of it."""

    archive: str
    security: str = ""

    def sources(self, suite: str, components: tuple[str, ...], *, security: bool) -> list[str]:
        """The lines of an apt sources.list(5) for ``suite``."""
        signed = f"deb [signed-by={KEYRING}]"
        parts = " ".join(components)
        lines = [f"{signed} {self.archive} {suite} {parts}"]
        if security and self.security:
            lines.append(f"{signed} {self.security} {suite}-security {parts}")
        return lines


def parse_targets(text: str) -> Mirrors:
    """Choose the mirrors from what ``apt-get indextargets`` printed.  Raises ImageError where apt knows none.

    The label is in the Release file, which apt has only after an update; the last part of the URI decides without it.
    """
    archive = security = ""
    for line in text.splitlines():
        uri, label, component = [*line.split("|"), "", ""][:3]
        last = uri.rstrip("/").rsplit("/", 1)[-1]
        if component != "main":
            continue
        if label == "Debian-Security" or (not label and last == "debian-security"):
            security = security or uri
        elif label == "Debian" or (not label and last == "debian"):
            archive = archive or uri
    if not archive:
        raise ImageError(
            "apt on this host knows no Debian mirror, so there is no place to take packages from",
            hint="Add one to /etc/apt/sources.list and run 'apt-get update'.",
        )
    return Mirrors(archive, security)


def host_mirrors() -> Mirrors:
    """The mirrors in this host's apt sources.  Raises :class:`ImageError` where Debian's archive keys are missing."""
    if not KEYRING.exists():
        raise ImageError(
            f"{KEYRING} is missing, so packages could not be checked",
            hint="Install the package debian-archive-keyring.",
        )
    done = run(["apt-get", "indextargets", "--format", TARGET_FORMAT, "Created-By: Packages"], check=False)
    return parse_targets(done.stdout if done.ok else "")

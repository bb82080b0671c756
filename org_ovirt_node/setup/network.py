"""The installer's network: started for what comes over it, as the kickstart's ``network`` lines say or by DHCP."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from org_ovirt_node.errors import NodeError
from org_ovirt_node.i18n import _
from org_ovirt_node.install import system
from org_ovirt_node.kickstart import fetch
from org_ovirt_node.kickstart.model import InstallRequest, NetworkRequest, NodeSection
from org_ovirt_node.progress import Progress
from org_ovirt_node.run import run
from org_ovirt_node.storage import ibft

#: Seconds for the network to come up.
ONLINE = 120
#: Where an image can come from that is not in the machine (payload/sources.py).
REMOTE = ("http", "https", "nfs", "docker")


def is_remote(node: NodeSection) -> bool:
    """True when the image or its manifest comes over the network."""
    return any(url.partition(":")[0] in REMOTE for url in (*node.images, node.manifest))


class Network:
    """The network of this machine, which is started once."""

    def __init__(self, progress: Progress, root: Path = Path("/")) -> None:
        self.progress = progress
        self.root = root
        self.up = False

    def fetch(self, source: str) -> str:
        """The text of a kickstart, or of what it includes; for a web server's the network is up.  Raises NodeError."""
        if fetch.is_web(source):
            self.start()
        return fetch.fetch(source)

    def prepare(self, request: InstallRequest) -> None:
        """Have the network up when ``request`` needs it.  Raises NodeError when it does not come up then."""
        if is_remote(request.node) or request.iscsi.targets:
            self.start(request.system.networks)
        elif ibft.is_there():
            try:
                self.start(request.system.networks)
            except NodeError as error:
                # As with the login itself: the disks may well be local.
                self.progress.detail(
                    _("the firmware names iSCSI targets, and there is no network: {error}").format(error=error)
                )

    def start(self, networks: Sequence[NetworkRequest] = ()) -> None:
        """Have the network up, by the profiles that ``networks`` mean; without one by DHCP.

        Once it is up it stays as it is.  Raises NodeError.
        """
        if self.up:
            return
        self.progress.step("network", _("Starting the network"))
        # What is not to come up at boot is there for the installation all the same, as in Anaconda.
        system.connections(self.root, [replace(network, onboot=True) for network in networks])
        run(["systemctl", "start", "NetworkManager.service"], timeout=ONLINE)
        if not run(["nm-online", "--quiet", "--timeout", str(ONLINE)], check=False).ok:
            hint = _("Is there a DHCP server? See 'journalctl -u NetworkManager'.")
            if networks:
                hint = _("Check the kickstart's network lines. See 'journalctl -u NetworkManager'.")
            raise NodeError(
                _("no network card came up within {seconds} s").format(seconds=ONLINE),
                hint=hint,
            )
        self.up = True

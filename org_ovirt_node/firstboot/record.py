"""What an installation with ``--grow-on-first-boot`` leaves for the first boot: /etc/ovirt-node/first-boot.json.

The file is in host.img too: as long as it is there, the initramfs gives the VG new ids before it activates anything.
Nothing secret is in it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

from org_ovirt_node.boot import hostfiles
from org_ovirt_node.errors import NodeError
from org_ovirt_node.kickstart.model import InstallRequest, SystemRequest
from org_ovirt_node.layout import policy
from org_ovirt_node.layout.model import Layout

FIRST_BOOT = hostfiles.FIRST_BOOT
FORMAT = 1
HOSTNAME, NETWORK, PASSWORD = "hostname", "network", "password"


@dataclass(frozen=True)
class Record:
    """``open`` is what the console is asked for; sizes are bytes.

    ``usual`` are the sizes up to which thin volumes grow where the pool has the room, ``reserved`` what stays free in
    the VG, ``layers`` for how many layers the pool has to have room.  ``uuids`` (old → new) is what the file systems
    get: it is decided once, so that a first boot that was cut short goes on where it was.
    """

    vg: str
    pool: str
    layer: str
    layers: int
    reserved: int
    open: tuple[str, ...] = ()
    usual: Mapping[str, int] = field(default_factory=dict)
    uuids: Mapping[str, str] = field(default_factory=dict)
    format: int = FORMAT

    def render(self) -> str:
        """The file's text."""
        return json.dumps(asdict(self), indent=2, sort_keys=True) + "\n"


def parse(text: str, name: str = FIRST_BOOT) -> Record:
    """Read the file's text.  Raises NodeError."""
    try:
        data = json.loads(text)
        if data["format"] != FORMAT:
            raise ValueError(f"its format is {data['format']!r}")
        record = Record(**{**data, "open": tuple(data["open"])})
    except (ValueError, KeyError, TypeError) as error:
        raise NodeError(f"{name} cannot be read: {error}", hint="Install the disk again.") from error
    return record


def load(path: Path = Path(FIRST_BOOT)) -> Record:
    """Read the file.  Raises NodeError."""
    try:
        return parse(path.read_text(encoding="utf-8"), str(path))
    except OSError as error:
        raise NodeError(f"{path} cannot be read: {error.strerror}", hint="Only a first boot has it.") from error


def left_open(system: SystemRequest) -> tuple[str, ...]:
    """What the kickstart does not say, and only somebody at the machine can."""
    return tuple(
        name
        for name, missing in (
            (HOSTNAME, not system.hostname),
            (NETWORK, not system.networks),
            (PASSWORD, system.root is None and not system.users),
        )
        if missing
    )


def of(layout: Layout, layer: str, request: InstallRequest) -> Record:
    """The record of an installation that made ``layout``; its layer's name may differ from the planned one."""
    asked = {volume.mountpoint for volume in request.node.volumes}
    if request.node.layer_size is not None:
        asked.add("/")
    usual = {}
    for volume in layout.volumes:
        default = policy.BY_MOUNTPOINT.get(volume.mountpoint)
        # What the kickstart gives a size to keeps it.
        if request.storage.autopart and volume.thin and default is not None and volume.mountpoint not in asked:
            usual[layer if volume.is_layer else volume.name] = default.usual
    return Record(
        vg=layout.vg.name,
        pool=layout.pool.name,
        layer=layer,
        layers=request.node.image_slots,
        reserved=layout.reserved,
        open=left_open(request.system),
        usual=usual,
    )

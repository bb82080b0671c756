"""Which files of a host go into its host.img, so that its initramfs reaches the disks (docs/architecture.md)."""

from __future__ import annotations

import stat
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Optional

from org_ovirt_node.boot.hostinitrd import HostFile
from org_ovirt_node.boot.reachable import (
    CRYPTTAB,
    DEVICES_FILE,
    INITIATOR,
    ISCSI_RECORDS,
    MULTIPATH_CONF,
    MULTIPATH_WWIDS,
)
from org_ovirt_node.inside import inside, matching

#: Says that this disk has not been booted on its own machine yet (firstboot/record.py).
FIRST_BOOT = "/etc/ovirt-node/first-boot.json"
#: What all layers share (layout/policy.py).
SHARED = "/var/"
#: Taken where the host has them.
ALWAYS = (DEVICES_FILE, INITIATOR, FIRST_BOOT)
#: Taken where the part of the storage stack is in use; names may have the wildcards of glob.
BY_STACK = {
    "multipath": (MULTIPATH_CONF, "/etc/multipath/conf.d/*.conf", MULTIPATH_WWIDS, "/etc/multipath/bindings"),
    "iscsi": ("/etc/iscsi/iscsid.conf", f"{ISCSI_RECORDS}**/*", "/var/lib/iscsi/ifaces/*"),
    "crypt": (CRYPTTAB,),
}


def collect(
    root: Path, previous: Mapping[str, HostFile], stack: Collection[str] = (), *, live: Optional[Path] = None
) -> dict[str, HostFile]:
    """The files for a new host.img of the system at ``root``.

    What the ``previous`` host.img has stays in it, in the version that the system has now; nothing that made the host
    boot is left out because it is not known here.  Only root may read what is taken.  ``live`` has the volumes that
    all layers share, where a new layer at ``root`` is put together without them: a record of iSCSI whose password was
    changed goes along with the new one.  Other records there are those of data, which the initramfs is not to open.
    """
    wanted = [*previous, *ALWAYS]
    for part in sorted(stack):
        for pattern in BY_STACK.get(part, ()):
            wanted += matching(root, pattern)
    found = {}
    for path in dict.fromkeys(wanted):
        system = live if live is not None and path.startswith(SHARED) else root
        current = inside(system, path, follow=False)
        if current.is_file() and not current.is_symlink():
            mode = stat.S_IMODE(current.stat().st_mode) & 0o700
            found[path] = HostFile(current.read_bytes(), mode)
        elif path in previous:
            found[path] = previous[path]
    return found

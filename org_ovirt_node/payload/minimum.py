"""What an image's manifest asks of a host, compared with what the host has."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

from org_ovirt_node.errors import PayloadError
from org_ovirt_node.i18n import _
from org_ovirt_node.payload.manifest import Manifest
from org_ovirt_node.progress import human

MEMINFO = Path("/proc/meminfo")
MEM_TOTAL = re.compile(r"^MemTotal:\s+(\d+) kB$", re.MULTILINE)
#: Firmware and kernel keep so large a part of the memory (an eighth at most) that MemTotal does not show it.
SHOWN = 7 / 8


def check_memory(manifest: Manifest, meminfo: Path = MEMINFO) -> None:
    """Refuse a machine with less memory than the image needs (proc_meminfo(5)).  Raises PayloadError."""
    found = MEM_TOTAL.search(meminfo.read_text(encoding="ascii"))
    total = int(found[1]) << 10 if found else manifest.minimum_memory
    if total < manifest.minimum_memory * SHOWN:
        raise PayloadError(
            _("{nvr} needs {needed} of memory, and this machine has {total}").format(
                nvr=manifest.nvr, needed=human(manifest.minimum_memory), total=human(total)
            ),
            hint=_("Install it on a machine with more memory."),
        )


def check_disks(manifest: Manifest, sizes: Iterable[int]) -> None:
    """Refuse disks of ``sizes`` bytes that are together smaller than the image needs.  Raises PayloadError."""
    total = sum(sizes)
    if total < manifest.minimum_disk:
        raise PayloadError(
            _("{nvr} needs disks of {needed}, and the chosen ones have {total}").format(
                nvr=manifest.nvr, needed=human(manifest.minimum_disk), total=human(total)
            ),
            hint=_("Choose a larger disk, or another one beside it."),
        )

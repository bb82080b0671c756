"""What a machine's firmware has left about its own iSCSI sessions: the iBFT.

ACPI 6.5, "iSCSI Boot Firmware Table"; kernel: drivers/firmware/iscsi_ibft.c.
"""

from __future__ import annotations

from pathlib import Path

from org_ovirt_node.run import run

FIRMWARE = Path("/sys/firmware/ibft")


def is_there() -> bool:
    """True when the firmware names targets, or was started over the network."""
    run(["modprobe", "--quiet", "iscsi_ibft"], check=False)
    return (FIRMWARE / "initiator").is_dir()


def initiator() -> str:
    """The name by which the firmware logs in, empty when it says none."""
    path = FIRMWARE / "initiator/initiator-name"
    return path.read_text(encoding="ascii", errors="replace").strip("\0 \n") if path.is_file() else ""

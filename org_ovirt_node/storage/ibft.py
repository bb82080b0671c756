"""What a machine's firmware has left about its own iSCSI sessions: the iBFT.

ACPI 6.5, "iSCSI Boot Firmware Table"; kernel: drivers/firmware/iscsi_ibft.c.
"""

from __future__ import annotations

import ipaddress
from pathlib import Path

from org_ovirt_node.kickstart.model import NetworkRequest
from org_ovirt_node.run import run

FIRMWARE = Path("/sys/firmware/ibft")
#: Where a card has its address from (the table's "origin"): DHCP, and a router's announcement.
NOT_FIXED = ("3", "4")


def is_there() -> bool:
    """True when the firmware names targets, or was started over the network."""
    run(["modprobe", "--quiet", "iscsi_ibft"], check=False)
    return (FIRMWARE / "initiator").is_dir()


def read_value(path: Path) -> str:
    """What the kernel's file ``path`` in /sys says; empty where there is none."""
    return path.read_text(encoding="ascii", errors="replace").strip("\0 \n") if path.is_file() else ""


def initiator() -> str:
    """The name by which the firmware logs in, empty when it says none."""
    return read_value(FIRMWARE / "initiator/initiator-name")


def networks(firmware: Path = FIRMWARE) -> tuple[NetworkRequest, ...]:
    """The fixed addresses that the firmware's cards have, each as a line about the card with that MAC address.

    A table without an origin names the DHCP server that the address is from (kernel: ABI/testing/sysfs-ibft).
    """
    found = []
    for card in sorted(firmware.glob("ethernet*")):
        told = {name: read_value(card / name) for name in ("mac", "ip-addr", "prefix-len", "gateway", "dhcp", "origin")}
        if told["origin"] in NOT_FIXED or told["dhcp"].strip("0.:") or not told["mac"]:
            continue
        try:
            own = ipaddress.ip_interface(f"{told['ip-addr']}/{told['prefix-len']}")
        except ValueError:
            # No address, or none that anybody could use.
            continue
        mac, gateway = told["mac"].lower(), told["gateway"] if told["gateway"].strip("0.:") else ""
        if own.version == 6:
            found.append(NetworkRequest(mac, ipv6=str(own), ipv6_gateway=gateway))
        elif not own.ip.is_unspecified:
            found.append(NetworkRequest(mac, "static", str(own.ip), str(own.netmask), gateway))
    return tuple(found)

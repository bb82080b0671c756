"""The files of a new node's /etc as text: pure renderers."""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass
from uuid import NAMESPACE_DNS, uuid5

from org_ovirt_node.kickstart.model import NetworkRequest

FSTAB_HEADER = "# The root file system has no line here: it is an overlay that the initramfs mounts (see nodectl(8)).\n"
#: For the unit of open-iscsi that ends all sessions at shutdown (systemd.service(5): an empty value clears the list).
KEEP_SESSIONS = "# The root is on iSCSI: its sessions end with the machine.\n[Service]\nExecStop=\n"


@dataclass(frozen=True)
class FstabLine:
    """One line of fstab(5)."""

    spec: str
    mountpoint: str
    fstype: str
    options: tuple[str, ...]
    passno: int = 2


def escape(field: str) -> str:
    """A field of fstab with white space and backslash as octal, as fstab(5) and getmntent(3) want it."""
    return "".join(f"\\{ord(char):03o}" if char in " \t\n\\#" else char for char in field)


def fstab(lines: Sequence[FstabLine]) -> str:
    """fstab(5), parents before children."""
    rows = []
    for line in sorted(lines, key=lambda item: item.mountpoint):
        options = ",".join(line.options) or "defaults"
        rows.append(f"{escape(line.spec)} {escape(line.mountpoint)} {line.fstype} {options} 0 {line.passno}\n")
    return FSTAB_HEADER + "".join(rows)


def crypttab(uuids: Sequence[str]) -> str:
    """crypttab(5) for LUKS containers that the initramfs opens, asking for their passphrase."""
    return "".join(f"luks-{uuid} UUID={uuid} none discard,x-initrd.attach\n" for uuid in uuids)


def _prefix(netmask: str) -> int:
    return ipaddress.ip_network(f"0.0.0.0/{netmask}").prefixlen


def _is_mac(device: str) -> bool:
    parts = device.split(":")
    return len(parts) == 6 and all(len(part) == 2 for part in parts)


def connection_name(request: NetworkRequest) -> str:
    """The profile's name, which is also its file's: the device, or "wired" for any wired card."""
    return request.device.replace(":", "") or "wired"


def connection_uuid(request: NetworkRequest) -> str:
    """The profile's id: the same for the same name."""
    return str(uuid5(NAMESPACE_DNS, connection_name(request)))


def root_cards(requests: Sequence[NetworkRequest]) -> str:
    """NetworkManager's settings for the cards by which the root is reached (NetworkManager.conf(5), "device")."""
    names = ",".join(f"interface-name:={request.device}" for request in requests)
    return (
        "# The root is reached by these cards: see NetworkManager.service.d/ovirt-node-root.conf.\n"
        f"[device-ovirt-node-root]\nmatch-device={names}\nkeep-configuration=no\n"
    )


def root_profiles(requests: Sequence[NetworkRequest]) -> str:
    """For NetworkManager's unit: which profile each of these cards has, as after a restart of NetworkManager itself.

    Format: its src/core/nm-config.c, DEVICE_RUN_STATE.  With such a file it takes over what the initramfs has set up
    (as it does in an initramfs with NetworkManager, whose file is left alone), and with no other.
    """
    lines = ["[Service]", "RuntimeDirectory=NetworkManager/devices", "RuntimeDirectoryPreserve=yes"]
    for request in requests:
        state = f"[device]\\nmanaged=true\\nconnection-uuid={connection_uuid(request)}\\n"
        script = f"read -r i < /sys/class/net/{request.device}/ifindex && cd /run/NetworkManager/devices"
        lines.append(f"ExecStartPre=-/bin/sh -c '{script} && {{ test -e $$i || printf \"{state}\" > $$i; }}'")
    return "\n".join(lines) + "\n"


def keyfile(request: NetworkRequest) -> str:
    """A NetworkManager profile in keyfile form (nm-settings-keyfile(5))."""
    name = connection_name(request)
    lines = ["[connection]", f"id={name}", f"uuid={connection_uuid(request)}", "type=ethernet"]
    if request.device and not _is_mac(request.device):
        lines.append(f"interface-name={request.device}")
    if not request.onboot:
        lines.append("autoconnect=false")
    lines += ["", "[ethernet]"]
    if _is_mac(request.device):
        lines.append(f"mac-address={request.device.upper()}")
    if request.mtu:
        lines.append(f"mtu={request.mtu}")
    servers4 = [server for server in request.nameservers if ":" not in server]
    servers6 = [server for server in request.nameservers if ":" in server]
    # A family that is off can have neither servers nor domains: NetworkManager would not take the profile.
    four = request.ip != "none"
    lines += ["", "[ipv4]", *_ipv4(request), *(_dns(servers4, request.search) if four else [])]
    lines += ["", "[ipv6]", *_ipv6(request)]
    if request.ipv6 != "ignore":
        lines += _dns(servers6, () if four else request.search)
    return "\n".join(lines) + "\n"


def _dns(servers: Sequence[str], search: Sequence[str]) -> list[str]:
    lines = []
    if servers:
        lines.append("dns=" + "".join(f"{server};" for server in servers))
    if search:
        lines.append("dns-search=" + "".join(f"{domain};" for domain in search))
    return lines


def _ipv4(request: NetworkRequest) -> list[str]:
    if request.ip == "none":
        return ["method=disabled"]
    if request.ip == "dhcp":
        return ["method=auto"]
    address = f"{request.address}/{_prefix(request.netmask)}"
    if request.gateway:
        address += f",{request.gateway}"
    return ["method=manual", f"address1={address}"]


def _ipv6(request: NetworkRequest) -> list[str]:
    if request.ipv6 in ("auto", "dhcp"):
        return [f"method={request.ipv6}"]
    if request.ipv6 == "ignore":
        return ["method=ignore"]
    address = request.ipv6 if "/" in request.ipv6 else f"{request.ipv6}/64"
    if request.ipv6_gateway:
        address += f",{request.ipv6_gateway}"
    return ["method=manual", f"address1={address}"]


def with_setting(text: str, name: str, value: str) -> str:
    """``text`` (lines ``NAME=value``) with ``name`` set; the last assignment is replaced or a line added."""
    lines = text.splitlines()
    found = [number for number, line in enumerate(lines) if line.split("=", 1)[0].strip() == name]
    if found:
        lines[found[-1]] = f"{name}={value}"
    else:
        lines.append(f"{name}={value}")
    return "\n".join(lines) + "\n"

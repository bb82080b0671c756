"""Make the new root this host's own: everything that the kickstart says of it, and what must differ per host."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from uuid import uuid4

from org_ovirt_node.boot.reachable import DEVICES_FILE, INITIATOR
from org_ovirt_node.errors import NodeError
from org_ovirt_node.i18n import _
from org_ovirt_node.inside import inside, place_for_file
from org_ovirt_node.install import texts
from org_ovirt_node.kickstart.model import NetworkRequest, NodeSection, SystemRequest
from org_ovirt_node.run import run
from org_ovirt_node.storage import iscsi
from org_ovirt_node.storage.execute import MadeFileSystem

NODE_CONFIG = "etc/ovirt-node/node.json"
FIREWALLS = ("firewalld.service", "nftables.service")


def write(root: Path, path: str, content: str, mode: int = 0o644) -> None:
    """Write a file of the new system; a link or a device in its place is replaced, and no link leads out of the root.

    Raises NodeError.
    """
    target = place_for_file(root, path)
    descriptor = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, mode)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        os.fchmod(file.fileno(), mode)
        file.write(content)


def read(root: Path, path: str) -> str:
    """The text of a file of the new system, empty when it is missing."""
    target = inside(root, path)
    return target.read_text(encoding="utf-8", errors="surrogateescape") if target.is_file() else ""


def identity(root: Path, initiator: str = "") -> str:
    """Give the host ids of its own; returns the machine-id (machine-id(5)).

    ``initiator`` is its name for iSCSI, where it has one already.
    """
    machine_id = uuid4().hex
    write(root, "etc/machine-id", machine_id + "\n", 0o444)
    if (root / "etc/iscsi").is_dir():
        write(root, INITIATOR, iscsi.initiator_file(initiator or iscsi.new_initiator()), 0o600)
    if (root / "etc/nvme").is_dir():
        host = str(uuid4())
        write(root, "etc/nvme/hostid", host + "\n")
        write(root, "etc/nvme/hostnqn", f"nqn.2014-08.org.nvmexpress:uuid:{host}\n")
    return machine_id


def node_config(root: Path, node: NodeSection, vg: str, nvr: str) -> None:
    """Keep what the run time needs of the section; nothing secret is in it."""
    data = {
        "format": 1,
        "vg": vg,
        "pool": node.pool,
        "image_slots": node.image_slots,
        "boot_tries": node.boot_tries,
        "installed": nvr,
    }
    write(root, NODE_CONFIG, json.dumps(data, indent=2) + "\n")


def configure(root: Path, request: SystemRequest) -> None:
    """Everything of the kickstart that lands in /etc, but accounts.  Raises NodeError naming the setting."""
    if request.hostname:
        write(root, "etc/hostname", request.hostname + "\n")
    if request.lang:
        _locale(root, request.lang)
    if request.keymap or request.xlayouts:
        _keyboard(root, request)
    if request.timezone:
        _timezone(root, request)
    if request.ntp_servers:
        _time_servers(root, request.ntp_servers)
    connections(root, request.networks)
    if request.selinux:
        _selinux(root, request.selinux)
    _services(root, request)


def connections(root: Path, networks: Sequence[NetworkRequest]) -> None:
    """NetworkManager's profiles, which are root's alone."""
    for network in networks:
        path = f"etc/NetworkManager/system-connections/{texts.connection_name(network)}.nmconnection"
        write(root, path, texts.keyfile(network), 0o600)


def _locale(root: Path, lang: str) -> None:
    write(root, "etc/locale.conf", f"LANG={lang}\n")
    # Debian's PAM reads this one and complains when it is missing.
    debian = root / "etc/default/locale"
    if debian.parent.is_dir() and not debian.is_symlink():
        write(root, "etc/default/locale", f"LANG={lang}\n")


def _keyboard(root: Path, request: SystemRequest) -> None:
    text = read(root, "etc/vconsole.conf")
    if request.keymap:
        write(root, "etc/vconsole.conf", texts.with_setting(text, "KEYMAP", request.keymap))
    layouts = ",".join(request.xlayouts) or request.keymap
    debian = read(root, "etc/default/keyboard")
    if debian:
        write(root, "etc/default/keyboard", texts.with_setting(debian, "XKBLAYOUT", f'"{layouts}"'))


def _timezone(root: Path, request: SystemRequest) -> None:
    zone = f"usr/share/zoneinfo/{request.timezone}"
    if not (root / zone).is_file():
        raise NodeError(
            _("the image does not know the time zone {timezone}").format(timezone=request.timezone),
            hint=_("See 'timedatectl list-timezones', or build the image with tzdata."),
        )
    link = inside(root, "etc/localtime", follow=False)
    link.unlink(missing_ok=True)
    link.symlink_to(f"../{zone}")
    if (root / "etc/timezone").exists():
        write(root, "etc/timezone", request.timezone + "\n")
    if not request.utc:
        write(root, "etc/adjtime", "0.0 0 0.0\n0\nLOCAL\n")


def _time_servers(root: Path, servers: tuple[str, ...]) -> None:
    for path in ("etc/chrony.conf", "etc/chrony/chrony.conf"):
        text = read(root, path)
        if text:
            kept = [line for line in text.splitlines() if line.split(" ", 1)[0] not in ("server", "pool")]
            write(root, path, "\n".join([*kept, *(f"server {server} iburst" for server in servers)]) + "\n")
            return
    write(root, "etc/systemd/timesyncd.conf.d/ovirt-node.conf", f"[Time]\nNTP={' '.join(servers)}\n")


def _selinux(root: Path, mode: str) -> None:
    text = read(root, "etc/selinux/config")
    if not text:
        if mode == "disabled":
            return
        raise NodeError(
            _("'selinux --{mode}' is asked for and the image has no SELinux policy").format(mode=mode),
            hint=_("Use an image with one, or write 'selinux --disabled'."),
        )
    write(root, "etc/selinux/config", texts.with_setting(text, "SELINUX", mode))


def _services(root: Path, request: SystemRequest) -> None:
    for verb, names in (("enable", request.services_enabled), ("disable", request.services_disabled)):
        if names:
            run(
                ["systemctl", verb, *(_unit(name) for name in names)],
                root=root,
                hint=_("The kickstart's 'services' line names a unit that the image does not have."),
            )
    if request.firewall is not None:
        _firewall(root, request.firewall)


def _unit(name: str) -> str:
    return name if "." in name else f"{name}.service"


def _firewall(root: Path, enabled: bool) -> None:
    present = [unit for unit in FIREWALLS if _has_unit(root, unit)]
    if enabled and not present:
        raise NodeError(
            _("'firewall --enabled' is asked for and the image has neither firewalld nor nftables"),
            hint=_("Use an image with one of them, or write 'firewall --disabled'."),
        )
    if enabled:
        run(["systemctl", "enable", present[0]], root=root)
    elif present:
        run(["systemctl", "disable", *present], root=root)


def _has_unit(root: Path, unit: str) -> bool:
    return any((root / folder / unit).exists() for folder in ("usr/lib/systemd/system", "lib/systemd/system"))


def fstab_lines(made: Sequence[MadeFileSystem]) -> list[texts.FstabLine]:
    """fstab's lines for what the node mounts besides its root."""
    lines = []
    for one in made:
        options = one.options or ("defaults",)
        if one.fstype == "swap":
            lines.append(texts.FstabLine(f"UUID={one.uuid}", "none", "swap", options, 0))
        else:
            lines.append(texts.FstabLine(f"UUID={one.uuid}", one.mountpoint, one.fstype, options))
    return lines


def keep_network(root: Path, networks: Sequence[NetworkRequest]) -> None:
    """Let NetworkManager go on with what the initramfs made of the cards of ``networks``, by a profile for each.

    Left to itself it takes such a card for somebody else's: nobody renews its lease or hears what routers announce,
    and the root is gone when they run out.
    """
    if not networks or not _has_unit(root, "NetworkManager.service"):
        return
    connections(root, networks)
    write(root, "etc/NetworkManager/conf.d/90-ovirt-node-root.conf", texts.root_cards(networks))
    write(root, "etc/systemd/system/NetworkManager.service.d/ovirt-node-root.conf", texts.root_profiles(networks))


def keep_iscsi(root: Path) -> None:
    """Let the sessions that the initramfs made live until the machine is off, and be repaired in between.

    open-iscsi's own shutdown (Debian: umountiscsi.sh) does not see that an overlay is on iSCSI: it would unmount
    everything else there and log out.
    """
    if _has_unit(root, "open-iscsi.service"):
        write(root, "etc/systemd/system/open-iscsi.service.d/ovirt-node.conf", texts.KEEP_SESSIONS)
    if _has_unit(root, "iscsid.service"):
        # Debian's has an init script too, whose links nothing reads.
        run(["systemctl", "enable", "iscsid.service"], root=root, env={"SYSTEMCTL_SKIP_SYSV": "1"})


def lvm_devices_file(root: Path, pvs: tuple[str, ...]) -> bool:
    """Write LVM's devices file for the node's PVs where its LVM uses one; host.img carries it.  True when it does.

    Without it the next boot would not find the VG (failure 1 of the list: "devices file does not match").
    """
    asked = run(["lvmconfig", "--type", "full", "devices/use_devicesfile"], root=root, check=False)
    if not asked.ok or asked.stdout.strip() != "use_devicesfile=1":
        return False
    place_for_file(root, DEVICES_FILE).unlink(missing_ok=True)
    for pv in pvs:
        run(["lvm", "lvmdevices", "--yes", "--adddev", pv], root=root)
    return True


def mdadm_config(root: Path, arrays: Mapping[str, str]) -> None:
    """Name the node's arrays, name → UUID, where mdadm looks for them (mdadm.conf(5)); its monitor needs it."""
    if not arrays:
        return
    name = "etc/mdadm/mdadm.conf" if (root / "etc/mdadm").is_dir() else "etc/mdadm.conf"
    kept = [line for line in read(root, name).splitlines() if line.split()[:1] != ["ARRAY"]]
    lines = [*kept, *(f"ARRAY /dev/md/{array} UUID={uuid}" for array, uuid in arrays.items())]
    write(root, name, "".join(f"{line}\n" for line in lines))

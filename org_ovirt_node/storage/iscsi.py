"""iSCSI in the installer: sessions before the disks are scanned, and what the node needs to have them again.

open-iscsi keeps a record of each portal in a file below /var/lib/iscsi/nodes (open-iscsi's README, 5); secrets are
written there and nowhere else.  The same files go to the node, and in host.img to its initramfs.
"""

from __future__ import annotations

import json
import logging
import secrets
import shutil
import socket
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

from org_ovirt_node.boot.network import Card
from org_ovirt_node.boot.reachable import INITIATOR
from org_ovirt_node.errors import CommandError, StorageError
from org_ovirt_node.i18n import _
from org_ovirt_node.inside import matching, place_for_file
from org_ovirt_node.kickstart.model import IscsiRequest, IscsiTarget, NetworkRequest
from org_ovirt_node.progress import Progress
from org_ovirt_node.run import run
from org_ovirt_node.storage import ibft, iscsirecords
from org_ovirt_node.storage.execute import settle
from org_ovirt_node.storage.ibft import read_value

log = logging.getLogger(__name__)

DATABASE = "var/lib/iscsi"
#: open-iscsi's defaults, which a session has that firmware names: it has no record.
CONFIG = "etc/iscsi/iscsid.conf"
#: What open-iscsi's iscsi-iname uses.
INITIATOR_PREFIX = "iqn.1994-05.com.redhat"
SYS_SESSIONS = Path("/sys/class/iscsi_session")
SYS_NET = Path("/sys/class/net")
#: Seconds for a portal to take a connection.
CONNECT = 10.0
#: Seconds for all that iscsiadm does around one login.
COMMAND = 90.0
LOGGED_IN = "LOGGED_IN"
#: Exit statuses of iscsiadm(8).
SESSION_EXISTS, TARGET_FAILED_US, WE_FAILED_TARGET = 15, 24, 19


@dataclass(frozen=True)
class Connected:
    """The sessions of this machine: by which name, whether firmware asked for some, and to which portals.

    ``records`` are open-iscsi's files of the sessions that the kickstart asked for, below ``/``.  ``portals`` are
    addresses, each with the network card that its session is bound to, or nothing.  ``networks`` are addresses of cards
    that the firmware has fixed.
    """

    initiator: str = ""
    firmware: bool = False
    records: tuple[str, ...] = ()
    portals: tuple[tuple[str, str], ...] = ()
    networks: tuple[NetworkRequest, ...] = ()


def new_initiator() -> str:
    """A name that no other host has."""
    return f"{INITIATOR_PREFIX}:{secrets.token_hex(6)}"


def initiator_file(name: str) -> str:
    """/etc/iscsi/initiatorname.iscsi."""
    return f"InitiatorName={name}\n"


def portal(target: IscsiTarget) -> str:
    """How iscsiadm takes it: ``192.0.2.1:3260``, ``[2001:db8::1]:3260``."""
    address = f"[{target.address}]" if ":" in target.address else target.address
    return f"{address}:{target.port}"


def login_failure(target: IscsiTarget, exit_status: int, output: str) -> StorageError:
    """Why iscsiadm could not log in, in a sentence."""
    if exit_status == TARGET_FAILED_US and not target.user:
        wrong = _("the target {target} at {portal} lets nobody in without a user and a password")
        hint = _("Give --user and --password in line {line} of the kickstart.")
    elif exit_status == TARGET_FAILED_US:
        wrong = _("the target {target} at {portal} refuses the user {user} or its password")
        hint = _("Check --user and --password in line {line} of the kickstart.")
    elif exit_status == WE_FAILED_TARGET and target.reverse_user:
        wrong = _(
            "the target {target} at {portal} does not show the reverse user {reverse} and its password, or is not there"
        )
        hint = _("Check --reverse-user, --reverse-password and --target in line {line} of the kickstart.")
    elif exit_status == WE_FAILED_TARGET:
        wrong = _("the target {target} at {portal} is not there, or is not for this initiator")
        hint = _("Check --target in line {line} of the kickstart, and on the storage which initiators it is for.")
    else:
        wrong = _("the login to the target {target} at {portal} failed (iscsiadm: {status}): {said}")
        hint = _("Check line {line} of the kickstart, and the storage's log.")
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    message = wrong.format(
        target=target.target,
        portal=portal(target),
        user=target.user,
        reverse=target.reverse_user,
        status=exit_status,
        said=lines[-1] if lines else _("it said nothing"),
    )
    return StorageError(message, hint=hint.format(line=target.line))


def connect(request: IscsiRequest, stack: ExitStack, progress: Progress) -> Connected:
    """Log in to what firmware and kickstart name; ``stack`` logs out again of what was not there before.

    Raises StorageError, in one sentence, for a portal that cannot be reached or a login that is refused.
    """
    firmware = ibft.is_there()
    if not request.targets and not firmware:
        return Connected(request.initiator)
    if shutil.which("iscsiadm") is None:
        raise StorageError(
            _("this installer has no open-iscsi"), hint=_("Use an installer with it, or take a local disk.")
        )
    initiator = request.initiator or ibft.initiator() or new_initiator()
    _start(initiator)
    progress.detail(_("iSCSI: this host is {initiator}").format(initiator=initiator))
    if firmware:
        firmware = _log_in_by_firmware(progress)
    records: list[str] = []
    for target in request.targets:
        records += _connect(target, initiator, stack, progress)
    networks = ibft.networks() if firmware else ()
    return Connected(initiator, firmware, tuple(dict.fromkeys(records)), portals(), networks)


def without_sessions(request: IscsiRequest) -> Connected:
    """For an installation to a file: the name alone.  Raises StorageError for a line that asks for more."""
    for target in request.targets:
        raise StorageError(
            _("the disk image has nothing to do with {portal}").format(portal=portal(target)),
            hint=_("Take line {line} (iscsi) out of the kickstart, or --disk-image away.").format(line=target.line),
        )
    return Connected(request.initiator)


def _start(initiator: str) -> None:
    """Have open-iscsi's daemon running, under this name."""
    file = Path(INITIATOR)
    named = file.is_file() and file.read_text(encoding="utf-8", errors="replace") == initiator_file(initiator)
    if not named:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(initiator_file(initiator), encoding="ascii")
        file.chmod(0o600)
    # The network is up already, by whoever started the installer: what the unit waits for may never come here.
    verb = "start" if named else "restart"
    run(["systemctl", verb, "--job-mode=ignore-dependencies", "iscsid.service"])


def _log_in_by_firmware(progress: Progress) -> bool:
    try:
        done = run(["iscsiadm", "--mode", "fw", "--login"], check=False, timeout=COMMAND)
    except CommandError as error:
        # A portal that answers nothing at all: open-iscsi tries for two minutes.
        progress.detail(_("iSCSI: the login to what the firmware names failed: {error}").format(error=error))
        return False
    if done.ok or done.status == SESSION_EXISTS:
        progress.detail(_("iSCSI: logged in to what the firmware names"))
        settle()
        return True
    # Also a machine that was started over the network has such a table; the disks may well be local.
    progress.detail(
        _("iSCSI: the login to what the firmware names failed (iscsiadm: {status})").format(status=done.status)
    )
    return False


def _connect(target: IscsiTarget, initiator: str, stack: ExitStack, progress: Progress) -> list[str]:
    _probe(target)
    if target.iface:
        _bind(target.iface)
    records = []
    for one in [target] if target.target else _discover(target):
        record = _record(one)
        _log_in(one, stack)
        progress.detail(_("iSCSI: logged in to {target} at {portal}").format(target=one.target, portal=portal(one)))
        records.append(record)
        settle()
        if not _disks(one.target):
            raise StorageError(
                _("the target {target} at {portal} has no disk for {initiator}").format(
                    target=one.target, portal=portal(one), initiator=initiator
                ),
                hint=_("Give this initiator a LUN on the storage."),
            )
    return records


def _probe(target: IscsiTarget) -> None:
    """One plain connection: whether anybody listens is known in moments, and iscsiadm would try for minutes."""
    try:
        socket.create_connection((target.address, target.port), timeout=CONNECT).close()
    except OSError as exc:
        why = (
            _("no answer within {seconds:g} s").format(seconds=CONNECT)
            if isinstance(exc, socket.timeout)
            else str(exc.strerror or exc)
        )
        raise StorageError(
            _("the iSCSI portal {portal} cannot be reached: {why}").format(portal=portal(target), why=why),
            hint=_("Check --ipaddr and --port in line {line} of the kickstart, the network, and the storage.").format(
                line=target.line
            ),
        ) from exc


def _bind(card: str) -> None:
    """An interface of open-iscsi that goes through the network card ``card``, under the same name."""
    if not (SYS_NET / card).exists():
        raise StorageError(
            _("there is no network card {card}").format(card=card), hint=_("Check --iface of the iscsi lines.")
        )
    if not (Path("/") / DATABASE / "ifaces" / card).exists():
        run(["iscsiadm", "--mode", "iface", "--interface", card, "--op", "new"])
    change = ["--op", "update", "--name", "iface.net_ifacename", "--value", card]
    run(["iscsiadm", "--mode", "iface", "--interface", card, *change])


def _selected(target: IscsiTarget) -> list[str]:
    chosen = ["--targetname", target.target, "--portal", portal(target)]
    return [*chosen, "--interface", target.iface] if target.iface else chosen


def _record(target: IscsiTarget) -> str:
    """Make open-iscsi's record of ``target``; returns its path below /."""
    run(["iscsiadm", "--mode", "node", *_selected(target), "--op", "delete"], check=False)
    run(["iscsiadm", "--mode", "node", *_selected(target), "--op", "new"])
    folder = Path("/") / DATABASE / "nodes" / target.target
    found = [
        path
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.relative_to(folder).parts[0].split(",")[:2] == [target.address, str(target.port)]
    ]
    if target.iface:
        found = [path for path in found if path.name == target.iface]
    if len(found) != 1:
        raise StorageError(
            _("open-iscsi keeps no record of {target} at {portal}").format(target=target.target, portal=portal(target))
        )
    _write(found[0], iscsirecords.with_settings(found[0].read_text(encoding="utf-8"), iscsirecords.settings(target)))
    return str(found[0])


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch(mode=0o600)
    path.chmod(0o600)
    path.write_text(text, encoding="utf-8")


def _discover(target: IscsiTarget) -> list[IscsiTarget]:
    """All that the portal tells of.  Raises StorageError when that is nothing."""
    chosen = ["--portal", portal(target)] + (["--interface", target.iface] if target.iface else [])
    done = run(["iscsiadm", "--mode", "discovery", "--type", "sendtargets", *chosen], check=False, timeout=COMMAND)
    found = iscsirecords.parse_discovery(done.stdout)
    if not done.ok or not found:
        raise StorageError(
            _("the iSCSI portal {portal} tells of no target").format(portal=portal(target)),
            hint=_("Name it with --target in line {line} of the kickstart.").format(line=target.line),
        )
    return [replace(target, address=address, port=port, target=name) for address, port, name in found]


def _log_in(target: IscsiTarget, stack: ExitStack) -> None:
    try:
        done = run(["iscsiadm", "--mode", "node", *_selected(target), "--login"], check=False, timeout=COMMAND)
    except CommandError as exc:
        raise StorageError(
            _("the target {target} at {portal} does not answer within {seconds:g} s").format(
                target=target.target, portal=portal(target), seconds=COMMAND
            ),
            hint=_("Check the network and the storage."),
        ) from exc
    if done.status == SESSION_EXISTS:
        return
    if not done.ok:
        raise login_failure(target, done.status, done.stderr or done.stdout)
    stack.callback(_log_out, target)


def _log_out(target: IscsiTarget) -> None:
    """A session that is broken stays: this machine restarts anyway."""
    try:
        run(["iscsiadm", "--mode", "node", *_selected(target), "--logout"], check=False, timeout=COMMAND)
    except CommandError as exc:
        log.warning("the session with %s could not be ended: %s", target.target, exc)


def _disks(target: str) -> list[str]:
    """The kernel's names of the disks of ``target``."""
    return [
        disk.name
        for session in SYS_SESSIONS.glob("session*")
        if read_value(session / "targetname") == target
        for disk in session.glob("device/target*/*/block/*")
    ]


def lost(sessions: Path = SYS_SESSIONS) -> tuple[str, ...]:
    """The targets whose sessions do not work now (kernel: drivers/scsi/scsi_transport_iscsi.c, "state")."""
    names = [
        read_value(one / "targetname")
        for one in sorted(sessions.glob("session*"))
        if read_value(one / "state") != LOGGED_IN
    ]
    return tuple(dict.fromkeys(names))


def portals(sessions: Path = SYS_SESSIONS) -> tuple[tuple[str, str], ...]:
    """The addresses that the sessions of this machine go to, and for each the card that it is bound to, or nothing.

    Kernel: drivers/scsi/scsi_transport_iscsi.c; open-iscsi's interfaces have the names of their cards, or "default".
    """
    found: list[tuple[str, str]] = []
    for one in sorted(sessions.glob("session*")):
        name = read_value(one / "ifacename")
        bound = name if name and (SYS_NET / name).exists() else ""
        addresses = sorted(one.glob("device/connection*/iscsi_connection/*/persistent_address"))
        found += [(read_value(path), bound) for path in addresses]
    return tuple(dict.fromkeys(found))


def cards(ways: Sequence[tuple[str, str]]) -> tuple[tuple[Card, str], ...]:
    """The network card by which each address of ``ways`` (as :func:`portals` gives them) is reached.

    Raises StorageError where that is no card but something that is made of cards, which no initramfs would make.
    """
    found = []
    for address, bound in ways:
        name = bound or _route(address)
        if not (SYS_NET / name / "device").exists():
            raise StorageError(
                _("the iSCSI portal {address} is reached through {name}, which is no network card").format(
                    address=address, name=name
                ),
                hint=_("A node with its root there would not come up: give the storage a card of its own."),
            )
        found.append((Card(name, read_value(SYS_NET / name / "address").lower()), address))
    return tuple(found)


def _route(address: str) -> str:
    """The name of the network interface that leads to ``address``."""
    text = run(["ip", "-json", "route", "get", address]).stdout
    try:
        return str(json.loads(text)[0]["dev"])
    except (ValueError, LookupError, TypeError) as exc:
        raise StorageError(
            _("the way to {address} is not known").format(address=address),
            hint=_("See 'ip route get {address}'.").format(address=address),
        ) from exc


def copy_records(connected: Connected, root: Path, changed: Mapping[str, str], source: Path = Path("/")) -> None:
    """Take the records into the new system at ``root``, with ``changed`` settings; only root may read them."""
    for record in connected.records:
        name = record.lstrip("/")
        _write(
            place_for_file(root, name), iscsirecords.with_settings((source / name).read_text(encoding="utf-8"), changed)
        )
    ifaces = source / DATABASE / "ifaces"
    for path in sorted(ifaces.iterdir()) if connected.records and ifaces.is_dir() else ():
        _write(place_for_file(root, f"{DATABASE}/ifaces/{path.name}"), path.read_text(encoding="utf-8"))


def targets(sessions: Path = SYS_SESSIONS) -> tuple[str, ...]:
    """The targets that this machine has sessions with."""
    return tuple(dict.fromkeys(read_value(one / "targetname") for one in sorted(sessions.glob("session*"))))


def change_records(root: Path, changed: Mapping[str, str], names: Sequence[str]) -> None:
    """Change settings of the records of the targets ``names`` that a distribution's installer has left at ``root``."""
    for name in names:
        for path in matching(root, f"{DATABASE}/nodes/{name}/**/*").values():
            if path.is_file():
                _write(path, iscsirecords.with_settings(path.read_text(encoding="utf-8"), changed))


def set_defaults(root: Path, changed: Mapping[str, str]) -> None:
    """Change open-iscsi's defaults in the new system at ``root``."""
    target = place_for_file(root, CONFIG)
    before = target.read_text(encoding="utf-8") if target.is_file() else ""
    _write(target, iscsirecords.with_defaults(before, changed))


def root_arguments(connected: Connected) -> tuple[str, ...]:
    """What the initramfs has to be told; who and where is in host.img."""
    return ("rd.iscsi.firmware=1",) if connected.firmware else ()

"""What a kickstart asks for, as frozen dataclasses.  Sizes are bytes; secrets never show in a representation."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Optional

from org_ovirt_node.kickstart.place import NOWHERE, Place

DEFAULT_VG = "onn"
DEFAULT_POOL = "pool00"
DEFAULT_SLOTS = 3
DEFAULT_TRIES = 3


@dataclass(frozen=True)
class VolumeRequest:
    """A ``volume`` line of the section: a separate volume and what differs from the defaults."""

    mountpoint: str
    size: int
    fstype: str = ""
    line: int = 0


@dataclass(frozen=True)
class NodeSection:
    """The ``%addon org_ovirt_node`` section."""

    images: tuple[str, ...] = ()
    sha256: str = ""
    manifest: str = ""
    key: str = ""
    nosignature: bool = False
    vg: str = DEFAULT_VG
    pool: str = DEFAULT_POOL
    image_slots: int = DEFAULT_SLOTS
    layer_size: Optional[int] = None
    boot_tries: int = DEFAULT_TRIES
    proxy: str = field(default="", repr=False)
    noverifyssl: bool = False
    cacert: str = ""
    volumes: tuple[VolumeRequest, ...] = ()
    novolumes: tuple[str, ...] = ()
    line: int = 0


@dataclass(frozen=True)
class DiskSelection:
    """``ignoredisk``, ``clearpart`` and ``zerombr``: which disks are ours and what may be wiped.

    ``only_use`` and ``drives`` hold names, /dev/disk links, or globs over serial and wwn, as written.  The places are
    those of ``ignoredisk``, ``clearpart`` and ``bootloader``, which all name disks.
    """

    only_use: tuple[str, ...] = ()
    ignored: tuple[str, ...] = ()
    clear: str = "none"  # none, linux, all
    clear_drives: tuple[str, ...] = ()
    initlabel: bool = False
    zerombr: bool = False
    ignore_place: Place = NOWHERE
    clear_place: Place = NOWHERE
    boot_place: Place = NOWHERE


@dataclass(frozen=True)
class PartitionRequest:
    """A ``part`` line.  ``mountpoint`` as written: a path, ``biosboot``, ``swap``, ``pv.NN`` or ``raid.NN``."""

    mountpoint: str
    size: int
    grow: bool = False
    max_size: int = 0
    fstype: str = ""
    disk: str = ""
    label: str = ""
    options: str = ""
    encrypted: bool = False
    passphrase: str = field(default="", repr=False)
    luks_version: str = ""
    line: int = 0


@dataclass(frozen=True)
class ArrayRequest:
    """A ``raid`` line.  ``mountpoint`` as written: a path or ``pv.NN``; ``members`` are ``raid.NN`` of part lines."""

    mountpoint: str
    name: str
    members: tuple[str, ...]
    label: str = ""
    options: str = ""
    line: int = 0


@dataclass(frozen=True)
class VolumeGroupRequest:
    """A ``volgroup`` line."""

    name: str
    pvs: tuple[str, ...]
    extent_size: int = 0
    reserved_space: int = 0
    reserved_percent: int = 0
    line: int = 0


@dataclass(frozen=True)
class LogicalVolumeRequest:
    """A ``logvol`` line; ``thinpool`` for the pool itself, ``pool`` names the pool of a thin volume."""

    name: str
    vg: str
    mountpoint: str = ""
    size: int = 0
    percent: int = 0
    grow: bool = False
    max_size: int = 0
    fstype: str = ""
    options: str = ""
    thinpool: bool = False
    thin: bool = False
    pool: str = ""
    metadata_size: int = 0
    chunk_size: int = 0
    #: ``--recommended``: the default size (swap only).
    recommended: bool = False
    line: int = 0


@dataclass(frozen=True)
class StorageRequest:
    """How the disks are to be laid out: ``autopart`` or explicit lines."""

    selection: DiskSelection = DiskSelection()
    autopart: bool = False
    encrypted: bool = False
    passphrase: str = field(default="", repr=False)
    luks_version: str = ""
    nohome: bool = False
    noswap: bool = False
    fstype: str = ""
    partitions: tuple[PartitionRequest, ...] = ()
    arrays: tuple[ArrayRequest, ...] = ()
    vgs: tuple[VolumeGroupRequest, ...] = ()
    volumes: tuple[LogicalVolumeRequest, ...] = ()


@dataclass(frozen=True)
class BootloaderRequest:
    """The ``bootloader`` command.  ``location`` is "mbr", "partition" or "none"."""

    append: str = ""
    timeout: int = 5
    location: str = "mbr"
    boot_drive: str = ""
    line: int = 0


@dataclass(frozen=True)
class UserRequest:
    """A ``user`` line, or root's password: ``password`` is clear text unless ``encrypted``."""

    name: str
    password: str = field(default="", repr=False)
    encrypted: bool = False
    locked: bool = False
    uid: Optional[int] = None
    gid: Optional[int] = None
    groups: tuple[str, ...] = ()
    home: str = ""
    shell: str = ""
    gecos: str = ""
    line: int = 0


@dataclass(frozen=True)
class GroupRequest:
    """A ``group`` line."""

    name: str
    gid: Optional[int] = None
    line: int = 0


@dataclass(frozen=True)
class SshKeyRequest:
    """A ``sshkey`` line."""

    user: str
    key: str
    line: int = 0


@dataclass(frozen=True)
class NetworkRequest:
    """A ``network`` line: one connection profile.  ``device`` is a name, a MAC address, or empty for any wired card.

    ``ip`` is "dhcp", "static" or "none"; ``ipv6`` is "auto", "dhcp", "ignore" or an address with prefix.
    """

    device: str = ""
    ip: str = "dhcp"
    address: str = ""
    netmask: str = ""
    gateway: str = ""
    nameservers: tuple[str, ...] = ()
    search: tuple[str, ...] = ()
    ipv6: str = "auto"
    ipv6_gateway: str = ""
    mtu: int = 0
    onboot: bool = True
    line: int = 0


@dataclass(frozen=True)
class IscsiTarget:
    """An ``iscsi`` line: a portal, and the target there.  ``address`` is an IPv4 or IPv6 address without brackets.

    An empty ``target`` means all that the portal tells of.  ``user`` and ``password`` are what the target asks for
    (CHAP, RFC 7143), the ``reverse`` ones what it answers with.  ``iface`` is the network card to go through.
    """

    address: str
    port: int = 3260
    target: str = ""
    user: str = ""
    password: str = field(default="", repr=False)
    reverse_user: str = ""
    reverse_password: str = field(default="", repr=False)
    iface: str = ""
    line: int = 0


@dataclass(frozen=True)
class IscsiRequest:
    """``iscsiname`` and the ``iscsi`` lines; without an ``initiator`` the firmware's name is taken, or one is made."""

    initiator: str = ""
    targets: tuple[IscsiTarget, ...] = ()


@dataclass(frozen=True)
class Script:
    """A script.  ``chroot`` only matters for %post; ``file`` and ``line`` are where its section starts."""

    stage: str  # pre, pre-install, post
    body: str = field(repr=False)
    interpreter: str = "/bin/sh"
    chroot: bool = True
    erroronfail: bool = False
    log: str = ""
    line: int = 0
    file: str = ""


@dataclass(frozen=True)
class SystemRequest:
    """What the installed system is to be like: everything that lands in its /etc."""

    root: Optional[UserRequest] = None
    users: tuple[UserRequest, ...] = ()
    groups: tuple[GroupRequest, ...] = ()
    sshkeys: tuple[SshKeyRequest, ...] = ()
    lang: str = ""
    keymap: str = ""
    xlayouts: tuple[str, ...] = ()
    timezone: str = ""
    utc: bool = True
    ntp_servers: tuple[str, ...] = ()
    hostname: str = ""
    networks: tuple[NetworkRequest, ...] = ()
    services_enabled: tuple[str, ...] = ()
    services_disabled: tuple[str, ...] = ()
    selinux: str = ""  # enforcing, permissive, disabled; empty: as the image has it
    firewall: Optional[bool] = None


@dataclass(frozen=True)
class InstallRequest:
    """A whole kickstart."""

    file: str
    node: NodeSection
    storage: StorageRequest
    bootloader: BootloaderRequest
    system: SystemRequest
    scripts: tuple[Script, ...] = ()
    iscsi: IscsiRequest = IscsiRequest()
    #: "reboot", "poweroff", "halt" or "" (leave the machine running).
    ending: str = ""
    #: What of a kickstart of Anaconda's was passed over, because only Anaconda reads it.
    for_anaconda: tuple[str, ...] = ()

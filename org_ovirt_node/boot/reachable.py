"""Can a kernel, its initramfs, host.img and its command line reach a layer?  Asked before the layer becomes default.

Pure: everything is a fact in :class:`RootFacts`, and the answer names what is missing.  ``node/rootfacts.py`` gathers
the facts of a running node.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from org_ovirt_node.boot import cmdline
from org_ovirt_node.boot.hostinitrd import HostFile
from org_ovirt_node.errors import BootError
from org_ovirt_node.i18n import _

DEVICES_FILE = "/etc/lvm/devices/system.devices"
INITIATOR = "/etc/iscsi/initiatorname.iscsi"
MULTIPATH_CONF, MULTIPATH_WWIDS = "/etc/multipath.conf", "/etc/multipath/wwids"
CRYPTTAB = "/etc/crypttab"
#: Where open-iscsi keeps a record of each portal; those in host.img our dracut module logs in to.
ISCSI_RECORDS = "/var/lib/iscsi/nodes/"
ISCSI_HOOK = "ovirt-node-iscsi.sh"
#: dracut's own: the program of its iscsi module, which logs in to what firmware or netroot= name, and the file of its
#: network modules that all of them have.
ISCSI_ROOT, NETWORK_LIB = "iscsiroot", "net-lib.sh"
#: Log in to what the firmware names (dracut.cmdline(7)), and the driver that shows what that is.
ISCSI_FIRMWARE, ISCSI_FIRMWARE_DRIVER = "rd.iscsi.firmware", "iscsi_ibft"
#: What every layer's root is made of; the layer's own file system is added to it.
ROOT_MODULES = ("squashfs", "overlay", "dm_mod", "dm_thin_pool")
#: md's arrays, by their kernel modules.
ARRAYS = ("raid0", "raid1", "raid10", "raid456")
#: What the volume below needs beside its disks' drivers.
STACK_MODULES = {
    "multipath": ("dm_multipath",),
    "iscsi": ("iscsi_tcp",),
    "crypt": ("dm_crypt",),
    "verity": ("dm_verity",),
    **{name: (name,) for name in ARRAYS},
}
STACK_PROGRAMS = {
    "multipath": ("multipathd", "multipath", "kpartx"),
    "iscsi": ("iscsiadm", "iscsid"),
    "verity": ("veritysetup",),
    **dict.fromkeys(ARRAYS, ("mdadm",)),
}
#: udev's rules by which paths are known as such and a map gets its partitions, without the number: distributions have
#: other ones.
MULTIPATH_RULES = ("multipath.rules", "kpartx.rules")
#: Either opens LUKS: the one of an initramfs with systemd, and the other one's.
CRYPT_PROGRAMS = ("systemd-cryptsetup", "cryptsetup")
#: Where programs are: elsewhere a folder may have the name of one (/etc/lvm, /etc/multipath).
PROGRAM_FOLDERS = ("bin", "lib/systemd")
CHECKERS = {"ext4": "e2fsck", "xfs": "xfs_repair"}
#: The file of our dracut module without which the initramfs does not know root=ovirt-node.
OUR_HOOK = "ovirt-node-lib.sh"
#: The file of dracut's fips module that checks the kernel.
FIPS_HOOK = "fips.sh"
#: The folder of a kernel's modules, by its name in an initramfs.
MODULE_FOLDER = re.compile(r"(?:usr/)?lib/modules/[^/]+")


@dataclass(frozen=True)
class RootFacts:
    """What a boot would find.

    ``volumes`` are the LVs of the VG, ``pvs`` its PVs as device → PV UUID, ``drivers`` the kernel modules that drive
    their disks now, ``stack`` what lies between disks and PVs (the keys of STACK_MODULES).
    ``initramfs`` are the names in the initramfs, ``builtin`` the modules that the kernel has built in, ``host`` the
    files in host.img by absolute path.  ``maps`` are the WWIDs of multipath maps below the VG.
    """

    options: str
    vg: str
    volumes: frozenset[str]
    pvs: Mapping[str, str]
    initramfs: frozenset[str]
    host: Mapping[str, HostFile]
    drivers: tuple[str, ...] = ()
    builtin: frozenset[str] = frozenset()
    stack: frozenset[str] = frozenset()
    maps: tuple[str, ...] = ()
    layer_fstype: str = "ext4"
    liveos: bool = False
    uses_devices_file: bool = False
    #: Names of the folder of modules, to be sure that kernel and initramfs belong together; empty: not asked.
    kernel: str = ""


def module_name(path: str) -> str:
    """The kernel's name of a module file: ``…/virtio-blk.ko.xz`` → ``virtio_blk``; empty when it is no module."""
    found = re.search(r"([^/]+)\.ko(?:\.(?:xz|gz|zst))?\Z", path) if ".ko" in path else None
    return found.group(1).replace("-", "_") if found else ""


def base_name(path: str) -> str:
    """The last part of a path.  An initramfs has thousands: pathlib would take a second for them on a slow machine."""
    return path.rpartition("/")[2]


def missing(facts: RootFacts) -> tuple[str, ...]:
    """What a boot of this layer would lack, as sentences; empty when its root is reachable."""
    return (
        *_command_line(facts),
        *_modules(facts),
        *_programs(facts),
        *_devices_file(facts),
        *_stack(facts),
        *_fips(facts),
    )


def check(facts: RootFacts, layer: str) -> None:
    """Raises BootError with everything that is missing."""
    found = missing(facts)
    if found:
        raise BootError(
            _("{layer} would not reach its root: {found}").format(layer=layer, found="; ".join(found)),
            hint=_("The layer that runs stays the default. Get an image that has what this host's storage needs."),
        )


def _argument(words: tuple[str, ...], name: str) -> str:
    return next((word.partition("=")[2] for word in reversed(words) if word.startswith(f"{name}=")), "")


def _command_line(facts: RootFacts) -> list[str]:
    words = cmdline.split(facts.options)
    found = []
    if _argument(words, "root") != "ovirt-node":
        found.append("its kernel command line lacks root=ovirt-node")
    if _argument(words, "ovirt_node.vg") != facts.vg:
        found.append(f"its kernel command line does not name the volume group {facts.vg}")
    for what in ("image", "layer"):
        name = _argument(words, f"ovirt_node.{what}")
        if not name:
            found.append(f"its kernel command line names no {what}")
        elif name not in facts.volumes:
            found.append(f"its {what} {facts.vg}/{name} does not exist")
    for word in words:
        if word.startswith("rd.lvm.lv="):
            vg, _, name = word.partition("=")[2].partition("/")
            if vg == facts.vg and name not in facts.volumes:
                found.append(f"{word} on its kernel command line names a volume that does not exist")
    if any(word.startswith("rd.lvm.vg=") and word != f"rd.lvm.vg={facts.vg}" for word in words):
        found.append(f"rd.lvm.vg= on its kernel command line hides the volume group {facts.vg}")
    if "rd.lvm=0" in words:
        found.append("rd.lvm=0 on its kernel command line switches LVM off")
    return found


def _switched_on(words: tuple[str, ...], name: str) -> bool:
    """As dracut reads a switch (dracut-lib.sh, getargbool): ``name`` alone is on, and the last one counts."""
    said = [word.partition("=")[2] for word in words if word.partition("=")[0] == name]
    return bool(said) and said[-1] not in ("0", "no", "off")


def _known_modules(facts: RootFacts) -> set[str]:
    return {module_name(name) for name in facts.initramfs} | {name.replace("-", "_") for name in facts.builtin}


def _known_programs(facts: RootFacts) -> set[str]:
    parts = (name.rpartition("/") for name in facts.initramfs)
    return {name for folder, _, name in parts if folder.endswith(PROGRAM_FOLDERS)}


def _modules(facts: RootFacts) -> list[str]:
    present = _known_modules(facts)
    wanted = [*ROOT_MODULES, facts.layer_fstype, *(["loop"] if facts.liveos else [])]
    for part in sorted(facts.stack):
        wanted += STACK_MODULES.get(part, ())
    found = [f"its initramfs lacks the kernel module {name}" for name in dict.fromkeys(wanted) if name not in present]
    drivers = [name.replace("-", "_") for name in facts.drivers]
    found += [
        f"its initramfs lacks the driver {name}, which a disk or network card of the node needs"
        for name in dict.fromkeys(drivers)
        if name not in present and name not in wanted
    ]
    folders = {base_name(name) for name in facts.initramfs if MODULE_FOLDER.fullmatch(name)}
    if facts.kernel and folders and facts.kernel not in folders:
        found.append(f"its initramfs is for the kernel {', '.join(sorted(folders))}, not {facts.kernel}")
    return found


def _programs(facts: RootFacts) -> list[str]:
    present = _known_programs(facts)
    wanted = ["lvm", "thin_check"]
    if facts.layer_fstype in CHECKERS:
        wanted.append(CHECKERS[facts.layer_fstype])
    for part in sorted(facts.stack):
        wanted += STACK_PROGRAMS.get(part, ())
    found = [f"its initramfs lacks the program {name}" for name in dict.fromkeys(wanted) if name not in present]
    if "crypt" in facts.stack and not present & set(CRYPT_PROGRAMS):
        found.append(f"its initramfs lacks the program {' or '.join(CRYPT_PROGRAMS)}")
    if not any(base_name(name) == OUR_HOOK for name in facts.initramfs):
        found.append("its initramfs lacks the ovirt-node dracut module")
    return found


def _plain_uuid(uuid: str) -> str:
    return uuid.replace("-", "")


def devices_file_ids(text: str) -> frozenset[str]:
    """The PV UUIDs, without dashes, in LVM's devices file (lvmdevices(8))."""
    return frozenset(_plain_uuid(found) for found in re.findall(r"(?:^|\s)PVID=(\S+)", text, re.MULTILINE))


def _devices_file(facts: RootFacts) -> list[str]:
    if not facts.uses_devices_file:
        return []
    if DEVICES_FILE not in facts.host:
        return [f"LVM uses a devices file and host.img has no {DEVICES_FILE}"]
    known = devices_file_ids(facts.host[DEVICES_FILE].content.decode("utf-8", errors="replace"))
    return [
        f"{DEVICES_FILE} in host.img does not name {device}, which holds a part of {facts.vg}"
        for device, uuid in sorted(facts.pvs.items())
        if _plain_uuid(uuid) not in known
    ]


def _stack(facts: RootFacts) -> list[str]:
    words = cmdline.split(facts.options)
    found = []
    if "multipath" in facts.stack:
        found += _multipath(facts)
    if "iscsi" in facts.stack:
        found += _iscsi(facts, words)
    if facts.stack & set(ARRAYS) and not _argument(words, "rd.md.uuid") and not _switched_on(words, "rd.auto"):
        found.append("the node is on an md array, and no rd.md.uuid= on its kernel command line says to assemble it")
    if "crypt" in facts.stack and CRYPTTAB not in facts.host and not _argument(words, "rd.luks.uuid"):
        found.append(f"a disk is encrypted, and neither {CRYPTTAB} in host.img nor rd.luks.uuid= says how to open it")
    return found


def _iscsi(facts: RootFacts, words: tuple[str, ...]) -> list[str]:
    firmware = _switched_on(words, ISCSI_FIRMWARE)
    by_dracut = firmware or _argument(words, "netroot").startswith("iscsi:")
    recorded = any(path.startswith(ISCSI_RECORDS) for path in facts.host)
    names = {base_name(name) for name in facts.initramfs}
    found = []
    if INITIATOR not in facts.host:
        found.append(f"the node is on iSCSI and host.img has no {INITIATOR}")
    if not by_dracut and not recorded:
        return [
            *found,
            f"the node is on iSCSI, host.img has no record of a target in {ISCSI_RECORDS}, and its kernel command line "
            f"has neither netroot= nor {ISCSI_FIRMWARE}=1",
        ]
    if NETWORK_LIB not in names:
        found.append("the node is on iSCSI, and its initramfs lacks dracut's network modules")
    if by_dracut and ISCSI_ROOT not in names:
        found.append("the node is on iSCSI, and its initramfs lacks dracut's iscsi module")
    if firmware and ISCSI_FIRMWARE_DRIVER not in _known_modules(facts):
        found.append(
            f"its initramfs lacks the kernel module {ISCSI_FIRMWARE_DRIVER}, which {ISCSI_FIRMWARE} on its kernel "
            "command line needs"
        )
    if recorded and not any(name.endswith(ISCSI_HOOK) for name in names):
        found.append(f"the node is on iSCSI, and its initramfs lacks {ISCSI_HOOK}, which reads the records in host.img")
    # For what firmware or netroot= names dracut itself asks for the network.
    if not by_dracut and not _switched_on(words, "rd.neednet"):
        found.append("the node is on iSCSI, and its kernel command line lacks rd.neednet=1: no network comes up")
    return found


def _fips(facts: RootFacts) -> list[str]:
    """In FIPS mode the initramfs checks the kernel, and stops where it cannot."""
    words = cmdline.split(facts.options)
    if "fips=1" not in words:
        return []
    found = []
    if not any(base_name(name) == FIPS_HOOK for name in facts.initramfs):
        found.append("fips=1 is on its kernel command line, and its initramfs lacks dracut's fips module")
    if not _argument(words, "boot"):
        found.append("fips=1 is on its kernel command line, and no boot= that says where /boot is")
    return found


def _multipath(facts: RootFacts) -> list[str]:
    found = []
    inside = {f"/{name}" for name in facts.initramfs}
    if MULTIPATH_CONF not in facts.host and MULTIPATH_CONF not in inside:
        found.append(f"a disk is multipath and host.img has no {MULTIPATH_CONF}")
    rules = {base_name(name).partition("-")[2] for name in facts.initramfs if name.endswith(".rules")}
    found += [
        f"a disk is multipath and its initramfs lacks udev's {name}" for name in MULTIPATH_RULES if name not in rules
    ]
    if "rd.multipath=0" in cmdline.split(facts.options):
        found.append("rd.multipath=0 on its kernel command line switches multipath off")
    wwids = (
        facts.host[MULTIPATH_WWIDS].content.decode("utf-8", errors="replace") if MULTIPATH_WWIDS in facts.host else ""
    )
    if not wwids:
        found.append(f"a disk is multipath and host.img has no {MULTIPATH_WWIDS}")
    else:
        found += [
            f"{MULTIPATH_WWIDS} in host.img does not name the map {wwid}"
            for wwid in facts.maps
            if f"/{wwid}/" not in wwids
        ]
    return found

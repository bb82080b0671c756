"""What belongs to one host, and so must not be in an image that many hosts get (failures 9 and 23)."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Collection
from pathlib import Path

from org_ovirt_node.inside import inside, matching, place_for_file

#: Removed from the image: the installer or the first boot makes them.
REMOVED = (
    "boot/*",
    "etc/hostname",
    "etc/resolv.conf",
    "etc/.pwd.lock",
    "etc/machine-info",
    "etc/adjtime",
    "etc/ssh/ssh_host_*",
    "etc/iscsi/initiatorname.iscsi",
    "etc/nvme/hostnqn",
    "etc/nvme/hostid",
    "etc/multipath/*",
    "etc/lvm/devices/*",
    "etc/lvm/archive/*",
    "etc/lvm/backup/*",
    "etc/lvm/cache/*",
    "etc/NetworkManager/system-connections/*",
    "etc/sysconfig/network-scripts/ifcfg-*",
    "etc/udev/rules.d/70-persistent-*",
    "etc/apt/sources.list.d/*",
    "root/.bash_history",
    "root/.ssh",
    "root/.cache",
    "tmp/*",
    "run/*",
    "var/tmp/*",
    "var/cache/apt/*.bin",
    "var/cache/apt/archives/*.deb",
    "var/cache/ldconfig/*",
    "var/cache/debconf/*-old",
    "var/lib/apt/lists/*_*",
    "var/lib/apt/lists/lock",
    "var/lib/dbus/machine-id",
    "var/lib/NetworkManager/*",
    "var/lib/systemd/random-seed",
    "var/lib/systemd/credential.secret",
    "var/lib/systemd/timers/*",
    "var/log/journal/*",
    "var/log/apt/*",
    "var/log/*.log",
)
#: Kept, but empty.  An empty /etc/machine-id says "not set" without "first boot" (machine-id(5)): systemd then neither
#: asks questions on the console nor resets which units are enabled.
EMPTIED = (
    "etc/machine-id",
    "etc/fstab",
    "etc/apt/sources.list",
    "var/log/btmp",
    "var/log/wtmp",
    "var/log/lastlog",
    "var/log/faillog",
)
#: Lines that packages write with the date of the build in them.
DATED_LINES = {"etc/mdadm/mdadm.conf": re.compile(r"^# This configuration was auto-generated on .*\n", re.MULTILINE)}
#: Folders that a node mounts something on.
MOUNT_POINTS = ("boot", "dev", "home", "proc", "run", "sys", "tmp", "var/crash", "var/log/audit", "var/tmp")
MODES = {"tmp": 0o1777, "var/tmp": 0o1777, "var/log/audit": 0o700}


def found(root: Path) -> list[str]:
    """What :func:`clear` would remove: paths below ``root`` without a leading slash."""
    return [str(path.relative_to(root)) for pattern in REMOVED for path in matching(root, pattern).values()]


def clear(root: Path, keep: Collection[str] = ()) -> list[str]:
    """Remove or empty what is per host below ``root``; returns the paths that were removed.

    ``keep`` are paths as :func:`found` has them that somebody put there on purpose.
    """
    removed = []
    for pattern in REMOVED:
        for path in matching(root, pattern).values():
            if str(path.relative_to(root)) in keep:
                continue
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink()
            removed.append(f"/{path.relative_to(root)}")
        folder = inside(root, pattern.rpartition("/")[0])
        if folder.is_dir():
            # What was in it decided its time: some builds leave something in /var/tmp, and some do not.
            os.utime(folder)
    for name in EMPTIED:
        path = inside(root, name, follow=False)
        if path.is_file() and not path.is_symlink() and path.stat().st_size:
            os.truncate(path, 0)
    for name, lines in DATED_LINES.items():
        path = inside(root, name)
        if path.is_file():
            path.write_text(lines.sub("", path.read_text(encoding="utf-8")), encoding="utf-8")
    machine_id = inside(root, "etc/machine-id")
    if not machine_id.exists():
        machine_id.write_text("", encoding="utf-8")
        machine_id.chmod(0o444)
    return removed


def mark_updated(root: Path) -> None:
    """Say that what systemd keeps in /etc and /var fits /usr (systemd-update-done.service(8)).

    Without it a first boot rebuilds caches that the packages built already, which takes longer than the rest of it.
    """
    for name in ("etc/.updated", "var/.updated"):
        path = place_for_file(root, name)
        path.write_text("# An image is complete: see systemd-update-done.service(8).\n", encoding="utf-8")
        path.chmod(0o644)


def make_mount_points(root: Path) -> None:
    """Make the folders that a node mounts its volumes on, where the packages did not."""
    for name in MOUNT_POINTS:
        path = inside(root, name)
        if not path.exists():
            path.mkdir(parents=True)
            path.chmod(MODES.get(name, 0o755))


def settle_password_days(root: Path, epoch: int) -> None:
    """Set the day of the last password change (shadow(5), days) of accounts without one to the image's own day.

    Packages make accounts on the day of the build; the image must not depend on that day.
    """
    path = root / "etc/shadow"
    if not path.is_file():
        return
    lines = []
    for line in path.read_text(encoding="utf-8").splitlines():
        fields = line.split(":")
        if len(fields) == 9 and fields[1].startswith(("*", "!")) and fields[2] != "0":
            fields[2] = str(epoch // 86400)
        lines.append(":".join(fields) + "\n")
    path.write_text("".join(lines), encoding="utf-8")

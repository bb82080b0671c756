"""A small root tree that can install packages: this host's own shell, dpkg and rpm, with what they are linked with."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import tempfile
from pathlib import Path

from tests.support import packages

PROGRAMS = ("sh", "cp", "mkdir", "cat", "rm", "sleep", "touch", "id", "tar", "diff", "ldconfig", "start-stop-daemon")
DPKG = ("dpkg", "dpkg-deb", "dpkg-split", "dpkg-divert")
RPM = ("rpm",)
RECORD = {
    "format": 1,
    "nvr": "small-1.0-1",
    "name": "small",
    "version": "1.0",
    "release": "1",
    "kernel": "6.1",
    "boot_args": "quiet",
    "build_date": "2024-01-02T03:04:05Z",
}
FILTERS = "path-exclude=/usr/share/doc/*\npath-include=/usr/share/doc/*/copyright\n"


def add_programs(root: Path, *names: str) -> None:
    """Copy programs of this host, and the libraries that ldd(1) names."""
    for name in names:
        found = shutil.which(name, path="/usr/sbin:/usr/bin:/sbin:/bin")
        assert found is not None, f"this host has no {name}"
        target = root / "usr/bin" / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(found, target)
        listing = subprocess.run(["ldd", found], capture_output=True, text=True, check=False).stdout
        for library in re.findall(r"(/\S+) \(", listing):
            place = root / library.lstrip("/")
            if not place.exists():
                place.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(library, place)


def make(root: Path, *, rpm: bool = False) -> Path:
    """A tree as an image has it, with a kernel that is none; of dpkg packages, or of rpm ones."""
    for name in ("bin", "sbin", "lib", "lib64"):
        (root / "usr" / name).mkdir(parents=True)
        (root / name).symlink_to(f"usr/{name}")
    add_programs(root, *PROGRAMS, *(RPM if rpm else DPKG))
    for name in ("dev", "proc", "sys", "run", "tmp", "var/tmp", "var/lib", "var/log", "root", "boot", "etc"):
        (root / name).mkdir(parents=True, exist_ok=True)
    if rpm:
        shutil.copytree("/usr/lib/rpm", root / "usr/lib/rpm", ignore=shutil.ignore_patterns("*.so", "perl*", "python*"))
        (root / "usr/lib/rpm/macros.d").mkdir(exist_ok=True)
        (root / "usr/lib/rpm/macros.d/macros.place").write_text("%_dbpath /usr/lib/sysimage/rpm\n")
        with tempfile.TemporaryDirectory() as folder:
            packages.rpm_database(root, packages.rpm(Path(folder), "shell", "1", {}, provides="/bin/sh"))
        (root / "var/lib/rpm").symlink_to("../../usr/lib/sysimage/rpm")
    else:
        database = root / "usr/lib/sysimage/dpkg"
        for name in ("info", "updates", "triggers"):
            (database / name).mkdir(parents=True)
        for name in ("status", "available"):
            (database / name).touch()
        (root / "var/lib/dpkg").symlink_to("../../usr/lib/sysimage/dpkg")
        (root / "etc/dpkg/dpkg.cfg.d").mkdir(parents=True)
        (root / "etc/dpkg/dpkg.cfg.d/ovirt-node-paths").write_text(FILTERS)
    (root / "etc/passwd").write_text("root:x:0:0:root:/root:/bin/sh\n")
    (root / "etc/group").write_text("root:x:0:\n")
    (root / "etc/list").write_text("one\n")
    modules = root / "usr/lib/modules/6.1"
    modules.mkdir(parents=True)
    for name in ("modules.dep", "vmlinuz", "initramfs.img"):
        (modules / name).write_text(name)
    (root / "usr/lib/ovirt-node/etc").mkdir(parents=True)
    (root / "usr/lib/ovirt-node/image.json").write_text(json.dumps(RECORD))
    return root

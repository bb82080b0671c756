"""What a node needs of SELinux beside the distribution's policy: a small module, and folders with the right label.

Debian's policy has no rules for some of what its own systemd, LVM and multipathd do; data/selinux/ovirt-node.cil names
each.  Fedora and CentOS Stream have them.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from org_ovirt_node.image import packagedb, runtime
from org_ovirt_node.image.chroot import run_in
from org_ovirt_node.install.labels import file_contexts

MODULE = "ovirt-node.cil"
#: Where distributions keep modules of policies.
PLACE = Path("usr/share/selinux/ovirt-node")
#: Above the distribution's own modules (100), below an administrator's (400; semodule(8)).
PRIORITY = "200"
#: Programs make these themselves, with the label of what is above.  Folder: mode, and a path that the tree has with it.
FOLDERS = {
    "etc/lvm/archive": (0o700, "etc/lvm"),
    "etc/lvm/backup": (0o700, "etc/lvm"),
    "etc/multipath": (0o700, "usr/sbin/multipathd"),
    "var/log/ovirt-node": (0o755, "var/log"),
}


def make_folders(root: Path) -> None:
    """Make the folders whose label no program sets, in the tree ``root``."""
    for name, (mode, wanted) in FOLDERS.items():
        if (root / wanted).exists() and not (root / name).exists():
            (root / name).mkdir(mode)
            (root / name).chmod(mode)


def install(root: Path) -> bool:
    """Add the module to the policy of the tree ``root``; returns False where it needs none.  Raises CommandError."""
    semodule = root / "usr/sbin/semodule"
    if file_contexts(root) is None or not semodule.exists() or not packagedb.is_dpkg(root):
        return False
    (root / PLACE).mkdir(parents=True, exist_ok=True)
    shutil.copyfile(runtime.data_folder() / "selinux" / MODULE, root / PLACE / MODULE)
    (root / PLACE / MODULE).chmod(0o644)
    run_in(root, ["semodule", "--noreload", "--priority", PRIORITY, "--install", f"/{PLACE / MODULE}"])
    return True

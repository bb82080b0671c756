"""Programs of a tree, run in the tree: in namespaces of their own, so that nothing stays mounted or running."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Optional

from org_ovirt_node.run import Arg, Completed, run

#: Killing this, or us, kills everything below it, so that nothing goes on writing into a tree that is given up.
CONTAINED = ("setpriv", "--pdeathsig=KILL", "unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc")
#: What the kernel offers, mounted in the mount namespace only; it goes away with the last program in it.
PREPARE = "; ".join(
    (
        "set -e",
        "root=$1",
        "shift",
        'mount --rbind /dev "$root/dev"',
        'mount --rbind --make-rslave /sys "$root/sys"',
        'mount -t proc proc "$root/proc"',
        'mount -t tmpfs -o mode=0755 tmpfs "$root/run"',
        'mount -t tmpfs -o mode=1777 tmpfs "$root/tmp"',
        'exec chroot "$root" "$@"',
    )
)


def run_in(
    root: Path,
    argv: Sequence[Arg],
    *,
    env: Optional[Mapping[str, str]] = None,
    check: bool = True,
    input: Optional[str] = None,
) -> Completed:
    """Run a program of the tree ``root`` with /dev, /proc, /sys and empty /run and /tmp.  Raises CommandError."""
    inside = [os.fspath(arg) for arg in argv]
    return run(
        [*CONTAINED, "sh", "-c", PREPARE, inside[0], os.fspath(root), *inside], env=env, check=check, input=input
    )


def has_program(root: Path, name: str) -> bool:
    """True when the tree ``root`` has the program ``name``."""
    folders = ("usr/sbin", "usr/bin", "sbin", "bin")
    return any(os.path.lexists(root / folder / name) for folder in folders)

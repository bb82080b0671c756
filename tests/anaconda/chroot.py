"""A root tree with Anaconda in it, used natively: an overlay over it, in namespaces of its own."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

#: Lays the layers together, makes what programs expect of a running system, and runs the command in it.  The
#: machine's own devices stay out: Anaconda must find no disk here.
ENTER = r"""
set -e
hostname installer
mount -t overlay overlay -o "lowerdir=$LOWER,upperdir=$WORK/upper,workdir=$WORK/work" "$WORK/root"
cd "$WORK/root"
mkdir -p proc sys dev run tmp project
mount -t proc proc proc
mount -t sysfs -o ro sysfs sys
mount -t tmpfs -o mode=755 tmpfs dev
mount -t tmpfs -o mode=755 tmpfs run
mount --bind "$PROJECT" project
mount -o remount,bind,ro project
for name in null zero full random urandom tty; do : > dev/$name; mount --bind /dev/$name dev/$name; done
mkdir -p dev/pts dev/shm run/install run/user/0 run/lock
mount -t devpts -o newinstance,ptmxmode=0666 devpts dev/pts
ln -s pts/ptmx dev/ptmx
ln -s /proc/self/fd dev/fd
mount -t tmpfs tmpfs dev/shm
chmod 1777 tmp
ip link set lo up 2> /dev/null || true
exec env -i PATH=/usr/bin:/bin:/sbin:/usr/sbin HOME=/root TERM="${TERM:-dumb}" LANG=en_US.UTF-8 \
    XDG_RUNTIME_DIR=/run/user/0 PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 $ENVIRONMENT chroot . "$@"
"""
PROJECT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Root:
    """Where it is put together; what a command writes is found below ``upper``."""

    work: Path
    lower: tuple[Path, ...]

    @property
    def upper(self) -> Path:
        return self.work / "upper"

    def argv(self, command: Sequence[str], environment: Sequence[str] = ()) -> tuple[list[str], dict[str, str]]:
        """The command line and environment by which ``command`` is run in it."""
        for name in ("upper", "work", "root"):
            (self.work / name).mkdir(parents=True, exist_ok=True)
        variables = dict(
            os.environ,
            LOWER=":".join(str(path) for path in self.lower),
            WORK=str(self.work),
            PROJECT=str(PROJECT),
            ENVIRONMENT=" ".join(environment),
        )
        spaces = ("--mount", "--pid", "--fork", "--uts", "--net", "--ipc")
        argv = ["unshare", *spaces, "--kill-child", "--propagation", "private", "bash", "-c", ENTER, "enter"]
        return [*argv, *command], variables

    def run(self, command: Sequence[str], *, environment: Sequence[str] = (), timeout: float) -> int:
        """Run ``command`` in it with its output on ours; returns the exit status, 124 after ``timeout`` seconds."""
        argv, variables = self.argv(command, environment)
        try:
            return subprocess.run(
                argv, env=variables, stdin=subprocess.DEVNULL, timeout=timeout, check=False
            ).returncode
        except subprocess.TimeoutExpired:
            return 124


@contextmanager
def root_with_addon(tree: Path, *more: Path, interactive: bool = False) -> Iterator[Root]:
    """The root tree with our files in it as product.img brings them, and the trees ``more`` above.

    ``interactive``: with the default kickstart by which nobody needs to give one.
    """
    from org_ovirt_node.image import delivery

    work = Path(tempfile.mkdtemp(prefix="anaconda-"))
    try:
        delivery.install(PROJECT, work / "addon", interactive=interactive)
        yield Root(work / "run", (*reversed(more), work / "addon", tree))
    finally:
        shutil.rmtree(work, ignore_errors=True)

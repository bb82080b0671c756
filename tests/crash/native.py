"""Recording without a machine: a file whose writes and flushes are logged on their way, to be mounted through a loop.

QEMU's storage daemon shows a block node with ``blklogwrites`` as a file (FUSE); the kernel's own ext4 writes to it.
"""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from org_ovirt_node.mounts import mounted

#: Seconds for the daemon to show the file, and to end.
LIMIT = 30.0
#: Seconds between two looks whether it is there.
LOOK = 0.02


@contextmanager
def logged(file: Path, log: Path, export: Path) -> Iterator[Path]:
    """``file`` under the name ``export``, with all writes in ``log``, as long as the block runs."""
    log.write_bytes(b"")
    export.touch()
    cache = {"direct": False, "no-flush": True}
    below = {"driver": "file", "filename": str(file), "node-name": "below", "cache": cache}
    target = {"driver": "file", "filename": str(log), "cache": cache}
    node = {"driver": "blklogwrites", "node-name": "logged", "file": "below", "log": target, "log-sector-size": 512}
    argv = ["setpriv", "--pdeathsig", "KILL", "qemu-storage-daemon"]
    argv += ["--blockdev", json.dumps(below), "--blockdev", json.dumps(node)]
    argv += ["--export", f"type=fuse,id=export,node-name=logged,mountpoint={export},writable=on"]
    daemon = subprocess.Popen(argv, stdin=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + LIMIT
        while str(export) not in Path("/proc/self/mountinfo").read_text():
            if daemon.poll() is not None:
                raise RuntimeError(f"qemu-storage-daemon ended with {daemon.returncode}")
            if time.monotonic() > deadline:
                raise RuntimeError(f"{export} was not there within {LIMIT:g} s")
            time.sleep(LOOK)
        yield export
    finally:
        daemon.terminate()
        daemon.wait(LIMIT)


@contextmanager
def recorded_mount(file: Path, log: Path, folder: Path) -> Iterator[Path]:
    """The ext4 in ``file``, mounted at ``folder``/mnt with its writes in ``log``; all is flushed at the end."""
    folder.mkdir(parents=True, exist_ok=True)
    with (
        logged(file, log, folder / "export") as export,
        mounted(str(export), folder / "mnt", fstype="ext4", options=["loop"]) as mount,
    ):
        yield mount

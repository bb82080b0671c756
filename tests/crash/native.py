"""Recording and faults without a machine: a file that is written through QEMU's block nodes, mounted through a loop.

QEMU's storage daemon shows a node with ``blklogwrites`` or ``blkdebug`` as a file (FUSE); the kernel's own ext4 writes
to it.
"""

from __future__ import annotations

import errno
import json
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from org_ovirt_node.mounts import mounted

#: Seconds for the daemon to show the file, and to end.
LIMIT = 30.0
#: Seconds between two looks whether it is there.
LOOK = 0.02
CACHE = {"direct": False, "no-flush": True}


@contextmanager
def shown(nodes: Sequence[Mapping[str, Any]], export: Path) -> Iterator[Path]:
    """The last of these block nodes as the file ``export``, as long as the block runs.

    Each is above the one before; the first one is a file.
    """
    export.touch()
    argv = ["setpriv", "--pdeathsig", "KILL", "qemu-storage-daemon"]
    for node in nodes:
        argv += ["--blockdev", json.dumps(node)]
    argv += ["--export", f"type=fuse,id=export,node-name={nodes[-1]['node-name']},mountpoint={export},writable=on"]
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


def below(file: Path) -> dict[str, Any]:
    """The block node of a file; flushes of the host's disk would only cost time."""
    return {"driver": "file", "filename": str(file), "node-name": "below", "cache": CACHE}


@contextmanager
def logged(file: Path, log: Path, export: Path) -> Iterator[Path]:
    """``file`` under the name ``export``, with all writes in ``log``, as long as the block runs."""
    log.write_bytes(b"")
    target = {"driver": "file", "filename": str(log), "cache": CACHE}
    node = {"driver": "blklogwrites", "node-name": "logged", "file": "below", "log": target, "log-sector-size": 512}
    with shown((below(file), node), export):
        yield export


@contextmanager
def recorded_mount(file: Path, log: Path, folder: Path, fstype: str = "ext4") -> Iterator[Path]:
    """The file system in ``file``, mounted at ``folder``/mnt with its writes in ``log``; all is flushed at the end."""
    folder.mkdir(parents=True, exist_ok=True)
    with (
        logged(file, log, folder / "export") as export,
        mounted(str(export), folder / "mnt", fstype=fstype, options=["loop"]) as mount,
    ):
        yield mount


@contextmanager
def faulty_mount(file: Path, sector: int, folder: Path) -> Iterator[Path]:
    """The ext4 in ``file``, mounted at ``folder``/mnt on a disk that answers each write of ``sector`` with EIO."""
    folder.mkdir(parents=True, exist_ok=True)
    rule = {"event": "none", "iotype": "write", "errno": errno.EIO, "sector": sector, "once": False}
    node = {"driver": "blkdebug", "node-name": "faulty", "image": "below", "inject-error": [rule]}
    with (
        shown((below(file), node), folder / "export") as export,
        mounted(str(export), folder / "mnt", fstype="ext4", options=["loop"]) as mount,
    ):
        yield mount

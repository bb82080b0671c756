"""One transfer in a process of its own: prints its seconds, and its peak memory in bytes, as JSON.

The clock starts where the installer's would, at opening the source: the interpreter and its modules are there already.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

from org_ovirt_node.payload.sources import open_source
from org_ovirt_node.payload.squashfs import inspect
from org_ovirt_node.payload.transfer import read_back, transfer
from org_ovirt_node.progress import Silent


def peak() -> int:
    """The most memory that this process had at once, in bytes (proc(5): VmHWM)."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return int(next(line for line in lines if line.startswith("VmHWM:")).split()[1]) << 10


def main() -> None:
    """Do what the arguments say."""
    parser = argparse.ArgumentParser()
    parser.add_argument("url")
    parser.add_argument("target", type=Path)
    parser.add_argument("--no-hash", action="store_true")
    parser.add_argument("--read-back", action="store_true")
    options = parser.parse_args()
    started = time.monotonic()
    with open_source(options.url) as source:
        size = inspect(source).size
        done = transfer(source, options.target, size=size, fresh=False, hash=not options.no_hash, progress=Silent())
    if options.read_back:
        read_back(options.target, done.size, done.sha256, Silent())
    print(json.dumps({"seconds": time.monotonic() - started, "peak": peak()}))


if __name__ == "__main__":
    main()

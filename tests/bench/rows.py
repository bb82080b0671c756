"""The rows: each a way to get the payload onto the disk, timed to the moment when it is there for good."""

from __future__ import annotations

import json
import math
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from org_ovirt_node.mounts import mounted

#: What Anaconda's live image installation runs (pyanaconda/modules/payloads/payload/live_image/installation.py); its
#: --exclude options name what an installed system has of its own.
RSYNC = ("rsync", "-pogAXtlHrDx", "--stats", "--info=flist2,name,progress2")


@dataclass
class Row:
    """A way, and its measured seconds."""

    name: str
    label: str
    once: Callable[[], float]
    seconds: list[float] = field(default_factory=list)


def order(rows: Sequence[Row], number: int) -> list[Row]:
    """The rows for round ``number``: another one first, and others behind each other, in each of the first rounds.

    What a row leaves to the disk to be done (a buffered write of a gigabyte, say) slows the one behind it.
    """
    strides = [stride for stride in range(1, len(rows)) if math.gcd(stride, len(rows)) == 1]
    stride = strides[number % len(strides)]
    return [rows[(number + turn * stride) % len(rows)] for turn in range(len(rows))]


class Bench:
    """Runs in ``work``, on the payload ``image``."""

    def __init__(self, image: Path, work: Path, port: int) -> None:
        self.image = image
        self.target = work / "target"
        self.tree = work / "tree"
        self.mount = work / "mount"
        self.port = port
        self.peak = 0
        self.rows = (
            Row("dd_direct", "dd, direct", lambda: self.dd("iflag=direct", "oflag=direct")),
            Row("dd_buffered", "dd, buffered", self.dd),
            Row("plain", "ours", lambda: self.ours("--no-hash")),
            Row("sha256", "ours, SHA-256", self.ours),
            Row("sha256_read_back", "ours, SHA-256, read back", lambda: self.ours("--read-back")),
            Row("http", "ours, SHA-256, over HTTP", lambda: self.ours(http=True)),
            Row("rsync", "rsync, as Anaconda", self.rsync),
            Row("unsquashfs", "unsquashfs", self.unsquashfs),
        )

    def clean(self) -> None:
        """The same start for every run: no target, nothing in flight, and the payload not in memory."""
        self.target.unlink(missing_ok=True)
        shutil.rmtree(self.tree, ignore_errors=True)
        os.sync()
        fd = os.open(self.image, os.O_RDONLY)
        os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
        os.close(fd)

    def timed(self, *argv: str) -> float:
        """The seconds of a program whose output nobody wants."""
        started = time.monotonic()
        subprocess.run(argv, check=True, stdout=subprocess.DEVNULL)
        return time.monotonic() - started

    def dd(self, *flags: str) -> float:
        """dd with blocks of 4 MiB, and an fsync at its end."""
        argv = ("dd", f"if={self.image}", f"of={self.target}", "bs=4M", "conv=fsync", "status=none")
        return self.timed(*argv, *flags)

    def ours(self, *options: str, http: bool = False) -> float:
        """Our transfer in a process of its own."""
        url = f"http://127.0.0.1:{self.port}/{self.image.name}" if http else f"file:{self.image}"
        argv = (sys.executable, "-m", "tests.bench.worker", url, str(self.target), *options)
        said = json.loads(subprocess.run(argv, check=True, capture_output=True, text=True).stdout)
        self.peak = max(self.peak, int(said["peak"]))
        return float(said["seconds"])

    def rsync(self) -> float:
        """rsync from the mounted payload, then everything flushed."""
        self.tree.mkdir()
        with mounted(str(self.image), self.mount, fstype="squashfs", options=["loop", "ro"]) as source:
            return self.flushed((*RSYNC, f"{source}/", f"{self.tree}/"))

    def unsquashfs(self) -> float:
        """unsquashfs with all processors, then everything flushed."""
        return self.flushed(("unsquashfs", "-quiet", "-no-progress", "-dest", str(self.tree), str(self.image)))

    def flushed(self, argv: Sequence[str]) -> float:
        """The seconds of a program that writes files, with those until its files are on the disk."""
        return self.timed(*argv) + self.timed("sync", "--file-system", str(self.tree))

    def run(self, runs: int) -> None:
        """Measure every row ``runs`` times, interleaved; none has a better place, or always the same one before it."""
        for number in range(runs):
            for row in order(self.rows, number):
                self.clean()
                row.seconds.append(row.once())
                print(f"run {number + 1} of {runs}  {row.label:28} {row.seconds[-1]:7.2f} s", flush=True)
        self.clean()


@contextmanager
def serving(folder: Path) -> Iterator[int]:
    """A web server for ``folder`` in a process of its own; its port."""
    argv = (sys.executable, "-m", "tests.bench.server", str(folder))
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            yield int(process.stdout.readline())
        finally:
            process.terminate()

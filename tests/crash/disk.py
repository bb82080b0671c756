"""What is on a rebuilt disk: partitions, volume group, volumes as files, /boot as GRUB and as Linux sees it.

Everything is remembered by what it was read from, so that of a cut only what it has changed is looked at again.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Optional, TypeVar, Union

from org_ovirt_node.mounts import mounted
from tests.crash import filesystems, gpt, grubview, lvmtext, thin
from tests.crash.grubview import GrubView
from tests.crash.replay import STEP, Replay, filled

#: How GRUB calls the partition of /boot.
BOOT = "loop0,gpt2"
#: Bytes at both ends of the disk that hold partition table, boot code and GRUB's core.
HEAD, TAIL = 2 << 20, 1 << 20
#: Bytes of a PV before its first extent.
PV_HEAD = 1 << 20
#: Answers that are kept: a cut has a few dozen.
KEPT = 4096
Answer = TypeVar("Answer")
#: (start, length) in bytes of the disk.
Ranges = Iterable[tuple[int, int]]


@dataclass(frozen=True)
class Content:
    """A file system after its journal was replayed: what is wrong with it, and what is in it."""

    wrong: str
    paths: dict[str, str]
    texts: dict[str, bytes]
    #: What of it a disk has torn that is mended all the same.
    torn: tuple[str, ...] = ()


class Disk:
    """The disk of a replay; scratch files go into ``folder``."""

    def __init__(self, replay: Replay, folder: Path, *, first_boot: bool = False) -> None:
        """``first_boot``: the initramfs mends a PV's new UUID that is half written."""
        self.replay = replay
        self.first_boot = first_boot
        self.folder = folder
        self.answers: dict[Hashable, Any] = {}
        folder.mkdir(parents=True, exist_ok=True)

    def remembered(self, what: Hashable, ranges: Ranges, ask: Callable[[], Answer]) -> Answer:
        """``ask()``, or what it said when these ranges of the disk had this very content before."""
        stamp = hashlib.blake2b(repr(what).encode(), digest_size=16)
        for start, length in ranges:
            stamp.update(b"%d %d " % (start, length) + self.replay.stamp(start, length))
        key = stamp.digest()
        if key not in self.answers:
            answer = ask()
            while len(self.answers) >= KEPT:
                del self.answers[next(iter(self.answers))]
            self.answers[key] = answer
        found: Answer = self.answers[key]
        return found

    # -- partitions and the volume group -------------------------------------------------------------------------

    def partitions(self) -> Optional[tuple[gpt.Partition, ...]]:
        """The partitions; None without a sound table."""
        ranges = [(0, HEAD), (self.replay.size - TAIL, TAIL)]
        return self.remembered("gpt", ranges, lambda: gpt.read(self.replay.file, self.replay.size))

    def torn_table(self) -> bool:
        """The first copy of the partition table is there, and is not whole."""
        return self.remembered("torn", [(0, HEAD)], lambda: gpt.torn(self.replay.file, self.replay.size))

    def boot_code(self) -> bool:
        return self.remembered("code", [(0, HEAD)], lambda: gpt.boot_code(self.replay.file))

    def partition(self, number: int) -> Optional[gpt.Partition]:
        return next((one for one in self.partitions() or () if one.number == number), None)

    def core(self, part: gpt.Partition) -> str:
        """SHA-256 of the partition that GRUB's core image lies in."""
        ranges = [(part.start, part.length)]
        return self.remembered("core", ranges, lambda: self._digest(ranges, part.length))

    def group(self) -> Optional[lvmtext.Group]:
        """The VG; None without PV or VG.  Raises MetadataError."""
        for one in self.partitions() or ():
            if one.kind == gpt.LVM:
                place = one.start
                return self.remembered(
                    "vg",
                    [(place, PV_HEAD)],
                    lambda place=place: lvmtext.read(self.replay.file, place, newest=self.first_boot),  # type: ignore[misc]
                )
        return None

    def pool(self, group: lvmtext.Group, name: str) -> thin.Pool:
        """The thin pool ``name``.  Raises ThinError, MetadataError."""
        (segment,) = group.segments(name)
        ranges = group.ranges(str(segment.data["metadata"]))
        found = self.remembered("pool", ranges, lambda: self._read_pool(ranges))
        if isinstance(found, thin.ThinError):
            raise found
        return found

    def _read_pool(self, ranges: Ranges) -> Union[thin.Pool, thin.ThinError]:
        file = self.folder / "tmeta"
        self.extract([(start, length, place) for start, length, place in _placed(ranges)], file, 0)
        try:
            return thin.read(file)
        except thin.ThinError as exc:
            return exc
        finally:
            file.unlink()

    def extract(self, runs: Iterable[tuple[int, int, int]], file: Path, size: int) -> None:
        """Copy runs of (start on the disk, length, place in the file) into a sparse file of at least ``size`` bytes."""
        with file.open("wb") as target:
            target.truncate(size)
            for start, length, place in runs:
                for found, data in filled(self.replay.file, start, length):
                    os.pwrite(target.fileno(), data, place + found - start)
            end = max([size, *(place + length for _, length, place in runs)])
            target.truncate(end)

    def thin_runs(self, group: lvmtext.Group, name: str) -> list[tuple[int, int, int]]:
        """Where a thin LV lies: (start on the disk, length, place in the volume).  Raises ThinError, MetadataError."""
        (segment,) = group.segments(name)
        pool_name = str(segment.data["thin_pool"])
        pool = self.pool(group, pool_name)
        (pool_segment,) = group.segments(pool_name)
        device = int(segment.data["device_id"])
        if device not in pool.volumes:
            raise thin.ThinError(f"the pool knows nothing of {name} (device {device})")
        data = group.ranges(str(pool_segment.data["pool"]))
        runs = []
        for origin, chunk, count in pool.volumes[device].runs:
            for start, length, place in _within(data, chunk * pool.chunk, count * pool.chunk):
                runs.append((start, length, origin * pool.chunk + place))
        return runs

    def digest(self, group: lvmtext.Group, name: str, size: int) -> str:
        """SHA-256 of the first ``size`` bytes of a linear LV.  Raises MetadataError."""
        ranges = group.ranges(name)
        return self.remembered(("digest", size), ranges, lambda: self._digest(ranges, size))

    def _digest(self, ranges: Ranges, size: int) -> str:
        digest = hashlib.sha256()
        for start, length, place in _placed(ranges):
            for done in range(0, min(length, size - place), STEP):
                count = min(STEP, length - done, size - place - done)
                digest.update(os.pread(self.replay.file.fileno(), count, start + done))
        return digest.hexdigest()

    # -- file systems ----------------------------------------------------------------------------------------------

    def volume(
        self, group: lvmtext.Group, name: str, names: tuple[str, ...] = (), texts: tuple[str, ...] = ()
    ) -> Content:
        """The file system on a thin LV after its journal, with the digests of what is below ``names``."""
        runs = self.thin_runs(group, name)
        size = group.size(name)
        ranges = [(start, length) for start, length, _ in runs]
        what = ("volume", names, texts, size, tuple(place for _, _, place in runs))
        return self.remembered(what, ranges, lambda: self._content(runs, size, names, texts))

    def boot(self, texts: tuple[str, ...]) -> Content:
        """/boot after its journal: digests of everything, and the content of ``texts`` (glob patterns)."""
        part = self.partition(2)
        if part is None:
            return Content("there is no second partition", {}, {})
        runs = [(part.start, part.length, 0)]
        ranges = [(part.start, part.length)]
        return self.remembered(("boot", texts), ranges, lambda: self._content(runs, part.length, ("",), texts))

    def _content(
        self, runs: list[tuple[int, int, int]], size: int, names: tuple[str, ...], texts: tuple[str, ...]
    ) -> Content:
        file, mount = self.folder / "volume", self.folder / "mount"
        self.extract(runs, file, size)
        try:
            before = len(filesystems.torn)
            wrong = filesystems.replay_and_check(file, mount)
            torn = tuple(filesystems.torn[before:])
            if wrong or not names:
                return Content(wrong, {}, {}, torn)
            fstype = filesystems.kind(file)
            options = ["ro", "noload"] if fstype == "ext4" else ["ro", "norecovery", "nouuid"]
            with mounted(str(file), mount, fstype=fstype, options=options):
                found = filesystems.digests(mount, names)
                read = {str(one.relative_to(mount)): one.read_bytes() for text in texts for one in mount.glob(text)}
            return Content("", found, read, torn)
        finally:
            file.unlink()

    # -- /boot as GRUB sees it -------------------------------------------------------------------------------------

    def grub(self, folder: str) -> GrubView:
        """What GRUB, whose files are in /boot/``folder``, reads before it shows its menu."""
        part = self.partition(2)
        if part is None:
            return GrubView(False, (), {})
        return self.remembered(
            ("grub", folder), [(part.start, part.length)], lambda: grubview.look(self.replay.work, BOOT, folder)
        )

    def grub_digest(self, path: str) -> str:
        """SHA-256 of a file of /boot as GRUB reads it; empty when it cannot."""
        part = self.partition(2)
        if part is None:
            return ""

        def ask() -> str:
            data = grubview.read(self.replay.work, BOOT, path)
            return "" if data is None else hashlib.sha256(data).hexdigest()

        return self.remembered(("file", path), [(part.start, part.length)], ask)


def _placed(ranges: Ranges) -> list[tuple[int, int, int]]:
    """(start, length) with the place of each in what they make together."""
    placed, place = [], 0
    for start, length in ranges:
        placed.append((start, length, place))
        place += length
    return placed


def _within(ranges: Ranges, first: int, length: int) -> list[tuple[int, int, int]]:
    """The part of ``ranges`` from byte ``first`` on: (start on the disk, length, place from 0 on)."""
    found = []
    for start, count, place in _placed(ranges):
        begin, end = max(first, place), min(first + length, place + count)
        if begin < end:
            found.append((start + begin - place, end - begin, begin - first))
    return found

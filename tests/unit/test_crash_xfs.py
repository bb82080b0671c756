"""Power cuts in an XFS, which a layer or a volume may have: what was brought to the disk is there, whole."""

from __future__ import annotations

import random
import subprocess
from pathlib import Path

import pytest

from org_ovirt_node.boot import files
from org_ovirt_node.mounts import mounted, watched
from tests.crash import cuts, filesystems
from tests.crash.native import recorded_mount
from tests.crash.operations import entries_before
from tests.crash.replay import Replay
from tests.crash.writelog import Log

SEED = 20261123
#: mkfs.xfs(8): the smallest.
SIZE = 300 << 20
FILES = 12


def content(number: int, version: int) -> bytes:
    return random.Random(100 * number + version).randbytes(3000 + 5000 * number)


def record(folder: Path) -> tuple[Path, Path, int, int]:
    """Files that are written and flushed together, as a merge does it, then replaced one by one; the log's marks."""
    base, disk = folder / "base.img", folder / "disk.img"
    with base.open("wb") as handle:
        handle.truncate(SIZE)
    subprocess.run(["mkfs.xfs", "-q", base], check=True)
    subprocess.run(["cp", "--sparse=always", base, disk], check=True)
    log = folder / "log"
    with recorded_mount(disk, log, folder / "recorded", "xfs") as root:
        with watched(root) as flush:
            for number in range(FILES):
                (root / f"{number}").write_bytes(content(number, 1))
            flush()
        written = log.stat().st_size
        for number in range(FILES):
            files.write_durably(root / f"{number}", content(number, 2))
        replaced = log.stat().st_size
    return base, log, written, replaced


def wrong_in(image: Path, folder: Path, wanted: tuple[int, ...]) -> list[str]:
    """What is wrong with a cut after which each file has one of the versions ``wanted`` (0: it may be missing)."""
    copy = folder / "copy.img"
    subprocess.run(["cp", "--sparse=always", image, copy], check=True)
    wrong = filesystems.replay_and_check(copy, folder / "scratch")
    if wrong:
        return [wrong]
    with mounted(str(copy), folder / "looked", fstype="xfs", options=["ro", "norecovery", "nouuid", "loop"]) as root:
        for number in range(FILES):
            file = root / f"{number}"
            found = file.read_bytes() if file.is_file() else None
            allowed = [content(number, version) for version in wanted if version]
            if 0 not in wanted and found not in allowed:
                return [f"file {number} is neither of {wanted}"]
    return []


def some_cuts(folder: Path) -> list[str]:
    base, log, *places = record(folder)
    wrong: list[str] = []
    with Log(log) as opened, Replay(opened, base, SIZE, folder / "cut.img") as replay:
        written, replaced = (entries_before(tuple(replay.entries), place) for place in places)
        planned = cuts.plan(cuts.windows(replay.entries), SEED, 1)
        for cut in cuts.sample(planned, SEED, 30):
            first = cut.window.first
            wanted = (2,) if first >= replaced else (1, 2) if first >= written else (0,)
            with replay.cut(cut):
                wrong += [f"{cut.name}: {one}" for one in wrong_in(replay.work, folder, wanted)]
    return wrong


def test_what_was_flushed_on_xfs_survives_every_cut(memory: Path) -> None:
    assert some_cuts(memory) == []


def test_files_that_are_not_brought_to_the_disk_are_seen_to_be_lost(
    memory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.fsync", lambda _descriptor: None)
    assert any("neither of" in one for one in some_cuts(memory))


def test_a_damaged_xfs_is_seen(memory: Path) -> None:
    base, *_ = record(memory)
    with base.open("r+b") as disk:
        # The root directory's inode chunk lies in the first blocks behind the headers of the first group.
        disk.seek(32 << 10)
        disk.write(bytes(random.Random(SEED).randbytes(96 << 10)))
    assert filesystems.replay_and_check(base, memory / "scratch")

"""What judges an ext4 after a power cut: a torn superblock is ext4's to lose, and hides no other damage."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.crash import filesystems

#: What e2fsck 1.47.0 said of a cut in a first boot, with and without the second superblock: status, output, errors.
TORN = (8, "", "e2fsck: Superblock checksum does not match superblock while trying to open volume")
AGAIN = (12, "volume: recovering journal", "e2fsck: unable to set superblock flags on volume")
STALE = (1, "volume: Group 6 block bitmap does not match checksum.\nFIXED.\nvolume: 169/133552 files", "")
OTHER = (1, "volume: Inode 12, i_blocks is 8, should be 16.  FIXED.\nvolume: 169/133552 files", "")
MENDED = (1, "volume: Block bitmap differences: +7", "")


@pytest.mark.parametrize(
    ("said", "wrong"),
    [
        ((TORN, AGAIN, STALE), ""),
        ((TORN, AGAIN, OTHER), "Inode 12"),
        ((TORN, MENDED, STALE), "Group 6 block bitmap"),
        ((STALE,), "Group 6 block bitmap"),
    ],
    ids=["stale sums", "other damage", "all was mended before", "no torn superblock"],
)
def test_stale_sums_are_usual_after_the_second_superblock_alone(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, said: tuple[tuple[int, str, str], ...], wrong: str
) -> None:
    volume = tmp_path / "volume"
    volume.write_bytes(bytes(filesystems.EXT4_PLACE) + filesystems.EXT4_MAGIC)
    answers = iter(said)

    def e2fsck(argv: list[object]) -> subprocess.CompletedProcess[str]:
        status, out, err = next(answers)
        return subprocess.CompletedProcess([str(word) for word in argv], status, out, err)

    monkeypatch.setattr(filesystems, "_run", e2fsck)
    before = len(filesystems.torn)
    found = filesystems.replay_and_check(volume, tmp_path)
    assert wrong in found if wrong else found == ""
    assert filesystems.torn[before:] == ([filesystems.SUPERBLOCK_TORN] if TORN in said else [])
    assert next(answers, None) is None


def test_emptying_the_orphan_file_is_usual_and_rebuilding_it_is_not(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    volume = tmp_path / "volume"
    volume.write_bytes(bytes(filesystems.EXT4_PLACE) + filesystems.EXT4_MAGIC)
    dirty = "volume: Orphan file (inode 12) block 0 is not clean.\nCLEARED.\nvolume: 169/133552 files"
    broken = "volume: Orphan file (inode 12) block 3 has wrong magic.\nCLEARED.\nvolume: 169/133552 files"
    for said, wrong in ((dirty, ""), (broken, "wrong magic")):
        done = subprocess.CompletedProcess(["e2fsck"], 1, said, "")
        monkeypatch.setattr(filesystems, "_run", lambda _argv, done=done: done)
        found = filesystems.replay_and_check(volume, tmp_path)
        assert wrong in found if wrong else found == ""

"""Power cuts while /boot is changed, by the product's own functions on a real file system; GRUB must always boot."""

from __future__ import annotations

import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from org_ovirt_node.boot import files, grubcfg, grubenv
from org_ovirt_node.errors import NodeError
from org_ovirt_node.mounts import mounted
from tests.crash import bootcuts, bootfaults, cuts, grubview
from tests.crash.bootcuts import NEW, OLD
from tests.crash.replay import Replay
from tests.crash.writelog import Log

SEED = 20261123


def some_cuts(folder: Path, *, flushes: bool = True, until: str = "") -> list[str]:
    """What is wrong after the cuts of the first upgrade, those in which most was on its way.

    With ``until`` many more of them are tried, up to the first violation that says so.
    """
    base, log, _ = bootcuts.record_operations(folder, bootcuts.operation_list()[:1])
    wrong: list[str] = []
    with Log(log) as opened, Replay(opened, base, bootcuts.SIZE, folder / "cut.img") as replay:
        if not flushes:
            replay.entries = [replace(one, number=n) for n, one in enumerate(bootcuts.dropped(list(replay.entries)))]
        found = sorted(cuts.windows(replay.entries), key=lambda window: -window.writes)[:5]
        for cut in cuts.plan(sorted(found, key=lambda window: window.first), SEED, 20 if until else 2):
            with replay.cut(cut):
                wrong += bootcuts.wrong_in(replay.work, folder, frozenset({OLD, NEW}))
            if until and any(until in one for one in wrong):
                break
    return wrong


def test_no_cut_of_an_upgrade_leaves_grub_without_a_whole_menu(memory: Path) -> None:
    assert some_cuts(memory) == []


def test_without_fsync_it_is_noticed(memory: Path) -> None:
    assert any("not whole" in wrong for wrong in some_cuts(memory, flushes=False, until="not whole"))


def test_with_one_copy_of_the_menu_it_is_noticed(memory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def once(boot: Path, grub_folder: str, first: str = "") -> None:
        files.write_durably(boot / grub_folder / grubcfg.ENTRIES_FILE, files.render_menu(boot, first).encode())
        files.make_visible(boot)

    monkeypatch.setattr(files, "publish_menu", once)
    assert any("no whole menu" in wrong for wrong in some_cuts(memory, until="no whole menu"))


def test_a_disk_that_cannot_be_written_ends_a_change_with_an_error_and_still_boots(memory: Path) -> None:
    outcome = bootfaults.judged(memory, SEED, 4)
    assert (outcome.tried, outcome.violations) == (4, [])
    assert outcome.refused >= 3


def test_errors_of_the_disk_that_nobody_asks_for_are_noticed(memory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.fsync", lambda descriptor: None)
    monkeypatch.setattr(files, "make_visible", lambda boot: None)
    # Which places make it wrong is up to when the kernel writes them.
    outcome = bootfaults.judged(memory, SEED, until="not whole")
    assert any("not whole" in wrong for wrong in outcome.violations)


def test_the_spare_menu_is_what_grub_takes_when_the_first_is_gone(memory: Path) -> None:
    image = bootcuts.blank(memory / "boot.img")
    with mounted(str(image), memory / "mnt", fstype="ext4", options=["loop"]) as boot:
        bootcuts.install(boot, memory / "work")
        (boot / "grub/entries.cfg").write_bytes(b"")
        assert "entries.spare.cfg" in (boot / "grub/grub.cfg").read_text()
    assert [one.name for one in grubview.look(image, "loop0", "grub").menu] == [OLD]


def test_the_environment_block_is_changed_in_place_within_a_sector(tmp_path: Path) -> None:
    files.write_environment(tmp_path, "grub", {"saved_entry": "a"})
    block = tmp_path / "grub/grubenv"
    inode = block.stat().st_ino
    files.write_environment(tmp_path, "grub", {"saved_entry": "b", "trial_entry": "c"})
    assert block.stat().st_ino == inode
    assert files.read_environment(tmp_path, "grub") == {"saved_entry": "b", "trial_entry": "c"}
    # Two sectors are no longer one write: the file is replaced.
    files.write_environment(tmp_path, "grub", {"saved_entry": "d", "other": "x" * 600})
    assert block.stat().st_ino != inode
    assert len(block.read_bytes()) == grubenv.SIZE
    # Whatever else is there becomes a block.
    block.write_bytes(b"short")
    files.write_environment(tmp_path, "grub", {"saved_entry": "e"})
    assert files.read_environment(tmp_path, "grub") == {"saved_entry": "e"}
    target = tmp_path / "elsewhere"
    block.rename(target)
    block.symlink_to(target)
    files.write_environment(tmp_path, "grub", {"saved_entry": "f"})
    assert not block.is_symlink() and b"saved_entry=e" in target.read_bytes()
    assert [one.name for one in (tmp_path / "grub").iterdir()] == ["grubenv"]


def test_a_boot_that_goes_read_only_refuses_each_change_and_stays_as_it_was(memory: Path) -> None:
    disk, work = bootcuts.blank(memory / "disk.img"), memory / "work"
    first, *others = bootcuts.operation_list()
    with mounted(str(disk), memory / "mnt", fstype="ext4", options=["loop"]) as boot:
        bootcuts.install(boot, work)
        first.act(boot, work)
        # What ext4 does by itself where its journal cannot be written.
        subprocess.run(["mount", "-o", "remount,ro", boot], check=True)
        for operation in others:
            with pytest.raises((OSError, NodeError)):
                operation.act(boot, work)
    assert list(bootcuts.wrong_in(disk, memory, frozenset({first.after}))) == []

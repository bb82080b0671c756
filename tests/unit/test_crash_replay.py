"""The replay of power cuts: the log's reader, the plan of the cuts, and the disk that is rebuilt."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.crash import cuts, run
from tests.crash.cuts import Cut, Window
from tests.crash.replay import PIECE, Replay
from tests.crash.writelog import DISCARD, ENTRY, FLUSH, FUA, Log, LogError, Writer

SECTOR = 512
SIZE = 8 * PIECE


def sector(letter: str, count: int = 1) -> bytes:
    return letter.encode() * (SECTOR * count)


def small(path: Path) -> Path:
    """a at 0, b at 1, flush, c at 0, d at 2 and 3, flush, a discard of 1, e at 4."""
    log = Writer(path)
    log.add(0, sector("a"))
    log.add(SECTOR, sector("b"))
    log.add(0, b"", FLUSH)
    log.add(0, sector("c"))
    log.add(2 * SECTOR, sector("d", 2))
    log.add(0, b"", FLUSH)
    log.discard(SECTOR, SECTOR)
    log.add(4 * SECTOR, sector("e"))
    log.close()
    return path


def letters(file: Path, count: int = 5) -> str:
    """The first byte of each of the first sectors, '.' for a zero."""
    data = file.read_bytes()[: count * SECTOR]
    return "".join(chr(data[number * SECTOR] or ord(".")) for number in range(count))


def test_a_log_is_read_entry_by_entry(tmp_path: Path) -> None:
    with Log(small(tmp_path / "log")) as log:
        found = list(log.entries())
        assert [(one.start // SECTOR, one.length // SECTOR, one.flags) for one in found] == [
            (0, 1, 0),
            (1, 1, 0),
            (0, 0, FLUSH),
            (0, 1, 0),
            (2, 2, 0),
            (0, 0, FLUSH),
            (1, 1, DISCARD),
            (4, 1, 0),
        ]
        assert log.read(found[4], SECTOR, SECTOR) == sector("d")
        assert log.read(found[6], 0, SECTOR) == bytes(SECTOR)
        assert [one.changes for one in found] == [True, True, False, True, True, False, True, True]


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda data: b"", "too short"),
        (lambda data: b"x" + data[1:], "no log of writes"),
        (lambda data: data[:-1], "ends within entry 7 of 8"),
        (lambda data: data[: -2 * SECTOR], "ends at entry 7 of 8"),
        (lambda data: data[:SECTOR] + ENTRY.pack(0, 1, 64, 0) + data[SECTOR + ENTRY.size :], "unknown flags 0x40"),
    ],
)
def test_a_damaged_log_is_refused(tmp_path: Path, spoil: object, said: str) -> None:
    path = small(tmp_path / "log")
    path.write_bytes(spoil(path.read_bytes()))  # type: ignore[operator]
    with pytest.raises(LogError, match=said), Log(path) as log:
        list(log.entries())


def test_windows_lie_between_flushes(tmp_path: Path) -> None:
    with Log(small(tmp_path / "log")) as log:
        assert cuts.windows(log.entries()) == [Window(0, 2, 2), Window(3, 5, 2), Window(6, 8, 2)]


def test_a_write_that_carries_a_flush_belongs_to_what_follows(tmp_path: Path) -> None:
    log = Writer(tmp_path / "log")
    log.add(0, sector("a"))
    log.add(SECTOR, sector("b"), FLUSH | FUA)
    log.add(0, b"", FLUSH)
    log.close()
    with Log(tmp_path / "log") as read:
        found = list(read.entries())
    assert cuts.windows(found) == [Window(0, 1, 1), Window(1, 2, 1)]
    for seed in range(20):
        # Nothing keeps a write with FUA from being there once the cut is behind it.
        assert [one.entry.number for one in cuts.kept(Cut(Window(1, 2, 1), seed), found[1:2])] == [1]


def test_the_plan_has_every_boundary_and_is_the_same_for_the_same_seed() -> None:
    found = [Window(0, 3, 3), Window(4, 4, 0), Window(5, 9, 4)]
    planned = cuts.plan(found, 7, 2)
    assert [cut.window for cut in planned if cut.seed is None] == found
    assert len(planned) == 3 + 2 * 2 + 2 * 3
    assert planned == cuts.plan(found, 7, 2) != cuts.plan(found, 8, 2)
    assert len({cut.name for cut in planned}) == len(planned)


def test_a_sample_is_spread_over_the_whole() -> None:
    planned = [Cut(Window(number, number + 1, 1)) for number in range(100)]
    chosen = cuts.sample(planned, 1, 10)
    assert [cut.window.first // 10 for cut in chosen] == list(range(10))
    assert cuts.sample(planned, 1, 100) == cuts.sample(planned, 1, 500) == planned


def test_subsets_differ_and_tear(tmp_path: Path) -> None:
    log = Writer(tmp_path / "log")
    for number in range(6):
        log.add(number * 8 * SECTOR, sector("x", 8))
    log.add(100 * SECTOR, sector("y", 200))
    log.close()
    with Log(tmp_path / "log") as read:
        found = list(read.entries())
    results = [cuts.kept(Cut(Window(0, 7, 7), seed), found) for seed in range(200)]
    assert len({tuple((one.entry.number, one.ranges) for one in result) for result in results}) > 60
    for number in range(7):
        there = [one for result in results for one in result if one.entry.number == number]
        assert 0 < len(there) < 200
        assert any(sum(length for _, length in one.ranges) < one.entry.length for one in there), "never torn"
        for one in there:
            assert all(offset % SECTOR == 0 and length > 0 for offset, length in one.ranges)
            assert sum(length for _, length in one.ranges) <= one.entry.length
    assert any(not result for result in results) or min(map(len, results)) <= 1


def test_the_disk_is_rebuilt_at_each_boundary(tmp_path: Path) -> None:
    with Log(small(tmp_path / "log")) as log, Replay(log, None, SIZE, tmp_path / "disk") as replay:
        seen = []
        for cut in cuts.plan(cuts.windows(replay.entries), 1, 0):
            with replay.cut(cut):
                seen.append(letters(replay.work))
        assert seen == [".....", "ab...", "cbdd."]
        replay.forward(8)
        assert letters(replay.work) == "c.dde"
        with pytest.raises(ValueError, match="before what is on the disk"):
            replay.forward(2)
    assert not (tmp_path / "disk").exists()


def test_who_reads_through_the_file_sees_what_was_written_since(tmp_path: Path) -> None:
    with Log(small(tmp_path / "log")) as log, Replay(log, None, SIZE, tmp_path / "disk") as replay:
        seen = set()
        for number in range(len(replay.entries) + 1):
            replay.forward(number)
            replay.file.seek(0)
            through = replay.file.read(SECTOR)
            assert through == (tmp_path / "disk").read_bytes()[:SECTOR]
            seen.add(through)
        assert len(seen) > 1


def test_what_a_cut_kept_is_taken_back(tmp_path: Path) -> None:
    base = tmp_path / "base"
    base.write_bytes(sector("z", 5) + bytes(SIZE - 5 * SECTOR))
    with Log(small(tmp_path / "log")) as log, Replay(log, base, SIZE, tmp_path / "disk") as replay:
        window = Window(6, 8, 2)
        replay.forward(6)
        before, stamp = replay.work.read_bytes(), replay.stamp(0, SIZE)
        seen = set()
        for seed in range(60):
            with replay.cut(Cut(window, seed)) as chosen:
                seen.add(letters(replay.work))
                assert (replay.stamp(0, SIZE) != stamp) == bool(chosen)
            assert replay.work.read_bytes() == before and replay.stamp(0, SIZE) == stamp
        assert seen == {"cbddz", "c.ddz", "cbdde", "c.dde"}
    assert base.read_bytes()[:SECTOR] == sector("z")


def test_stamps_tell_what_has_changed(tmp_path: Path) -> None:
    log = Writer(tmp_path / "log")
    log.add(3 * PIECE, sector("a"))
    log.close()
    with Log(tmp_path / "log") as read, Replay(read, None, SIZE, tmp_path / "disk") as replay:
        before = [replay.stamp(number * PIECE, PIECE) for number in range(8)]
        replay.forward(1)
        after = [replay.stamp(number * PIECE, PIECE) for number in range(8)]
        assert [number for number in range(8) if before[number] != after[number]] == [3]


Writes = st.lists(st.tuples(st.integers(0, 60), st.integers(0, 6), st.booleans()), min_size=1, max_size=25)


@settings(max_examples=60)
@given(Writes, st.integers(0, 1 << 30))
def test_any_cut_is_what_a_simple_model_says(
    tmp_path_factory: pytest.TempPathFactory, writes: object, seed: int
) -> None:
    folder = tmp_path_factory.mktemp("model")
    log = Writer(folder / "log")
    source = random.Random(seed)
    for first, count, discard in writes:  # type: ignore[attr-defined]
        if count == 0:
            log.add(0, b"", FLUSH)
        elif discard:
            log.discard(first * SECTOR, count * SECTOR)
        else:
            log.add(first * SECTOR, source.randbytes(count * SECTOR))
    log.close()
    size = 70 * SECTOR
    with Log(folder / "log") as read, Replay(read, None, size, folder / "disk") as replay:
        for cut in cuts.plan(cuts.windows(replay.entries), seed, 2):
            model = bytearray(size)
            whole = [cuts.Kept(one, ((0, one.length),)) for one in replay.entries[: cut.window.first] if one.changes]
            with replay.cut(cut) as chosen:
                for one in [*whole, *chosen]:
                    for offset, length in one.ranges:
                        start = one.entry.start + offset
                        model[start : start + length] = read.read(one.entry, offset, length)
                assert replay.work.read_bytes() == bytes(model)


def test_a_verdict_that_was_half_written_is_tried_again(tmp_path: Path) -> None:
    file = tmp_path / "verdicts.jsonl"
    file.write_text('{"cut": "1"}\n{"cut": "2"}\n{"cu')
    assert list(run.read_verdicts(file)) == ["1", "2"]
    assert file.read_text().endswith('"2"}\n')

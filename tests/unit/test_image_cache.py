"""The cache: made once, never half, never pulled away from a reader."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from org_ovirt_node.errors import ImageError
from org_ovirt_node.image.cache import KEPT, Cache, kept_entries, key_of, key_of_files


def test_an_entry_is_made_once(tmp_path: Path) -> None:
    made = []

    def make(target: Path) -> None:
        made.append(target)
        target.mkdir()

    with Cache(tmp_path) as cache:
        first = cache.get("tree", "k", make)
        assert cache.get("tree", "k", make) == first
        assert len(made) == 1
        cache.get("tree", "k", make, fresh=True)
    assert len(made) == 2
    assert first.is_dir()


def test_a_failed_entry_is_not_there_and_can_be_made_again(tmp_path: Path) -> None:
    def fail(target: Path) -> None:
        target.mkdir()
        (target / "half").write_text("x", encoding="utf-8")
        raise KeyboardInterrupt

    with Cache(tmp_path) as cache:
        with pytest.raises(KeyboardInterrupt):
            cache.get("tree", "k", fail)
        assert [path.name for path in tmp_path.iterdir() if path.is_dir()] == []
        assert cache.get("tree", "k", Path.mkdir).is_dir()


def test_what_a_killed_builder_left_does_not_count(tmp_path: Path) -> None:
    (tmp_path / ".tree-k.partial").mkdir()
    (tmp_path / ".tree-k.partial" / "half").write_text("x", encoding="utf-8")
    with Cache(tmp_path) as cache:
        entry = cache.get("tree", "k", Path.mkdir)
    assert list(entry.iterdir()) == []


def test_two_builders_of_one_entry_make_it_once(tmp_path: Path) -> None:
    made = []
    begun = threading.Event()
    second_waits = threading.Event()

    def slow(target: Path) -> None:
        made.append(target)
        begun.set()
        second_waits.wait(5)
        target.mkdir()

    def build() -> None:
        with Cache(tmp_path) as cache:
            cache.get("tree", "k", slow)

    threads = [threading.Thread(target=build) for _ in range(2)]
    threads[0].start()
    assert begun.wait(5)
    threads[1].start()
    second_waits.set()
    for thread in threads:
        thread.join(5)
    assert len(made) == 1


def test_old_entries_go_and_used_ones_stay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OVIRT_NODE_CACHE_KEEP", raising=False)
    reader = Cache(tmp_path)
    used = reader.get("tree", "0", Path.mkdir)
    with Cache(tmp_path) as cache:
        for number in range(1, KEPT + 3):
            cache.get("tree", str(number), Path.mkdir)
    with Cache(tmp_path) as cache:
        cache.prune("tree")
    left = {path.name for path in tmp_path.glob("tree-*")}
    assert used.name in left
    assert f"tree-{KEPT + 2}" in left
    assert len(left) == KEPT + 1
    reader.close()


def test_how_many_entries_stay_can_be_chosen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OVIRT_NODE_CACHE_KEEP", "4")
    for number in range(6):
        with Cache(tmp_path) as cache:
            cache.get("tree", str(number), Path.mkdir)
    assert len(list(tmp_path.glob("tree-*"))) == 4


@pytest.mark.parametrize("text", ["0", "-1", "two", "²"])
def test_a_wrong_number_of_entries_is_named(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OVIRT_NODE_CACHE_KEEP", text)
    with pytest.raises(ImageError, match="OVIRT_NODE_CACHE_KEEP"):
        kept_entries()


def test_keys_know_the_boundaries_between_their_parts() -> None:
    keys = [key_of("ab", "c"), key_of("a", "bc"), key_of(["a", "b"], "c"), key_of(["a"], "b", "c"), key_of("abc")]
    assert len(set(keys)) == len(keys)


def test_keys_of_files_follow_name_and_content(tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    one.write_text("x", encoding="utf-8")
    two.write_text("x", encoding="utf-8")
    before = key_of_files([one])
    assert before != key_of_files([two])
    one.write_text("y", encoding="utf-8")
    assert before != key_of_files([one])

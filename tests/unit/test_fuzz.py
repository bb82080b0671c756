"""Hostile input, a little of it each time: ``make fuzz`` is the longer run."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from org_ovirt_node.errors import NodeError
from tests.fuzz import run, targets
from tests.fuzz.mutate import mutated

#: Examples of each target.
FEW = 60


@pytest.mark.parametrize("name", targets.TARGETS)
def test_sound_input_is_read(name: str) -> None:
    target = targets.TARGETS[name]
    for sample in target.samples:
        # What is an environment block is no boot entry: that target reads the same bytes as both.
        if name != "boot-folder" or sample != target.samples[0]:
            target.act(sample)


@pytest.mark.parametrize("name", targets.TARGETS)
def test_what_was_found_before(name: str) -> None:
    for data in targets.corpus(name):
        run.limited(name, data)


@pytest.mark.parametrize("name", targets.TARGETS)
@settings(max_examples=FEW)
@given(data=st.one_of(st.binary(max_size=600), st.text(max_size=300).map(lambda text: text.encode("utf-8", "replace"))))
def test_any_bytes(name: str, data: bytes) -> None:
    targets.attack(name, data)


@pytest.mark.parametrize("name", targets.TARGETS)
@settings(max_examples=FEW)
@given(seed=st.integers(0, 1 << 32))
def test_changed_sound_input(name: str, seed: int) -> None:
    targets.attack(name, mutated(random.Random(seed), targets.TARGETS[name].samples))


def test_a_finding_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    def act(data: bytes) -> None:
        if data == b"node":
            raise NodeError("expected")
        raise KeyError("a defect")

    monkeypatch.setitem(targets.TARGETS, "grubenv", targets.Target(act, ()))
    targets.attack("grubenv", b"node")
    with pytest.raises(KeyError, match="a defect"):
        targets.attack("grubenv", b"x")


def test_what_does_not_end_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    def act(data: bytes) -> None:
        while True:
            pass

    monkeypatch.setitem(targets.TARGETS, "grubenv", targets.Target(act, ()))
    monkeypatch.setattr(run, "LIMIT", 0.2)
    with pytest.raises(run.Hangs, match="did not end"):
        run.limited("grubenv", b"")

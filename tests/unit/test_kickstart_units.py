"""Sizes as text."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from org_ovirt_node.kickstart.units import LIMIT, format_size, human_size, parse_size

GIB = 1 << 30


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("0B", 0),
        ("512B", 512),
        ("4K", 4096),
        ("4KiB", 4096),
        ("20GiB", 20 * GIB),
        ("20G", 20 * GIB),
        ("1.5 GiB", GIB * 3 // 2),
        (" 2T ", 2 << 40),
    ],
)
def test_sizes_are_binary(text: str, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize(
    "text",
    ["", "20", "GiB", "-1GiB", "1e3MiB", "20GB", "20 gib", "1.5B", "0x10MiB", "٢GiB", "9" * 30 + "B", "2000000T"],
)
def test_what_is_no_size_is_refused_with_the_text_in_the_message(text: str) -> None:
    with pytest.raises(ValueError, match=r"size|whole|larger") as caught:
        parse_size(text)
    assert repr(text) in str(caught.value)


def test_a_missing_unit_says_what_is_accepted() -> None:
    with pytest.raises(ValueError, match=r"no unit.*MiB, GiB"):
        parse_size("2048")


@given(st.integers(0, LIMIT))
def test_what_is_printed_is_read_back_exactly(size: int) -> None:
    assert parse_size(format_size(size)) == size


@given(st.text(max_size=20))
def test_any_text_is_a_size_or_a_value_error(text: str) -> None:
    with contextlib.suppress(ValueError):
        assert parse_size(text) >= 0


@pytest.mark.parametrize(
    ("size", "text"), [(0, "0 B"), (1023, "1023 B"), (GIB, "1 GiB"), (8 * GIB - 1, "8.0 GiB"), (150 << 20, "150 MiB")]
)
def test_sizes_for_people(size: int, text: str) -> None:
    assert human_size(size) == text

"""Rounding of sizes and offsets to a unit."""

from __future__ import annotations


def round_up(size: int, unit: int) -> int:
    """``size`` rounded up to a multiple of ``unit``."""
    return -(-size // unit) * unit


def round_down(size: int, unit: int) -> int:
    """``size`` rounded down to a multiple of ``unit``."""
    return size // unit * unit

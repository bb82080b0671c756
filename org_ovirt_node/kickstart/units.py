"""Sizes as people write them: a whole or decimal number and a binary unit, to and from bytes."""

from __future__ import annotations

import re
from decimal import Decimal

from org_ovirt_node.i18n import N_, _, translated

#: Bytes of each unit that is accepted.  ``K``, ``M`` … are the binary units too, as LVM reads them.
UNITS = {
    "B": 1,
    "K": 1 << 10,
    "KiB": 1 << 10,
    "M": 1 << 20,
    "MiB": 1 << 20,
    "G": 1 << 30,
    "GiB": 1 << 30,
    "T": 1 << 40,
    "TiB": 1 << 40,
}
#: What messages and documentation say of sizes.
ACCEPTED = N_("a number with a unit: B, KiB, MiB, GiB or TiB (or K, M, G, T for the same), such as 20GiB")

#: Units that are written, the largest first.
_WRITTEN = ("TiB", "GiB", "MiB", "KiB", "B")
#: No disk has as much as this (an exbibyte); what is above is a slip of the hand.
LIMIT = 1 << 60
_SIZE = re.compile(r"([0-9]{1,20}(?:\.[0-9]{1,12})?)[ ]?([A-Za-z]*)", re.ASCII)


def parse_size(text: str) -> int:
    """Bytes from a text such as ``20GiB`` or ``1.5 G``.

    A unit is required, because a bare number means MiB to pykickstart, bytes to some and sectors to others.  Raises
    ValueError with a sentence that quotes the text and says what is accepted.
    """
    found = _SIZE.fullmatch(text.strip())
    if found is None:
        raise ValueError(
            _("{text} is not a size; accepted is {accepted}").format(text=repr(text), accepted=translated(ACCEPTED))
        )
    number, unit = found.groups()
    if not unit:
        raise ValueError(
            _("the size {text} has no unit; accepted is {accepted}").format(
                text=repr(text), accepted=translated(ACCEPTED)
            )
        )
    if unit not in UNITS:
        raise ValueError(
            _("the size {text} has an unknown unit; accepted is {accepted}").format(
                text=repr(text), accepted=translated(ACCEPTED)
            )
        )
    size = Decimal(number) * UNITS[unit]
    if size != size.to_integral_value():
        raise ValueError(_("the size {text} is not a whole number of bytes").format(text=repr(text)))
    if size > LIMIT:
        raise ValueError(_("the size {text} is larger than any disk").format(text=repr(text)))
    return int(size)


def format_size(size: int) -> str:
    """The shortest text that :func:`parse_size` reads back as exactly ``size`` bytes: ``20GiB``, ``1536MiB``."""
    if size < 0:
        raise ValueError(_("{size} bytes is less than nothing").format(size=size))
    for unit in _WRITTEN:
        if size and size % UNITS[unit] == 0:
            return f"{size // UNITS[unit]}{unit}"
    return "0B"


def human_size(size: float, *, steady: bool = False) -> str:
    """``size`` bytes for people, rounded: ``7.9 GiB``, ``20 GiB``.  Not for reading back.

    ``steady``: always with one decimal, for figures that change while somebody looks.
    """
    for unit in _WRITTEN[:-1]:
        if abs(size) >= UNITS[unit]:
            value = size / UNITS[unit]
            whole = not steady and (value >= 100 or value == int(value))
            return f"{value:.0f} {unit}" if whole else f"{value:.1f} {unit}"
    return f"{size:.0f} B"

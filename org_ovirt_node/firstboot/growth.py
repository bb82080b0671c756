"""How pool and volumes grow into a larger disk: pure, by the same policy as an installation.  Sizes are bytes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Optional

from org_ovirt_node.firstboot.record import Record
from org_ovirt_node.layout import budget, policy
from org_ovirt_node.layout.model import ThinPool
from org_ovirt_node.rounding import round_down

#: Between the size that they have (0) and the usual one (this) all volumes grow in as many steps.
STEPS = 1024


@dataclass(frozen=True)
class Found:
    """The VG as it is once its PVs have grown; ``thin`` are the sizes of the thin volumes by name."""

    vg_size: int
    free: int
    extent: int
    pool: ThinPool
    thin: Mapping[str, int]


@dataclass(frozen=True)
class Growth:
    """What is to be done: the new pool (None: it stays), and the thin volumes that get a new size."""

    pool: Optional[ThinPool]
    volumes: Mapping[str, int]


def plan(found: Found, record: Record) -> Growth:
    """Let the pool take what the VG has won, but for what an installation would keep free, and the volumes grow in it.

    Nothing ever shrinks.
    """
    pool = _pool(found, record)
    return Growth(pool, _volumes(found, record, (pool or found.pool).size))


def _pool(found: Found, record: Record) -> Optional[ThinPool]:
    old = found.pool
    keep = record.reserved + policy.free_room(found.vg_size, found.extent)
    room = budget.pool_room(old) + found.free - keep
    # The chunk is for ever; the metadata grows with the number of chunks.
    metadata = max(old.metadata_size, policy.metadata_size(max(room, 0), found.extent, old.chunk_size))
    size = round_down(room - 2 * metadata, found.extent)
    return ThinPool(old.name, size, metadata, old.chunk_size) if size > old.size else None


def _volumes(found: Found, record: Record, room: int) -> dict[str, int]:
    def sizes(step: int) -> dict[str, int]:
        grown = dict(found.thin)
        for name, usual in record.usual.items():
            if name in grown and usual > grown[name]:
                grown[name] += round_down((usual - grown[name]) * step // STEPS, found.extent)
        return grown

    def fits(step: int) -> bool:
        grown = sizes(step)
        return sum(size * (record.layers if name == record.layer else 1) for name, size in grown.items()) <= room

    low, high = 0, STEPS
    while low < high:  # the largest step that fits
        middle = (low + high + 1) // 2
        low, high = (middle, high) if fits(middle) else (low, middle - 1)
    return {name: size for name, size in sizes(low).items() if size > found.thin[name]}

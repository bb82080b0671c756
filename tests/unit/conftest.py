"""What several test files need."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

#: A busy host is no failure: what takes how long is for benchmarks.
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")


@pytest.fixture
def memory() -> Iterator[Path]:
    """A folder in memory: no fsync waits for a disk, an overlay can be mounted, every hole of whole blocks is one."""
    with tempfile.TemporaryDirectory(dir="/dev/shm", prefix="ovirt-node-") as folder:
        yield Path(folder)

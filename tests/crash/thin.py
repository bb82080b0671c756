"""The thin volumes of a pool, mapped in user space from what thin_dump says of the pool's metadata.

Programs: thin_check(8) and thin_dump(8) of thin-provisioning-tools, on the pool's metadata copied into a file.
"""

from __future__ import annotations

import subprocess
import xml.etree.ElementTree as ElementTree
from dataclasses import dataclass
from pathlib import Path

#: Seconds for one of the programs on the metadata of a test's pool.
LIMIT = 120.0
SECTOR = 512


class ThinError(Exception):
    """The pool's metadata is damaged."""


@dataclass(frozen=True)
class Volume:
    """A thin volume: runs of (first chunk of the volume, first chunk of the pool, chunks)."""

    runs: tuple[tuple[int, int, int], ...]


@dataclass(frozen=True)
class Pool:
    """A pool: ``chunk`` in bytes, its volumes by device id, and the number of its last transaction."""

    transaction: int
    chunk: int
    volumes: dict[int, Volume]


def read(metadata: Path) -> Pool:
    """Check and read the metadata of a pool in the file ``metadata``.  Raises ThinError with what thin_check says."""
    done = subprocess.run(["thin_check", metadata], capture_output=True, text=True, timeout=LIMIT)
    if done.returncode != 0:
        said = " / ".join((done.stdout + done.stderr).strip().splitlines()[-3:])
        raise ThinError(f"thin_check ended with {done.returncode}: {said}")
    dump = subprocess.run(["thin_dump", metadata], capture_output=True, timeout=LIMIT)
    if dump.returncode != 0:
        raise ThinError(f"thin_dump ended with {dump.returncode}: {dump.stderr.decode(errors='replace').strip()}")
    return parse(dump.stdout)


def parse(dump: bytes) -> Pool:
    """What thin_dump prints.  Raises ThinError."""
    try:
        top = ElementTree.fromstring(dump)
        chunk = int(top.attrib["data_block_size"]) * SECTOR
        volumes = {}
        for device in top.iter("device"):
            runs = []
            for one in device:
                if one.tag == "range_mapping":
                    names = ("origin_begin", "data_begin", "length")
                    runs.append((int(one.attrib[names[0]]), int(one.attrib[names[1]]), int(one.attrib[names[2]])))
                elif one.tag == "single_mapping":
                    runs.append((int(one.attrib["origin_block"]), int(one.attrib["data_block"]), 1))
            volumes[int(device.attrib["dev_id"])] = Volume(tuple(sorted(runs)))
        return Pool(int(top.attrib["transaction"]), chunk, volumes)
    except (ElementTree.ParseError, KeyError, ValueError) as exc:
        raise ThinError(f"thin_dump printed something else than expected: {exc}") from exc

"""The checksum that is implanted in an ISO image, as isomd5sum's implantisomd5 and checkisomd5 have it.

Format: isomd5sum, libcheckisomd5.c.  The application use area of the primary volume descriptor (ECMA-119, 8.4: 512
bytes at 883 in sector 16) holds ``ISO MD5SUM = <hex>;SKIPSECTORS = <n>;…``; the digest is that of the volume without
its last n sectors, with spaces in place of that area.  MD5 finds damage; it protects from nobody.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Optional

from org_ovirt_node.errors import PayloadError
from org_ovirt_node.run import run

SECTOR = 2048
DESCRIPTOR = 16 * SECTOR
AREA_OFFSET, AREA_SIZE = 883, 512
#: ECMA-119, 8.4.8: volume space size in sectors, a 32-bit number in both byte orders, the little one first.
SIZE_OFFSET = 80
CHUNK = 1 << 20
_MD5 = re.compile(r"ISO MD5SUM = ([0-9a-f]{32})")
_SKIP = re.compile(r"SKIPSECTORS = (\d+)")


@dataclass(frozen=True)
class Implanted:
    """What the volume says of itself: its digest, and of how many bytes."""

    md5: str
    size: int


def read(descriptor: bytes, name: str) -> Optional[Implanted]:
    """The checksum in the primary volume descriptor, None when there is none.  Raises PayloadError for no ISO image."""
    if descriptor[:6] != b"\x01CD001":
        raise PayloadError(f"{name} is no ISO image")
    area = descriptor[AREA_OFFSET : AREA_OFFSET + AREA_SIZE].decode("ascii", errors="replace")
    digest, skip = _MD5.search(area), _SKIP.search(area)
    if not digest or not skip:
        return None
    sectors = int.from_bytes(descriptor[SIZE_OFFSET : SIZE_OFFSET + 4], "little")
    return Implanted(digest.group(1), (sectors - int(skip.group(1))) * SECTOR)


def implant(image: Path) -> None:
    """Write the checksum into ``image``, by isomd5sum's own program; one that is there is replaced."""
    run(["implantisomd5", "--force", image], hint="Install isomd5sum.")


def check(medium: Path, progress: Callable[[int, Optional[int]], None]) -> bool:
    """Compare a medium (a device or a file) with its checksum; False when there is none in it.

    Raises PayloadError when the two differ, or the medium cannot be read.
    """
    try:
        with medium.open("rb", buffering=0) as stream:
            stream.seek(DESCRIPTOR)
            found = read(stream.read(SECTOR), str(medium))
            if found is None:
                return False
            digest = hashlib.md5(usedforsecurity=False)
            stream.seek(0)
            done = 0
            while done < found.size:
                data = stream.read(min(CHUNK, found.size - done))
                if not data:
                    break
                digest.update(_blanked(data, done))
                done += len(data)
                progress(done, found.size)
    except OSError as error:
        raise PayloadError(
            f"the medium in {medium} is damaged: {os.strerror(error.errno or 0)}", hint="Make it anew."
        ) from error
    if done < found.size or digest.hexdigest() != found.md5:
        raise PayloadError(
            f"the medium in {medium} is damaged: it does not match the checksum that is in it",
            hint="Nothing was written. Copy the ISO image anew, and compare that with its .sha256.",
        )
    return True


def _blanked(data: bytes, offset: int) -> bytes:
    """``data`` at ``offset`` of the volume with spaces in place of the area that holds the checksum."""
    begin = max(DESCRIPTOR + AREA_OFFSET - offset, 0)
    end = min(DESCRIPTOR + AREA_OFFSET + AREA_SIZE - offset, len(data))
    if begin >= end:
        return data
    return data[:begin] + b" " * (end - begin) + data[end:]

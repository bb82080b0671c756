"""A dm-verity hash tree behind a squashfs, in the same file (Linux admin-guide/device-mapper/verity.rst).

    0 … data_size          the squashfs, padded with zeros to 4096
    data_size … end        veritysetup's superblock, then the tree

The tree begins where the padded squashfs ends, so that whoever has the squashfs superblock knows the place.
"""

from __future__ import annotations

import hashlib
import os
import re
import uuid as uuids
from pathlib import Path

from org_ovirt_node.errors import ImageError
from org_ovirt_node.payload.direct import BUFFER_SIZE
from org_ovirt_node.payload.manifest import Verity
from org_ovirt_node.payload.squashfs import SUPERBLOCK, read_superblock
from org_ovirt_node.run import Arg, run

BLOCK = 4096
ROOT_HASH = re.compile(r"^Root hash:\s+([0-9a-f]{64})$", re.MULTILINE)
INSTALL = "Install cryptsetup (Debian: cryptsetup-bin, Fedora: veritysetup)."


def append_tree(image: Path, *, salt: str = "", uuid: str = "") -> Verity:
    """Append a hash tree to ``image`` and return what the manifest says of it.

    ``salt`` (hex) and ``uuid`` come from the image's own digest when they are not given, so that the same squashfs
    always gets the same tree.  Raises ImageError when something follows the squashfs already, CommandError.
    """
    with image.open("rb") as file:
        superblock = read_superblock(file.read(SUPERBLOCK.size), str(image))
    size, padded = image.stat().st_size, superblock.padded
    if not superblock.bytes_used <= size <= padded:
        raise ImageError(
            f"{image} has {size} bytes where its squashfs ends at {padded}", hint="Start from a plain squashfs."
        )
    os.truncate(image, padded)
    digest = _digest(image)
    salt = salt or digest.hex()
    uuid = uuid or str(uuids.UUID(bytes=digest[:16], version=4))
    argv: list[Arg] = ["veritysetup", "format", image, image, "--hash=sha256", f"--salt={salt}", f"--uuid={uuid}"]
    argv += [f"--data-block-size={BLOCK}", f"--hash-block-size={BLOCK}"]
    argv += [f"--data-blocks={padded // BLOCK}", f"--hash-offset={padded}"]
    done = run(argv, hint=INSTALL)
    found = ROOT_HASH.search(done.stdout)
    if not found:
        raise ImageError(f"veritysetup gave no root hash for {image}", hint="Is its version at least 2.0?")
    return Verity(roothash=found[1], data_size=padded, hash_offset=padded, salt=salt, uuid=uuid)


def verify_file(image: Path, roothash: str, hash_offset: int) -> bool:
    """True when every block before the tree at ``hash_offset`` is as ``roothash`` (hex) says.

    ``image`` is a file or a block device.  Raises CommandError when veritysetup is missing.
    """
    argv: list[Arg] = ["veritysetup", "verify", image, image, roothash, f"--hash-offset={hash_offset}"]
    return run(argv, check=False, hint=INSTALL).ok


def _digest(image: Path) -> bytes:
    digest = hashlib.sha256()
    with image.open("rb", buffering=0) as file:
        while block := file.read(BUFFER_SIZE):
            digest.update(block)
    return digest.digest()

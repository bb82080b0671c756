"""A dm-verity hash tree behind a squashfs, in the same file (Linux admin-guide/device-mapper/verity.rst).

    0 … data_size          the squashfs, padded with zeros to 4096
    data_size … end        veritysetup's superblock, then the tree

The tree begins where the padded squashfs ends, so that whoever has the squashfs superblock knows the place.
"""

from __future__ import annotations

import hashlib
import os
import re
import struct
import uuid as uuids
from dataclasses import replace
from pathlib import Path
from typing import Optional

from org_ovirt_node.errors import ImageError, PayloadError
from org_ovirt_node.i18n import N_, _, translated
from org_ovirt_node.payload.direct import BUFFER_SIZE
from org_ovirt_node.payload.facts import ImageFacts
from org_ovirt_node.payload.manifest import BLOCK_SIZES, Verity
from org_ovirt_node.payload.squashfs import SUPERBLOCK, read_superblock
from org_ovirt_node.rounding import round_up
from org_ovirt_node.run import Arg, run

BLOCK = 4096
ROOT_HASH = re.compile(r"^Root hash:\s+([0-9a-f]{64})$", re.MULTILINE)
#: struct verity_sb (cryptsetup, lib/verity/verity.c), little-endian: signature, version, type of hashes, UUID,
#: algorithm, sizes of data and hash blocks, number of data blocks, size of the salt, the salt.
TREE_SUPERBLOCK = struct.Struct("<8sII16s32sIIQH6x256s168x")
TREE_SIGNATURE = b"verity\0\0"
#: Version of the superblock, and type 1: the salt goes before what is hashed.
TREE_VERSION = (1, 1)
ALGORITHM = b"sha256"
#: What device-mapper's names for verity devices begin with (cryptsetup, lib/libdevmapper.c).
VIEW_UUID = "CRYPT-VERITY-"
SYS_BLOCK = Path("/sys/class/block")
INSTALL = N_("Install cryptsetup (Debian: cryptsetup-bin, Fedora: veritysetup).")


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
            _("{image} has {size} bytes where its squashfs ends at {padded}").format(
                image=image, size=size, padded=padded
            ),
            hint=_("Start from a plain squashfs."),
        )
    os.truncate(image, padded)
    digest = file_digest(image)
    salt = salt or digest.hex()
    uuid = uuid or str(uuids.UUID(bytes=digest[:16], version=4))
    argv: list[Arg] = ["veritysetup", "format", image, image, "--hash=sha256", f"--salt={salt}", f"--uuid={uuid}"]
    argv += [f"--data-block-size={BLOCK}", f"--hash-block-size={BLOCK}"]
    argv += [f"--data-blocks={padded // BLOCK}", f"--hash-offset={padded}"]
    done = run(argv, hint=translated(INSTALL))
    found = ROOT_HASH.search(done.stdout)
    if not found:
        raise ImageError(
            _("veritysetup gave no root hash for {image}").format(image=image), hint=_("Is its version at least 2.0?")
        )
    return Verity(roothash=found[1], data_size=padded, hash_offset=padded, salt=salt, uuid=uuid)


def verify_file(image: Path, roothash: str, hash_offset: int) -> bool:
    """True when every block before the tree at ``hash_offset`` is as ``roothash`` (hex) says.

    ``image`` is a file or a block device.  Raises CommandError when veritysetup is missing.
    """
    argv: list[Arg] = ["veritysetup", "verify", image, image, roothash, f"--hash-offset={hash_offset}"]
    return run(argv, check=False, hint=translated(INSTALL)).ok


def read_tree(image: Path, size: int) -> Optional[Verity]:
    """The hash tree behind the squashfs in the first ``size`` bytes of ``image`` (a file or a block device), or None.

    The root hash is not stored with a tree: it is the digest of the tree's topmost block.  So it is as good as the
    bytes that it is read from: whoever checked the image's digest has checked it.  What follows the ``size`` bytes on
    a device may be an older image's.  Raises PayloadError for a tree that does not belong to the squashfs, is cut
    off, or cannot be read.
    """
    try:
        with image.open("rb") as file:
            end = read_superblock(file.read(SUPERBLOCK.size), str(image)).padded
            if size < end + len(TREE_SIGNATURE):
                return None
            file.seek(end)
            head = file.read(TREE_SUPERBLOCK.size)
            if not head.startswith(TREE_SIGNATURE):
                return None
            if len(head) < TREE_SUPERBLOCK.size:
                raise _cut_off(image)
            _signature, *version, uuid, algorithm, data_block, hash_block, blocks, salt_size, salt = (
                TREE_SUPERBLOCK.unpack(head)
            )
            sound = tuple(version) == TREE_VERSION and algorithm.rstrip(b"\0") == ALGORITHM
            sound = sound and salt_size <= len(salt) and data_block in BLOCK_SIZES and hash_block in BLOCK_SIZES
            if not sound or blocks * data_block != end:
                raise PayloadError(
                    _("{image} has a damaged hash tree").format(image=image), hint=_("Fetch the image again.")
                )
            begin = round_up(end + TREE_SUPERBLOCK.size, hash_block)
            if size < begin + _tree_blocks(blocks, hash_block) * hash_block:
                raise _cut_off(image)
            # Over a single block of data there is no tree: its own digest is the root hash.
            file.seek(begin if blocks > 1 else 0)
            top = file.read(hash_block if blocks > 1 else data_block)
    except OSError as exc:
        raise PayloadError(_("{image} cannot be read: {error}").format(image=image, error=exc.strerror)) from exc
    return Verity(
        roothash=hashlib.sha256(salt[:salt_size] + top).hexdigest(),
        data_size=end,
        hash_offset=end,
        salt=salt[:salt_size].hex(),
        uuid=str(uuids.UUID(bytes=uuid)),
        data_block_size=data_block,
        hash_block_size=hash_block,
    )


def _cut_off(image: Path) -> PayloadError:
    return PayloadError(
        _("{image} is truncated: it ends in its hash tree").format(image=image), hint=_("Fetch the image again.")
    )


def _tree_blocks(blocks: int, hash_block: int) -> int:
    """How many blocks a tree over ``blocks`` has, from the lowest level to the single one at its top."""
    each, total = hash_block // hashlib.sha256().digest_size, 0
    while blocks > 1:
        blocks = -(-blocks // each)
        total += blocks
    return total


def with_tree(facts: ImageFacts, image: Path) -> ImageFacts:
    """``facts`` with the root hash of the tree in ``image``.  Raises PayloadError when a manifest named another one."""
    tree = read_tree(image, facts.size)
    found = (tree.roothash, tree.hash_offset) if tree else ("", 0)
    if facts.roothash and (facts.roothash, facts.hash_offset) != found:
        wrong = _("{nvr} has the root hash {found}, and its manifest says {roothash}")
        if not tree:
            wrong = _("{nvr} has no hash tree, and its manifest says {roothash}")
        raise PayloadError(
            wrong.format(nvr=facts.nvr, found=found[0], roothash=facts.roothash),
            hint=_("Image and manifest must come from the same build."),
        )
    return replace(facts, roothash=found[0], hash_offset=found[1])


def view(device: Path, sys: Path = SYS_BLOCK) -> Path:
    """What to mount of an image's ``device``: its verified view where the running node has one.

    The kernel gives a device that dm-verity has open to nobody else.
    """
    for holder in sorted((sys / device.resolve().name / "holders").glob("*/dm")):
        if (holder / "uuid").read_text(encoding="ascii").startswith(VIEW_UUID):
            return Path("/dev/mapper") / (holder / "name").read_text(encoding="ascii").strip()
    return device


def file_digest(image: Path) -> bytes:
    """The SHA-256 of a file."""
    digest = hashlib.sha256()
    with image.open("rb", buffering=0) as file:
        while block := file.read(BUFFER_SIZE):
            digest.update(block)
    return digest.digest()

"""The payload: a squashfs of a made-up tree that is shaped like an operating system's /usr.

Sizes follow those of a Debian /usr with 118,000 files (their quantiles are below); contents compress about as well as
programs and documentation do together.  The same tree comes out everywhere.
"""

from __future__ import annotations

import bisect
import hashlib
import inspect
import os
import random
import shutil
import subprocess
import sys
from pathlib import Path

GIB = 1 << 30
TREE_SIZE = 3 * GIB + (GIB >> 2)
#: (share of the files, bytes that so many have at most).
QUANTILES = (
    (0.0, 1),
    (0.05, 188),
    (0.1, 414),
    (0.25, 942),
    (0.5, 2052),
    (0.75, 7092),
    (0.9, 25041),
    (0.95, 55645),
    (0.98, 136012),
    (0.99, 272005),
    (0.995, 620880),
    (0.999, 6872412),
    (1.0, 60 << 20),
)
FILES_PER_FOLDER = 8
LINKS = 0.05
POOL_SIZE = 16 << 20
#: Of each KiB so many bytes cannot be compressed; the rest is words.
NOISE = 100
SQUASHFS_OPTIONS = ("-comp", "zstd", "-Xcompression-level", "6", "-b", "128K", "-mkfs-time", "0", "-all-time", "0")


def cache_folder() -> Path:
    """Where the payload is kept between runs."""
    return Path(os.environ.get("OVIRT_NODE_CACHE", Path.home() / ".cache/ovirt-node")) / "bench"


def payload() -> Path:
    """The payload, built when the cache does not have it."""
    key = hashlib.sha256(inspect.getsource(sys.modules[__name__]).encode()).hexdigest()[:12]
    image = cache_folder() / f"payload-{key}.squashfs"
    if image.exists():
        return image
    print(f"Building the payload {image} (once)", flush=True)
    tree, unfinished = image.with_suffix(".tree"), image.with_suffix(".new")
    shutil.rmtree(tree, ignore_errors=True)
    unfinished.unlink(missing_ok=True)
    tree.mkdir(parents=True)
    make_tree(tree)
    argv = ["mksquashfs", str(tree), str(unfinished), "-noappend", "-quiet", "-no-progress", *SQUASHFS_OPTIONS]
    subprocess.run(argv, check=True)
    shutil.rmtree(tree)
    unfinished.rename(image)
    return image


def pool(dice: random.Random) -> bytes:
    """Bytes that files are cut from."""
    letters = "etaoinshrdlucmfwypvbgkqjxz_./(){};=-0123456789"
    words = ["".join(dice.choices(letters, k=dice.randint(2, 12))) for _ in range(2000)]
    weights = [(at + 2) ** -1.3 for at in range(len(words))]
    parts = []
    for _ in range(POOL_SIZE >> 10):
        text = " ".join(dice.choices(words, weights, k=250)).encode()
        parts.append(dice.randbytes(NOISE) + text[: 1024 - NOISE])
    return b"".join(parts)


def size_of(share: float) -> int:
    """The size of the file at ``share`` in the order of sizes, between two quantiles on a logarithmic scale."""
    at = max(1, bisect.bisect_left(QUANTILES, (share, 0)))
    (low, small), (high, large) = QUANTILES[at - 1], QUANTILES[min(at, len(QUANTILES) - 1)]
    return int(small * (large / small) ** ((share - low) / (high - low)))


def make_tree(root: Path) -> None:
    """Fill ``root`` with about TREE_SIZE bytes."""
    dice = random.Random(4)
    data = pool(dice)
    total = number = 0
    folder = root
    while total < TREE_SIZE:
        if number % FILES_PER_FOLDER == 0:
            folder = root / f"d{number // 4096}" / f"e{number // 256}" / f"f{number}"
            folder.mkdir(parents=True)
        size = size_of(dice.random())
        with (folder / f"file-{number}").open("wb") as file:
            left = size
            while left > 0:
                start = dice.randrange(POOL_SIZE >> 1)
                left -= file.write(data[start : start + min(left, POOL_SIZE >> 1)])
        if dice.random() < LINKS:
            (folder / f"link-{number}").symlink_to(f"file-{number}")
        total += size
        number += 1

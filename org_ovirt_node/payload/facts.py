"""What is known of an image before it is written."""

from __future__ import annotations

from dataclasses import dataclass

TREE = "tree"
LIVEOS = "liveos"


@dataclass(frozen=True)
class ImageFacts:
    """An image: ``size`` is the number of bytes to transfer (a multiple of neither sector size nor extent)."""

    nvr: str
    size: int
    #: ``tree`` (the squashfs holds the root tree) or ``liveos`` (it holds LiveOS/rootfs.img).
    form: str = TREE
    compression: str = ""
    kernel: str = ""
    boot_args: str = ""
    roothash: str = ""
    #: Where the hash tree begins in the image (bytes), when there is a root hash.
    hash_offset: int = 0
    sha256: str = ""

"""What is in a finished image: its root tree, mounted to look at."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from org_ovirt_node.errors import ImageError
from org_ovirt_node.install.root import image_tree
from org_ovirt_node.payload.squashfs import SUPERBLOCK, read_superblock


@contextmanager
def opened(image: Path) -> Iterator[Path]:
    """The root tree of ``image`` (a file, or a folder that is one), read-only.  Needs root.

    Raises :class:`ImageError`, PayloadError and CommandError.
    """
    if image.is_dir():
        if not (image / "usr").is_dir():
            raise ImageError(f"{image} is not a root tree: it has no /usr", hint="Name an image, or a root tree.")
        yield image
        return
    if os.geteuid() != 0:
        raise ImageError("only root can look into an image", hint="Run it with sudo.")
    try:
        with image.open("rb") as stream:
            read_superblock(stream.read(SUPERBLOCK.size), str(image))
    except OSError as exc:
        raise ImageError(f"{image} cannot be read: {exc.strerror}") from exc
    with (
        tempfile.TemporaryDirectory(prefix="ovirt-node-image-") as work,
        image_tree(os.fspath(image.resolve()), Path(work)) as tree,
    ):
        yield tree

"""How an ISO image comes to its name, however it was made: checksum implanted, digest beside it, and only then."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from org_ovirt_node.errors import ImageError
from org_ovirt_node.image import publish
from org_ovirt_node.media import checksum

#: Who can read what is on a medium.
READERS = "whoever has the medium"


@dataclass(frozen=True)
class Made:
    """The finished file, its size in bytes and its SHA-256."""

    path: Path
    size: int
    sha256: str


def check(image: Path, output: Path, *, replace: bool = False) -> None:
    """Refuse to write over a file (but with ``replace``), and to go without an image.  Raises ImageError."""
    if output.is_dir():
        raise ImageError(f"{output} is a folder", hint="Name the file that is to be made.")
    if output.exists() and not replace:
        raise ImageError(f"{output} is there already", hint="Remove it, name another file, or add --replace.")
    if not image.is_file():
        raise ImageError(f"there is no image {image}", hint="Build one with 'ovirt-node-image build'.")


def finish(partial: Path, output: Path) -> Made:
    """Implant the checksum into ``partial`` and give it the name ``output``.  Raises CommandError."""
    checksum.implant(partial)
    digest = publish.give_name(partial, output)
    return Made(output, output.stat().st_size, digest)

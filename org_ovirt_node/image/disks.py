"""Installed disk images in the forms in which they are handed out: qcow2, and compressed raw with a block map."""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from org_ovirt_node.errors import ImageError
from org_ovirt_node.image import bmap, publish
from org_ovirt_node.progress import Progress, human
from org_ovirt_node.run import run

QCOW2, BMAP = "qcow2", "bmap"
#: Compressed raw: suffix and options of zstd(1); the same input gives the same bytes, also with several threads.
COMPRESSORS = {"raw.zst": ("-9", "-T0"), "raw.gz": ("--format=gzip", "-6")}
FORMATS = (QCOW2, *COMPRESSORS, BMAP)
#: A partition table: GPT's header is in the second sector (UEFI 5.3.2), MBR's signature ends the first.
GPT, SECTORS = b"EFI PART", (512, 4096)
MBR, MBR_AT = b"\x55\xaa", 510
QCOW_MAGIC = b"QFI\xfb"


@dataclass(frozen=True)
class Made:
    """A file that was made; ``size`` in bytes."""

    path: Path
    size: int


def check(disk: Path, formats: Sequence[str], output: Path) -> None:
    """Refuse what is no installed disk image, and what would be written over.  Raises :class:`ImageError`."""
    for name in formats:
        if name not in FORMATS:
            raise ImageError(f"unknown format {name!r}", hint=f"Known are {', '.join(FORMATS)}.")
    if not disk.is_file():
        raise ImageError(f"there is no disk image {disk}", hint="Make one with ovirt-node-install --disk-image.")
    try:
        with disk.open("rb") as stream:
            start = stream.read(SECTORS[-1] + len(GPT))
    except OSError as exc:
        raise ImageError(f"{disk} cannot be read: {exc.strerror}") from exc
    if start.startswith(QCOW_MAGIC):
        raise ImageError(f"{disk} is a qcow2 disk already", hint="Name the raw image that was installed to.")
    if start[MBR_AT : MBR_AT + 2] != MBR and not any(start[at:].startswith(GPT) for at in SECTORS):
        raise ImageError(f"{disk} is no disk image: it has no partition table", hint="Install to it first.")
    attached = run(["losetup", "--associated", disk, "--noheadings", "--output", "NAME"], check=False).stdout.split()
    if attached:
        raise ImageError(f"{disk} is in use: it is attached to {attached[0]}", hint=f"losetup --detach {attached[0]}")
    for target in targets(disk, formats, output):
        if target.exists():
            raise ImageError(f"{target} is there already", hint="Remove it, or name another --output.")


def targets(disk: Path, formats: Sequence[str], output: Path) -> list[Path]:
    """What is written, in order: a block map lies beside every compressed raw image."""
    names = dict.fromkeys(formats)
    stem = disk.name.rpartition(".")[0] if "." in disk.name else disk.name
    made = [output / f"{stem}.{name}" for name in names if name != BMAP]
    if BMAP in names or any(name in COMPRESSORS for name in names):
        # Where bmaptool looks for the one of <stem>.raw.zst and of <stem>.raw.
        made.insert(0, output / f"{stem}.raw.bmap")
    return made


def convert(disk: Path, formats: Sequence[str], output: Path, progress: Progress) -> list[Made]:
    """Write ``disk`` in each of ``formats`` into ``output``; the files get their names when all are complete.

    The raw image stays as it is.  Raises :class:`ImageError` and CommandError.
    """
    check(disk, formats, output)
    publish.make_folder(output)
    wanted = targets(disk, formats, output)
    partials = {target: target.with_name(f".{target.name}.{os.getpid()}.partial") for target in wanted}
    with ExitStack() as stack:
        for target, partial in partials.items():
            stack.callback(partial.unlink, missing_ok=True)
            progress.step(target.suffix.lstrip("."), f"Writing {target.name}")
            _write(disk, target, partial)
        return [_finished(partial, target, progress) for target, partial in partials.items()]


def _finished(partial: Path, target: Path, progress: Progress) -> Made:
    digest = publish.give_name(partial, target)
    made = Made(target, target.stat().st_size)
    progress.detail(f"{target.name}: {human(made.size)}, SHA-256 {digest}")
    return made


def _write(disk: Path, target: Path, partial: Path) -> None:
    hint = "Is there enough free space?"
    if target.name.endswith(f".{QCOW2}"):
        run(["qemu-img", "convert", "-f", "raw", "-O", QCOW2, disk, partial], hint=hint)
    elif target.name.endswith(f".{BMAP}"):
        partial.write_text(bmap.as_xml(bmap.read(disk)), encoding="utf-8")
    else:
        suffix = next(name for name in COMPRESSORS if target.name.endswith(f".{name}"))
        run(["zstd", "--quiet", "--force", *COMPRESSORS[suffix], disk, "-o", partial], hint=hint)

"""Disk image files to install to: what ``--disk-image FILE[,SIZE]`` says, and making those that are not there yet."""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from org_ovirt_node.errors import NodeError
from org_ovirt_node.i18n import _
from org_ovirt_node.kickstart.units import human_size, parse_size

#: Less has no room for a partition table and one partition.
LEAST = 1 << 20
#: The disk of an image is a device-mapper device of this name, which goes into paths and kickstart lines.
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_+-]{0,63}", re.ASCII)


@dataclass(frozen=True)
class DiskImage:
    """One image file; ``disk`` is what its disk is called, ``make`` the bytes of a file that is still to be made."""

    disk: str
    path: Path
    make: int = 0


def parse(arguments: Sequence[str]) -> tuple[DiskImage, ...]:
    """The image files that the arguments mean; nothing is written.

    An argument that is the name of a file means that file, whatever commas there are in it.  Raises NodeError.
    """
    found: dict[str, DiskImage] = {}
    for argument in arguments:
        image = _parse(argument)
        if image.disk in found:
            raise NodeError(
                _("two disk images would be called {name}").format(name=image.disk),
                hint=_("Give the files different names."),
            )
        found[image.disk] = image
    return tuple(found.values())


def _parse(argument: str) -> DiskImage:
    name, comma, text = argument.rpartition(",")
    if not comma or Path(argument).is_file():
        path, size = Path(argument).absolute(), 0
        if not path.is_file():
            wrong = _("the disk image {path} is no regular file")
            if not path.exists():
                wrong = _("the disk image {path} is not there")
            raise NodeError(
                wrong.format(path=path),
                hint=_("Add ',SIZE' (as ',20GiB') to have it made."),
            )
    else:
        path, size = Path(name).absolute(), _size(argument, text)
        if path.exists():
            _check_same(path, size)
            size = 0
        elif not path.parent.is_dir():
            raise NodeError(
                _("the folder {folder} of the disk image is not there").format(folder=path.parent),
                hint=_("Make it first."),
            )
    disk = path.name.split(".", 1)[0]
    if not _NAME.fullmatch(disk):
        raise NodeError(
            _("the disk image {path} gives its disk no name that can be used").format(path=path),
            hint=_("Its file name up to the first dot must be letters, digits and _ + -, as in node.raw."),
        )
    return DiskImage(disk, path, size)


def _size(argument: str, text: str) -> int:
    try:
        size = parse_size(text)
    except ValueError as error:
        raise NodeError(f"--disk-image {argument}: {error}") from error
    if size < LEAST:
        raise NodeError(
            _("--disk-image {argument}: the size is less than {least}").format(
                argument=argument, least=human_size(LEAST)
            )
        )
    return size


def _check_same(path: Path, size: int) -> None:
    if not path.is_file():
        raise NodeError(_("the disk image {path} is no regular file").format(path=path), hint=_("Name a file."))
    if path.stat().st_size != size:
        raise NodeError(
            _("the disk image {path} exists and has {have} bytes, not {size}").format(
                path=path, have=path.stat().st_size, size=size
            ),
            hint=_("Remove it, or leave the size out to use it as it is."),
        )


def _make(path: Path, size: int) -> None:
    """A sparse file; where that fails, there is none."""
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
        try:
            os.truncate(descriptor, size)
        except OSError:
            path.unlink()
            raise
        finally:
            os.close(descriptor)
    except OSError as error:
        raise NodeError(
            _("the disk image {path} of {size} cannot be made: {error}").format(
                path=path, size=human_size(size), error=error.strerror
            ),
            hint=_("Take a size that its file system can hold, and a folder that can be written."),
        ) from error


@contextmanager
def ready(images: Sequence[DiskImage], *, only_plan: bool) -> Iterator[dict[str, Path]]:
    """The image files by the names of their disks, for the length of the block; those that are missing are made.

    With ``only_plan`` an empty sparse file elsewhere stands for each of these and is removed again.  Raises NodeError.
    """
    with tempfile.TemporaryDirectory(prefix="ovirt-node-plan-") as folder:
        paths = {}
        for image in images:
            path = Path(folder, image.path.name) if image.make and only_plan else image.path
            if image.make:
                _make(path, image.make)
            paths[image.disk] = path
        yield paths

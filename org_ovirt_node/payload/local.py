"""Images in a file or on a block device of this machine."""

from __future__ import annotations

import errno
import os
from pathlib import Path

from org_ovirt_node.errors import PayloadError
from org_ovirt_node.i18n import _
from org_ovirt_node.payload.direct import ALIGNMENT, DirectFile
from org_ovirt_node.payload.source import Source, Stream


def _unreadable(name: str, exc: OSError) -> PayloadError:
    hint = ""
    if exc.errno in (errno.ENOENT, errno.ENOTDIR):
        hint = _("Check the path of the image.")
    if exc.errno in (errno.EIO, errno.ENODATA, errno.EREMOTEIO):
        hint = _("The medium is damaged or was removed.")
    return PayloadError(_("{name} cannot be read: {error}").format(name=name, error=exc.strerror), hint=hint)


class FileStream(Stream):
    """A file in order."""

    def __init__(self, name: str, path: Path, offset: int) -> None:
        self.name = name
        self.offset = offset
        try:
            self.file = DirectFile(path)
        except OSError as exc:
            raise _unreadable(name, exc) from exc
        if offset % ALIGNMENT:
            self.file.close()
            raise ValueError(f"a stream starts at a multiple of {ALIGNMENT}, not at {offset}")

    def readinto(self, view: memoryview) -> int:
        try:
            count = self.file.readinto(view, self.offset)
        except OSError as exc:
            raise _unreadable(
                _("{name}, byte {offset} and on,").format(name=self.name, offset=self.offset), exc
            ) from exc
        self.offset += count
        return count

    def close(self) -> None:
        self.file.close()


class FileSource(Source):
    """A regular file or a block device.  Raises PayloadError."""

    def __init__(self, path: Path, name: str = "") -> None:
        self.path: Path = path
        self.name = name or os.fspath(path)
        self.file_name = path.name
        try:
            if not (path.is_file() or path.is_block_device()):
                path.stat()
                raise PayloadError(
                    _("{name} is not a file").format(name=self.name), hint=_("Name the image file itself.")
                )
            file = DirectFile(path)
        except OSError as exc:
            raise _unreadable(self.name, exc) from exc
        self.size: int = file.size
        file.close()

    def read_at(self, offset: int, length: int) -> bytes:
        try:
            with self.path.open("rb") as file:
                file.seek(offset)
                return file.read(length)
        except OSError as exc:
            raise _unreadable(self.name, exc) from exc

    def stream(self, offset: int = 0) -> FileStream:
        return FileStream(self.name, self.path, offset)

    def close(self) -> None:
        """Nothing is held."""

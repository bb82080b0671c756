"""What an image is read from: the interface that files and servers share."""

from __future__ import annotations

from abc import ABC, abstractmethod
from pathlib import Path
from types import TracebackType
from typing import Optional

from org_ovirt_node.errors import PayloadError
from org_ovirt_node.urls import redact_url

__all__ = ["Source", "StartOver", "Stream", "redact_url"]


class StartOver(PayloadError):
    """The bytes so far may not belong to what would follow: the transfer has to begin again at its first byte."""


class Stream(ABC):
    """The bytes of a source in order, from an offset on."""

    @abstractmethod
    def readinto(self, view: memoryview) -> int:
        """Fill ``view`` and return how many bytes came; fewer than its length only at the end of the source.

        Raises PayloadError, or StartOver when the source can only be read from its start again.
        """

    def abort(self) -> None:  # noqa: B027 - most streams never block for long
        """Make a ``readinto`` that waits in another thread return or fail soon."""

    @abstractmethod
    def close(self) -> None:
        """Release what the stream holds."""

    def __enter__(self) -> Stream:
        return self

    def __exit__(
        self, kind: Optional[type[BaseException]], exc: Optional[BaseException], tb: Optional[TracebackType]
    ) -> None:
        self.close()


class Source(ABC):
    """An image file somewhere.

    ``name`` is for messages and has no credentials in it.  ``file_name`` is the last part of its path.  ``size`` is
    in bytes, None when the server does not tell.  ``path`` is where a program can open it, for a local file.
    """

    name: str
    file_name: str
    size: Optional[int]
    path: Optional[Path] = None
    #: The SHA-256 that the place itself has recorded for the content, where it does.
    digest: str = ""

    @abstractmethod
    def read_at(self, offset: int, length: int) -> bytes:
        """At most ``length`` bytes at ``offset``; fewer at the end.  For small reads; raises PayloadError."""

    @abstractmethod
    def stream(self, offset: int = 0) -> Stream:
        """The bytes from ``offset`` on.  Raises PayloadError."""

    def another(self, reason: PayloadError) -> bool:
        """Give up on this place because of ``reason``: True when there is another one to read from the start."""
        del reason
        return False

    @abstractmethod
    def close(self) -> None:
        """Release what the source holds."""

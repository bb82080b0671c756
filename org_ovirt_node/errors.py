"""The one error family.

An expected failure is one sentence that says what failed, why, and (as ``hint``) what to do about it.  Whatever
reaches a user derives from :class:`NodeError`; anything else is a defect of ours.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Optional

from org_ovirt_node.i18n import _
from org_ovirt_node.urls import redact_url


class NodeError(Exception):
    """An expected failure.

    ``message`` is one sentence with the thing and the cause, ``hint`` what the user can do.
    """

    #: Exit status of the command-line programs for this kind of failure.
    status = 1

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        if not self.hint:
            return self.message
        return f"{self.message.rstrip('.')}. {self.hint}"


class WrongUsage(NodeError):
    """A command line that contradicts itself, where argparse cannot see it."""

    status = 2


class KickstartProblem(NodeError):
    """A kickstart that says something wrong or something we do not support, with its place."""

    status = 2

    def __init__(self, message: str, *, file: str = "", line: int = 0, hint: str = "") -> None:
        self.file = file
        self.line = line
        place = ":".join(part for part in (redact_url(file), str(line) if line else "") if part)
        super().__init__(f"{place}: {message}" if place else message, hint=hint)


class LayoutError(NodeError):
    """The disks cannot hold what is asked of them."""


class StorageError(NodeError):
    """A disk, volume group or file system could not be made or released."""


class PayloadError(NodeError):
    """The image cannot be read, is damaged, or is not the one that was asked for."""


class BootError(NodeError):
    """The boot loader or its entries could not be written."""


class ImageError(NodeError):
    """An image could not be built or changed."""


class Interrupted(NodeError):
    """The user, or a shutdown, asked us to stop; everything was released."""

    status = 130


class CommandError(NodeError):
    """A program that we ran failed: its name, its exit status and the last lines that it printed."""

    def __init__(self, argv: Sequence[str], status: int, output: str, *, hint: Optional[str] = None) -> None:
        self.argv = tuple(argv)
        self.exit_status = status
        self.output = output
        said = " / ".join(line.strip() for line in output.strip().splitlines()[-3:])
        message = _("{program} failed with exit status {status}: {output}")
        super().__init__(
            message.format(program=argv[0], status=status, output=said or _("it printed nothing")), hint=hint or ""
        )

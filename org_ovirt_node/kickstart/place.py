"""Where in a kickstart something is said."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NoReturn

from org_ovirt_node.errors import KickstartProblem


@dataclass(frozen=True)
class Place:
    """A line of a file, for errors."""

    file: str = ""
    line: int = 0

    def fail(self, message: str, *, hint: str = "") -> NoReturn:
        """Raise :class:`KickstartProblem` with the place.  What led here may quote the whole line, with a password."""
        raise KickstartProblem(message, file=self.file, line=self.line, hint=hint) from None


NOWHERE = Place()

"""The section in a kickstart that Anaconda reads and writes."""

from __future__ import annotations

from typing import Optional

from pyanaconda.core.kickstart import KickstartSpecification
from pyanaconda.core.kickstart.addon import AddonData
from pykickstart.errors import KickstartParseError

from org_ovirt_node.errors import KickstartProblem
from org_ovirt_node.i18n import _
from org_ovirt_node.kickstart.model import NodeSection
from org_ovirt_node.kickstart.section import ADDON, SECTION, format_section, parse_section


class OvirtNodeData(AddonData):  # type: ignore[misc]
    """``section`` is None where the kickstart has none."""

    def __init__(self) -> None:
        super().__init__()
        self.section: Optional[NodeSection] = None
        self._line = 0
        self._arguments: list[str] = []
        self._lines: list[tuple[int, str]] = []

    def __str__(self) -> str:
        return format_section(self.section) if self.section else ""

    def handle_header(self, args: list[str], line_number: Optional[int] = None) -> None:
        """Take the arguments after ``%addon org_ovirt_node``; a mistake in them is known at once."""
        if self._line:
            message = _("{section}: the section is there twice").format(section=SECTION)
            raise KickstartParseError(message, lineno=line_number or 0)
        self._line = line_number or 1
        self._arguments = list(args)
        self.section = self._parse()

    def handle_line(self, line: str, line_number: Optional[int] = None) -> None:
        """Take a line of the body."""
        self._lines.append((line_number or 0, line))

    def handle_end(self) -> None:
        """Read the whole."""
        self.section = self._parse()

    def _parse(self) -> NodeSection:
        try:
            return parse_section(self._arguments, self._lines, line=self._line)
        except KickstartProblem as problem:
            raise as_parse_error(problem) from None


def as_parse_error(problem: KickstartProblem) -> KickstartParseError:
    """``problem`` for Anaconda, which maps the line number to the file itself and shows the message alone."""
    return KickstartParseError(str(problem).removeprefix(f"{problem.line}: "), lineno=problem.line)


class OvirtNodeKickstartSpecification(KickstartSpecification):  # type: ignore[misc]
    """What Boss hands to this service."""

    addons = {ADDON: OvirtNodeData}  # noqa: RUF012 - Anaconda's own form

"""pykickstart's parser with what it lacks: the file and line of every error, and nothing that is ignored.

pykickstart gives sections no line numbers, and its errors know the line but not the file; so the lines are counted
here, as they are read, for the file that is being read.
"""

from __future__ import annotations

import io
import logging
import shlex
import warnings
from collections.abc import Callable
from typing import Any, Optional

from pykickstart import constants
from pykickstart.errors import KickstartError
from pykickstart.parser import STATE_COMMANDS, KickstartParser, PutBackIterator
from pykickstart.sections import (
    NullSection,
    PostScriptSection,
    PreInstallScriptSection,
    PreScriptSection,
    Section,
)

from org_ovirt_node.errors import KickstartProblem, NodeError
from org_ovirt_node.i18n import N_, _, translated
from org_ovirt_node.kickstart.checks import CUT, QUOTE, cut_by_comment
from org_ovirt_node.kickstart.commands import (
    ABOUT_DISKS,
    ANACONDAS_OWN,
    BARE_COMMANDS,
    COMMANDS,
    Line,
    check_options,
    options_given,
    read_args,
    refuse_command,
    secrets_in,
)
from org_ovirt_node.kickstart.fetch import relative_to
from org_ovirt_node.kickstart.model import NodeSection, Script
from org_ovirt_node.kickstart.place import Place
from org_ovirt_node.kickstart.section import ADDON, SECTION, parse_section
from org_ovirt_node.run import redact
from org_ovirt_node.urls import redact_url

log = logging.getLogger(__name__)

#: An %include that includes itself ends here.
DEEPEST = 16
STAGES = {
    constants.KS_SCRIPT_PRE: "pre",
    constants.KS_SCRIPT_PREINSTALL: "pre-install",
    constants.KS_SCRIPT_POST: "post",
}
REFUSED_SECTIONS = {
    "%packages": N_("A node is installed from an image; the packages are in it."),
    "%anaconda": N_("It configures Anaconda, which does not run here."),
    "%certificate": N_("It is not supported yet; write the file in %post."),
    "%onerror": N_("It is not supported yet; an installation that fails says why and ends with a status other than 0."),
    "%traceback": N_("It belongs to Anaconda, which does not run here."),
}
Fetch = Callable[[str], str]


class _Lines(PutBackIterator):  # type: ignore[misc]
    """The lines of one file, counted; the empty string that pykickstart takes for the end comes last."""

    def __init__(self, parser: NodeParser, text: str, file: str) -> None:
        # Not str.splitlines, which also splits at form feeds and the like, where editors count no line.
        super().__init__([*io.StringIO(text, newline=None), ""])
        self._parser = parser
        self.file = file
        self.number = 0

    def put(self, s: str) -> None:
        super().put(s)
        self.number -= 1

    def next(self) -> str:
        line = str(super().next())
        self.number += 1
        self._parser.line_read(line)
        return line


class NodeParser(KickstartParser):  # type: ignore[misc]
    """Reads a kickstart and everything that it includes into ``lines``, ``scripts`` and ``node``."""

    def __init__(self, handler: Any, fetch: Fetch, *, only_pre: bool = False, anacondas: bool = False) -> None:
        """With ``anacondas``, a kickstart that Anaconda reads too is taken: see :meth:`passed_over`."""
        self.fetch = fetch
        self.only_pre = only_pre
        self.anacondas = anacondas
        self.postponed: list[tuple[str, KickstartProblem]] = []
        self.open_files: list[_Lines] = []
        self.lines: list[Line] = []
        self.scripts: list[Script] = []
        self.node: Optional[NodeSection] = None
        super().__init__(handler)

    @property
    def place(self) -> Place:
        """Where we are reading."""
        if not self.open_files:
            return Place()
        current = self.open_files[-1]
        return Place(current.file, current.number)

    def read(self, text: str, file: str) -> None:
        """Read a whole kickstart.  Raises KickstartProblem, with the place, for whatever is wrong with it."""
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            try:
                self._read(text, file)
            except NodeError:
                raise
            except KickstartError as error:
                message = _one_line(getattr(error, "message", "")) or _("this line cannot be read")
                section = str(self._state)
                named = not section.startswith("%") or section in message
                self.place.fail(message if named else f"{section}: {message}")
            except (ValueError, LookupError, TypeError, AttributeError, AssertionError) as error:
                # shlex and parts of pykickstart raise these for text that is no kickstart.
                self.place.fail(_("this line cannot be read: {error}").format(error=_one_line(str(error))))
        for warning in said:
            log.debug("pykickstart: %s", _one_line(str(warning.message)))

    def _read(self, text: str, file: str) -> None:
        self.open_files.append(_Lines(self, text, file))
        self._stateMachine(self.open_files[-1])
        self.open_files.pop()

    def line_read(self, line: str) -> None:
        """Called for every line: pykickstart would pass over the first of these in silence."""
        if self._state == STATE_COMMANDS and line.lstrip().startswith("%ksappend"):
            self.place.fail(_("%ksappend is not supported"), hint=_("Use %include."))
        if self._state == STATE_COMMANDS and cut_by_comment(line):
            self.place.fail(translated(CUT), hint=translated(QUOTE))
        if line.strip() == "%include":
            self.place.fail(_("%include without the name of a file"))

    def passed_over(self) -> tuple[str, ...]:
        """What of a kickstart with ``liveimg``, which is Anaconda's, only Anaconda reads: names with their lines.

        Raises the KickstartProblem of the first such line where the kickstart has no ``liveimg``.
        """
        if self.postponed and ANACONDAS_OWN not in [name for name, _ in self.postponed]:
            raise self.postponed[0][1]
        return tuple(f"{name} (line {problem.line})" for name, problem in self.postponed)

    def handleCommand(self, lineno: int, args: list[str]) -> Any:  # noqa: N802 (pykickstart's name)
        """A command: pykickstart parses it, then everything on the line must be something that we do."""
        if self.only_pre:
            return None
        try:
            return self._handle(lineno, args)
        except KickstartProblem as problem:
            if not self.anacondas or args[0] in ABOUT_DISKS:
                raise
            self.postponed.append((args[0].partition("=")[0], problem))
            return None

    def _handle(self, lineno: int, args: list[str]) -> Any:
        name, place = args[0], self.place
        if name not in COMMANDS:
            refuse_command(name, place)
        self._check_once(name, place)
        words = read_args(getattr(self.handler.commands.get(name), "op", None), args[1:])
        given = options_given(words)
        check_options(name, given, place)
        if name in BARE_COMMANDS and len(args) > 1:
            place.fail(
                _("{name}: {text} means nothing here").format(name=name, text=repr(args[1])),
                hint=_("The command stands alone."),
            )
        try:
            data = super().handleCommand(lineno, args)
        except KickstartError as error:
            message = redact(_one_line(getattr(error, "message", "") or str(error)), secrets_in(name, words))
            place.fail(f"{name}: {message}")
        except (ValueError, LookupError, TypeError, AttributeError, AssertionError):
            place.fail(_("{name}: this line cannot be read").format(name=name))
        self.lines.append(Line(name, data, given, place))
        return data

    def _check_once(self, name: str, place: Place) -> None:
        command = COMMANDS[name]
        if command.many:
            return
        for before in self.lines:
            if before.command == name:
                place.fail(
                    _("{name} was given on line {line} already").format(name=name, line=before.place.line),
                    hint=_("Give it once."),
                )
            if command.group and COMMANDS[before.command].group == command.group:
                place.fail(
                    _("{name} and {command} (line {line}) exclude each other").format(
                        name=name, command=before.command, line=before.place.line
                    )
                )

    def _handleInclude(self, f: str) -> None:  # noqa: N802 (pykickstart's name)
        place, state = self.place, self._state
        name, f = relative_to(place.file, f), redact_url(f)
        if len(self.open_files) > DEEPEST:
            place.fail(
                _("%include {file}: files include each other more than {most} deep").format(file=f, most=DEEPEST)
            )
        try:
            text = self.fetch(name)
        except KickstartProblem as error:
            if self.only_pre:
                return  # %pre may be about to make it.
            place.fail(f"%include {f}: {error.message}")
        self._includeDepth += 1
        self._read(text, name)
        self._includeDepth -= 1
        if self._state != state:
            place.fail(
                _("%include {file}: the file ends in the middle of a section").format(file=f),
                hint=_("Close it with %end."),
            )

    def setupSections(self) -> None:  # noqa: N802 (pykickstart's name)
        """Our sections instead of pykickstart's."""
        self._sections: dict[str, Section] = {}
        if self.only_pre:
            names = ["%addon", *REFUSED_SECTIONS, "%post", "%pre-install"]
            for name in names:
                self.registerSection(_Skipped(self.handler, sectionOpen=name))
            self.registerSection(PreScriptSection(self.handler, dataObj=self._script))
            return
        for name, why in REFUSED_SECTIONS.items():
            self.registerSection(_Refused(self, name, why))
        self.registerSection(_Addon(self))
        for kind in (PreScriptSection, PreInstallScriptSection, PostScriptSection):
            self.registerSection(kind(self.handler, dataObj=self._script))

    def _script(self, body: list[str], **keywords: Any) -> Script:
        stage, interpreter = STAGES[keywords["type"]], keywords["interp"] or "/bin/sh"
        place = Place(self.place.file, keywords["lineno"] or 0)
        try:
            words = shlex.split(interpreter)
        except ValueError as error:
            place.fail(f"%{stage} --interpreter={interpreter}: {error}")
        if not words:
            place.fail(
                _("%{stage} --interpreter={interpreter} names no program").format(
                    stage=stage, interpreter=repr(interpreter)
                )
            )
        script = Script(
            stage=stage,
            body="".join(body),
            interpreter=interpreter,
            chroot=bool(keywords["inChroot"]),
            erroronfail=bool(keywords["errorOnFail"]),
            log=keywords["logfile"] or "",
            line=place.line,
            file=place.file,
        )
        self.scripts.append(script)
        return script


class _Skipped(NullSection):  # type: ignore[misc]
    """A section that the first pass does not look at."""

    def handleLine(self, line: str) -> None:  # noqa: N802
        pass

    def finalize(self) -> None:
        pass


class _Refused(Section):  # type: ignore[misc]
    """A section that means something elsewhere and nothing here."""

    allLines = True  # noqa: N815

    def __init__(self, parser: NodeParser, name: str, why: str) -> None:
        super().__init__(parser.handler)
        self.sectionOpen = name
        self._parser, self._why = parser, why

    def handleHeader(self, lineno: int, args: list[str]) -> None:  # noqa: N802
        try:
            self._parser.place.fail(
                _("the section {section} is not supported").format(section=self.sectionOpen), hint=translated(self._why)
            )
        except KickstartProblem as problem:
            if not self._parser.anacondas:
                raise
            self._parser.postponed.append((self.sectionOpen, problem))

    def handleLine(self, line: str) -> None:  # noqa: N802
        pass

    def finalize(self) -> None:
        pass


class _Addon(Section):  # type: ignore[misc]
    """``%addon org_ovirt_node``; any other add-on would be one that nobody runs."""

    allLines = True  # noqa: N815
    sectionOpen = "%addon"  # noqa: N815

    def __init__(self, parser: NodeParser) -> None:
        super().__init__(parser.handler)
        self._parser = parser
        self._args: list[str] = []
        self._place = Place()
        self._body: list[tuple[int, str]] = []
        self._another = False

    def handleHeader(self, lineno: int, args: list[str]) -> None:  # noqa: N802
        place = self._parser.place
        if len(args) < 2:
            place.fail(_("%addon without a name"), hint=_("Accepted is {section}.").format(section=SECTION))
        self._another = args[1] != ADDON
        if self._another:
            name = args[1].partition("=")[0]
            try:
                place.fail(
                    _("the add-on {name} is not supported").format(name=repr(name)),
                    hint=_("Accepted is {section}.").format(section=SECTION),
                )
            except KickstartProblem as problem:
                if not self._parser.anacondas:
                    raise
                self._parser.postponed.append((f"%addon {name}", problem))
                return
        if self._parser.node is not None:
            place.fail(
                _("{section} was given on line {line} already").format(section=SECTION, line=self._parser.node.line),
                hint=_("Give it once."),
            )
        self._args, self._place, self._body = args[2:], place, []

    def handleLine(self, line: str) -> None:  # noqa: N802
        place = self._parser.place
        if self._another:
            return
        if place.file != self._place.file and line.strip():
            place.fail(
                _("%include within {section} is not supported").format(section=SECTION),
                hint=_("Include the whole section."),
            )
        self._body.append((place.line, line))

    def finalize(self) -> None:
        if self._another:
            return
        place = self._place
        self._parser.node = parse_section(self._args, self._body, file=place.file, line=place.line)


def _one_line(text: str) -> str:
    return " ".join(text.split())

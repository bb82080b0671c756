"""A whole kickstart, read without Anaconda: the standard commands and the section, to an InstallRequest."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Optional

from pykickstart.errors import KickstartVersionError
from pykickstart.version import RHEL7, makeVersion, stringToVersion, versionMap

from org_ovirt_node.errors import KickstartProblem
from org_ovirt_node.i18n import _
from org_ovirt_node.kickstart import fetch as fetching
from org_ovirt_node.kickstart.commands import COMMANDS
from org_ovirt_node.kickstart.iscsi import iscsi
from org_ovirt_node.kickstart.model import InstallRequest, Script, SystemRequest
from org_ovirt_node.kickstart.parser import Fetch, NodeParser
from org_ovirt_node.kickstart.place import Place
from org_ovirt_node.kickstart.scripts import run_pre as run_script
from org_ovirt_node.kickstart.section import SECTION
from org_ovirt_node.kickstart.storage import bootloader, storage
from org_ovirt_node.kickstart.system import ending, system

#: Commands that have a meaning for a node that is installed already.
AFTERWARDS = (
    *("rootpw", "user", "group", "sshkey", "lang", "keyboard", "timezone", "timesource"),
    *("network", "services", "firewall"),
)
_ACCEPTED = ", ".join(sorted(AFTERWARDS))
_HEADER = "#version="
#: Older syntax has sections without %end, and commands that no installer that we serve has known.
_OLDEST = RHEL7


def load(
    source: str,
    *,
    run_pre: bool = True,
    proxy: str = "",
    version: str = "",
    fetch: Optional[Fetch] = None,
    plan: str = "",
) -> InstallRequest:
    """Read the kickstart at ``source``: a path, or an http or https URL.

    The %pre scripts run first (unless ``run_pre`` is False), then the whole is parsed, with what they may have made
    for %include.  ``version`` is a syntax version such as ``RHEL9``; without it the kickstart's ``#version=`` line
    decides, else pykickstart's default.  ``plan`` is the form in which the layout is only to be shown: then a kickstart
    of Anaconda's (one with ``liveimg``) is taken, whose lines that are not about disks are left to Anaconda; and for
    the form ``kickstart`` one that says nothing of a layout, which is about to be made, means automatic partitioning.
    Raises :class:`KickstartProblem` with file and line for anything that is wrong, or that we would not do.
    """
    reader = fetch or partial(fetching.fetch, proxy=proxy)
    text = reader(source)
    if run_pre:
        _run_pre(text, source, version, reader)
    parser = NodeParser(_handler(text, source, version), reader, anacondas=bool(plan))
    parser.read(text, source)
    passed_over = parser.passed_over()
    if parser.node is None:
        raise KickstartProblem(
            _("the section {section} is missing").format(section=SECTION),
            file=source,
            hint=_("It says which image is to be installed."),
        )
    request = storage(parser.lines)
    if plan == "kickstart" and not (request.partitions or request.vgs or request.volumes):
        request = replace(request, autopart=True)
    if not (request.autopart or request.partitions or request.vgs or request.volumes):
        raise KickstartProblem(
            _("nothing says how the disks are to be laid out"),
            file=source,
            hint=_("Give autopart --type=thinp, or part, volgroup and logvol lines."),
        )
    return InstallRequest(
        file=source,
        node=parser.node,
        storage=request,
        bootloader=bootloader(parser.lines),
        system=SystemRequest() if passed_over else system(parser.lines),
        scripts=tuple(parser.scripts),
        iscsi=iscsi(parser.lines),
        ending=ending(parser.lines),
        for_anaconda=passed_over,
    )


@dataclass(frozen=True)
class SystemOnly:
    """A kickstart for a node that is installed already: what is to be in its /etc, and %post scripts."""

    system: SystemRequest
    scripts: tuple[Script, ...] = ()


def load_system(source: str, *, fetch: Optional[Fetch] = None) -> SystemOnly:
    """Read a kickstart at ``source`` that says nothing about disks, boot loader and image: they are there.

    Raises :class:`KickstartProblem` for anything that is wrong, or is about the installation.
    """
    reader = fetch or fetching.fetch
    text = reader(source)
    parser = NodeParser(_handler(text, source, ""), reader)
    parser.read(text, source)
    for line in parser.lines:
        if line.command not in AFTERWARDS and not COMMANDS[line.command].harmless:
            line.fail(
                _("it is about the installation, and this node is installed"),
                hint=_("Accepted: {accepted}.").format(accepted=_ACCEPTED),
            )
    if parser.node is not None:
        Place(source, parser.node.line).fail(
            _("{section} is about the installation, and this node is installed").format(section=SECTION)
        )
    for script in parser.scripts:
        if script.stage != "post":
            Place(script.file, script.line).fail(
                _("%{stage} is about the installation").format(stage=script.stage), hint=_("Write %post.")
            )
    return SystemOnly(system(parser.lines), tuple(parser.scripts))


def _run_pre(text: str, source: str, version: str, reader: Fetch) -> None:
    first = NodeParser(_handler(text, source, version), reader, only_pre=True)
    first.read(text, source)
    for script in first.scripts:
        run_script(script)


def _handler(text: str, source: str, version: str) -> Any:
    """pykickstart's handler for the syntax version that is asked for, as pykickstart's versionFromFile decides it."""
    line = 0
    if not version:
        for number, content in enumerate(text.splitlines(), start=1):
            if content.startswith(_HEADER):
                version, line = content[len(_HEADER) :].strip(), number
                break
    try:
        wanted = stringToVersion(version) if version else None
        handler = makeVersion(wanted) if wanted is not None else makeVersion()
    except KickstartVersionError as error:
        raise KickstartProblem(
            _("the syntax version {version} is unknown").format(version=repr(version)),
            file=source,
            line=line,
            hint=_("Known are {known}.").format(known=_known()),
        ) from error
    if handler.version < _OLDEST:
        raise KickstartProblem(
            _("the syntax version {version} is too old").format(version=repr(version)),
            file=source,
            line=line,
            hint=_("Known are {known}.").format(known=_known()),
        )
    return handler


def _known() -> str:
    names = [name for name, number in versionMap.items() if number >= _OLDEST and name != "DEVEL"]
    return ", ".join(sorted(names, key=lambda name: (name.startswith("RHEL"), versionMap[name])))

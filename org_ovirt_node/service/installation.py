"""The tasks that Anaconda runs; each does a group of the engine's steps."""

from __future__ import annotations

import logging
from abc import abstractmethod
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Optional

from pyanaconda.core.configuration.anaconda import conf
from pyanaconda.modules.common.task import Task

from org_ovirt_node.anaconda_compat import PayloadInstallationError, installation_error
from org_ovirt_node.errors import NodeError, PayloadError
from org_ovirt_node.i18n import N_, _, translated
from org_ovirt_node.install import handover
from org_ovirt_node.install.handover import Handover
from org_ovirt_node.install.options import Options
from org_ovirt_node.kickstart.model import BootloaderRequest, InstallRequest, NodeSection, StorageRequest, SystemRequest
from org_ovirt_node.kickstart.section import SECTION
from org_ovirt_node.payload.choose import open_payload
from org_ovirt_node.payload.facts import ImageFacts
from org_ovirt_node.progress import Progress, human
from org_ovirt_node.service import status_line, storage_facts
from org_ovirt_node.service.bootloader import BootLoader, selinux_mode
from org_ovirt_node.service.progress import TaskProgress
from org_ovirt_node.steps import run_steps

log = logging.getLogger(__name__)

FILE = "the kickstart"
LOOKING, COLLECTING = N_("Looking at the image of oVirt Node"), N_("Collecting kernel arguments")


class Session:
    """What one task leaves to the next: the installation and what it holds open."""

    def __init__(self) -> None:
        self.boot_loader = BootLoader()
        self.installation: Optional[Handover] = None
        self.stack = ExitStack()

    def begin(self, installation: Handover) -> None:
        self.installation = installation

    def abandon(self) -> None:
        """Release everything."""
        self.installation = None
        self.stack.close()

    def let_go(self) -> None:
        """At Anaconda's end: a disk image is let go of; a machine restarts, and everything with it."""
        installation = self.installation
        if installation is None or conf.target.is_hardware:
            return
        self.installation = None
        try:
            installation.let_go()
        except NodeError as error:
            log.error("the disk image is still in use: %s", error)


def look_at(section: NodeSection, progress: Progress) -> tuple[ImageFacts, bool]:
    """The image as it is found now, and whether a signature vouches for it.

    Raises PayloadError, which names the option.
    """
    try:
        with open_payload(section) as payload:
            facts, signed = payload.facts, payload.signed
    except PayloadError as error:
        raise PayloadError(f"{SECTION}: --image: {error.message}", hint=error.hint) from error
    said = _("{nvr}: {size}, {compression}, signed") if signed else _("{nvr}: {size}, {compression}")
    compression = facts.compression or "squashfs"
    progress.detail(said.format(nvr=facts.nvr, size=human(facts.size), compression=compression))
    return facts, signed


class NodeTask(Task):  # type: ignore[misc]
    """A task whose expected failures reach the user as Anaconda's own errors."""

    title = ""

    def __init__(self, section: NodeSection) -> None:
        super().__init__()
        self._section = section
        self._task_progress = TaskProgress(self.report_progress)

    @property
    def name(self) -> str:
        return translated(self.title)

    def run(self) -> object:
        try:
            return self.work()
        except NodeError as error:
            log.error("%s: %s", self.title, error)
            raise installation_error(error) from None

    @abstractmethod
    def work(self) -> object:
        """The task itself."""


class CheckImageTask(NodeTask):
    """Finds the image and looks at it; for the spokes."""

    title = N_("Check the image of oVirt Node")

    def __init__(self, section: NodeSection, found: Callable[[ImageFacts, bool], None]) -> None:
        super().__init__(section)
        self._found = found

    def work(self) -> object:
        self._found(*look_at(self._section, self._task_progress))
        return None


class PrepareTask(NodeTask):
    """Everything that can be known to be wrong before a disk is written."""

    title = N_("Check what oVirt Node needs")

    def __init__(self, section: NodeSection, session: Session, directory: bool) -> None:
        super().__init__(section)
        self._session = session
        self._directory = directory

    def work(self) -> object:
        self._task_progress.step("check", translated(LOOKING))
        facts, _unused = look_at(self._section, self._task_progress)
        if self._directory:
            raise PayloadError(
                _("{section}: an installation into a directory has no volumes for a node").format(section=SECTION),
                hint=_("Install to a disk, or to a disk image with --image."),
            )
        self._session.boot_loader.check()
        for warning in storage_facts.check(storage_facts.read_planned(), self._section, facts):
            self._task_progress.detail(warning)
        self._session.boot_loader.switch_off()
        return None


class WriteImageTask(NodeTask):
    """Writes the image and puts the node's root in the place of Anaconda's."""

    title = N_("Write the image of oVirt Node")

    def __init__(self, section: NodeSection, session: Session, sysroot: str, physical_root: str) -> None:
        super().__init__(section)
        self._session = session
        self._sysroot = sysroot
        self._physical_root = physical_root

    def work(self) -> object:
        session = self._session
        location = "mbr" if session.boot_loader.wanted else "none"
        request = InstallRequest(
            FILE, self._section, StorageRequest(), BootloaderRequest(location=location), SystemRequest()
        )
        options = Options(root=Path(self._sysroot), elsewhere=not conf.target.is_hardware)
        try:
            with status_line.status_line() as show:
                progress = TaskProgress(lambda text: self._tell(text, show))
                installation = Handover(request, options, progress, session.stack, bare=Path(self._physical_root))
                run_steps(installation, handover.ADOPT + handover.WRITE)
        except BaseException:
            session.abandon()
            raise
        session.begin(installation)
        return None

    def _tell(self, text: str, show: Callable[[str], None]) -> None:
        self.report_progress(text)
        show(f"oVirt Node: {text}")


class FinishTask(NodeTask):
    """Makes the node bootable, after everybody else has configured it."""

    title = N_("Finish oVirt Node")

    def __init__(self, section: NodeSection, session: Session) -> None:
        super().__init__(section)
        self._session = session

    def work(self) -> object:
        session = self._session
        installation = session.installation
        if installation is None:
            raise PayloadInstallationError(_("The image of oVirt Node was not written: see the messages before."))
        self._task_progress.step("arguments", translated(COLLECTING))
        installation.progress = self._task_progress
        installation.request = InstallRequest(
            FILE,
            self._section,
            StorageRequest(),
            session.boot_loader.request(),
            SystemRequest(selinux=selinux_mode()),
        )
        run_steps(installation, handover.FINISH)
        session.boot_loader.switch_back()
        # The overlay stays: %post and the copies of the logs still go into it.
        return None

"""The service's state, and what it does when Anaconda asks."""

from __future__ import annotations

import shlex
from dataclasses import replace
from typing import Any, Optional

from pyanaconda.core.configuration.anaconda import conf
from pyanaconda.core.dbus import DBus
from pyanaconda.core.signal import Signal
from pyanaconda.modules.common.base import KickstartService
from pyanaconda.modules.common.containers import TaskContainer

from org_ovirt_node.constants import OVIRT_NODE
from org_ovirt_node.errors import KickstartProblem, NodeError
from org_ovirt_node.kickstart.model import NodeSection
from org_ovirt_node.kickstart.section import ADDON, format_section, parse_section
from org_ovirt_node.payload.facts import ImageFacts
from org_ovirt_node.service import storage_facts
from org_ovirt_node.service.installation import CheckImageTask, FinishTask, PrepareTask, Session, WriteImageTask
from org_ovirt_node.service.kickstart import OvirtNodeKickstartSpecification
from org_ovirt_node.service.node_interface import OvirtNodeInterface
from org_ovirt_node.service.report import plan_report
from org_ovirt_node.service.skeleton import NothingChosenTask

#: Fields of the section that say which image it is, and that it is the right one.
OF_THE_IMAGE = ("images", "sha256", "manifest", "key", "nosignature")


class OvirtNodeService(KickstartService):  # type: ignore[misc]
    """oVirt Node in Anaconda.  Without an image in its section it does nothing."""

    def __init__(self) -> None:
        super().__init__()
        self._section = NodeSection()
        self._facts: Optional[ImageFacts] = None
        self._signed = False
        self._session = Session()
        self.section_changed = Signal()
        self.image_changed = Signal()

    def publish(self) -> None:
        """Publish the D-Bus objects."""
        TaskContainer.set_namespace(OVIRT_NODE.namespace)
        DBus.publish_object(OVIRT_NODE.object_path, OvirtNodeInterface(self))
        DBus.register_service(OVIRT_NODE.service_name)

    @property
    def kickstart_specification(self) -> Any:
        return OvirtNodeKickstartSpecification

    def process_kickstart(self, data: Any) -> None:
        section = getattr(data.addons, ADDON).section
        if section is not None:
            self.set_section(section)

    def setup_kickstart(self, data: Any) -> None:
        getattr(data.addons, ADDON).section = self._section if self.enabled else None

    @property
    def section(self) -> NodeSection:
        return self._section

    def set_section(self, section: NodeSection) -> None:
        """Replace what is asked for; what was found of another image is forgotten."""
        if any(getattr(section, name) != getattr(self._section, name) for name in OF_THE_IMAGE):
            self.set_facts(None)
        self._section = section
        self.section_changed.emit()

    def change(self, **fields: Any) -> None:
        """Change fields of the section, which have been checked."""
        self.set_section(replace(self._section, **fields))

    @property
    def enabled(self) -> bool:
        """True when a node is to be installed."""
        return bool(self._section.images)

    @property
    def problem(self) -> str:
        """What the section lacks or has too much of, in a sentence; empty when it could stand in a kickstart."""
        header, *lines = format_section(self._section).splitlines()
        try:
            parse_section(shlex.split(header)[2:], [(0, line) for line in lines if line != "%end"])
        except KickstartProblem as problem:
            return str(problem)
        return ""

    @property
    def facts(self) -> Optional[ImageFacts]:
        return self._facts

    @property
    def signed(self) -> bool:
        """True when a signature, which was checked, vouches for the image that the last check found."""
        return self._signed

    def set_facts(self, facts: Optional[ImageFacts], signed: bool = False) -> None:
        """Keep what a check found."""
        self._facts = facts
        self._signed = signed
        self.image_changed.emit()

    def check_image_with_task(self) -> CheckImageTask:
        """A task that looks at the image now."""
        return CheckImageTask(self._section, self.set_facts)

    def plan(self) -> str:
        """The node on the disks as they are partitioned now, as JSON."""
        try:
            planned = storage_facts.read_planned()
        except NodeError as error:
            return plan_report(self._section, self._facts, None, str(error), signed=self._signed)
        problem = ""
        warnings: tuple[str, ...] = ()
        if self._facts is not None:
            try:
                warnings = storage_facts.check(planned, self._section, self._facts)
            except NodeError as error:
                problem = str(error)
        return plan_report(self._section, self._facts, planned, problem, warnings, self._signed)

    def configure_with_tasks(self) -> list[Any]:
        if not self.enabled:
            return [NothingChosenTask()]
        return [PrepareTask(self._section, self._session, bool(conf.target.is_directory))]

    def configure_bootloader_with_tasks(self, kernel_versions: list[str]) -> list[Any]:
        if not self.enabled:
            return []
        return [WriteImageTask(self._section, self._session, conf.target.system_root, conf.target.physical_root)]

    def let_go(self) -> None:
        """Release what the installation holds, when Anaconda ends."""
        self._session.let_go()

    def install_with_tasks(self) -> list[Any]:
        return [FinishTask(self._section, self._session)] if self.enabled else []

"""What both spokes know of the service."""

from __future__ import annotations

import json
import logging
from dataclasses import dataclass
from typing import Any, Optional

from dasbus.error import DBusError
from pyanaconda.modules.common.task import sync_run_task
from pyanaconda.modules.common.util import is_module_available

from org_ovirt_node.anaconda_compat import set_property
from org_ovirt_node.constants import OVIRT_NODE
from org_ovirt_node.errors import KickstartProblem
from org_ovirt_node.i18n import N_, _
from org_ovirt_node.kickstart.options import BY_NAME
from org_ovirt_node.kickstart.section import SECTION, parse_section
from org_ovirt_node.progress import human
from org_ovirt_node.urls import redact_url

log = logging.getLogger(__name__)


def available() -> bool:
    """True when the service runs.  Anaconda drops a service that fails to start, and says nothing."""
    try:
        return bool(is_module_available(OVIRT_NODE))
    except DBusError:
        return False


#: What the screens call the values, by the options and lines of the section.
LABELS = {
    "--image": N_("Image (URL)"),
    "--sha256": N_("SHA-256 of the image"),
    "--manifest": N_("Signed manifest (URL)"),
    "--image-slots": N_("Images to have room for"),
    "volume": N_("Volumes to require"),
}


def label(option: str) -> str:
    """The label of an option's value, in the user's language."""
    text = LABELS[option]
    return _(text)


def problem_of(option: str, text: str) -> str:
    """What is wrong with ``text`` as the value of an option of the section; empty when nothing is."""
    try:
        BY_NAME[option].check(text)
    except ValueError as error:
        return f"{label(option)}: {error}"
    return ""


def problem_of_line(line: str) -> str:
    """What is wrong with a volume or novolume line; empty when nothing is."""
    try:
        parse_section(["--image=file:/image", "--nosignature"], [(0, line)])
    except KickstartProblem as problem:
        return f"{label('volume')}: {str(problem).removeprefix(f'{SECTION}: ')}"
    return ""


@dataclass(frozen=True)
class Plan:
    """The service's plan: texts for people, empty where nothing is known yet."""

    image: str
    disks: tuple[str, ...]
    problem: str
    warnings: tuple[str, ...]
    partitioned: bool


def parse_plan(text: str) -> Plan:
    """The service's JSON as texts."""
    data = json.loads(text)
    image = data["image"]
    storage = data["storage"]
    lines: list[str] = []
    if storage and storage["vg"]:
        lines.append(
            _("volume group {vg}: {size}, {free} free for images").format(
                vg=storage["vg"], size=human(storage["vg_size"]), free=human(storage["free"])
            )
        )
    if storage:
        lines += [f"{volume['mountpoint']:<16} {human(volume['size'])}" for volume in storage["volumes"]]
    return Plan(
        image=f"{image['nvr']}, {human(image['size'])}, {_signature(image)}" if image else "",
        disks=tuple(lines),
        problem=data["problem"],
        warnings=tuple(data["warnings"]),
        partitioned=storage is not None,
    )


def _signature(image: dict[str, Any]) -> str:
    return _("signed by {key}").format(key=image["key"]) if image["signed"] else _("not signed")


class Client:
    """The service as a spoke uses it; the proxy is made when it is first needed."""

    def __init__(self) -> None:
        self._proxy: Optional[Any] = None

    @property
    def proxy(self) -> Any:
        if self._proxy is None:
            self._proxy = OVIRT_NODE.get_proxy()
        return self._proxy

    def set(self, name: str, value: object) -> str:
        """Set a property; returns what is wrong with the value, or nothing."""
        try:
            set_property(self.proxy, name, value)
        except DBusError as error:
            return str(error)
        return ""

    def check(self) -> str:
        """Look at the image now; returns what is wrong, or nothing."""
        try:
            sync_run_task(OVIRT_NODE.get_proxy(self.proxy.CheckImageWithTask()))
        except DBusError as error:
            return str(error)
        return ""

    def let_go(self) -> None:
        """Have a disk image let go of, before Anaconda takes its devices away."""
        if not available():
            return
        try:
            self.proxy.LetGo()
        except DBusError as error:
            log.error("the disk image was not let go of: %s", error)

    def plan(self) -> Plan:
        return parse_plan(self.proxy.GetPlan())

    @property
    def _verified(self) -> bool:
        proxy = self.proxy
        return bool(proxy.Digest or proxy.NoSignature or proxy.Manifest)

    @property
    def complete(self) -> bool:
        """True when an installation can begin, as far as is known."""
        if not available() or self.proxy.Problem:
            return False
        plan = self.plan()
        return not (plan.partitioned and plan.problem)

    @property
    def status(self) -> str:
        """One line for the hub."""
        if not available():
            return _("The service of the add-on is not running")
        if not self.proxy.Images:
            return _("No image chosen")
        if self.proxy.Problem:
            return _("The image cannot be verified yet") if not self._verified else str(self.proxy.Problem)
        plan = self.plan()
        if plan.partitioned and plan.problem:
            return plan.problem
        return str(self.proxy.ImageName) or redact_url(str(self.proxy.Images[0]))

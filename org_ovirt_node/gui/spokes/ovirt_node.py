"""oVirt Node in graphical mode: the same as in text mode (see tui.spokes)."""

# Anaconda reads the attributes of the class by these names.
# ruff: noqa: N815, RUF012

from __future__ import annotations

from typing import Any

from dasbus.error import DBusError
from pyanaconda.modules.common.task import async_run_task
from pyanaconda.ui.categories.software import SoftwareCategory
from pyanaconda.ui.gui.spokes import NormalSpoke

from org_ovirt_node.constants import OVIRT_NODE
from org_ovirt_node.i18n import DOMAIN, N_, _
from org_ovirt_node.service import client

__all__ = ["OvirtNodeSpoke"]

#: Milliseconds between two moves of the bar while the image is looked at.
PULSE = 100


class OvirtNodeSpoke(NormalSpoke):  # type: ignore[misc]
    """Shown among the software; it stays incomplete until an image is chosen and it is said how it is verified."""

    builderObjects = ["OvirtNodeWindow", "slotsAdjustment", "triesAdjustment", "volumesBuffer"]
    mainWidgetName = "OvirtNodeWindow"
    uiFile = "ovirt_node.glade"
    translationDomain = DOMAIN
    icon = "drive-harddisk-symbolic"
    title = N_("_OVIRT NODE")
    category = SoftwareCategory

    @staticmethod
    def get_screen_id() -> str:
        """The unique id of this screen."""
        return "ovirt-node"

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self._client = client.Client()
        self._problems: dict[str, str] = {}
        self._pulse = 0

    def initialize(self) -> None:
        """Find the widgets."""
        super().initialize()
        self.initialize_start()
        for name in (
            "imageEntry",
            "digestEntry",
            "manifestEntry",
            "unverifiedCheck",
            "slotsSpin",
            "triesSpin",
            "volumesView",
            "volumesBuffer",
            "checkButton",
            "checkProgress",
            "imageLabel",
            "layoutLabel",
            "formGrid",
        ):
            setattr(self, f"_{name}", self.builder.get_object(name))
        self.initialize_done()

    @property
    def completed(self) -> bool:
        return self._client.complete

    @property
    def mandatory(self) -> bool:
        return True

    @property
    def status(self) -> str:
        return self._client.status

    def refresh(self) -> None:
        """Show the present values."""
        self.clear_info()
        self._formGrid.set_sensitive(client.available())
        if not client.available():
            self.set_error(self.status)
            return
        proxy = self._client.proxy
        self._imageEntry.set_text(" ".join(proxy.Images))
        self._digestEntry.set_text(proxy.Digest)
        self._manifestEntry.set_text(proxy.Manifest)
        self._unverifiedCheck.set_active(proxy.NoSignature)
        self._slotsSpin.set_value(proxy.ImageSlots)
        self._triesSpin.set_value(proxy.BootTries)
        self._volumesBuffer.set_text("\n".join(proxy.Volumes))
        self._problems = {}
        self._show_plan()

    def _show_plan(self) -> None:
        plan = self._client.plan()
        self._imageLabel.set_text(plan.image or _("The image has not been checked yet."))
        if not plan.partitioned:
            self._layoutLabel.set_text(_("The disks are not chosen yet."))
        else:
            self._layoutLabel.set_text("\n".join(plan.disks))
            if plan.problem:
                self.set_error(plan.problem)
            elif plan.warnings:
                self.set_warning(plan.warnings[0])

    def apply(self) -> None:
        """Set what is not set while it is entered; what is wrong stays as it was, and the hub says so."""
        for name, problem in (
            ("Images", self._set_images()),
            ("Digest", self._set_digest()),
            ("Manifest", self._client.set("Manifest", self._manifestEntry.get_text().strip())),
            ("Volumes", self._set_volumes()),
        ):
            self._problems[name] = problem
        self._client.set("ImageSlots", self._slotsSpin.get_value_as_int())
        self._client.set("BootTries", self._triesSpin.get_value_as_int())

    def _set_images(self) -> str:
        return self._client.set("Images", self._imageEntry.get_text().split())

    def _set_digest(self) -> str:
        if self._unverifiedCheck.get_active():
            return self._client.set("NoSignature", True)
        self._client.set("NoSignature", False)
        return self._client.set("Digest", self._digestEntry.get_text().strip())

    def _set_volumes(self) -> str:
        start, end = self._volumesBuffer.get_bounds()
        lines = self._volumesBuffer.get_text(start, end, False).splitlines()
        return self._client.set("Volumes", [line for line in lines if line.strip()])

    def on_back_clicked(self, button: Any) -> None:
        """Stay while something is wrong, with the reason in the bar."""
        self.apply()
        problem = next((text for text in self._problems.values() if text), "")
        if problem:
            self.set_error(problem)
            return
        super().on_back_clicked(button)

    def on_changed(self, _widget: Any) -> None:
        """Say in place what is wrong with an entry."""
        images = self._imageEntry.get_text().split()
        problems = [client.problem_of("--image", text) for text in images]
        digest = self._digestEntry.get_text().strip()
        if digest and not self._unverifiedCheck.get_active():
            problems.append(client.problem_of("--sha256", digest))
        manifest = self._manifestEntry.get_text().strip()
        if manifest:
            problems.append(client.problem_of("--manifest", manifest))
        self._digestEntry.set_sensitive(not self._unverifiedCheck.get_active())
        self._checkButton.set_sensitive(bool(images) and not any(problems))
        self.clear_info()
        problem = next((text for text in problems if text), "")
        if problem:
            self.set_error(problem)

    def on_check_clicked(self, _button: Any) -> None:
        """Look at the image, without blocking."""
        from gi.repository import GLib

        self.apply()
        self.clear_info()
        self._checkButton.set_sensitive(False)
        self._checkProgress.show()
        self._pulse = GLib.timeout_add(PULSE, self._move)
        path = self._client.proxy.CheckImageWithTask()
        async_run_task(OVIRT_NODE.get_proxy(path), self._checked)

    def _move(self) -> bool:
        self._checkProgress.pulse()
        return True

    def _checked(self, task: Any) -> None:
        from gi.repository import GLib

        GLib.source_remove(self._pulse)
        self._checkProgress.hide()
        self._checkButton.set_sensitive(True)
        try:
            task.Finish()
        except DBusError as error:
            self.set_error(str(error))
            self._imageLabel.set_text("")
            return
        self._show_plan()

"""oVirt Node in text mode: which image, how it is verified, how much room images get."""

from __future__ import annotations

import atexit
from collections.abc import Callable, Sequence
from typing import Any, Optional

from pyanaconda.ui.categories.software import SoftwareCategory
from pyanaconda.ui.tui.spokes import NormalTUISpoke
from pyanaconda.ui.tui.tuiobject import Dialog
from simpleline.render.adv_widgets import ErrorDialog
from simpleline.render.containers import ListColumnContainer
from simpleline.render.screen import InputState
from simpleline.render.screen_handler import ScreenHandler
from simpleline.render.widgets import CheckboxWidget, EntryWidget, TextWidget

from org_ovirt_node.i18n import N_, _
from org_ovirt_node.service import client
from org_ovirt_node.tui.help import HELP, HelpSpoke
from org_ovirt_node.urls import redact_url

__all__ = ["OvirtNodeSpoke"]

#: What a serial console has.
WIDTH = 78
#: How many lines of the list of volumes fit on the screen with the rest.
MOST_VOLUMES = 13


def shortened(lines: Sequence[str]) -> list[str]:
    """As many of the lines as fit on the screen, and how many are left out."""
    if len(lines) <= MOST_VOLUMES:
        return list(lines)
    shown = list(lines[: MOST_VOLUMES - 1])
    return [*shown, _("… and {count} more").format(count=len(lines) - len(shown))]


class OvirtNodeSpoke(NormalTUISpoke):  # type: ignore[misc]
    """Shown among the software; it stays incomplete until an image is chosen and it is said how it is verified."""

    category = SoftwareCategory

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.title = N_("oVirt Node")
        self._client = client.Client()
        self._container: Optional[Any] = None
        self._message = ""

    @staticmethod
    def get_screen_id() -> str:
        """The unique id of this screen."""
        return "ovirt-node"

    def initialize(self) -> None:
        """Nothing takes time here."""
        self.initialize_start()
        # Anaconda's own work at its end was registered before the screens are made, so this comes first.  Disk images
        # are made in text mode alone.
        atexit.register(self._client.let_go)
        super().initialize()
        self.initialize_done()

    def apply(self) -> None:
        """Every value is set when it is entered."""

    @property
    def completed(self) -> bool:
        return self._client.complete

    @property
    def mandatory(self) -> bool:
        return True

    @property
    def status(self) -> str:
        return self._client.status

    def refresh(self, args: object = None) -> None:
        """Show the present values."""
        super().refresh(args)
        if not client.available():
            self._container = None
            self.window.add_with_separator(
                TextWidget(_("The service of the add-on is not running: see /tmp/dbus.log and restart the installer."))
            )
            return
        self._container = ListColumnContainer(1, columns_width=WIDTH, spacing=0)
        proxy = self._client.proxy
        self._entry(client.label("--image"), ", ".join(map(redact_url, proxy.Images)) or _("none"), self._ask_image)
        self._entry(client.label("--sha256"), proxy.Digest or _("none"), self._ask_digest)
        self._entry(client.label("--manifest"), redact_url(proxy.Manifest) or _("none"), self._ask_manifest)
        self._container.add(
            CheckboxWidget(title=_("Take the image unverified"), completed=proxy.NoSignature), self._toggle
        )
        self._entry(client.label("--image-slots"), str(proxy.ImageSlots), self._ask_slots)
        self._entry(client.label("volume"), "; ".join(proxy.Volumes) or _("none"), self._ask_volumes)
        self._container.add(TextWidget(_("Check the image now")), self._check)
        self._container.add(TextWidget(_("Help")), self._help)
        self.window.add_with_separator(self._container)
        self._summary()

    def _entry(self, title: str, value: str, callback: Callable[[object], None]) -> None:
        assert self._container is not None
        self._container.add(EntryWidget(title=title, value=value), callback)

    def _summary(self) -> None:
        plan = self._client.plan()
        lines = [_("Image: {}").format(plan.image) if plan.image else _("The image has not been checked yet.")]
        if not plan.partitioned:
            lines.append(_("The disks are not chosen yet."))
        lines += shortened(plan.disks)
        lines += [_("Note: {}").format(text) for text in plan.warnings]
        if plan.partitioned and plan.problem:
            lines.append(_("Problem: {}").format(plan.problem))
        if self._message:
            lines.append(self._message)
        self.window.add_with_separator(TextWidget("\n".join(lines)))

    def _ask(self, title: str, property_name: str, option: str, make: Callable[[str], object]) -> None:
        def acceptable(text: str, report: Callable[[str], None]) -> bool:
            problem = client.problem_of(option, text) if text else ""
            if problem:
                report(problem)
            return not problem

        answer = Dialog(title, conditions=[acceptable]).run()
        problem = self._client.set(property_name, make(answer))
        if problem:
            self._show(problem)

    def _ask_image(self, _data: object) -> None:
        self._ask(client.label("--image"), "Images", "--image", lambda text: [text] if text else [])

    def _ask_digest(self, _data: object) -> None:
        self._ask(client.label("--sha256"), "Digest", "--sha256", str)

    def _ask_manifest(self, _data: object) -> None:
        self._ask(client.label("--manifest"), "Manifest", "--manifest", str)

    def _ask_slots(self, _data: object) -> None:
        self._ask_number(client.label("--image-slots"), "ImageSlots", "--image-slots")

    def _ask_number(self, title: str, property_name: str, option: str) -> None:
        now = getattr(self._client.proxy, property_name)
        self._ask(title, property_name, option, lambda text: int(text) if text else int(now))

    def _ask_volumes(self, _data: object) -> None:
        def acceptable(text: str, report: Callable[[str], None]) -> bool:
            problem = client.problem_of_line(text)
            if problem:
                report(problem)
            return not problem

        line = Dialog(_("volume MOUNTPOINT --size=SIZE (empty: none)"), conditions=[acceptable]).run()
        lines = [*self._client.proxy.Volumes, line] if line else []
        problem = self._client.set("Volumes", lines)
        if problem:
            self._show(problem)

    def _toggle(self, _data: object) -> None:
        self._client.set("NoSignature", not self._client.proxy.NoSignature)

    def _check(self, _data: object) -> None:
        print(_("Looking at the image…"), flush=True)
        problem = self._client.check()
        if problem:
            self._show(problem)

    def _help(self, _data: object) -> None:
        ScreenHandler.push_screen_modal(HelpSpoke(_(HELP)))

    @staticmethod
    def _show(problem: str) -> None:
        ScreenHandler.push_screen_modal(ErrorDialog(problem))

    def input(self, args: object, key: str) -> Any:
        """A number chooses; everything else is Anaconda's."""
        if self._container is not None and self._container.process_user_input(key):
            return InputState.PROCESSED_AND_REDRAW
        return super().input(args, key)

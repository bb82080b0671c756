"""The text installer: one screen with what is to be said, in simpleline."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from simpleline import App
from simpleline.render.containers import ListRowContainer
from simpleline.render.screen import InputState, UIScreen
from simpleline.render.screen_handler import ScreenHandler
from simpleline.render.widgets import EntryWidget

from org_ovirt_node.errors import NodeError
from org_ovirt_node.firstboot.answers import Terminal, dialogue
from org_ovirt_node.i18n import _
from org_ovirt_node.kickstart.standard import load_system
from org_ovirt_node.setup.answers import Answers, Disk

WIDTH = 78
#: As every other word of agreement, in full: one key too many must not wipe a disk.
AGREED = "yes"


class Work(ABC):
    """What the screen has done for it: plan and installation by the same engine as ever, and the ways out."""

    done = False

    @abstractmethod
    def plan(self, kickstart: str) -> str:
        """The layout, as text.  Raises NodeError."""

    @abstractmethod
    def install(self, kickstart: str) -> None:
        """Install; ``done`` is True afterwards.  Raises NodeError."""

    @abstractmethod
    def leave(self, key: str) -> None:
        """A shell, or off."""


class Hub(UIScreen):  # type: ignore[misc]
    """The choices with what they are now; ``install`` is called with the kickstart when all is said and agreed to."""

    def __init__(self, found: Answers, disks: tuple[Disk, ...], work: Work) -> None:
        super().__init__(title=_("oVirt Node: installation"))
        self.answers = found
        self._disks = disks
        self._work = work
        self._container: Any = None
        self._terminal = Terminal(
            lambda prompt: str(self.get_user_input(prompt)),
            lambda prompt: str(self.get_user_input(prompt, True)),
            print,
        )

    def refresh(self, args: object = None) -> None:
        """Show the present values."""
        super().refresh(args)
        answers = self.answers
        self._container = ListRowContainer(1, columns_width=WIDTH, spacing=0)
        chosen = ", ".join(disk.shown for disk in answers.disks) or _("none: required")
        self._entry(_("Disk"), chosen, self._disk)
        self._entry(_("Image"), answers.images[answers.image].nvr, self._image)
        said = [line.partition(" ")[2] for about in ("hostname", "network") for line in answers.lines.get(about, ())]
        self._entry(_("Network"), ", ".join(said) or _("no host name, DHCP on any wired card"), self._network)
        password = _("set") if answers.lines.get("password") else _("none: required")
        self._entry(_("Root password"), password, self._password)
        self._entry(_("Summary and installation"), ", ".join(answers.missing) or _("ready"), self._summary)
        self.window.add_with_separator(self._container)

    def _entry(self, title: str, value: str, callback: Callable[[object], None]) -> None:
        self._container.add(EntryWidget(title=title, value=value), callback)

    def prompt(self, args: object = None) -> Any:
        """The prompt: a number chooses."""
        del args
        return _("Your choice (1-5, 's' for a shell, 'q' to switch off): ")

    def input(self, args: object, key: str) -> Any:
        """A number chooses."""
        del args
        if key in ("q", "s"):
            self._work.leave(key)
            return InputState.PROCESSED_AND_REDRAW
        if not self._container.process_user_input(key):
            return InputState.DISCARDED
        return InputState.PROCESSED_AND_CLOSE if self._work.done else InputState.PROCESSED_AND_REDRAW

    def _choose(self, shown: list[str]) -> int:
        """A number from a list, -1 for none of it."""
        for number, text in enumerate(shown, start=1):
            print(f"  {number}) {text}")
        said = self._terminal.ask(_("Number (ENTER: as it is): ")).strip()
        return int(said) - 1 if said.isdigit() and 0 < int(said) <= len(shown) else -1

    def _disk(self, _data: object) -> None:
        if not self._disks:
            print(_("There is no disk in this machine that could be installed to."))
            return
        number = self._choose([disk.shown for disk in self._disks])
        if number >= 0:
            self.answers = replace(self.answers, disks=(self._disks[number],))

    def _image(self, _data: object) -> None:
        number = self._choose([image.nvr for image in self.answers.images])
        if number >= 0:
            self.answers = replace(self.answers, image=number)

    def _network(self, _data: object) -> None:
        self._ask("hostname")
        self._ask("network")

    def _password(self, _data: object) -> None:
        self._ask("password")

    def _ask(self, about: str) -> None:
        def check(line: str) -> None:
            load_system("the answer", fetch=lambda _name: line + "\n")

        lines = dialogue((about,), self._terminal, check)
        self.answers = replace(self.answers, lines={**self.answers.lines, about: tuple(lines)})

    def _summary(self, _data: object) -> None:
        if self.answers.missing:
            print(_("Still to be said: {}.").format(", ".join(self.answers.missing)))
            return
        try:
            print(self._work.plan(self.answers.kickstart()))
            print(_("Everything on {} will be lost.").format(", ".join(disk.shown for disk in self.answers.disks)))
            if self._terminal.ask(_("Type '{}' to install: ").format(AGREED)).strip() == AGREED:
                self._work.install(self.answers.kickstart())
        except NodeError as error:
            print(str(error))


def run(found: Answers, disks: tuple[Disk, ...], work: Work) -> None:
    """Show the screen until the installation is done."""
    App.initialize()
    App.get_configuration().width = WIDTH
    ScreenHandler.schedule_screen(Hub(found, disks, work))
    App.run()

"""An interactive installation in Anaconda's text mode, by keys on the serial line."""

from __future__ import annotations

import re
from re import Match
from typing import Protocol

from tests.anaconda.machine import ENVIRONMENT, INSTALL, anaconda_machine, keep_logs
from tests.anaconda.steps import DISK, LIMIT, ZONE, booted, check_image, tree
from tests.vm import artefacts
from tests.vm.errors import TimedOut, check, check_equal
from tests.vm.scenario import Context, scenario
from tests.vm.steps import provide_payload, target_disk

#: Strong enough for Anaconda to ask no more about it.
PASSWORD = "Vltava-grows7Quinces"
#: Seconds until the next screen: the first one comes after all of Anaconda has started.
FIRST, NEXT = 1500.0, 600.0
#: What simpleline's prompts end with, however they are broken into lines.
PROMPT = r"(?s)\A(.*)to\s+refresh\]: "
#: Looks at the summary while Anaconda works in the background.
LOOKS = 60


class Line(Protocol):
    """What somebody sits at: a serial line, or a terminal."""

    def send(self, text: str) -> None:
        """Send ``text`` as typed."""

    def wait_for(self, pattern: str, timeout: float) -> Match[str]:
        """Wait for ``pattern`` in what came since the last match, and forget all up to there."""


class Keys:
    """Somebody at a console of 80 columns."""

    def __init__(self, channel: Line) -> None:
        self.channel = channel
        self.screen = ""

    def read(self, timeout: float = NEXT) -> str:
        """Wait for a screen with its prompt; of several the last."""
        self.screen = self.channel.wait_for(PROMPT, timeout).group(1).rpartition("=" * 80)[2]
        return self.screen

    def type(self, text: str) -> None:
        """Type ``text`` and Enter."""
        self.channel.send(f"{text}\n")

    def choose(self, title: str) -> None:
        """Type the number that stands before ``title`` on the screen."""
        found = re.search(rf"(\d+)\) (?:\[.\] )?{re.escape(title)}", self.screen)
        check(found is not None, f"there is no {title!r} on the screen:\n{self.screen}")
        assert found is not None
        self.type(found.group(1))

    def at_prompt(self, text: str) -> None:
        """Turn the pages of a long list, and type ``text`` at the prompt that follows."""
        while self.channel.wait_for(r"(ENTER to continue: )|to\s+refresh\]: ", NEXT).group(1):
            self.type("")
        self.type(text)

    def answer(self, question: str, text: str) -> None:
        """Wait for ``question`` and type ``text``."""
        self.channel.wait_for(question, NEXT)
        self.type(text)


def choose_time_zone(keys: Keys) -> None:
    keys.choose("Time settings")
    keys.read()
    keys.choose("Set timezone" if "Set timezone" in keys.screen else "Change timezone")
    region, city = ZONE.split("/")
    keys.at_prompt(region)
    keys.at_prompt(city)
    if "timezone" in keys.read() and "Installation Destination" not in keys.screen:
        keys.type("c")
        keys.read()


def choose_image(keys: Keys, url: str, digest: str, nvr: str) -> None:
    """Our own screen: image, digest, and its check, which must find ``nvr``."""
    keys.choose("oVirt Node")
    screen = keys.read()
    check(all(len(line) <= 80 for line in screen.splitlines()), f"lines are too long for 80 columns:\n{screen}")
    keys.choose("Image (URL)")
    keys.answer("Enter a new value[^:]*: ", url)
    keys.read()
    keys.choose("SHA-256")
    keys.answer("Enter a new value[^:]*: ", digest)
    keys.read()
    keys.choose("Check the image now")
    screen = keys.read()
    check(f"Image: {nvr}, " in screen, f"the check does not show what it found:\n{screen}")
    keys.type("c")
    keys.read()


def choose_disk(keys: Keys) -> None:
    keys.choose("Installation Destination")
    keys.read()
    for line in re.findall(r"(\d+)\) \[(.)\] ([^\n]*)", keys.screen):
        number, chosen, text = line
        if ("60 GiB" in text) != (chosen == "x"):
            keys.type(number)
            keys.read()
    keys.type("c")
    keys.read()
    check("Use All Space" in keys.screen, f"no partitioning options:\n{keys.screen}")
    keys.type("c")
    keys.read()
    check("[x] LVM Thin Provisioning" in keys.screen, f"thin provisioning is not chosen already:\n{keys.screen}")
    keys.type("c")
    keys.read()


def choose_password(keys: Keys) -> None:
    keys.choose("Root password")
    keys.answer("Password: ", PASSWORD)
    keys.answer(r"Password \(confirm\): ", PASSWORD)
    keys.read()


def begin(keys: Keys) -> None:
    """As soon as nothing is left to choose."""
    for _ in range(LOOKS):
        if "[!]" not in keys.screen and "Processing" not in keys.screen:
            keys.type("b")
            return
        keys.type("r")
        keys.read()
    raise TimedOut(f"something is still to be chosen:\n{keys.screen}")


@scenario("anaconda-tui", issues=(3,), limit=LIMIT)
def by_keys(context: Context) -> None:
    """Nobody gives a kickstart: everything is chosen on the text screens, ours among them, and the node boots."""
    image = artefacts.node_image()
    target = target_disk(context, size=DISK)
    with anaconda_machine(tree(), context.folder, interactive=True) as installer:
        url = provide_payload(installer, image.path, context.folder)
        installer.attach(target)
        installer.shell.run(
            f"stty -F /dev/ttyS0 rows 24 cols 80; {ENVIRONMENT} "
            "setsid --ctty anaconda --text < /dev/ttyS0 > /dev/ttyS0 2>&1 &"
        )
        keys = Keys(installer.machine.serial)
        try:
            keys.read(FIRST)
            choose_time_zone(keys)
            choose_image(keys, url, image.sha256, image.nvr)
            choose_disk(keys)
            choose_password(keys)
            begin(keys)
            keys.channel.wait_for("Installation complete. Press ENTER to quit", INSTALL)
        except BaseException:
            keep_logs(installer, installer.machine.folder / "logs.tar.gz")
            raise
        keys.type("")
        installer.shell.run("while pgrep -f /usr/sbin/anaconda; do sleep 1; done", NEXT)
        installer.power_off()
    with booted(context, target, password=PASSWORD) as node:
        node.check_running()
        check_image(node, image)
        check_equal(node.shell.text("realpath /etc/localtime"), f"/usr/share/zoneinfo/{ZONE}", "the time zone")
        node.power_off()

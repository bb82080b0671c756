"""/boot as GRUB sees it: its own ext4 reader, which replays no journal (grub-fstest).

What GRUB does with it is what grub.cfg says (org_ovirt_node/boot/grubcfg.py).
"""

from __future__ import annotations

import re
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Optional

from org_ovirt_node.boot import grubcfg, grubenv
from org_ovirt_node.node.layers import BootState

#: Seconds for grub-fstest to read one file.
LIMIT = 60.0
#: GRUB's menu: the files that grub.cfg looks at, in its order.
MENUS = (grubcfg.ENTRIES_FILE, grubcfg.SPARE_FILE)


@dataclass(frozen=True)
class MenuEntry:
    """An entry of GRUB's menu: its name, and the files that it loads."""

    name: str
    files: tuple[str, ...]
    options: str


@dataclass(frozen=True)
class GrubView:
    """/boot as GRUB sees it: its configuration, its menu, its variables."""

    config: bool
    menu: tuple[MenuEntry, ...]
    variables: dict[str, str]
    #: The menu's text has no end, or cannot be read though it is there.
    broken: str = ""


def read(image: Path, device: str, path: str) -> Optional[bytes]:
    """The file ``path`` on ``device`` (GRUB's name, ``loop0`` is ``image``); None when GRUB cannot read it."""
    argv = ["grub-fstest", str(image), "cat", f"({device}){path}"]
    done = subprocess.run(argv, capture_output=True, timeout=LIMIT, check=False)
    return done.stdout if done.returncode == 0 else None


def look(image: Path, device: str, folder: str) -> GrubView:
    """What GRUB, whose files are in ``folder`` on ``device``, reads before it shows its menu."""
    config = read(image, device, f"/{folder}/grub.cfg")
    # As grub.cfg does it: the first of the two that is not empty.
    menu = next((text for text in (read(image, device, f"/{folder}/{name}") for name in MENUS) if text), b"")
    entries, broken = parse_menu(menu)
    return GrubView(bool(config), entries, grubenv.parse(read(image, device, f"/{folder}/grubenv") or b""), broken)


def boot_state(values: Mapping[str, str], names: list[str]) -> BootState:
    """What GRUB does with its variables and its menu."""
    tries = values.get(grubcfg.TRIES, "")
    return BootState(
        saved=values.get(grubcfg.SAVED, ""),
        trial=values.get(grubcfg.TRIAL, ""),
        tries=int(tries) if tries.isdigit() and len(tries) == 1 else 0,
        first=names[0] if names else "",
        names=tuple(names),
    )


_ENTRY = re.compile(rb"menuentry '(?:[^']*)' --id '([^']*)' \{\n  linux (\S+) ([^\n]*)\n(?:  initrd ([^\n]*)\n)?\}\n")


def parse_menu(text: bytes) -> tuple[tuple[MenuEntry, ...], str]:
    """The entries of our menu, and what is wrong with its text ("" when nothing is)."""
    entries: list[MenuEntry] = []
    place = 0
    while place < len(text):
        found = _ENTRY.match(text, place)
        if found is None:
            return tuple(entries), f"the menu has {text[place : place + 40]!r}"
        name, kernel, options, initrds = (part.decode(errors="replace") if part else "" for part in found.groups())
        entries.append(MenuEntry(name, (kernel, *initrds.split()), options))
        place = found.end()
    return tuple(entries), ""

"""Boot Loader Specification type 1 entries, the source of truth for what can be booted.

Format: UAPI Group Specification 1 ("The Boot Loader Specification"), type #1.  Paths are relative to the root of the
partition that is mounted on /boot.
"""

from __future__ import annotations

import errno
from dataclasses import dataclass
from pathlib import Path
from typing import Optional

from org_ovirt_node.errors import BootError
from org_ovirt_node.i18n import _

ENTRIES = "loader/entries"
SORT_KEY = "ovirt-node"
#: Files of one layer, below /boot/<layer>/, in the order in which GRUB loads the initrds.
KERNEL, INITRAMFS, HOST_INITRD = "vmlinuz", "initramfs.img", "host.img"
#: The names that a host.img may have: a new one comes beside those that GRUB's two menus name (files.replace_host).
HOST_NAMES = (HOST_INITRD, "host.2.img", "host.3.img")


@dataclass(frozen=True)
class Entry:
    """One bootable layer; ``name`` is the layer's name ``<nvr>+<n>`` and the entry's file name without .conf."""

    name: str
    title: str
    version: str
    linux: str
    initrds: tuple[str, ...]
    options: str
    machine_id: str = ""

    def render(self) -> str:
        """The entry as the text of its file."""
        lines = [f"title {self.title}", f"version {self.version}", f"sort-key {SORT_KEY}"]
        if self.machine_id:
            lines.append(f"machine-id {self.machine_id}")
        lines.append(f"linux {self.linux}")
        lines += [f"initrd {path}" for path in self.initrds]
        lines.append(f"options {self.options}")
        return "\n".join(lines) + "\n"


def layer_entry(layer: str, nvr: str, kernel: str, options: str, machine_id: str) -> Entry:
    """The entry of a layer whose files lie in /boot/<layer>/."""
    return Entry(
        name=layer,
        title=f"oVirt Node {layer}",
        version=kernel,
        linux=f"/{layer}/{KERNEL}",
        initrds=(f"/{layer}/{INITRAMFS}", f"/{layer}/{HOST_INITRD}"),
        options=options,
        machine_id=machine_id,
    )


def parse(text: str, name: str) -> Entry:
    """Read an entry.  Keys that we do not use are left out; raises BootError when kernel or options are missing."""
    values: dict[str, list[str]] = {}
    for line in text.splitlines():
        words = line.strip().split(None, 1)
        if len(words) == 2 and not words[0].startswith("#"):
            values.setdefault(words[0], []).append(words[1].strip())
    if "linux" not in values:
        raise BootError(
            _("the boot entry {name}.conf names no kernel").format(name=name),
            hint=_("Remove it, or write its 'linux' line."),
        )
    initrds = tuple(path for line in values.get("initrd", []) for path in line.split())
    return Entry(
        name=name,
        title=values.get("title", [name])[-1],
        version=values.get("version", [""])[-1],
        linux=values["linux"][-1],
        initrds=initrds,
        options=" ".join(values.get("options", [])),
        machine_id=values.get("machine-id", [""])[-1],
    )


def host_image(boot: Path, layer: str) -> Path:
    """The host.img of ``layer`` that its entry names; where there is no entry, the one that a new entry names."""
    path = entry_path(boot, layer)
    entry = _file(path) if path.is_file() else None
    names = [Path(one).name for one in entry.initrds if is_host(layer, one)] if entry is not None else []
    return boot / layer / (names[-1] if names else HOST_INITRD)


def is_host(layer: str, path: str) -> bool:
    """True when ``path``, as an entry names it, is a host.img of ``layer``."""
    return path in [f"/{layer}/{name}" for name in HOST_NAMES]


def entry_path(boot: Path, name: str) -> Path:
    """Where the entry's file lies on the partition mounted at ``boot``."""
    return boot / ENTRIES / f"{name}.conf"


def read(boot: Path) -> tuple[tuple[Entry, ...], tuple[str, ...]]:
    """All entries below ``boot`` that boot a kernel, sorted by name, and the names of the other files among them.

    Those are somebody else's, say of an EFI program, or cannot be read.  Raises BootError for a disk that fails.
    """
    found = {path.name: _file(path) for path in sorted((boot / ENTRIES).glob("*.conf"))}
    entries = tuple(entry for entry in found.values() if entry is not None)
    return entries, tuple(name for name, entry in found.items() if entry is None)


def read_all(boot: Path) -> tuple[Entry, ...]:
    """The entries that :func:`read` finds, without the other files."""
    return read(boot)[0]


def _file(path: Path) -> Optional[Entry]:
    try:
        return parse(path.read_text(encoding="utf-8", errors="replace"), path.stem)
    except BootError:
        return None
    except OSError as exc:
        if exc.errno == errno.EIO:
            # Not somebody else's file, but a disk that fails.
            raise BootError(
                _("{path} cannot be read: {error}").format(path=path, error=exc.strerror),
                hint=_("The disk of /boot fails; see dmesg."),
            ) from exc
        return None


def missing(boot: Path, entry: Entry) -> tuple[str, ...]:
    """The files that ``entry`` names and that are not below ``boot``, or are empty."""
    paths = [path.lstrip("/") for path in (entry.linux, *entry.initrds)]
    return tuple(f"/{path}" for path in paths if not (boot / path).is_file() or not (boot / path).stat().st_size)

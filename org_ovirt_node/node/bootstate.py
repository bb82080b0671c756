"""Changes to what is booted, each in an order that leaves a bootable node whenever the power goes.

GRUB replays no journal: every change is on the disk, and visible without the journal, before one that builds on it.
"""

from __future__ import annotations

import logging
import shutil
from dataclasses import replace
from pathlib import Path

from org_ovirt_node.boot import bls, files, grubcfg, trial
from org_ovirt_node.errors import BootError
from org_ovirt_node.node.layers import BootState, boot_state

log = logging.getLogger(__name__)

OURS = (grubcfg.SAVED, grubcfg.TRIAL, grubcfg.TRIES, grubcfg.FELL_BACK)


def write_variables(boot: Path, values: dict[str, str]) -> None:
    """Replace our variables in GRUB's environment block by ``values``; foreign ones stay while there is room.

    Whatever is there, nothing, a truncated block or another tool's file, becomes a whole block.  Raises BootError.
    """
    folder = files.grub_folder(boot)
    kept = {name: value for name, value in files.read_environment(boot, folder).items() if name not in OURS}
    try:
        files.write_environment(boot, folder, {**values, **kept})
    except BootError:
        if not kept:
            raise
        log.warning("GRUB's environment block has no room for %s: they are dropped", ", ".join(kept))
        files.write_environment(boot, folder, values)
    files.make_visible(boot)


def variables(state: BootState) -> dict[str, str]:
    """``state`` as GRUB's variables."""
    values = {grubcfg.SAVED: state.good}
    if state.trial:
        values.update({grubcfg.TRIAL: state.trial, grubcfg.TRIES: str(state.tries)})
    if state.failed:
        values[grubcfg.FELL_BACK] = state.failed
    return {name: value for name, value in values.items() if value}


def publish(boot: Path, first: str) -> None:
    """Write GRUB's menu with the known good layer ``first``, and make /boot visible to GRUB."""
    files.publish_menu(boot, files.grub_folder(boot), first)


def publish_stale(boot: Path, first: str) -> None:
    """:func:`publish`, where a copy of the menu is another one: also what a power cut has left so is made good."""
    if files.menu_is_stale(boot, files.grub_folder(boot), first):
        publish(boot, first)


def write_host(boot: Path, entry: bls.Entry, content: bytes, good: str) -> None:
    """Give ``entry`` another host.img; the layer ``good`` stays the menu's first."""
    changed = files.add_host(boot, entry, content)
    write_entry(boot, changed, good)
    files.drop_hosts(boot, changed)


def write_entry(boot: Path, entry: bls.Entry, good: str) -> None:
    """Add or replace an entry; the layer ``good`` stays the menu's first."""
    files.write_durably(bls.entry_path(boot, entry.name), entry.render().encode())
    # The files that it names, before the menu that names them.
    files.make_visible(boot)
    publish(boot, good)


def start_trial(boot: Path, layer: str, tries: int, good: str) -> None:
    """Let GRUB boot ``layer`` ``tries`` times at most; when it is not marked good by then, it boots ``good``.

    Raises BootError when ``tries`` is not between 1 and what grub.cfg counts, or an entry or a file of it is missing.
    """
    if not 1 <= tries <= grubcfg.MAX_TRIES:
        raise BootError(f"a layer can have 1 to {grubcfg.MAX_TRIES} tries, not {tries}", hint="See --boot-tries.")
    entries = {entry.name: entry for entry in bls.read_all(boot)}
    for name in (layer, good):
        if name not in entries:
            raise BootError(f"{name} has no boot entry", hint="See 'nodectl check'.")
        gone = bls.missing(boot, entries[name])
        if gone:
            raise BootError(f"{name} cannot be booted: {', '.join(gone)} on /boot is gone or empty")
    publish_stale(boot, good)
    write_variables(boot, {grubcfg.SAVED: good, grubcfg.TRIAL: layer, grubcfg.TRIES: str(tries)})


def set_default(boot: Path, layer: str) -> None:
    """Make ``layer``, which is known to be good, what GRUB boots; nothing is on trial afterwards."""
    state = boot_state(boot)
    if layer not in state.names:
        raise BootError(f"{layer} has no boot entry", hint="See 'nodectl check'.")
    publish_stale(boot, layer)
    write_variables(boot, {grubcfg.SAVED: layer})


def mark_good(boot: Path, layer: str) -> None:
    """``layer`` is healthy: it becomes the default, and loses what ends a hopeless boot by itself.

    The variables come first: a power cut in between leaves a good layer with a trial's arguments, never a layer that
    uses up its tries without being able to end a hopeless boot.
    """
    save_good(boot, layer)
    end_trial(boot, layer)


def save_good(boot: Path, layer: str) -> None:
    """The first half of :func:`mark_good`: GRUB's variables, after which ``layer`` is the default."""
    state = boot_state(boot)
    keep = replace(state, saved=layer, names=(*state.names, layer))
    # A trial of another layer goes on only while it has tries left.
    if state.trial == layer or state.tries == 0:
        keep = replace(keep, trial="", tries=0)
    if state.failed == layer:
        keep = replace(keep, failed="")
    wanted = variables(keep)
    differ = files.differing_blocks(boot, files.grub_folder(boot))
    if variables(state) != wanted or state.saved != layer or not state.sound or differ:
        write_variables(boot, wanted)


def end_trial(boot: Path, layer: str) -> None:
    """The second half of :func:`mark_good`: the entry without a trial's arguments, first in the menu."""
    entry = next((entry for entry in bls.read_all(boot) if entry.name == layer), None)
    if entry is not None and trial.on_trial(entry.options):
        write_entry(boot, replace(entry, options=trial.without_trial(entry.options)), layer)
    else:
        publish_stale(boot, layer)
    if entry is not None:
        files.drop_hosts(boot, entry)


def forget(boot: Path, layer: str) -> None:
    """Take everything of ``layer`` from /boot: what boots it goes first, its files last.

    Files that an entry of another layer uses stay.
    """
    state = boot_state(boot)
    names = tuple(name for name in state.names if name != layer)
    left = replace(state, names=names, first="" if state.first == layer else state.first)
    if layer in (state.trial, state.failed, state.saved):
        left = replace(
            left,
            saved="" if state.saved == layer else state.saved,
            trial="" if state.trial == layer else state.trial,
            tries=0 if state.trial == layer else state.tries,
            failed="" if state.failed == layer else state.failed,
        )
        write_variables(boot, variables(left))
    path = bls.entry_path(boot, layer)
    if path.exists():
        path.unlink()
        files.sync_folder(path.parent)
        # The menu may get the inode that is free now: GRUB must not see it with the entry's content any more.
        files.make_visible(boot)
    # Also where an earlier run was cut short after the entry had gone.
    publish_stale(boot, left.good)
    if folder_in_use(boot, layer):
        log.info("the files in %s stay: another entry uses them", boot / layer)
        return
    if (boot / layer).is_dir() and (boot / layer).resolve().parent == boot.resolve():
        shutil.rmtree(boot / layer)
        files.make_visible(boot)


def folder_in_use(boot: Path, layer: str) -> bool:
    """True when an entry names a file in /boot/<layer>/."""
    prefix = f"/{layer}/"
    return any(path.startswith(prefix) for entry in bls.read_all(boot) for path in (entry.linux, *entry.initrds))

"""Is the node healthy after a boot?  The administrator's checks, marking a layer good, and noticing a fallback.

``/etc/ovirt-node/health.d/required.d``: every program there must end with status 0, or the boot counts as failed.
``/etc/ovirt-node/health.d/wanted.d``: what fails there is reported, and changes nothing.
"""

from __future__ import annotations

import json
import logging
import os
import signal
import stat
import subprocess
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Optional

from org_ovirt_node.boot import efi, loader, trial
from org_ovirt_node.boot.files import write_durably
from org_ovirt_node.errors import CommandError, Interrupted, NodeError
from org_ovirt_node.node import bootstate, journal, lock, lvm
from org_ovirt_node.node.layers import BootState, boot_state, config, image_of, running_layer, state
from org_ovirt_node.node.places import Places
from org_ovirt_node.run import clean_environment, run

log = logging.getLogger(__name__)

FOLDER = "etc/ovirt-node/health.d"
REQUIRED, WANTED = "required.d", "wanted.d"
#: Seconds for one program; a boot must not wait for ever for a check that hangs.
LIMIT = 300.0
#: Bytes of a program's output that are looked at, from its end.
TAIL = 4096
#: Seconds that marking a layer good waits for another nodectl; the unit gives up a boot after 15 minutes.
PATIENCE = 300.0
#: What a fallback and a failed boot leave for motd and check.
FILE = "health.json"
#: A priority of syslog(3) in front of a line, as sd-daemon(3) has it.
ERROR = "<3>"
FAILED_UNITS = ["systemctl", "--failed", "--plain", "--no-legend"]


@dataclass(frozen=True)
class Check:
    """One program that was run: exit status, or -1 when it could not be started or took too long."""

    name: str
    required: bool
    status: int
    output: str

    @property
    def ok(self) -> bool:
        return self.status == 0


@dataclass(frozen=True)
class Fallback:
    """A layer that was given up: ``running`` is what was booted instead."""

    failed: str
    running: str
    reason: str


def programs(live: Path, folder: str) -> tuple[Path, ...]:
    """The executable files in a folder of checks, by name; what ends in ~ or begins with a dot is left out."""
    place = live / FOLDER / folder
    found = sorted(place.iterdir()) if place.is_dir() else []
    return tuple(
        path
        for path in found
        if path.is_file()
        and path.stat().st_mode & stat.S_IXUSR
        and not path.name.startswith(".")
        and path.name[-1] != "~"
    )


def run_checks(live: Path, limit: float = LIMIT) -> tuple[Check, ...]:
    """Run all checks, the required ones first; one that fails does not keep the others from running."""
    return tuple(
        _run_check(path, folder == REQUIRED, limit) for folder in (REQUIRED, WANTED) for path in programs(live, folder)
    )


def _run_check(path: Path, required: bool, limit: float) -> Check:
    name = f"{path.parent.name}/{path.name}"
    # A file and no pipe: what a check leaves running in the background may hold its output for ever.
    with tempfile.TemporaryFile() as output:
        try:
            status = _wait_for(path, output, limit)
        except subprocess.TimeoutExpired:
            return Check(name, required, -1, f"no answer within {limit:g} s")
        except OSError as exc:
            return Check(name, required, -1, f"it cannot be started: {exc.strerror}")
        output.seek(max(0, output.seek(0, os.SEEK_END) - TAIL))
        lines = output.read(TAIL).decode("utf-8", "replace").strip().splitlines()
    return Check(name, required, status, " / ".join(lines[-3:]))


def _wait_for(path: Path, output: IO[bytes], limit: float) -> int:
    """Run one program and return its status; whatever ends the wait early ends all that the program has started."""
    with subprocess.Popen(
        [os.fspath(path)],
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=subprocess.STDOUT,
        env=clean_environment(),
        start_new_session=True,
    ) as process:
        try:
            return process.wait(limit)
        finally:
            if process.returncode is None:
                os.killpg(process.pid, signal.SIGKILL)


def healthy(checks: tuple[Check, ...]) -> bool:
    """True when every required check passed."""
    return all(check.ok for check in checks if check.required)


def describe(check: Check) -> str:
    """A failed check as a sentence."""
    how = f"ended with status {check.status}" if check.status >= 0 else "did not run to its end"
    return f"the check {check.name} {how}: {check.output or 'it said nothing'}"


def record(places: Places, reason: str) -> None:
    """Keep why a layer on trial failed, for the layer that will run instead; on /var, which both share."""
    layer = running_layer(places.cmdline)
    data = {"format": 1, "failed": layer, "running": "", "reason": reason}
    write_durably(places.state / FILE, (json.dumps(data) + "\n").encode())


def keep_reason(places: Places, reason: str) -> str:
    """:func:`record` of a layer on trial, which ends nothing when it fails; returns how it failed.

    A layer that is not on trial is not given up: what is kept of another one stays.
    """
    if not trial.on_trial(places.cmdline.read_text(encoding="utf-8", errors="replace")):
        return ""
    return _attempt("the reason could not be kept", lambda: record(places, reason))


def fell_back(places: Places) -> bool:
    """True when another layer was given up before the running one was booted."""
    try:
        return boot_state(places.boot).failed not in ("", running_layer(places.cmdline))
    except Interrupted:
        raise
    except (NodeError, OSError):
        return False


def last_fallback(places: Places) -> Optional[Fallback]:
    """The fallback that the running layer came from, or None."""
    try:
        data = json.loads((places.state / FILE).read_text(encoding="utf-8"))
        return Fallback(str(data["failed"]), str(data["running"]), str(data["reason"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None


def boot_good(places: Places, patience: float = PATIENCE) -> str:
    """The boot has succeeded: mark a layer on trial good, notice a fallback; says what was done.

    Once GRUB's variables say which layer is good, what fails is told and ends nothing: the boot would count as failed,
    and another one would be no better.  Raises NodeError when the variables cannot be written, or another program
    changes what is booted for longer than ``patience`` seconds.
    """
    layer = running_layer(places.cmdline)
    if not layer:
        return "this host does not run from a layer"
    hint = "Run 'nodectl health good' again when it has ended."
    with lock.locked("marking the layer good", places.lock, other="another nodectl", hint=hint, patience=patience):
        return _boot_good(places, layer)


def _boot_good(places: Places, layer: str) -> str:
    before = boot_state(places.boot)
    options = places.cmdline.read_text(encoding="utf-8", errors="replace")
    lost = before.saved not in before.names or not before.sound
    # Without the variable somebody has chosen another layer meanwhile, or this one in GRUB's menu.
    tried = trial.on_trial(options) and before.saved != layer and (lost or before.trial == layer)
    # Booted by choice or by fallback: the default stays what it is.
    default = layer if tried or lost else before.saved
    _save_good(places, default)
    said = f"{layer} is marked good" if tried or lost else f"{layer} runs; the default is {default}"
    said += _attempt(f"{places.good} was not written", lambda: write_durably(places.good, f"{layer}\n".encode(), 0o644))
    failed = _attempt(f"the boot entry of {default} stays as it is", lambda: bootstate.end_trial(places.boot, default))
    gone = given_up(before, layer, places)
    if gone is not None:
        failed += _attempt("the fallback was not noted", lambda: _keep_fallback(places, gone))
        said = f"the layer {gone.failed} did not become healthy and was given up; {layer} runs instead: {gone.reason}"
    elif tried or _unsettled(places, layer, default):
        failed += _attempt("the update was not noted as good", lambda: _note_good(places, layer))
        failed += _attempt("tags of its volumes stay", lambda: _drop_tags(places, layer))
        said += refresh_loader(places)
    return said + failed


def _save_good(places: Places, layer: str) -> None:
    try:
        bootstate.save_good(places.boot, layer)
    except Interrupted:
        raise
    except (NodeError, OSError) as exc:
        if boot_state(places.boot).saved != layer:
            raise NodeError(f"{layer} could not be made the default: {exc}", hint="Is /boot full or damaged?") from exc
        log.warning("%s is the default, but: %s", layer, exc)


def _attempt(what: str, action: Callable[[], None]) -> str:
    """Do what no boot depends on; returns how it failed, as the end of a sentence, empty when it did not."""
    try:
        action()
    except Interrupted:
        raise
    except (NodeError, OSError) as exc:
        log.warning("%s: %s", what, exc)
        return f"; {what}: {exc}"
    return ""


def _unsettled(places: Places, layer: str, default: str) -> bool:
    """True when an earlier boot of the running layer marked it good, and was cut short or failed after that."""
    update = journal.load(places.state)
    return layer == default and update is not None and update.layer == layer and update.undecided


def refresh_loader(places: Places) -> str:
    """The boot loader on the ESP becomes the running image's, now that this has shown that it boots.

    Says what was done, empty when there was nothing to do.  What fails here leaves a loader that has just booted, so
    it is told and stops nothing.
    """
    esp = places.boot / "efi"
    if not esp.is_mount():
        return ""
    try:
        done = efi.refresh(places.image_tree, esp, loader.find_grub(places.image_tree).name)
    except Interrupted:
        raise
    except (NodeError, OSError) as exc:
        log.exception("the boot loader was not refreshed")
        return f"; the boot loader on {esp} stays as it was: {exc}"
    return f"; the boot loader on {esp} is this image's now: {', '.join(done)}" if done else ""


def given_up(boot: BootState, layer: str, places: Places) -> Optional[Fallback]:
    """The fallback that this boot is, if it is one that was not noted yet.

    By GRUB's variables in ``boot``, or by the journal where they were lost.
    """
    update = journal.load(places.state)
    name = boot.failed if boot.failed and boot.failed != layer else ""
    lost = ""
    forgotten = not name and not boot.pending and not boot.trial and update is not None and update.undecided
    if forgotten and update is not None and update.previous == layer and update.layer not in ("", layer):
        name, lost = update.layer, "GRUB's environment block was lost, so it was not tried"
    if not name:
        return None
    noted = last_fallback(places)
    if noted is not None and noted.failed == name and noted.running:
        return None
    reason = noted.reason if noted is not None and noted.failed == name else lost
    return Fallback(name, layer, reason or "its boots came to no end (a panic, a root that was not found, or a reset)")


def forget_fallback(places: Places, layer: str) -> None:
    """``layer`` is tried anew: that it was given up once must not hide that it is given up again.  Raises OSError."""
    noted = last_fallback(places)
    if noted is not None and noted.failed == layer:
        (places.state / FILE).unlink(missing_ok=True)


def _keep_fallback(places: Places, fallback: Fallback) -> None:
    write_durably(places.state / FILE, (json.dumps({"format": 1, **asdict(fallback)}) + "\n").encode())
    update = journal.load(places.state)
    if update is not None and update.layer == fallback.failed:
        update.reason = fallback.reason
        journal.save(update, places.state)


def _note_good(places: Places, layer: str) -> None:
    (places.state / FILE).unlink(missing_ok=True)
    update = journal.load(places.state)
    if update is not None and update.layer == layer:
        update.good = time.strftime(journal.TIME, time.gmtime())
        journal.save(update, places.state)


def _drop_tags(places: Places, layer: str) -> None:
    """An update that was killed after its last write but one: its volumes are complete, as this boot shows."""
    node = state(config(places.config)["vg"], places.boot, places.cmdline)
    found = [node.group.find(name) for name in (layer, image_of(layer))]
    names = [volume.name for volume in found if volume is not None and volume.incomplete]
    if names:
        lvm.drop_tags(node.group.name, names, [lvm.TAG_INCOMPLETE])


def worth_a_reboot(places: Places) -> bool:
    """Can GRUB boot anything else than the running layer, or count a try of it?

    False when the running layer is the default already: a reboot of it would repeat itself for ever.
    """
    try:
        return boot_state(places.boot).good != running_layer(places.cmdline)
    except Interrupted:
        raise
    except (NodeError, OSError) as exc:
        log.warning("it is not known what GRUB boots next: %s", exc)
        return True


def boot_bad(places: Places) -> str:
    """The boot has failed: keep the reason for the layer that will run instead; returns it."""
    reason = _failed_units()
    noted = last_fallback(places)
    if noted is not None and noted.failed == running_layer(places.cmdline) and not noted.running:
        # The health checks know better what it was.
        return noted.reason
    return reason + keep_reason(places, reason)


def _failed_units() -> str:
    try:
        listing = run(FAILED_UNITS, check=False, timeout=30).stdout
    except CommandError:
        listing = ""
    units = [line.split()[0] for line in listing.splitlines() if line.split()]
    return f"units failed: {', '.join(units)}" if units else "the boot was not complete in time"

"""Runs an update to its end, or takes it back: the list of its steps, undoing, cancelling."""

from __future__ import annotations

import logging
import tempfile
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

from org_ovirt_node.errors import Interrupted, NodeError
from org_ovirt_node.i18n import N_
from org_ovirt_node.node import bootstate, carry, inhibit, journal, lock, lvm, mounted, remove, shared
from org_ovirt_node.node.layers import NodeState, config, state
from org_ovirt_node.node.places import Places
from org_ovirt_node.node.update import Prepared, Request, Update
from org_ovirt_node.progress import Progress
from org_ovirt_node.signals import uninterrupted
from org_ovirt_node.steps import Step
from org_ovirt_node.steps import run_steps as steps_run

log = logging.getLogger(__name__)


#: The first one writes nothing.
STEPS: tuple[Step[Update], ...] = (
    Step("preflight", N_("Checking the node and the image"), Update.preflight),
    Step("leftovers", N_("Clearing what an unfinished update left"), Update.leftovers),
    Step("room", N_("Making room"), Update.room),
    Step("image", N_("Making the image's volume"), Update.image),
    Step("transfer", N_("Writing the image"), Update.transfer),
    Step("read-back", N_("Reading the image back"), Update.read_back),
    Step("layer", N_("Making the layer"), Update.make_layer),
    Step("merge", N_("Merging /etc"), Update.merge_etc),
    Step("carry", N_("Taking along root's home and what the image brings for /var"), Update.carry),
    Step("boot-files", N_("Copying kernel and initramfs"), Update.boot_files),
    Step("reachable", N_("Checking that the new root can be reached"), Update.reachable),
    Step("release", N_("Unmounting"), Update.release),
    Step("entry", N_("Writing the boot entry"), Update.entry),
    Step("trial", N_("Putting the new layer on trial"), Update.trial),
    Step("finish", N_("Finishing"), Update.finish),
)
#: Steps whose time is the disk's and the source's, not ours.
DEVICE_BOUND = ("transfer", "read-back")
#: From this step on the update has happened: what comes after it is not undone, but done again.
COMMITTED = "trial"


def run_steps(update: Update, steps: tuple[Step[Update], ...] = STEPS) -> None:
    """Do ``steps`` in their order and write each into the journal.  Raises NodeError."""

    def note(step: Step[Update]) -> None:
        if step.name != "preflight":
            update.journal.done.append(step.name)
            journal.save(update.journal, update.places.state)

    steps_run(update, steps, note)


def update(request: Request, progress: Progress, places: Places) -> Update:
    """Do all steps.  Raises NodeError; whatever ends it early is undone, and the node boots what it booted before."""
    carry.check_keep(places, request.keep)
    with (
        lock.locked(lock.UPDATE, places.lock),
        inhibit.held_off("an update is being written", wanted=request.inhibit),
        ExitStack() as outer,
    ):
        stack = outer.enter_context(ExitStack())
        doing = Update(request, progress, stack, places)
        try:
            run_steps(doing)
            return doing
        except (KeyboardInterrupt, Interrupted) as exc:
            _undo_after(doing, stack, "it was interrupted")
            stopped = Interrupted(f"the update was interrupted {_outcome(doing)}", hint="Run it again at any time.")
            stopped.status = getattr(exc, "status", Interrupted.status)
            raise stopped from exc
        except NodeError as exc:
            _undo_after(doing, stack, exc.message)
            if _committed(doing):
                raise NodeError(
                    f"{doing.layer} is installed and the next boot tries it, but finishing failed: {exc.message}",
                    hint="'nodectl check' says what is left to do; 'nodectl update --cancel' takes the update back.",
                ) from exc
            if hasattr(doing, "journal") and not exc.hint:
                exc.hint = "The node boots what it booted before. Run the update again once that is mended."
            raise
        except Exception as exc:
            # A defect of ours: what was made must not stay until the next update all the same.
            _undo_after(doing, stack, str(exc) or type(exc).__name__)
            raise


def _committed(doing: Update) -> bool:
    return hasattr(doing, "journal") and doing.journal.completed(COMMITTED)


def _outcome(doing: Update) -> str:
    if _committed(doing):
        return "at its very end: the next boot tries the new layer"
    return "and undone: the node boots what it booted before"


def _undo_after(doing: Update, stack: ExitStack, reason: str) -> None:
    """Release everything, then remove what was made."""
    with uninterrupted():
        if not hasattr(doing, "journal") or _committed(doing):
            return
        doing.progress.step("undo", "Undoing the update")
        try:
            stack.close()
            undo(doing.places)
            doing.journal.reason = reason
            journal.save(doing.journal, doing.places.state)
        except (NodeError, OSError) as exc:
            # The error that led here is the one to be seen; the next run removes what is left.
            log.exception("the update could not be undone")
            doing.progress.detail(f"not everything could be undone ({exc}); the next update removes it")


def undo(places: Places) -> tuple[str, ...]:
    """Remove everything of an unfinished update; returns the volumes.  Raises NodeError."""
    node = _state(places)
    mounted.release_below(places.work)
    layer = node.group.find(node.boot.trial)
    if node.boot.pending and layer is not None and layer.incomplete and node.boot.trial != node.current:
        # Before anything that the layer needs is taken away.
        bootstate.set_default(places.boot, node.boot.good)
        node = _state(places)
    _take_back_added(places)
    return remove.remove_leftovers(node, places)


def _take_back_added(places: Places) -> None:
    """Remove from the shared volumes what the update added, as long as nobody changed it."""
    last = journal.load(places.state)
    if last is not None and last.added:
        shared.take_back(places.live, last.added)
        last.added = {}
        journal.save(last, places.state)


def _state(places: Places) -> NodeState:
    return state(config(places.config)["vg"], places.boot, places.cmdline)


def cancel(progress: Progress, places: Places) -> str:
    """Undo the update that runs, that was cut short, or that awaits its reboot; says what was done.

    Raises NodeError when there is nothing to cancel, or the new layer runs already.
    """
    stopped = lock.interrupt_holder(places.lock)
    with lock.locked("the cancellation", places.lock), uninterrupted():
        node = _state(places)
        pending = node.boot.trial if node.boot.pending and node.boot.trial != node.current else ""
        if not pending and not remove.leftovers(node):
            if stopped:
                return "the running update was stopped and undone"
            if node.current and node.boot.trial == node.current:
                raise NodeError(
                    f"{node.current} runs already, so its update cannot be cancelled", hint="See 'nodectl rollback'."
                )
            raise NodeError("there is no update to cancel")
        last = journal.load(places.state)
        new = last is not None and last.layer == pending and not last.good and not last.reason
        if pending and new:
            # First of all: cut short after any of what follows, a second cancellation finds it.
            _mark_pending(node, pending)
        if pending:
            # Back to what GRUB boots without the trial, before anything that it needs is taken away.
            bootstate.set_default(places.boot, node.boot.good)
        if pending and not new:
            return f"{pending} is not tried any more; it was no new update, and nothing was removed"
        mounted.release_below(places.work)
        _take_back_added(places)
        if pending:
            progress.detail(f"removing {pending}")
        remove.remove_leftovers(_state(places), places)
        journal.remove(places.state)
        return f"the update {f'to {pending} ' if pending else ''}was undone"


def _mark_pending(node: NodeState, layer: str) -> None:
    """Mark the layer as unfinished, and its image when no other layer uses it; a boot of it takes the marks off."""
    image = next((name for name, layers in node.layers.items() if layer in layers), "")
    alone = node.layers.get(image) == (layer,) and node.group.find(image) is not None
    for name in (layer, *((image,) if alone else ())):
        volume = node.group.find(name)
        if volume is not None and not volume.incomplete:
            lvm.add_tags(f"{node.group.name}/{name}", [lvm.TAG_INCOMPLETE])


def only_plan(request: Request, progress: Progress, places: Places) -> Prepared:
    """What an update would do; nothing is written."""
    carry.check_keep(places, request.keep)
    with ExitStack() as stack:
        # Of its own: a plan takes no lock, and an update that runs meanwhile unmounts what is below its own folder.
        work = stack.enter_context(tempfile.TemporaryDirectory(prefix="ovirt-node-plan-", dir=places.work.parent))
        found = Update(request, progress, stack, replace(places, work=Path(work))).prepare(merge=True)
    problems = list(found.problems)
    held = lock.holder(places.lock)
    if held:
        problems.append(str(held))
    try:
        with inhibit.held_off("an update is being planned", wanted=request.inhibit):
            pass
    except NodeError as exc:
        problems.append(str(exc))
    return replace(found, problems=tuple(problems))


def own_seconds(update: Update) -> float:
    """The time of the steps that are ours: all but transfer and read-back."""
    return sum(seconds for name, seconds in update.seconds.items() if name not in DEVICE_BOUND)

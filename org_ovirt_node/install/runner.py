"""Runs an installation to its end, or takes everything apart again."""

from __future__ import annotations

from contextlib import ExitStack

from org_ovirt_node.errors import CommandError, Interrupted, NodeError, StorageError
from org_ovirt_node.i18n import N_, _, translated
from org_ovirt_node.install.engine import DEVICE_BOUND, PREPARE, STEPS, Installation
from org_ovirt_node.install.options import Options
from org_ovirt_node.kickstart.model import InstallRequest
from org_ovirt_node.layout.model import Layout
from org_ovirt_node.node import lock
from org_ovirt_node.node.mounted import release_below
from org_ovirt_node.progress import Progress
from org_ovirt_node.signals import interruptible
from org_ovirt_node.steps import run_steps
from org_ovirt_node.storage import iscsi

#: What a user is told where an installation was cut short.
AGAIN = N_("The disk holds no bootable node; run the installation again.")


def release_killed(options: Options) -> None:
    """Unmount what an installation that was killed left mounted: its disk would count as one in use.

    Raises StorageError when somebody uses it.
    """
    for folder in (options.root, options.work):
        release_below(folder)


def install(request: InstallRequest, options: Options, progress: Progress) -> Installation:
    """Do all steps, then release everything.  Raises NodeError; nothing stays mounted or active either way."""
    try:
        with (
            lock.locked("the installation", options.lock, other="another one", hint=_("Let it end, or stop it.")),
            interruptible(),
            ExitStack() as stack,
        ):
            release_killed(options)
            installation = Installation(request, options, progress, stack)
            try:
                run_steps(installation, STEPS)
            except (StorageError, CommandError) as exc:
                _explain(exc)
                raise
            progress.step("release", _("Unmounting"))
    except Interrupted as exc:
        exc.hint = translated(AGAIN)
        raise
    return installation


def _explain(exc: NodeError) -> None:
    """A disk that fails because its target is gone: say so."""
    gone = iscsi.lost()
    if gone:
        exc.hint = _("The iSCSI target {names} is gone: see to the network and the storage. {again}").format(
            names=_(" and ").join(gone), again=translated(AGAIN)
        )


def only_plan(request: InstallRequest, options: Options, progress: Progress) -> Layout:
    """What an installation would do; no disk is written."""
    with interruptible(), ExitStack() as stack:
        installation = Installation(request, options, progress, stack)
        run_steps(installation, PREPARE)
        return installation.layout


def own_seconds(installation: Installation) -> float:
    """The time of the steps that are ours: all but scan, partitioning and transfer."""
    return sum(seconds for name, seconds in installation.seconds.items() if name not in DEVICE_BOUND)

"""The named steps of an installation or an update, and how they are run."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, Optional, Protocol, TypeVar

from org_ovirt_node.errors import NodeError, StorageError
from org_ovirt_node.i18n import _, translated
from org_ovirt_node.progress import Progress

log = logging.getLogger(__name__)


class Stepped(Protocol):
    """What steps work on: something that shows progress and keeps the seconds of each step by its name."""

    progress: Progress
    seconds: dict[str, float]


Doing = TypeVar("Doing", bound=Stepped)


@dataclass(frozen=True)
class Step(Generic[Doing]):
    """A named step: ``text`` is for people and translated where it is shown, ``name`` for logs, tests and JSON."""

    name: str
    text: str
    action: Callable[[Doing], None]


def _said(exc: OSError) -> str:
    """The file and the reason, as far as the error has them."""
    return ": ".join(str(part) for part in (exc.filename, exc.strerror or exc) if part)


def run_steps(doing: Doing, steps: Sequence[Step[Doing]], done: Optional[Callable[[Step[Doing]], None]] = None) -> None:
    """Do ``steps`` in their order, and call ``done`` after each.  Raises NodeError, as the step that failed did.

    What the system refuses (a full disk, a disk with errors, one that has become read-only) is no defect of ours: it
    becomes an error that names the step, and what undoes a failed step undoes this one.
    """
    for step in steps:
        doing.progress.step(step.name, translated(step.text))
        started = time.monotonic()
        try:
            step.action(doing)
            doing.seconds[step.name] = time.monotonic() - started
            if done is not None:
                done(step)
        except NodeError as exc:
            log.error("step %s failed: %s", step.name, exc)
            raise
        except OSError as exc:
            log.error("step %s failed", step.name, exc_info=True)
            raise StorageError(
                _("{text} failed: {said}").format(text=translated(step.text), said=_said(exc)),
                hint=_("'dmesg' tells of errors of a disk."),
            ) from exc
        log.info("step %s took %.1f s", step.name, doing.seconds[step.name])

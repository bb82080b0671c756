"""The named steps of an installation or an update, and how they are run."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, Optional, Protocol, TypeVar

from org_ovirt_node.errors import NodeError
from org_ovirt_node.progress import Progress

log = logging.getLogger(__name__)


class Stepped(Protocol):
    """What steps work on: something that shows progress and keeps the seconds of each step by its name."""

    progress: Progress
    seconds: dict[str, float]


Doing = TypeVar("Doing", bound=Stepped)


@dataclass(frozen=True)
class Step(Generic[Doing]):
    """A named step: ``text`` is for people, ``name`` for logs, tests and JSON readers."""

    name: str
    text: str
    action: Callable[[Doing], None]


def run_steps(doing: Doing, steps: Sequence[Step[Doing]], done: Optional[Callable[[Step[Doing]], None]] = None) -> None:
    """Do ``steps`` in their order, and call ``done`` after each.  Raises NodeError, as the step that failed did."""
    for step in steps:
        doing.progress.step(step.name, step.text)
        started = time.monotonic()
        try:
            step.action(doing)
        except NodeError as exc:
            log.error("step %s failed: %s", step.name, exc)
            raise
        doing.seconds[step.name] = time.monotonic() - started
        if done is not None:
            done(step)
        log.info("step %s took %.1f s", step.name, doing.seconds[step.name])

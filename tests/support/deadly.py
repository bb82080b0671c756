"""Steps that kill the program that does them: a module of its own, so that it can go into a machine as it is."""

from __future__ import annotations

import dataclasses
import os
import signal
from collections.abc import Callable, Sequence
from typing import Any


def die() -> None:
    """SIGKILL, as nothing can be put right after it."""
    os.kill(os.getpid(), signal.SIGKILL)


def at_second(real: Callable[..., Any]) -> Callable[..., Any]:
    """``real``, but the program dies when it has done it for the second time."""
    count = 0

    def counted(*words: Any, **more: Any) -> Any:
        nonlocal count
        count += 1
        result = real(*words, **more)
        if count == 2:
            die()
        return result

    return counted


def deadly(steps: Sequence[Any], name: str, where: str, arm: Callable[[], None]) -> tuple[Any, ...]:
    """``steps``, of which the one called ``name`` kills the program before it, in it or after it (``where``).

    For "in" it calls ``arm`` at its begin, which makes something deadly that it does; it dies at its end at the latest.
    """

    def made_deadly(action: Callable[[Any], None]) -> Callable[[Any], None]:
        def act(doing: Any) -> None:
            if where == "before":
                die()
            if where == "in":
                arm()
            action(doing)
            die()

        return act

    return tuple(
        dataclasses.replace(step, action=made_deadly(step.action)) if step.name == name else step for step in steps
    )

"""What can go wrong in a scenario: each is a failure of the scenario, never a reason to try again."""

from __future__ import annotations


class ScenarioFailed(Exception):
    """A machine did not do what the scenario requires."""


class TimedOut(ScenarioFailed):
    """Something did not happen within its time limit."""


class MachineDied(ScenarioFailed):
    """QEMU ended when it should not have."""


def check(condition: bool, message: str) -> None:
    """Fail the scenario with ``message`` unless ``condition`` holds."""
    if not condition:
        raise ScenarioFailed(message)


def check_equal(found: object, expected: object, what: str) -> None:
    """Fail the scenario unless ``found`` is what the requirement says."""
    if found != expected:
        raise ScenarioFailed(f"{what}: expected {expected!r}, found {found!r}")

"""Faults of the disk in the middle of an update; ``python -m tests.crash matrix`` has all of them, and the kills."""

from __future__ import annotations

import pytest

from org_ovirt_node.errors import StorageError
from org_ovirt_node.progress import Progress, Silent
from org_ovirt_node.steps import Step, run_steps
from tests.crash import matrix


class Doing:
    """What a step works on."""

    def __init__(self) -> None:
        self.progress: Progress = Silent()
        self.seconds: dict[str, float] = {}


@pytest.mark.parametrize("where", ["step", "note"])
def test_what_the_system_refuses_is_an_error_that_names_the_step(where: str) -> None:
    def fail(*_: object) -> None:
        raise OSError(30, "Read-only file system", "/boot/x")

    step: Step[Doing] = Step("entry", "Writing the boot entry", fail if where == "step" else lambda doing: None)
    with pytest.raises(StorageError, match="Writing the boot entry failed: /boot/x: Read-only file system"):
        run_steps(Doing(), [step], fail)


def test_a_fault_of_the_disk_leaves_a_node_that_boots_and_can_be_updated() -> None:
    outcome = matrix.faults(1, 4)
    assert outcome.tried == 4
    assert outcome.violations == []

"""%pre-install and %post scripts."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from org_ovirt_node.kickstart.model import Script
from org_ovirt_node.kickstart.scripts import run_script
from org_ovirt_node.progress import Progress


def run_scripts(scripts: Sequence[Script], stage: str, root: Path, progress: Progress) -> None:
    """Run the scripts of a stage in their order; those of %post inside ``root``, but for --nochroot.

    A script that fails is an error (KickstartProblem) when it says ``--erroronfail``, else a line for the user, as in
    Anaconda.
    """
    for script in scripts:
        if script.stage == stage:
            problem = run_script(script, root)
            if problem is not None:
                progress.detail(problem.message)

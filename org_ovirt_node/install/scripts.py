"""%pre-install and %post scripts."""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import IO

from org_ovirt_node.errors import NodeError
from org_ovirt_node.kickstart.model import Script
from org_ovirt_node.progress import Progress
from org_ovirt_node.run import clean_environment


def run_scripts(scripts: Sequence[Script], stage: str, root: Path, progress: Progress) -> None:
    """Run the scripts of a stage in their order; those with ``chroot`` inside ``root``.

    A script that fails is an error when it says ``--erroronfail``, else a line for the user, as in Anaconda.
    """
    for script in scripts:
        if script.stage != stage:
            continue
        status = _run(script, root)
        if status == 0:
            continue
        text = f"the %{script.stage} script at line {script.line} ended with exit status {status}"
        if script.erroronfail:
            raise NodeError(text, hint="Its --log file has what it printed; correct it and start again.")
        progress.detail(text)


def _run(script: Script, root: Path) -> int:
    inside = script.chroot and script.stage == "post"
    base = root if inside else Path("/")
    folder = base / "tmp"
    descriptor, name = tempfile.mkstemp(prefix="ks-script-", dir=folder)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            os.fchmod(file.fileno(), 0o700)
            file.write(script.body)
        path = "/" + str(Path(name).relative_to(base)) if inside else name
        argv = [*script.interpreter.split(), path]
        if inside:
            argv = ["chroot", str(root), *argv]
        environment = clean_environment({"ANA_INSTALL_PATH": "/" if inside else str(root)})
        with _log(script, base) as log:
            return subprocess.run(
                argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=environment, cwd="/", check=False
            ).returncode
    finally:
        Path(name).unlink(missing_ok=True)


def _log(script: Script, base: Path) -> IO[bytes]:
    if not script.log:
        return Path(os.devnull).open("wb")
    path = base / script.log.lstrip("/")
    path.parent.mkdir(parents=True, exist_ok=True)
    return path.open("ab")

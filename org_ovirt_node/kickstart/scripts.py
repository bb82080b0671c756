"""Running %pre scripts."""

from __future__ import annotations

import logging
import shlex
import tempfile
from pathlib import Path

from org_ovirt_node.errors import CommandError, KickstartProblem
from org_ovirt_node.kickstart.model import Script
from org_ovirt_node.run import run

log = logging.getLogger(__name__)


def run_pre(script: Script) -> None:
    """Run a %pre script with its interpreter.  Its text is in no log: it may hold passwords.

    Raises :class:`KickstartProblem` when the interpreter is missing, the log cannot be written, or, with
    --erroronfail, the script fails.
    """
    try:
        interpreter = shlex.split(script.interpreter)
    except ValueError as error:
        raise KickstartProblem(f"%pre --interpreter: {error}", file=script.file, line=script.line) from error
    with tempfile.TemporaryDirectory(prefix="ovirt-node-pre-") as folder:
        file = Path(folder, "script")
        file.write_text(script.body, encoding="utf-8")
        file.chmod(0o700)
        try:
            done = run([*interpreter, file], cwd=Path("/"), check=False)
        except CommandError as error:
            raise KickstartProblem(f"%pre cannot be run: {error}", file=script.file, line=script.line) from error
    if script.log:
        _write_log(script, done.stdout + done.stderr)
    if done.ok:
        return
    message = f"the %pre script failed with exit status {done.status}"
    if not script.erroronfail:
        log.warning("%s:%d: %s; it has no --erroronfail, so this goes on", script.file, script.line, message)
        return
    said = " / ".join((done.stderr or done.stdout).strip().splitlines()[-3:]) or "it printed nothing"
    raise KickstartProblem(f"{message}: {said}", file=script.file, line=script.line)


def _write_log(script: Script, text: str) -> None:
    path = Path(script.log)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    except (OSError, ValueError) as error:
        raise KickstartProblem(f"%pre --log={path}: {error}", file=script.file, line=script.line) from error

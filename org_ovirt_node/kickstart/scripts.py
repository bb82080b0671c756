"""Running the scripts of a kickstart: %pre, %pre-install and %post."""

from __future__ import annotations

import logging
import os
import shlex
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, NoReturn, Optional

from org_ovirt_node.errors import CommandError, KickstartProblem, NodeError
from org_ovirt_node.i18n import _
from org_ovirt_node.inside import inside
from org_ovirt_node.kickstart.model import Script
from org_ovirt_node.run import run

log = logging.getLogger(__name__)

#: How much of a script's output is looked at for messages, in bytes, and how many lines of it our own log keeps.
TAIL = 4096
LOGGED_LINES = 20
#: chroot(1) says with these that it could not start the program.
NOT_STARTED = (125, 126, 127)


def run_pre(script: Script) -> None:
    """Run a %pre script.  Raises :class:`KickstartProblem` as :func:`run_script` does."""
    problem = run_script(script)
    if problem is not None:
        log.warning("%s; it has no --erroronfail, so this goes on", problem.message)


def run_script(script: Script, root: Optional[Path] = None) -> Optional[KickstartProblem]:
    """Run a script with its interpreter; ``root`` is where the new system is mounted, for those that come after that.

    Its text is in no log: it may hold passwords.  What it prints goes to the file of --log (of the new system, when
    it runs there), and its last lines to our log.  Returns the failure of a script that has no --erroronfail; raises
    :class:`KickstartProblem` with the place of any other, and when it cannot be run or its log cannot be written.
    """
    inside = root if script.stage == "post" and script.chroot else None
    base = inside or Path("/")
    environment = {"ANA_INSTALL_PATH": "/" if inside else os.fspath(root)} if root else {}
    with _file(script, base) as path, _output(script, base) as output:
        start = output.seek(0, os.SEEK_END)
        argv = [*shlex.split(script.interpreter), "/" + os.fspath(path.relative_to(base))]
        try:
            done = run(argv, env=environment, root=inside, cwd=Path("/"), check=False, output=output)
        except CommandError as error:
            _fail(script, _("%{stage} cannot be run: {output}").format(stage=script.stage, output=error.output))
        said = _tail(output, start)
    for line in said[-LOGGED_LINES:]:
        log.debug("  | %s", line)
    if done.ok:
        return None
    who, _unused, why = said[-1].partition(": ") if said else ("", "", "")
    if inside and done.status in NOT_STARTED and who.endswith("chroot"):
        _fail(script, _("%{stage} cannot be run: {why}").format(stage=script.stage, why=why))
    message = _("the %{stage} script failed with exit status {status}: {output}").format(
        stage=script.stage, status=done.status, output=" / ".join(said[-3:]) or _("it printed nothing")
    )
    problem = KickstartProblem(message, file=script.file, line=script.line)
    if script.erroronfail:
        raise problem
    return problem


def _fail(script: Script, message: str) -> NoReturn:
    raise KickstartProblem(message, file=script.file, line=script.line)


@contextmanager
def _file(script: Script, base: Path) -> Iterator[Path]:
    """The script as a file below ``base``."""
    folder = Path(tempfile.gettempdir()) if base == Path("/") else inside(base, "tmp")
    try:
        folder.mkdir(exist_ok=True)
        descriptor, name = tempfile.mkstemp(prefix="ks-script-", dir=folder)
        path = Path(name)
        try:
            with os.fdopen(descriptor, "w", encoding="utf-8") as file:
                os.fchmod(file.fileno(), 0o700)
                file.write(script.body)
        except OSError:
            path.unlink()
            raise
    except OSError as error:
        _fail(
            script,
            _("%{stage} cannot be run: {folder} cannot hold it: {error}").format(
                stage=script.stage, folder=folder, error=error.strerror
            ),
        )
    try:
        yield path
    finally:
        path.unlink(missing_ok=True)


@contextmanager
def _output(script: Script, base: Path) -> Iterator[IO[bytes]]:
    """What the output goes to: the end of the log, or a file that is gone afterwards."""
    if not script.log:
        with tempfile.TemporaryFile() as file:
            yield file
        return
    try:
        path = inside(base, script.log)
        path.parent.mkdir(parents=True, exist_ok=True)
        # Whatever a script prints may be secret.
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
        written = os.fdopen(descriptor, "r+b")
    except (OSError, ValueError, NodeError) as error:
        _fail(script, f"%{script.stage} --log={script.log}: {getattr(error, 'strerror', None) or error}")
    with written:
        yield written


def _tail(output: IO[bytes], start: int) -> list[str]:
    """The last lines of what was written from ``start`` on, without empty ones."""
    end = output.seek(0, os.SEEK_END)
    output.seek(max(start, end - TAIL))
    return [line for line in output.read(TAIL).decode("utf-8", "replace").splitlines() if line.strip()]

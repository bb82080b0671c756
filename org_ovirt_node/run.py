"""The one command runner: a clean environment, a logged command line, no shell."""

from __future__ import annotations

import logging
import os
import shlex
import shutil
import subprocess
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Optional, Union

from org_ovirt_node.errors import CommandError
from org_ovirt_node.i18n import _
from org_ovirt_node.signals import blocked

log = logging.getLogger(__name__)

Arg = Union[str, "os.PathLike[str]"]

#: Programs see this and nothing else of our environment, so that a result does not depend on who calls.
CLEAN_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
NOT_FOUND = 127
NOT_STARTED = 126
TIMED_OUT = 124


@dataclass(frozen=True)
class Completed:
    """What a program left: its exit status and its two outputs as text."""

    argv: tuple[str, ...]
    status: int
    stdout: str
    stderr: str

    @property
    def ok(self) -> bool:
        return self.status == 0


def clean_environment(extra: Optional[Mapping[str, str]] = None) -> dict[str, str]:
    """The environment that every program gets: a fixed PATH, the C.UTF-8 locale, plus ``extra``."""
    env = {"PATH": os.environ.get("OVIRT_NODE_PATH", CLEAN_PATH), "LC_ALL": "C.UTF-8", "HOME": "/root", "TERM": "dumb"}
    env.update(extra or {})
    return env


def redact(text: str, secrets: Iterable[str]) -> str:
    """``text`` with every secret in it replaced, for logs and messages."""
    for secret in secrets:
        if secret:
            text = text.replace(secret, "********")
    return text


def run(
    argv: Sequence[Arg],
    *,
    input: Optional[str] = None,
    env: Optional[Mapping[str, str]] = None,
    root: Optional[Path] = None,
    cwd: Optional[Path] = None,
    check: bool = True,
    timeout: Optional[float] = None,
    secrets: Sequence[str] = (),
    private: bool = False,
    hint: str = "",
    output: Optional[IO[bytes]] = None,
    whole: bool = False,
) -> Completed:
    """Run a program to its end and return what it printed.

    ``root`` runs it in a chroot.  ``secrets`` never reach a log or an error, nor does ``input`` by us.  A ``private``
    program prints what is secret: nothing of that is logged or in an error.  With ``output`` all that it prints goes
    to that file: a process that it leaves behind then keeps nobody waiting.  A program that is run ``whole`` is never
    cut short by a signal that ends this one: the signal takes effect after it.  Raises :class:`CommandError` when the
    program is missing or cannot be started, exceeds ``timeout`` seconds, or (with ``check``) exits with a status
    other than 0.
    """
    args = tuple(os.fspath(a) for a in argv)
    full = ("chroot", os.fspath(root), *args) if root else args
    safe = [redact(arg, secrets) for arg in args]
    log.debug("run: %s", redact(shlex.join(full), secrets))
    environment = clean_environment(env)
    program = shutil.which(full[0], path=environment["PATH"])
    if program is None:
        raise CommandError(
            safe, NOT_FOUND, _("the program {program} is not installed").format(program=full[0]), hint=hint
        )
    try:
        with blocked() if whole else nullcontext():
            done = subprocess.run(
                (program, *full[1:]),
                input=input,
                stdin=subprocess.DEVNULL if input is None else None,
                stdout=output or subprocess.PIPE,
                stderr=output or subprocess.PIPE,
                encoding="utf-8",
                errors="replace",
                env=environment,
                cwd=cwd,
                timeout=timeout,
                check=False,
            )
    except subprocess.TimeoutExpired:
        # Without the cause, whose text has all arguments.
        raise CommandError(
            safe, TIMED_OUT, _("no answer within {seconds:g} s").format(seconds=timeout), hint=hint
        ) from None
    except OSError as exc:
        raise CommandError(
            safe,
            NOT_STARTED,
            _("{program} cannot be started: {error}").format(program=full[0], error=exc.strerror),
            hint=hint,
        ) from exc
    result = Completed(args, done.returncode, done.stdout or "", done.stderr or "")
    if not private:
        for line in (result.stdout + result.stderr).splitlines()[-20:]:
            log.debug("  | %s", redact(line, secrets))
    if check and not result.ok:
        hidden = _("what it printed may be secret and is not shown")
        said = hidden if private else redact(result.stderr or result.stdout, secrets)
        raise CommandError(safe, result.status, said, hint=hint)
    return result


@contextmanager
def output_of(argv: Sequence[Arg], source: IO[bytes]) -> Iterator[IO[bytes]]:
    """What a program makes of ``source`` (an open file, from where it stands), as bytes while it makes them.

    The program ends with the block, and what it says beside is dropped: the reader judges by the bytes.  Raises
    :class:`CommandError` when the program is missing.
    """
    args = tuple(os.fspath(a) for a in argv)
    log.debug("run: %s", shlex.join(args))
    environment = clean_environment()
    program = shutil.which(args[0], path=environment["PATH"])
    if program is None:
        raise CommandError(args, NOT_FOUND, _("the program {program} is not installed").format(program=args[0]))
    with subprocess.Popen(
        (program, *args[1:]), stdin=source, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=environment
    ) as process:
        assert process.stdout is not None
        try:
            yield process.stdout
        finally:
            process.kill()

"""What the command-line programs share: common options, the log file, and how an error reaches the user.

Exit status: 0 done, the status of the :class:`NodeError` that ended the program, 2 wrong usage (argparse), 70 a defect
of ours (EX_SOFTWARE of sysexits.h), 130 interrupted, 143 terminated.
"""

from __future__ import annotations

import argparse
import errno
import logging
import os
import shlex
import stat
import sys
from collections.abc import Sequence
from io import TextIOWrapper
from pathlib import Path
from typing import Callable, NoReturn, Optional

from org_ovirt_node.errors import Interrupted, NodeError
from org_ovirt_node.progress import JsonProgress, Progress, TextProgress
from org_ovirt_node.signals import interruptible
from org_ovirt_node.urls import RedactingFormatter

log = logging.getLogger(__name__)

DEFECT = 70
#: What can befall any file that is written, wherever that is done: no defect of ours (errno(3)).
THE_DISK_S = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO)
LOG_FORMAT = "%(asctime)s %(levelname)s %(name)s: %(message)s"
SYSTEM_LOGS = Path("/var/log/ovirt-node")

Action = Callable[[argparse.Namespace], int]


def add_common_options(parser: argparse.ArgumentParser) -> None:
    """The options that every program takes."""
    group = parser.add_argument_group("common options")
    group.add_argument("-v", "--verbose", action="store_true", help="show the log on the terminal as well")
    group.add_argument("--log", metavar="FILE", type=Path, help="write the log to FILE")


def add_progress_option(parser: argparse.ArgumentParser) -> None:
    """``--json-progress``, for programs that work for long; see :func:`progress_for`."""
    parser.add_argument("--json-progress", action="store_true", help="report progress as one JSON object per line")


def progress_for(options: argparse.Namespace) -> Progress:
    """What shows progress: JSON lines on standard output when asked for, else text on standard error."""
    return JsonProgress() if getattr(options, "json_progress", False) else TextProgress()


def require_root(what: str) -> None:
    """Raises :class:`NodeError` for anybody else; ``what`` is what only root can do."""
    if os.geteuid() != 0:
        raise NodeError(f"only root can {what}", hint="Run it as root, for example with sudo.")


def default_log(program: str) -> Path:
    """Where ``program`` keeps its log: /var/log/ovirt-node for root, else below $XDG_STATE_HOME."""
    if os.geteuid() == 0:
        return SYSTEM_LOGS / f"{program}.log"
    state = os.environ.get("XDG_STATE_HOME", "")
    return (Path(state) if state else Path.home() / ".local/state") / "ovirt-node" / f"{program}.log"


class PrivateLog(logging.FileHandler):
    """A log that its owner alone reads: what programs and scripts print goes to it, and that may be secret."""

    def _open(self) -> TextIOWrapper:
        return open(self.baseFilename, "a", encoding=self.encoding, opener=_owners_alone)


def _owners_alone(path: str, flags: int) -> int:
    descriptor = os.open(path, flags, 0o600)
    # One that is there may have been made by a version that let everybody read; --log may name a terminal.
    if stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.fchmod(descriptor, 0o600)
    return descriptor


def start_log(program: str, file: Optional[Path], verbose: bool) -> Optional[Path]:
    """Send the log to ``file`` (or the default place), for its owner alone to read, and return it.

    A log that the user asked for must open (raises :class:`NodeError`); the default one is done without when its
    folder cannot be written, and then None is returned.
    """
    root = logging.getLogger()
    root.setLevel(logging.DEBUG)
    # urllib3 and blivet log every byte range and every udev property at this level.
    for noisy in ("urllib3", "blivet"):
        logging.getLogger(noisy).setLevel(logging.INFO)
    if verbose:
        shown = logging.StreamHandler(sys.stderr)
        shown.setFormatter(RedactingFormatter("%(message)s"))
        root.addHandler(shown)
    path = file if file is not None else default_log(program)
    try:
        if file is None:
            path.parent.mkdir(parents=True, exist_ok=True)
        written = PrivateLog(path, encoding="utf-8")
    except OSError as exc:
        if file is not None:
            raise NodeError(f"the log {path} cannot be written: {exc.strerror}") from exc
        return None
    written.setFormatter(RedactingFormatter(LOG_FORMAT))
    root.addHandler(written)
    return path


def _say(program: str, text: str) -> None:
    print(f"{program}: {text}", file=sys.stderr, flush=True)


def first_of(error: NodeError) -> NodeError:
    """What had gone wrong before ``error`` did on the way back: a release that fails must not hide its cause."""
    while isinstance(error.__context__, NodeError) and not error.__suppress_context__:
        error = error.__context__
    return error


def main(parser: argparse.ArgumentParser, action: Action, argv: Optional[Sequence[str]] = None) -> int:
    """Parse ``argv``, run ``action`` with the options, and turn whatever happens into an exit status.

    ``parser`` must have had :func:`add_common_options`; its ``prog`` names the log and begins every message.
    """
    options = parser.parse_args(argv)
    program = parser.prog
    logfile: Optional[Path] = None
    try:
        logfile = start_log(program, options.log, options.verbose)
        given = shlex.join(sys.argv[1:] if argv is None else argv)
        log.debug("%s started: %s", program, given)
        with interruptible():
            return action(options)
    except NodeError as exc:
        log.debug("failed", exc_info=True)
        first = first_of(exc)
        message = "interrupted" if isinstance(first, Interrupted) and first is not exc else first.message
        for text in (message, first.hint):
            if text:
                _say(program, text)
        if first is not exc:
            _say(program, f"not everything was released: {exc.message}")
            if exc.hint:
                _say(program, exc.hint)
        return first.status
    except KeyboardInterrupt:
        log.debug("interrupted", exc_info=True)
        _say(program, "interrupted; everything was released")
        return Interrupted.status
    except BrokenPipeError:
        # Who reads our output went away (``… | head``): nothing to say, and nobody to say it to.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except OSError as exc:
        if exc.errno not in THE_DISK_S:
            return _defect(program, exc, logfile)
        log.debug("failed", exc_info=True)
        _say(program, f"{exc.filename or 'a file'} cannot be written: {exc.strerror}")
        return NodeError.status
    except Exception as exc:
        return _defect(program, exc, logfile)


def _defect(program: str, exc: Exception, logfile: Optional[Path]) -> int:
    log.critical("a defect", exc_info=True)
    where = f"; the details are in {logfile}" if logfile else " (run it again with --log FILE for the details)"
    _say(program, f"internal error: {type(exc).__name__}: {exc}{where}")
    return DEFECT


def leave(status: int) -> NoReturn:
    """End the program with ``status``, without Python's own taking apart.

    The generated bindings that blivet loads print a DeprecationWarning to standard error then, under any filter, and
    everything of ours is released and written by now.
    """
    logging.shutdown()
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    os._exit(status)

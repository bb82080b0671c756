"""A cache of what is dear to build, keyed by its inputs.

An entry is a file or a folder ``<kind>-<key>`` below one folder.  It is made under a temporary name and renamed when
it is complete, so an interrupted build leaves nothing that looks finished.  Locks (flock, so that a killed program
releases them) keep two builders of one entry apart, and keep an entry from being pruned while somebody reads it.
"""

from __future__ import annotations

import fcntl
import hashlib
import logging
import os
import shutil
from collections.abc import Iterable
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Callable, Optional, Union

from org_ovirt_node.errors import ImageError

log = logging.getLogger(__name__)

#: Entries of one kind that stay when a new one is made, unless ``$OVIRT_NODE_CACHE_KEEP`` says otherwise: the current
#: one and the one before.
KEPT = 2
KEY_LENGTH = 16


def default_folder() -> Path:
    """``$OVIRT_NODE_CACHE``, else ~/.cache/ovirt-node."""
    chosen = os.environ.get("OVIRT_NODE_CACHE", "")
    return Path(chosen) if chosen else Path.home() / ".cache" / "ovirt-node"


def kept_entries() -> int:
    """``$OVIRT_NODE_CACHE_KEEP``, else two.  Raises ImageError for what is no number from 1 on."""
    chosen = os.environ.get("OVIRT_NODE_CACHE_KEEP", "")
    if not chosen:
        return KEPT
    if not chosen.isascii() or not chosen.isdecimal() or int(chosen) < 1:
        raise ImageError(
            f"OVIRT_NODE_CACHE_KEEP is {chosen!r}, which is no number from 1 on",
            hint="set it to how many entries of a kind the cache keeps, or unset it",
        )
    return int(chosen)


def key_of(*parts: Union[str, bytes, Iterable[str]]) -> str:
    """A key from everything that decides an entry's content; the boundaries between the parts count."""
    digest = hashlib.sha256()
    for part in parts:
        items = [part] if isinstance(part, (str, bytes)) else list(part)
        digest.update(b"%d\n" % len(items))
        for item in items:
            data = item.encode() if isinstance(item, str) else item
            digest.update(b"%d\n" % len(data))
            digest.update(data)
    return digest.hexdigest()[:KEY_LENGTH]


def key_of_files(files: Iterable[Path]) -> str:
    """A key from the names and the content of ``files``."""
    return key_of(*(part for file in sorted(files) for part in (file.name, file.read_bytes())))


def remove_tree(path: Path) -> None:
    """Remove a file or a folder.  Refuses with :class:`ImageError` while something is mounted below it."""
    if not path.is_symlink() and path.is_dir():
        prefix = os.path.realpath(path) + "/"
        for line in Path("/proc/self/mountinfo").read_text(encoding="utf-8").splitlines():
            target = line.split()[4]
            if (target + "/").startswith(prefix):
                raise ImageError(f"{path} is not removed: {target} is still mounted", hint=f"Run 'umount {target}'.")
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


class Cache:
    """The folder and the locks on what we use of it; a context manager that gives the locks back at its end."""

    def __init__(self, folder: Optional[Path] = None) -> None:
        self.folder = folder if folder is not None else default_folder()
        self._locks = ExitStack()
        self._held: dict[str, int] = {}

    def __enter__(self) -> Cache:
        return self

    def __exit__(
        self, kind: Optional[type[BaseException]], exc: Optional[BaseException], trace: Optional[TracebackType]
    ) -> None:
        self.close()

    def close(self) -> None:
        """Give every entry free."""
        self._held.clear()
        self._locks.close()

    def _lock_file(self, name: str) -> int:
        return os.open(self.folder / f".{name}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)

    def get(self, kind: str, key: str, make: Callable[[Path], None], *, fresh: bool = False) -> Path:
        """The entry ``kind``-``key``; ``make`` is called with the path to create when it is not there yet.

        With ``fresh`` an entry that is there is made again.  Waits while another program makes or (then) uses it.  The
        entry stays locked against pruning until :meth:`close`.  It belongs to all: do not change it.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        name = f"{kind}-{key}"
        entry = self.folder / name
        if name not in self._held:
            # One descriptor per entry: a second one of ours would wait for the first.
            self._held[name] = self._lock_file(name)
            self._locks.callback(os.close, self._held[name])
        descriptor = self._held[name]
        fcntl.flock(descriptor, fcntl.LOCK_SH)
        if fresh or not entry.exists():
            # A read lock cannot be turned into a write lock in one go: after the wait, look again.
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            if fresh or not entry.exists():
                self._make(entry, make)
            fcntl.flock(descriptor, fcntl.LOCK_SH)
        os.utime(entry)
        self.prune(kind)
        return entry

    def _make(self, entry: Path, make: Callable[[Path], None]) -> None:
        partial = entry.with_name(f".{entry.name}.partial")
        remove_tree(partial)
        try:
            make(partial)
        except BaseException:
            remove_tree(partial)
            raise
        remove_tree(entry)
        partial.rename(entry)

    def prune(self, kind: str) -> list[Path]:
        """Remove all but the `kept_entries` of ``kind`` that were used last; what is in use stays."""
        entries = sorted(self.folder.glob(f"{kind}-*"), key=lambda path: path.lstat().st_mtime, reverse=True)
        removed = []
        for entry in entries[kept_entries() :]:
            descriptor = self._lock_file(entry.name)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                continue
            else:
                log.debug("cache: %s goes", entry)
                remove_tree(entry)
                removed.append(entry)
            finally:
                os.close(descriptor)
        return removed

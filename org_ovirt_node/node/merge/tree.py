"""One side of the merge, read from a directory.

Types, modes, owners, links, device numbers and extended attributes are read at once; contents are hashed only when
they are asked for, and once.  What vanishes while it is read (a running node's /etc) counts as absent.
"""

from __future__ import annotations

import errno
import hashlib
import os
import stat
from collections.abc import Generator, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Optional

from org_ovirt_node.node.merge import beneath
from org_ovirt_node.node.merge.model import CHUNK, Entry, Kind, MergeError, Meta, order

KINDS = {
    stat.S_IFREG: Kind.FILE,
    stat.S_IFDIR: Kind.DIRECTORY,
    stat.S_IFLNK: Kind.LINK,
    stat.S_IFCHR: Kind.CHARACTER,
    stat.S_IFBLK: Kind.BLOCK,
    stat.S_IFIFO: Kind.FIFO,
    stat.S_IFSOCK: Kind.SOCKET,
}
DEVICES = (Kind.CHARACTER, Kind.BLOCK)
#: What belongs to overlayfs, or is bound to one inode and cannot be carried to another (evm).
FOREIGN_XATTRS = ("trusted.overlay.", "user.overlay.", "security.evm")
#: Where an image keeps its own /etc as it was built.
PRISTINE = "usr/lib/ovirt-node/etc"
#: A file below this size (bytes) is read at once.  A regular file is never read short but at its end (read(2)).
SMALL = 64 * 1024


def pristine(image: Path) -> Path:
    """The /etc of an image as it was built; ``image`` is its root tree, mounted read-only.

    Images of other builders keep no copy: their own /etc is as good, because nothing writes to an image.
    """
    kept = image / PRISTINE
    return kept if kept.is_dir() and not kept.is_symlink() else image / "etc"


def xattrs(path: str, *, follow: bool = False) -> tuple[tuple[str, bytes], ...]:
    """The extended attributes of ``path`` that a merge carries, sorted; none where there is no support for them."""
    try:
        names = sorted(os.listxattr(path, follow_symlinks=follow))
        return tuple(
            (name, os.getxattr(path, name, follow_symlinks=follow))
            for name in names
            if not name.startswith(FOREIGN_XATTRS)
        )
    except OSError as exc:
        if exc.errno not in (errno.EOPNOTSUPP, errno.ENODATA):
            raise
        return ()


class DirectoryTree:
    """The tree below ``root`` (a real directory).  Raises :class:`MergeError` when it cannot be read."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._digests: dict[str, bytes] = {}
        self._folder: Optional[tuple[str, int]] = None
        try:
            found = dict(_walk(root))
        except OSError as exc:
            raise MergeError(f"{root} cannot be read: {exc.strerror}") from exc
        self.entries: Mapping[str, Entry] = {path: found[path] for path in sorted(found, key=order)}

    def digest(self, path: str) -> bytes:
        found = self._digests.get(path)
        if found is None:
            found = self._small_digest(path) or self.digest_now(path)
            self._digests[path] = found
        return found

    def _small_digest(self, path: str) -> Optional[bytes]:
        """The digest of a file that one read gets whole, by the folder that was open last: most files are such.

        None for a large file, or one that cannot be reached this way.
        """
        above, _, name = path.rpartition("/")
        try:
            if self._folder is None or self._folder[0] != above:
                self.close()
                with beneath.folder(self.root, above) as fd:
                    self._folder = (above, os.dup(fd))
            fd = os.open(name, beneath.FILE, dir_fd=self._folder[1])
        except OSError:
            return None
        try:
            content = os.read(fd, SMALL)
        except OSError:
            return None
        finally:
            os.close(fd)
        return hashlib.sha256(content).digest() if len(content) < SMALL else None

    def close(self) -> None:
        """Let go of the folder that was read last, which keeps its file system busy."""
        if self._folder is not None:
            os.close(self._folder[1])
            self._folder = None

    def __del__(self) -> None:
        self.close()

    @contextmanager
    def _named(self, path: str) -> Iterator[None]:
        """Failures that name the file."""
        try:
            yield
        except OSError as exc:
            raise MergeError(
                f"{self.root / path} cannot be read: {exc.strerror}", hint="If it was changed just now, start again."
            ) from exc

    def digest_now(self, path: str) -> bytes:
        """The digest of what the file has at this moment."""
        hasher = hashlib.sha256()
        for block in self.blocks(path):
            hasher.update(block)
        return hasher.digest()

    def read(self, path: str) -> bytes:
        return b"".join(self.blocks(path))

    def blocks(self, path: str) -> Generator[bytes, None, None]:
        """The content of a file in parts of CHUNK bytes, the last one shorter."""
        with self._named(path), beneath.file(self.root, path) as fd:
            yield from iter(lambda: os.read(fd, CHUNK), b"")

    def times(self, path: str) -> tuple[int, int]:
        """The access and modification times of a file, in ns."""
        with self._named(path), beneath.file(self.root, path) as fd:
            status = os.fstat(fd)
        return status.st_atime_ns, status.st_mtime_ns


def _walk(root: Path) -> Iterator[tuple[str, Entry]]:
    waiting = [""]
    while waiting:
        path = waiting.pop()
        try:
            with beneath.folder(root, path) as fd:
                yield path, _entry(path, os.fstat(fd), beneath.inode(fd), follow=True)
                for name in os.listdir(fd):  # noqa: PTH208 (pathlib lists no descriptor)
                    inner = f"{path}/{name}" if path else name
                    try:
                        status = os.stat(name, dir_fd=fd, follow_symlinks=False)
                        if stat.S_ISDIR(status.st_mode):
                            waiting.append(inner)
                        else:
                            yield inner, _entry(inner, status, f"{beneath.inode(fd)}/{name}", follow=False)
                    except FileNotFoundError:
                        continue
        except (FileNotFoundError, NotADirectoryError):
            if not path:
                raise


def _entry(path: str, status: os.stat_result, place: str, *, follow: bool) -> Entry:
    kind = KINDS[stat.S_IFMT(status.st_mode)]
    return Entry(
        path=path,
        kind=kind,
        meta=Meta(
            # A link's mode means nothing (symlink(7)).
            mode=0o777 if kind is Kind.LINK else stat.S_IMODE(status.st_mode),
            uid=status.st_uid,
            gid=status.st_gid,
            xattrs=xattrs(place, follow=follow),
        ),
        size=status.st_size if kind is Kind.FILE else 0,
        target=os.readlink(place) if kind is Kind.LINK else "",  # noqa: PTH115 (a target is no path of ours)
        device=status.st_rdev if kind in DEVICES else 0,
    )

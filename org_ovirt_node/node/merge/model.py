"""What a tree is made of, and what a merge plan says.

Paths are text relative to /etc ("ssh/sshd_config"; "" is /etc itself), decoded as :func:`os.fsdecode` does, so that any
name survives.  Sizes are bytes; modes are the twelve permission bits.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Optional, Protocol

from org_ovirt_node.errors import NodeError

#: xattr names with a meaning of their own (selinux(8), acl(5)).
LABEL = "security.selinux"
ACL = "system.posix_acl_access"
DEFAULT_ACL = "system.posix_acl_default"
#: The end of the name under which the image's version is put beside the node's.  Programs that read whole folders
#: (cron, logrotate, run-parts, dnsmasq, NetworkManager's dispatcher) skip ``.rpmnew``, and no ``*.conf`` matches it;
#: the part before it makes the name ours alone.
BESIDE = ".ovirtnode.rpmnew"
#: NAME_MAX of Linux, in bytes.
NAME_MAX = 255
#: Bytes of a file that are read at once.
CHUNK = 1 << 20


class MergeError(NodeError):
    """/etc could not be merged."""


class Kind(str, Enum):
    """The type of a file (inode(7))."""

    FILE = "file"
    DIRECTORY = "directory"
    LINK = "symbolic link"
    CHARACTER = "character device"
    BLOCK = "block device"
    FIFO = "named pipe"
    SOCKET = "socket"


@dataclass(frozen=True)
class Meta:
    """Permissions, owner and extended attributes, the latter sorted by name."""

    mode: int
    uid: int = 0
    gid: int = 0
    xattrs: tuple[tuple[str, bytes], ...] = ()

    def xattr(self, name: str) -> Optional[bytes]:
        return next((value for key, value in self.xattrs if key == name), None)


@dataclass(frozen=True)
class Entry:
    """One path of a tree; ``target`` is a link's, ``device`` a device node's number (makedev(3))."""

    path: str
    kind: Kind
    meta: Meta
    size: int = 0
    target: str = ""
    device: int = 0


class Tree(Protocol):
    """One side of the merge.  Contents are only read where sizes do not tell the difference."""

    @property
    def entries(self) -> Mapping[str, Entry]:
        """All paths, "" included."""

    def digest(self, path: str) -> bytes:
        """The SHA-256 of a file."""

    def read(self, path: str) -> bytes:
        """The content of a file."""

    def blocks(self, path: str) -> Generator[bytes, None, None]:
        """The content of a file in parts of CHUNK bytes, the last one shorter."""


class Source(str, Enum):
    """Where a path of the result comes from."""

    IMAGE = "image"
    NODE = "node"
    MERGED = "merged"
    ABSENT = "absent"


class Why(str, Enum):
    """What led to a path's result."""

    SAME = "the same on this node and in the image"
    IMAGE_CHANGED = "changed by the image"
    IMAGE_ADDED = "new in the image"
    IMAGE_DROPPED = "no longer in the image"
    NODE_CHANGED = "changed on this node"
    NODE_ADDED = "added on this node"
    NODE_DELETED = "deleted on this node"
    BOTH_MERGED = "both changes, merged by line"
    ACCOUNTS = "both sides, merged by entry"
    CONFLICT = "changed differently on both sides"
    POLICY = "settled by a rule"
    NEEDED = "needed for what lies in it"
    UNIT = "its unit was disabled on this node"
    BESIDE = "the image's version, beside the node's"
    SUPERSEDED = "an earlier image's version, superseded"


class Topic(str, Enum):
    """What a notice is about.  CONFLICT asks for a decision; the others tell."""

    CONFLICT = "conflict"
    MERGED = "merged"
    METADATA = "metadata"
    DELETED = "deleted"
    KEPT = "kept"
    RESTORED = "restored"
    PER_HOST = "per-host"
    REGENERATE = "regenerate"
    ACCOUNT = "account"
    UNIT = "unit"
    SUPERSEDED = "superseded"


@dataclass(frozen=True)
class Notice:
    """Something that an administrator should be able to see; ``beside`` is where the image's version lies."""

    path: str
    topic: Topic
    text: str
    beside: str = ""


@dataclass(frozen=True)
class Action:
    """What ``path`` is to be.  ``origin`` is the path in the source's tree; ``content`` belongs to MERGED alone.

    ``basis`` is the digest of the node's file that a merged content was made from: the executor refuses when the file
    was changed since.
    """

    path: str
    source: Source
    why: Why
    kind: Optional[Kind] = None
    meta: Optional[Meta] = None
    origin: str = ""
    target: str = ""
    device: int = 0
    size: int = 0
    content: Optional[bytes] = None
    basis: bytes = b""


@dataclass(frozen=True)
class IdMap:
    """Numeric owners of an image that mean another number on this node."""

    uids: Mapping[int, int] = field(default_factory=dict)
    gids: Mapping[int, int] = field(default_factory=dict)

    def uid(self, number: int) -> int:
        return self.uids.get(number, number)

    def gid(self, number: int) -> int:
        return self.gids.get(number, number)

    def __bool__(self) -> bool:
        return bool(self.uids or self.gids)


@dataclass(frozen=True)
class MergePlan:
    """The whole result: one action per path, parents first; ``ids`` maps the new image's owners to the node's."""

    actions: tuple[Action, ...]
    notices: tuple[Notice, ...]
    ids: IdMap

    @property
    def conflicts(self) -> tuple[Notice, ...]:
        return tuple(notice for notice in self.notices if notice.topic is Topic.CONFLICT)

    @property
    def size(self) -> int:
        """Bytes of file content that the layer gets, at most."""
        return sum(
            action.size
            for action in self.actions
            if action.source in (Source.NODE, Source.MERGED) or action.why is Why.BESIDE
        )


def parent(path: str) -> str:
    """The folder of ``path``; "" for what lies in /etc itself."""
    return path.rpartition("/")[0]


def order(path: str) -> tuple[str, ...]:
    """A sort key that puts a folder before all of its content and keeps that together."""
    return tuple(path.split("/")) if path else ()

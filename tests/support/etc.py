"""Small /etc trees for tests: in memory for planning, on disk for reading and executing."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Generator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Optional

from org_ovirt_node.node.merge.model import (
    ACL,
    CHUNK,
    LABEL,
    Action,
    Entry,
    Kind,
    MergePlan,
    Meta,
    Source,
    order,
    parent,
)
from org_ovirt_node.node.merge.write import TYPES

ETC_T = b"system_u:object_r:etc_t:s0\0"
NULL = os.makedev(1, 3)


@dataclass(frozen=True)
class Node:
    """What is at a path; the text of a file or the target of a link is ``body``."""

    kind: Kind
    body: bytes = b""
    mode: int = 0o644
    uid: int = 0
    gid: int = 0
    xattrs: tuple[tuple[str, bytes], ...] = ()
    device: int = 0

    @property
    def meta(self) -> Meta:
        return Meta(self.mode, self.uid, self.gid, self.xattrs)


Spec = Mapping[str, Node]


def file(text: str = "", mode: int = 0o644, uid: int = 0, gid: int = 0) -> Node:
    return Node(Kind.FILE, text.encode("utf-8", "surrogateescape"), mode, uid, gid)


def folder(mode: int = 0o755, uid: int = 0, gid: int = 0) -> Node:
    return Node(Kind.DIRECTORY, b"", mode, uid, gid)


def link(target: str) -> Node:
    return Node(Kind.LINK, os.fsencode(target), 0o777)


def device(number: int = NULL) -> Node:
    return Node(Kind.CHARACTER, device=number)


def fifo() -> Node:
    return Node(Kind.FIFO)


def attributes(node: Node, **values: bytes) -> Node:
    """With xattrs: ``user_x=b"…"`` is user.x, ``label`` the SELinux label, ``acl`` the access ACL."""
    names = {"label": LABEL, "acl": ACL}
    added = {names.get(name, name.replace("_", ".")): value for name, value in values.items()}
    return replace(node, xattrs=tuple(sorted({**dict(node.xattrs), **added}.items())))


class MemoryTree:
    """A tree that is nowhere; its parents are made as needed, and ``reads`` counts what was looked into."""

    def __init__(self, spec: Spec) -> None:
        nodes = complete(spec)
        self.nodes = nodes
        self.reads: list[str] = []
        self.entries = {
            path: Entry(
                path,
                node.kind,
                node.meta,
                size=len(node.body) if node.kind is Kind.FILE else 0,
                target=os.fsdecode(node.body) if node.kind is Kind.LINK else "",
                device=node.device,
            )
            for path, node in nodes.items()
        }

    def digest(self, path: str) -> bytes:
        self.reads.append(path)
        return hashlib.sha256(self.nodes[path].body).digest()

    def read(self, path: str) -> bytes:
        self.reads.append(path)
        return self.nodes[path].body

    def blocks(self, path: str) -> Generator[bytes, None, None]:
        body = self.read(path)
        yield from (body[start : start + CHUNK] for start in range(0, len(body), CHUNK))


def complete(spec: Spec) -> dict[str, Node]:
    """``spec`` with every folder that it needs, and a file that makes it an /etc; folders first."""
    nodes = {"": folder(), "os-release": link("../usr/lib/os-release"), **spec}
    for path in spec:
        above = parent(path)
        while above:
            nodes.setdefault(above, folder())
            above = parent(above)
    return {path: nodes[path] for path in sorted(nodes, key=order)}


def write(spec: Spec, root: Path) -> Path:
    """Make the tree on disk."""
    for path, node in complete(spec).items():
        place = root / path if path else root
        if node.kind is Kind.DIRECTORY:
            place.mkdir(exist_ok=True, parents=not path)
        elif node.kind is Kind.FILE:
            place.write_bytes(node.body)
        elif node.kind is Kind.LINK:
            place.symlink_to(os.fsdecode(node.body))
        else:
            os.mknod(place, TYPES[node.kind] | 0o600, node.device)
        os.lchown(place, node.uid, node.gid)
        for name, value in node.xattrs:
            os.setxattr(place, name, value, follow_symlinks=False)
        if node.kind is not Kind.LINK:
            place.chmod(node.mode)
    return root


def result(plan: MergePlan, node: MemoryTree, new: MemoryTree) -> dict[str, Node]:
    """The tree that a plan describes."""
    found = {}
    for action in plan.actions:
        if action.kind is not None and action.meta is not None:
            meta = action.meta
            found[action.path] = Node(
                action.kind, body(action, node, new), meta.mode, meta.uid, meta.gid, meta.xattrs, action.device
            )
    return found


def body(action: Action, node: MemoryTree, new: MemoryTree) -> bytes:
    if action.content is not None:
        return action.content
    if action.kind is Kind.LINK:
        return os.fsencode(action.target)
    tree = new if action.source is Source.IMAGE else node
    return tree.nodes[action.origin].body


def on_disk(root: Path) -> dict[str, Node]:
    """What lies below ``root``, read without the code under test."""
    found = {}
    for above, folders, names in os.walk(root):
        for name in ("", *folders, *names) if above == str(root) else (*folders, *names):
            place = Path(above) / name
            status = place.lstat()
            kind = next(kind for kind, mask in {**TYPES, **PLAIN}.items() if stat.S_IFMT(status.st_mode) == mask)
            content = b""
            if kind is Kind.FILE:
                content = place.read_bytes()
            elif kind is Kind.LINK:
                content = os.fsencode(place.readlink())
            names_of = sorted(os.listxattr(place, follow_symlinks=False))
            found[str(place.relative_to(root)) if name else ""] = Node(
                kind,
                content,
                stat.S_IMODE(status.st_mode),
                status.st_uid,
                status.st_gid,
                tuple((key, os.getxattr(place, key, follow_symlinks=False)) for key in names_of),
                status.st_rdev if kind in (Kind.CHARACTER, Kind.BLOCK) else 0,
            )
    return found


PLAIN = {Kind.FILE: stat.S_IFREG, Kind.DIRECTORY: stat.S_IFDIR, Kind.LINK: stat.S_IFLNK}


def at(plan: MergePlan, path: str) -> Optional[Action]:
    """The action for ``path``."""
    return next((action for action in plan.actions if action.path == path), None)

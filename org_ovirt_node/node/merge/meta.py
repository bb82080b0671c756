"""Permissions, owners and extended attributes, merged three-way and apart from the content.

Mode and access ACL are one thing: the mask of an ACL is the group part of the mode (acl(5)), so a mode of one side
over an ACL of the other would take rights away, or give them.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Optional, TypeVar

from org_ovirt_node.node.merge.model import ACL, DEFAULT_ACL, LABEL, IdMap, Meta

T = TypeVar("T")

#: posix_acl_xattr.h: a 32-bit version, then entries of tag, permissions and id.
ACL_HEADER = struct.Struct("<I")
ACL_ENTRY = struct.Struct("<HHI")
ACL_USER, ACL_GROUP = 0x02, 0x08


@dataclass(frozen=True)
class Clash:
    """An attribute that both sides changed differently, and whose is in the result."""

    attribute: str
    node: str
    image: str
    winner: str = "node"

    def __str__(self) -> str:
        if self.winner == "image":
            return f"{self.attribute}: the image's {self.image} is taken, this node had {self.node}"
        return f"{self.attribute}: this node's {self.node} is kept, the image has {self.image}"


@dataclass(frozen=True)
class MetaMerge:
    meta: Meta
    clashes: tuple[Clash, ...]


def _pick(old: Optional[T], node: T, new: T) -> tuple[T, bool]:
    """The three-way result, and whether it was a clash (``old`` None: there is no common origin)."""
    if node == new or new == old:
        return node, False
    if node == old:
        return new, False
    return node, True


def _rights(meta: Meta) -> tuple[int, Optional[bytes]]:
    return meta.mode, meta.xattr(ACL)


def _show_rights(rights: tuple[int, Optional[bytes]]) -> str:
    return f"{rights[0]:04o}{' with an ACL' if rights[1] is not None else ''}"


def _show_xattr(value: Optional[bytes]) -> str:
    return "none" if value is None else value.rstrip(b"\0").decode("utf-8", "backslashreplace")


def merge(old: Optional[Meta], node: Meta, new: Meta) -> MetaMerge:
    """The attributes of a path that both sides have, as the same type; ``old`` is None where it is new on both."""
    if node == new:
        return MetaMerge(node, ())
    clashes: list[Clash] = []

    def pick(name: str, get: Callable[[Meta], T], show: Callable[[T], str]) -> T:
        value, clash = _pick(None if old is None else get(old), get(node), get(new))
        if clash:
            clashes.append(Clash(name, show(get(node)), show(get(new))))
        return value

    mode, acl = pick("mode", _rights, _show_rights)
    uid = pick("owner", lambda meta: meta.uid, str)
    gid = pick("group", lambda meta: meta.gid, str)
    names = {name for meta in (old, node, new) if meta is not None for name, _value in meta.xattrs}
    values: dict[str, Optional[bytes]] = {ACL: acl}
    for name in sorted(names - {ACL, LABEL}):
        values[name] = pick(name, lambda meta, name=name: meta.xattr(name), _show_xattr)  # type: ignore[misc]
    label, clash = _label(old, node, new)
    if clash is not None:
        clashes.append(clash)
    values[LABEL] = label
    kept = tuple(sorted((name, value) for name, value in values.items() if value is not None))
    return MetaMerge(Meta(mode, uid, gid, kept), tuple(clashes))


def _label(old: Optional[Meta], node: Meta, new: Meta) -> tuple[Optional[bytes], Optional[Clash]]:
    """The image's label, unless the user set another one.

    A label that is missing was lost (a file written without SELinux), not chosen.  Without a common origin the
    image's policy knows better what belongs to the path.
    """
    before, ours, theirs = (None if meta is None else meta.xattr(LABEL) for meta in (old, node, new))
    if ours is None or theirs is None or ours == theirs:
        return theirs if ours is None else ours, None
    if old is None or before is None:
        return theirs, Clash("SELinux label", _show_xattr(ours), _show_xattr(theirs), "image")
    value, clash = _pick(before, ours, theirs)
    return value, Clash("SELinux label", _show_xattr(ours), _show_xattr(theirs)) if clash else None


def changed(old: Meta, node: Meta) -> tuple[str, ...]:
    """What a user changed of the attributes; the label counts only where both have one."""
    found = []
    if _rights(old) != _rights(node):
        found.append("mode")
    if old.uid != node.uid:
        found.append("owner")
    if old.gid != node.gid:
        found.append("group")
    names = {name for meta in (old, node) for name, _value in meta.xattrs} - {ACL, LABEL}
    found += sorted(name for name in names if old.xattr(name) != node.xattr(name))
    if label_changed(old, node):
        found.append("SELinux label")
    return tuple(found)


def label_changed(old: Meta, node: Meta) -> bool:
    """True when both have a label, and not the same."""
    before, after = old.xattr(LABEL), node.xattr(LABEL)
    return before is not None and after is not None and before != after


def with_label(meta: Meta, label: Optional[bytes]) -> Meta:
    """``meta`` with another SELinux label, or its own where there is none."""
    if label is None:
        return meta
    others = [(name, value) for name, value in meta.xattrs if name != LABEL]
    return replace(meta, xattrs=tuple(sorted([*others, (LABEL, label)])))


def mapped(meta: Meta, ids: IdMap) -> Meta:
    """An image's attributes with the ids that they have on this node, in ACLs too."""
    if not ids:
        return meta
    xattrs = tuple(
        (name, mapped_acl(value, ids) if name in (ACL, DEFAULT_ACL) else value) for name, value in meta.xattrs
    )
    return replace(meta, uid=ids.uid(meta.uid), gid=ids.gid(meta.gid), xattrs=xattrs)


def mapped_acl(value: bytes, ids: IdMap) -> bytes:
    """An ACL with mapped ids; entries stay sorted by id, as the kernel wants them."""
    body = value[ACL_HEADER.size :]
    if len(value) < ACL_HEADER.size or len(body) % ACL_ENTRY.size:
        return value
    translate = {ACL_USER: ids.uid, ACL_GROUP: ids.gid}
    entries = sorted(
        (tag, translate[tag](number) if tag in translate else number, rights)
        for tag, rights, number in ACL_ENTRY.iter_unpack(body)
    )
    return value[: ACL_HEADER.size] + b"".join(ACL_ENTRY.pack(tag, rights, number) for tag, number, rights in entries)

"""Are two files the same?  Small ones by their digests, which serve again; large ones byte by byte."""

from __future__ import annotations

from contextlib import ExitStack, closing
from itertools import zip_longest

from org_ovirt_node.node.merge.model import Tree

#: From this size (bytes) on two files are compared as they are: that costs less than hashing both.
LARGE = 64 * 1024


def same_content(left: Tree, one: str, right: Tree, two: str, size: int) -> bool:
    """True when the file ``one`` of ``left`` has the content of ``two`` of ``right``; both have ``size`` bytes."""
    if size == 0:
        return True
    if size < LARGE:
        return left.digest(one) == right.digest(two)
    with ExitStack() as stack:
        first, second = (stack.enter_context(closing(tree.blocks(path))) for tree, path in ((left, one), (right, two)))
        return all(block == other for block, other in zip_longest(first, second))

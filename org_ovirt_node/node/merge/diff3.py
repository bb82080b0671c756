"""A three-way merge of text by line, as ``diff3 -m`` and ``git merge-file`` do it, without needing either on a node.

Lines that all three texts share divide them into regions.  In a region that only one side changed its change is
taken, the same change on both sides is taken once, anything else is a conflict; changes that touch each other are one
region.  The result does not depend on the machine or on time: what would be too much work is refused by its size.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from difflib import SequenceMatcher
from typing import Optional
from xml.etree import ElementTree

#: Bytes of one text; files in /etc that people edit are far below.
MAX_SIZE = 512 * 1024
#: Pairs of equal lines between two texts, the unit of difflib's work: about a second at worst.
MAX_PAIRS = 1_000_000


def is_text(content: bytes) -> bool:
    """Text as diff tells it: no NUL byte, and of a size that is merged at all."""
    return len(content) <= MAX_SIZE and b"\0" not in content


def merge(old: bytes, node: bytes, new: bytes, name: str = "") -> Optional[bytes]:
    """``node`` and ``new`` with the changes of both against ``old``; None for a conflict, or for what is not text.

    ``name`` tells formats in which a clean merge of lines can still be broken: a result that is no JSON or XML any
    more, although all three were, is a conflict.
    """
    if not (is_text(old) and is_text(node) and is_text(new)):
        return None
    merged = _merge_lines(_lines(old), _lines(node), _lines(new))
    if merged is None:
        return None
    content = b"".join(merged)
    if not _well_formed(name, content) and all(_well_formed(name, text) for text in (old, node, new)):
        return None
    return content


def _lines(text: bytes) -> list[bytes]:
    """Lines with their ends; only a newline ends one."""
    parts = text.split(b"\n")
    return [part + b"\n" for part in parts[:-1]] + ([parts[-1]] if parts[-1] else [])


def _well_formed(name: str, content: bytes) -> bool:
    try:
        if name.endswith(".json"):
            json.loads(content)
        elif name.endswith(".xml"):
            # Only whether it is well-formed; expat bounds what entities may grow to (since 2.4.1).
            ElementTree.fromstring(content)  # nosec B314
    except (ValueError, RecursionError, ElementTree.ParseError):
        return False
    return True


def _merge_lines(base: list[bytes], left: list[bytes], right: list[bytes]) -> Optional[list[bytes]]:
    matches = [_matches(base, side) for side in (left, right)]
    if matches[0] is None or matches[1] is None:
        return None
    result: list[bytes] = []
    done = (0, 0, 0)
    for start, length in (*_common(matches[0], matches[1]), ((len(base), len(left), len(right)), 0)):
        old, ours, theirs = (text[begin:end] for text, begin, end in zip((base, left, right), done, start))
        if ours == old:
            result += theirs
        elif theirs in (old, ours):
            result += ours
        else:
            return None
        result += base[start[0] : start[0] + length]
        done = (start[0] + length, start[1] + length, start[2] + length)
    return result


def _matches(base: Sequence[bytes], side: Sequence[bytes]) -> Optional[dict[int, int]]:
    """The line of ``side`` for every line of ``base`` that has one; None when it would be too much work."""
    head = 0
    while head < min(len(base), len(side)) and base[head] == side[head]:
        head += 1
    tail = 0
    while tail < min(len(base), len(side)) - head and base[-1 - tail] == side[-1 - tail]:
        tail += 1
    inner, other = base[head : len(base) - tail], side[head : len(side) - tail]
    counts = Counter(other)
    if sum(counts[line] for line in inner) > MAX_PAIRS:
        return None
    found = {index: index for index in range(head)}
    for block in SequenceMatcher(None, inner, other, autojunk=False).get_matching_blocks():
        for step in range(block.size):
            found[head + block.a + step] = head + block.b + step
    for step in range(1, tail + 1):
        found[len(base) - step] = len(side) - step
    return found


def _common(left: dict[int, int], right: dict[int, int]) -> Iterator[tuple[tuple[int, int, int], int]]:
    """Runs of lines that all three texts share, as ((base, left, right), length)."""
    start: Optional[tuple[int, int, int]] = None
    length = 0
    for index in sorted(left.keys() & right.keys()):
        here = (index, left[index], right[index])
        if start is not None and here == (start[0] + length, start[1] + length, start[2] + length):
            length += 1
            continue
        if start is not None:
            yield start, length
        start, length = here, 1
    if start is not None:
        yield start, length

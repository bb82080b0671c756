"""How long the merge of an /etc with 3,000 files takes to plan, and to carry out.

    python -m tests.bench.merge [FILES]

The three trees are real directories in a temporary folder.  A tenth of the files is changed on the node, a tenth in
the image, some of them on both sides.  It prints seconds, and the ratio to the limit.
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path

from org_ovirt_node.node.merge.execute import execute
from org_ovirt_node.node.merge.plan import plan
from org_ovirt_node.node.merge.tree import DirectoryTree
from tests.support.etc import Node, file, write

FILES = 3000
#: Seconds in which 3,000 files must be planned, reading all three trees included.
LIMIT = 1.0
#: Lines of a file of /etc, typically.
LINES = 60
ROUNDS = 3


def trees(count: int) -> tuple[dict[str, Node], dict[str, Node], dict[str, Node]]:
    """The old image's, the node's and the new image's."""
    lines = [f"option{number} = value\n" for number in range(LINES)]
    sides: tuple[dict[str, Node], dict[str, Node], dict[str, Node]] = ({}, {}, {})
    for number in range(count):
        path = f"folder{number % 150}/sub{number % 2}/file{number}.conf"
        head, *rest = lines
        texts = [
            f"# {number}\n{head}" + "".join(rest),
            f"# {number}\n" + ("changed here\n" if number % 10 == 0 else head) + "".join(rest),
            f"# {number}\n{head}" + "".join(rest) + ("new\n" if number % 10 == 0 or number % 11 == 0 else ""),
        ]
        for side, text in zip(sides, texts):
            side[path] = file(text)
    return sides


def main() -> int:
    count = int(sys.argv[1]) if len(sys.argv) > 1 else FILES
    with tempfile.TemporaryDirectory(prefix="merge-bench-") as base:
        specs = trees(count)
        roots = [write(spec, Path(base) / name) for name, spec in zip(("old", "node", "new"), specs)]
        target = write(specs[2], Path(base) / "target")
        best = float("inf")
        for _round in range(ROUNDS):
            begin, work = time.monotonic(), time.process_time()
            sides = [DirectoryTree(root) for root in roots]
            read = time.monotonic() - begin
            made = plan(sides[0], sides[1], sides[2])
            seconds = time.monotonic() - begin
            best = min(best, seconds)
            print(
                f"plan of {count} files: {seconds:.2f} s ({read:.2f} s of it reading the three trees), "
                f"{time.process_time() - work:.2f} s of CPU"
            )
        begin = time.monotonic()
        outcome = execute(made, sides[1], sides[2], target)
        print(f"execution: {time.monotonic() - begin:.2f} s, {outcome.written} written, {outcome.size} bytes")
    limit = LIMIT * count / FILES
    print(f"best plan {best:.2f} s, {best / limit:.2f} of the limit of {limit:.2f} s")
    return 0 if best < limit else 1


if __name__ == "__main__":
    sys.exit(main())

"""Runs the add-on's tests where Anaconda is.

    python -m tests.anaconda unit --root TREE      the tests here, in the root tree TREE (natively)
    python -m tests.anaconda native --root TREE    whole runs of ``anaconda --dirinstall`` in it (natively)
    python -m tests.anaconda vm --root TREE        whole installations in virtual machines
    python -m tests.anaconda all --root TREE       all of these: make check-anaconda

TREE is a root tree in which Anaconda is installed: the unpacked install root of a boot.iso, or one made by hand.  With
ANACONDA_SRC=/path/to/anaconda its pyanaconda is used instead of the tree's.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from pathlib import Path
from typing import Optional

from tests.anaconda import chroot, native

#: All unit tests take well under a minute where nothing else runs.
UNIT_SECONDS = 600.0


#: Where the graphical spoke is drawn, in the tree.
PICTURE = "tmp/ovirt-node-spoke.png"


def unit(tree: Path, more: list[Path], pattern: str, picture: Optional[Path] = None) -> int:
    """The tests of this folder whose files match ``pattern``, in the root tree with the trees ``more`` above it.

    ``picture`` is where a drawing of the graphical spoke goes.
    """
    paths = ["/usr/share/anaconda/addons", "/project"]
    source = os.environ.get("ANACONDA_SRC", "")
    layers = list(more)
    if source:
        paths.insert(0, "/anaconda")
        layers.append(_source_layer(Path(source)))
    environment = [f"PYTHONPATH={':'.join(paths)}", f"OVIRT_NODE_PICTURE=/{PICTURE}"]
    with chroot.root_with_addon(tree, *layers) as root:
        command = [
            "sh",
            "-c",
            f"cd /project && exec python3 -m unittest discover -v -s tests/anaconda -t . -p '{pattern}'",
        ]
        status = root.run(command, environment=environment, timeout=UNIT_SECONDS)
        if picture and (root.upper / PICTURE).is_file():
            picture.write_bytes((root.upper / PICTURE).read_bytes())
        return status


def _source_layer(source: Path) -> Path:
    """A layer with Anaconda's checkout in /anaconda."""
    import shutil
    import tempfile

    layer = Path(tempfile.mkdtemp(prefix="anaconda-src-"))
    shutil.copytree(source / "pyanaconda", layer / "anaconda/pyanaconda")
    return layer


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tests.anaconda", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("kind", choices=("unit", "native", "vm", "all"))
    parser.add_argument("names", nargs="*", help="unit: one pattern of file names; native: only these runs")
    parser.add_argument("--layer", type=Path, action="append", default=[], help="unit: a tree to lay over TREE")
    parser.add_argument("--root", type=Path, default=os.environ.get("ANACONDA_ROOT"), help="the root tree")
    parser.add_argument("--picture", type=Path, help="unit: draw the graphical spoke into this file")
    given = parser.parse_intermixed_args()
    if not given.root or not (given.root / "usr").is_dir():
        print("SKIPPED: no root tree with Anaconda: give --root or ANACONDA_ROOT", flush=True)
        return 0
    begun = time.monotonic()
    failed = 0
    if given.kind in ("unit", "all"):
        failed += unit(given.root, given.layer, (given.names or ["test_*.py"])[0], given.picture) != 0
    if given.kind in ("native", "all"):
        failed += native.run_all(given.root, given.names)
    if given.kind in ("vm", "all"):
        failed += machines(given.root, given.names)
    result = {"scenario": f"anaconda-{given.kind}", "result": "fail" if failed else "pass", "failed": failed}
    print(json.dumps({**result, "seconds": round(time.monotonic() - begun, 1)}), flush=True)
    return 1 if failed else 0


def machines(tree: Path, names: list[str]) -> int:
    """The scenarios in virtual machines, or those of ``names``; returns how many failed."""
    from tests.anaconda import scenarios, scenarios_stopped, scenarios_text
    from tests.vm.runner import run_one
    from tests.vm.scenario import REGISTER

    os.environ["ANACONDA_ROOT"] = str(tree.resolve())
    ours = {module.__name__ for module in (scenarios_stopped, scenarios, scenarios_text)}
    chosen = [known for known in REGISTER.values() if known.function.__module__ in ours]
    return sum(run_one(known) for known in chosen if not names or known.name in names)


if __name__ == "__main__":
    sys.exit(main())

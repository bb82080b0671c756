"""Whole runs of ``anaconda --dirinstall``, natively: everything that happens before a disk is needed."""

from __future__ import annotations

import functools
import json
import os
import re
import selectors
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Optional

from tests.anaconda import chroot, native_text

#: A run takes 15 s alone, and several times that beside others.
SECONDS = 240.0
#: In command line mode Anaconda waits three minutes after an error; the words before are enough.
ENDED = re.compile(r"The installer will now terminate|Complete!|Press 'q' to quit|Kernel panic")

ADDON = "usr/share/anaconda/addons/org_ovirt_node"
BASE = """\
lang en_US.UTF-8
keyboard us
timezone UTC --utc
timesource --ntp-disable
network --hostname=node.example.org
rootpw --plaintext secret
selinux --disabled
firewall --disabled
liveimg --url=file:///usr/share/ovirt-node/skeleton.tar
shutdown
"""


def guard() -> str:
    """The %pre of our kickstarts that looks for the add-on."""
    text = (chroot.PROJECT / "kickstarts/anaconda-pxe.ks").read_text(encoding="utf-8")
    found = re.search(r"(?ms)^%pre .*?^%end$", text)
    assert found is not None
    return found.group(0) + "\n"


@dataclass(frozen=True)
class Run:
    """A kickstart, and what must and must not be said.

    ``addon`` is False where our files are left out, ``screens`` where only those of the screens are.
    """

    name: str
    kickstart: str
    says: tuple[str, ...]
    says_not: tuple[str, ...] = ("Complete!", "Traceback")
    addon: bool = True
    screens: bool = True


RUNS = (
    Run(
        "anaconda-bad-section",
        BASE + "%addon org_ovirt_node --image=http://a/b --nosignature --imgae-slots=3\n%end\n",
        ("%addon org_ovirt_node", "--imgae-slots"),
    ),
    Run(
        "anaconda-bad-volume",
        BASE + "%addon org_ovirt_node --image=http://a/b --nosignature\nvolume /data --size=20\n%end\n",
        ("%addon org_ovirt_node", "/data", "--size", "'20'"),
    ),
    Run(
        "anaconda-bad-image",
        BASE + "%addon org_ovirt_node --image=file:/etc/os-release --nosignature\n%end\n",
        ("%addon org_ovirt_node: --image", "is not a squashfs image"),
    ),
    Run(
        "anaconda-missing-image",
        BASE + "%addon org_ovirt_node --image=file:/nowhere/node.squashfs --nosignature\n%end\n",
        ("%addon org_ovirt_node: --image", "/nowhere/node.squashfs", "No such file"),
    ),
    Run("anaconda-no-section", BASE, ("oVirt Node", "No image chosen")),
    # As in Anaconda's web interface, which has no screens of add-ons and asks the services all the same.
    Run(
        "anaconda-no-screens",
        BASE,
        ("no image of oVirt Node is chosen, and there is nothing else", "inst.text"),
        screens=False,
    ),
    Run(
        "anaconda-addon-missing",
        BASE + guard() + "%addon org_ovirt_node --image=http://a/b --nosignature\n%end\n",
        ("The oVirt Node add-on is missing in this installer",),
        says_not=("Complete!", "Setting up the installation environment"),
        addon=False,
    ),
    Run(
        "anaconda-directory",
        BASE + guard() + "%addon org_ovirt_node --image=file:/kickstart/node-1.squashfs --nosignature\n%end\n",
        ("%addon org_ovirt_node", "an installation into a directory has no volumes"),
    ),
)


def run_all(tree: Path, names: Sequence[str]) -> int:
    """All runs, or those of ``names``; returns how many failed."""
    runs: dict[str, Callable[[], str]] = {run.name: functools.partial(one, tree, run) for run in RUNS}
    runs[native_text.NAME] = functools.partial(by_keys, tree)
    failed = 0
    for name, run in runs.items():
        if names and name not in names:
            continue
        begun = time.monotonic()
        problem = run()
        failed += bool(problem)
        result = {"scenario": name, "result": "fail" if problem else "pass"}
        print(json.dumps({**result, "seconds": round(time.monotonic() - begun, 1), "problem": problem}), flush=True)
    return failed


def small_image(folder: Path) -> Path:
    """A squashfs that could be a node's, in ``folder``."""
    (folder / "tree/usr").mkdir(parents=True)
    image = folder / "node-1.squashfs"
    subprocess.run(
        ["mksquashfs", folder / "tree", image, "-quiet", "-no-progress"], check=True, stdout=subprocess.DEVNULL
    )
    return image


def by_keys(tree: Path) -> str:
    """Text mode without a kickstart; what was wrong, or nothing."""
    with tempfile.TemporaryDirectory(prefix="image-") as folder:
        return native_text.one(tree, small_image(Path(folder)))


def one(tree: Path, run: Run) -> str:
    """What was wrong, or nothing."""
    layer = Path(tempfile.mkdtemp(prefix="kickstart-"))
    (layer / "kickstart").mkdir()
    (layer / "kickstart/ks.cfg").write_text(run.kickstart, encoding="utf-8")
    small_image(layer / "kickstart")
    if not run.screens:
        (layer / ADDON).mkdir(parents=True)
        # What overlayfs takes for a removed folder (kernel: filesystems/overlayfs.rst, "whiteouts").
        os.mknod(layer / ADDON / "tui", stat.S_IFCHR, os.makedev(0, 0))
    with chroot.root_with_addon(tree, layer) as root:
        if not run.addon:
            root = chroot.Root(root.work, tuple(path for path in root.lower if path.name != "addon"))
        argv, environment = root.argv(["anaconda", "--dirinstall", "--cmdline", "--kickstart=/kickstart/ks.cfg"])
        said = _until_ended(argv, environment)
    if said is None:
        return f"nothing decisive within {SECONDS:g} s"
    text = " ".join(said.split())
    missing = [words for words in run.says if words not in text]
    unwanted = [words for words in run.says_not if words in text]
    if missing or unwanted:
        print(said, file=sys.stderr, flush=True)
        return f"missing {missing}, unwanted {unwanted}"
    return ""


def _until_ended(argv: Sequence[str], environment: dict[str, str]) -> Optional[str]:
    """What was printed up to the words that decide it; None when they did not come in time."""
    process = subprocess.Popen(
        argv, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    assert process.stdout is not None
    said = b""
    end = time.monotonic() + SECONDS
    with selectors.DefaultSelector() as selector:
        selector.register(process.stdout, selectors.EVENT_READ)
        try:
            while time.monotonic() < end:
                if not selector.select(1.0):
                    continue
                part = os.read(process.stdout.fileno(), 65536)
                said += part
                text = said.decode(errors="replace")
                if not part or ENDED.search(text):
                    return text
        finally:
            process.kill()
            process.wait()
            process.stdout.close()
    print(said.decode(errors="replace"), file=sys.stderr, flush=True)
    return None

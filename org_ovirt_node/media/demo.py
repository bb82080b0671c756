"""``make demo-iso``: the demo image, unless one is given, and its installer ISO."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from org_ovirt_node.cli import image as program
from org_ovirt_node.image.runtime import find_profile

PROFILE, VERSION, RELEASE = "demo-node", "1.0", "1"


def build(folder: Path) -> Path:
    """The demo image in ``folder``, made anew: what it is made of may have changed."""
    from org_ovirt_node.image.profile import load

    image = folder / f"{load(find_profile(PROFILE)).name}-{VERSION}-{RELEASE}.squashfs"
    argv = ["build", "--profile", PROFILE, "--version", VERSION, "--release", RELEASE, "--output", str(folder)]
    if program.main(argv) != 0:
        sys.exit(1)
    return image


def main() -> int:
    """The program."""
    made = argparse.ArgumentParser(prog="demo-iso", description="Make an installer ISO of the demo image.")
    made.add_argument("folder", type=Path, metavar="DIR", help="where both go")
    made.add_argument("image", type=Path, nargs="?", help="an image that is there (default: one is built)")
    made.add_argument("--kickstart", metavar="FILE", help="install as this says, without a question")
    options = made.parse_args()
    image = options.image or build(options.folder)
    output = options.folder / f"{image.name.removesuffix('.squashfs')}.iso"
    more = ["--kickstart", options.kickstart] if options.kickstart else []
    return program.main(["iso", str(image), "--output", str(output), "--replace", *more])


if __name__ == "__main__":
    sys.exit(main())

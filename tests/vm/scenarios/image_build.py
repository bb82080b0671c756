"""Building the demo image from nothing: the same bytes twice, and no larger than it may be."""

from __future__ import annotations

import time

from org_ovirt_node.image.build import BuildRequest, build
from org_ovirt_node.image.profile import load
from org_ovirt_node.progress import Silent
from tests.vm import artefacts
from tests.vm.errors import check, check_equal
from tests.vm.scenario import Context, scenario

#: Bytes that the demo image may have.
LARGEST = 200 << 20
#: Stages in which mmdebstrap and mksquashfs work, and little else; the rest of a build is ours.
THEIRS = ("packages", "squashfs")


@scenario("image-reproducible", issues=(7,), core=True)
def image_reproducible(context: Context) -> None:
    """Two builds of the demo image that share nothing but the mirror are the same, byte for byte."""
    made, seconds = [], []
    for name in ("first", "second"):
        folder = context.folder / name
        profile = load(artefacts.PROFILE)
        begin = time.monotonic()
        built = build(BuildRequest(profile, "1.0", "1", folder, cache=None), Silent())
        seconds.append(time.monotonic() - begin)
        context.say(f"{name}: {built.sha256}, {built.size} bytes, {built.seconds}")
        made.append(built)
    first, second = made
    check_equal(second.sha256, first.sha256, "the digest of the second image")
    check_equal(second.roothash, first.roothash, "the root hash of the second image")
    for path in sorted(first.path.parent.iterdir()):
        other = second.path.parent / path.name
        check(path.read_bytes() == other.read_bytes(), f"{path.name} of the second build is another")
    check(first.size <= LARGEST, f"the demo image has {first.size} bytes, more than {LARGEST}")
    ratios = [whole / sum(one.seconds[name] for name in THEIRS) for whole, one in zip(seconds, made)]
    context.figures["build_to_theirs"] = [round(ratio, 2) for ratio in ratios]
    context.figures["image_mib"] = round(first.size / (1 << 20), 1)

"""An installer's parts: kernel, initramfs, and the squashfs layers of its root.

The root of an installer is a node image, over it what an installer needs beside (image/installer.py), over that the
project's own code.  So a medium has no second root: the image that it installs is the lowest layer.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from org_ovirt_node.errors import ImageError
from org_ovirt_node.image import runtime
from org_ovirt_node.image.contents import opened
from org_ovirt_node.image.installer import SITE_PACKAGES, Installer, kernel_of
from org_ovirt_node.media import early
from org_ovirt_node.mounts import bound, mounted
from org_ovirt_node.payload import squashfs
from org_ovirt_node.payload.facts import TREE
from org_ovirt_node.payload.sources import open_source
from org_ovirt_node.progress import Progress
from org_ovirt_node.run import run

CODE_LAYER, DELTA_LAYER = "media.squashfs", "installer.squashfs"
PROGRAM, UNIT = "ovirt-node-setup", "ovirt-node-setup.service"
WANTS = "etc/systemd/system/ovirt-node-installer.target.wants"


@dataclass(frozen=True)
class Parts:
    """What boots an installer.  ``layers`` are files of squashfs images, the topmost first; the last is the node's."""

    kernel: Path
    initramfs: Path
    layers: tuple[Path, ...]


def data_folder() -> Path:
    """Where the medium's own files are.  Raises ImageError."""
    for folder in (found / "media" for found in runtime.DATA_FOLDERS):
        if folder.is_dir():
            return folder
    raise ImageError("the data files of installer media are not there", hint="Run it from a checkout.")


def check_image(image: Path) -> None:
    """Refuse an image that an installer cannot run on.  Raises ImageError, and PayloadError for what is no image."""
    with open_source(image.resolve().as_uri()) as source:
        form = squashfs.inspect(source).form
    if form != TREE:
        raise ImageError(
            f"{image} has its root in a file system inside it (form {form}), and an installer runs on a root tree",
            hint="Build an image of form tree from it: 'ovirt-node-image build --root IMAGE'.",
        )


def build(image: Path, installer: Installer, work: Path, progress: Progress) -> Parts:
    """Make the parts in the folder ``work`` from the node image ``image`` (form ``tree``) and the installer's delta.

    Raises ImageError and CommandError.
    """
    check_image(image)
    work.mkdir(parents=True, exist_ok=True)
    parts = Parts(work / "vmlinuz", work / "initrd.img", (work / CODE_LAYER, installer.delta, image))
    progress.step("media-layer", "Putting the installer's program over the image")
    with ExitStack() as stack:
        tree = stack.enter_context(opened(image))
        root = stack.enter_context(merged(tree, installer.delta, work / "root"))
        install_program(root)
        shutil.copyfile(kernel_of(tree), parts.kernel)
        parts.initramfs.write_bytes(early.build(root, data_folder() / "init"))
    upper = work / "root/upper"
    leave_opaque(upper)
    parts.layers[0].unlink(missing_ok=True)
    # trusted.overlay.opaque says that the image's own copy of the code is hidden: extended attributes have to stay.
    options = ["-noappend", "-quiet", "-no-progress", "-xattrs", "-all-root", "-comp", "zstd"]
    run(["mksquashfs", upper, parts.layers[0], *options, "-all-time", "0", "-mkfs-time", "0"])
    shutil.rmtree(work / "root")
    return parts


def leave_opaque(upper: Path) -> None:
    """Take from an overlay's upper half what only this mount could read: where files were copied from.

    ``trusted.overlay.opaque``, which hides what lies below a folder, stays (kernel: overlayfs.rst).
    """
    for folder, _folders, names in os.walk(upper):
        for path in (folder, *(os.path.join(folder, name) for name in names)):  # noqa: PTH118 - a few thousand
            for name in os.listxattr(path, follow_symlinks=False):
                if name.startswith("trusted.overlay.") and name != "trusted.overlay.opaque":
                    os.removexattr(path, name, follow_symlinks=False)


@contextmanager
def merged(tree: Path, delta: Path, work: Path) -> Iterator[Path]:
    """The image's tree with the delta over it, writable: what is written lands in ``work``/upper."""
    for name in ("upper", "overlay", "delta", "merged"):
        (work / name).mkdir(parents=True)
    with ExitStack() as stack:
        lower = stack.enter_context(mounted(str(delta), work / "delta", fstype="squashfs", options=["ro", "loop"]))
        options = [f"lowerdir={lower}:{tree}", f"upperdir={work / 'upper'}", f"workdir={work / 'overlay'}"]
        # Plain opaque folders only: the layer must make sense at another place.
        options += ["redirect_dir=nofollow", "metacopy=off", "index=off"]
        root = stack.enter_context(mounted("overlay", work / "merged", fstype="overlay", options=options))
        for name in ("run", "tmp"):
            stack.enter_context(mounted("tmpfs", root / name, fstype="tmpfs"))
        stack.enter_context(bound(Path("/dev"), root / "dev"))
        yield root


def install_program(root: Path) -> None:
    """Put code, program and unit into the installer's root, the code compiled."""
    target = root / SITE_PACKAGES / runtime.PACKAGE.name
    # The image's own copy lacks what only an installer has, and may be another version.
    shutil.rmtree(target)
    shutil.copytree(runtime.PACKAGE, target, ignore=shutil.ignore_patterns("__pycache__"))
    data = data_folder()
    program = root / "usr/bin" / PROGRAM
    shutil.copyfile(data / PROGRAM, program)
    program.chmod(0o755)
    shutil.copyfile(data / UNIT, root / "etc/systemd/system" / UNIT)
    (root / WANTS).mkdir(parents=True, exist_ok=True)
    (root / WANTS / UNIT).symlink_to(f"../{UNIT}")
    code = f"/{SITE_PACKAGES}/{runtime.PACKAGE.name}"
    run(["python3", "-m", "compileall", "-q", "--invalidation-mode", "unchecked-hash", code], root=root, check=False)

"""The new node's root while it is being installed: image, layer, overlay, and the shared volumes."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from org_ovirt_node.errors import PayloadError
from org_ovirt_node.i18n import _
from org_ovirt_node.inside import inside
from org_ovirt_node.mounts import chroot_ready, fstype_of, loop_device, mounted, overlaid, watched
from org_ovirt_node.payload.facts import LIVEOS, TREE, ImageFacts
from org_ovirt_node.payload.squashfs import inspect_mounted
from org_ovirt_node.payload.verity import view
from org_ovirt_node.run import run

#: Where Anaconda has the new system too, so that %post scripts find what they expect.
SYSROOT = Path("/mnt/sysroot")
WORK = Path("/mnt/ovirt-node")
INNER = "LiveOS/rootfs.img"
#: Where image_tree() mounts an image, and the inner one that some have.
OUTER_TREE, INNER_TREE = "image", "rootfs"
#: An inner image cannot be written to, so a journal in it cannot be replayed (ext4(5), xfs(5)).
NO_REPLAY = {"ext4": ["noload"], "ext3": ["noload"], "xfs": ["norecovery"]}
#: Names inside a layer's file system.
UPPER, OVERLAY_WORK = "upper", "work"


@dataclass(frozen=True)
class NodeRoot:
    """Where the parts are mounted; ``tree`` is the image's own root tree, read-only, ``root`` the overlay.

    ``flushes`` bring the layer and the volumes below ``root`` to their disks, each as mounts.watched() says.
    """

    tree: Path
    layer: Path
    root: Path
    flushes: tuple[Callable[[], None], ...] = ()

    @property
    def upper(self) -> Path:
        return self.layer / UPPER

    def flush(self) -> None:
        """Bring layer and volumes to their disks.  Raises OSError for whatever did not get there since the begin."""
        for flush in self.flushes:
            flush()


@dataclass(frozen=True)
class Mount:
    """A file system of the node: its device, mount point, type and options."""

    device: str
    mountpoint: str
    fstype: str
    options: tuple[str, ...] = ()


@contextmanager
def image_tree(device: str, target: Path) -> Iterator[Path]:
    """Mount an image read-only and yield its root tree, that of the inner image where there is one.

    Raises PayloadError when there is no root tree in it.
    """
    with ExitStack() as stack:
        source = view(Path(device))
        tree = stack.enter_context(mounted(str(source), target / OUTER_TREE, fstype="squashfs", options=["ro"]))
        inner = tree / INNER
        if inner.is_file():
            loop = stack.enter_context(loop_device(inner, readonly=True))
            fstype = fstype_of(inner)
            tree = stack.enter_context(
                mounted(loop, target / INNER_TREE, fstype=fstype, options=["ro", *NO_REPLAY.get(fstype, ())])
            )
        if not (tree / "usr").is_dir():
            raise PayloadError(
                _("the image holds neither a root tree nor LiveOS/rootfs.img"),
                hint=_("Build it with 'ovirt-node-image build' or livemedia-creator."),
            )
        yield tree


def form_of(tree: Path) -> str:
    """The form (payload/facts.py) of the image whose root tree :func:`image_tree` mounted at ``tree``."""
    return LIVEOS if tree.name == INNER_TREE else TREE


def inspected(tree: Path, facts: ImageFacts) -> ImageFacts:
    """``facts`` with what the image whose root tree is mounted at ``tree`` says itself, and its form."""
    return replace(inspect_mounted(tree, facts), form=form_of(tree))


@contextmanager
def node_root(image: str, layer: Mount, mounts: Sequence[Mount], *, work: Path, root: Path) -> Iterator[NodeRoot]:
    """Assemble the node's root at ``root`` for the length of the block; ``mounts`` are seeded on the way.

    A volume gets the image's own content of its directory before anything else can write there.
    """
    with ExitStack() as stack:
        tree = stack.enter_context(image_tree(image, work))
        base = stack.enter_context(mounted(layer.device, work / "layer", fstype=layer.fstype))
        for name in (UPPER, OVERLAY_WORK):
            (base / name).mkdir(exist_ok=True)
        copy_attributes(tree, base / UPPER)
        stack.enter_context(overlaid([tree], base / UPPER, base / OVERLAY_WORK, root))
        ordered = sorted(mounts, key=lambda mount: mount.mountpoint)
        flushes = [stack.enter_context(watched(base))]
        for mount in ordered:
            target = inside(root, mount.mountpoint)
            # As fstab has them, so that a wrong option shows now; but what is filled can be written to.
            options = [option for option in mount.options if option != "ro"]
            hint = ""
            if options:
                hint = _("Its mount options are {options}: see --fsoptions in the kickstart.").format(
                    options=",".join(options)
                )
            stack.enter_context(mounted(mount.device, target, fstype=mount.fstype, options=options, hint=hint))
            below = [other.mountpoint for other in ordered if other.mountpoint.startswith(mount.mountpoint + "/")]
            seed(tree, mount.mountpoint, target, below)
            flushes.append(stack.enter_context(watched(target)))
        stack.enter_context(chroot_ready(root))
        yield NodeRoot(tree=tree, layer=base, root=root, flushes=tuple(flushes))


def copy_attributes(source: Path, target: Path) -> None:
    """Give ``target`` the owner, mode and extended attributes (SELinux label) of ``source``."""
    status = source.lstat()
    os.chown(target, status.st_uid, status.st_gid)
    shutil.copystat(source, target)


def seed(tree: Path, mountpoint: str, target: Path, separate: Sequence[str]) -> None:
    """Bring the image's content of ``mountpoint`` to the volume mounted at ``target``.

    What lies in the volumes ``separate`` (mount points below this one) is left to them, their mount points are made.
    Nothing that is there already is overwritten: a second run, or a volume that was kept, loses nothing.
    """
    source = tree / mountpoint.lstrip("/")
    if not source.is_dir():
        return
    copy_attributes(source, target)
    copy_missing(source, target, [tree / path.lstrip("/") for path in separate])


def copy_missing(source: Path, target: Path, without_content: Sequence[Path]) -> None:
    """Copy what ``target`` lacks of ``source``, with owners, modes, links and extended attributes.

    Of the directories ``without_content`` (paths like those below ``source``) only the directory itself is made.
    Raises CommandError when there is no room.
    """
    whole = []
    for child in sorted(source.iterdir()):
        copy = target / child.name
        is_folder = child.is_dir() and not child.is_symlink()
        partly = is_folder and any(child == path or child in path.parents for path in without_content)
        if partly and not os.path.lexists(copy):
            copy.mkdir()
            copy_attributes(child, copy)
        if child in without_content:
            continue
        if partly or (is_folder and copy.is_dir() and not copy.is_symlink()):
            copy_missing(child, copy, without_content)
        elif not os.path.lexists(copy):
            whole.append(child)
    if whole:
        # One call keeps hard links among all of them.
        run(["cp", "-a", *whole, target], hint=_("Is the volume large enough for what the image brings?"))

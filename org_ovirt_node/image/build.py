"""Build an image: a root tree becomes a node, and the node a squashfs."""

from __future__ import annotations

import json
import logging
import os
import re
import shutil
import tempfile
import time
from collections.abc import Collection, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Optional

from org_ovirt_node.errors import CommandError, ImageError
from org_ovirt_node.image import (
    debian,
    initramfs,
    labels,
    packagedb,
    perhost,
    policy,
    publish,
    redhat,
    runtime,
    squash,
    summary,
)
from org_ovirt_node.image.cache import Cache, default_folder
from org_ovirt_node.image.contents import opened
from org_ovirt_node.image.profile import Profile
from org_ovirt_node.mounts import overlaid
from org_ovirt_node.node.installed import DPKG_OLD
from org_ovirt_node.payload.facts import LIVEOS, TREE
from org_ovirt_node.payload.manifest import Manifest
from org_ovirt_node.payload.verity import INSTALL, append_tree
from org_ovirt_node.progress import Progress, growing, human
from org_ovirt_node.run import run

log = logging.getLogger(__name__)

FORMS = (TREE, LIVEOS)
#: What an LV can be named (lvm(8)), less the + that separates a layer's number, and - between the three parts.
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
PART = re.compile(r"[A-Za-z0-9][A-Za-z0-9._]*")
#: lvm(8): 127 characters with VG name and suffixes; the rest is room for "onn-" and "+99".
NVR_LENGTH = 96
#: Of records and manifests, for strftime(3); UTC.
DATE = "%Y-%m-%dT%H:%M:%SZ"


@dataclass(frozen=True)
class BuildRequest:
    """What to build.  ``root``: take this tree, or what is in this image, and no packages; it stays as it is."""

    profile: Profile
    version: str
    release: str
    output: Path
    root: Optional[Path] = None
    form: str = TREE
    compression: str = "zstd"
    level: int = squash.ZSTD_LEVEL
    #: None: work in a temporary folder below ``output``.
    cache: Optional[Path] = field(default_factory=default_folder)
    #: Take new packages even if the cache has a tree of the same profile.
    refresh: bool = False
    #: Append a hash tree (dm-verity), so that a node checks every block that it reads.
    verity: bool = True
    signer: publish.Signer = field(default_factory=publish.Signer)

    @property
    def nvr(self) -> str:
        return f"{self.profile.name}-{self.version}-{self.release}"


@dataclass(frozen=True)
class BuiltImage:
    """An image that was built; ``seconds`` per stage."""

    path: Path
    nvr: str
    size: int
    sha256: str
    kernel: str
    #: Of the hash tree; empty when there is none.
    roothash: str
    summary: summary.Summary
    without_acls: tuple[str, ...]
    seconds: dict[str, float]


def check(request: BuildRequest) -> None:
    """Refuse what could not be built, before anything is done.  Raises :class:`ImageError`."""
    if not NAME.fullmatch(request.profile.name):
        raise ImageError(
            f"the name {request.profile.name!r} cannot name a volume", hint="Use letters, digits, . _ and -."
        )
    for what, text in (("version", request.version), ("release", request.release)):
        if not PART.fullmatch(text):
            raise ImageError(
                f"the {what} {text!r} cannot be part of an NVR", hint="Use letters, digits, . and _, as LVM takes it."
            )
    if len(request.nvr) > NVR_LENGTH:
        raise ImageError(f"the NVR {request.nvr} is longer than {NVR_LENGTH} characters")
    if request.form not in FORMS:
        raise ImageError(f"unknown form {request.form!r}", hint=f"Known are {', '.join(FORMS)}.")
    if request.root is not None and not (request.root / "usr").is_dir() and not request.root.is_file():
        raise ImageError(f"{request.root} is neither an image nor a root tree: it has no /usr")
    if os.geteuid() != 0:
        raise ImageError("building an image needs root", hint="Run it with sudo.")
    if request.verity and shutil.which("veritysetup") is None:
        raise ImageError("veritysetup, which makes the hash tree, is not installed", hint=INSTALL)
    request.signer.check()


def given_epoch() -> int:
    """SOURCE_DATE_EPOCH in seconds, 0 where nobody has set it.  Raises :class:`ImageError` for no number."""
    given = os.environ.get("SOURCE_DATE_EPOCH", "0") or "0"
    if not given.isascii() or not given.isdigit():
        raise ImageError(f"SOURCE_DATE_EPOCH is {given!r}, which is no number of seconds", hint="Set it, or unset it.")
    return int(given)


def source_date(tree: Path) -> int:
    """The time of the image, in seconds: ``SOURCE_DATE_EPOCH``, else that of the tree's newest package file.

    Files that the build made itself are newer and must not count: so only those that dpkg has a checksum of do, and
    in a tree without dpkg the os-release and the package database.  See reproducible-builds.org, SOURCE_DATE_EPOCH.
    """
    given = given_epoch()
    if given:
        return given
    times = []
    for file in (tree / DPKG_OLD / "info").glob("*.md5sums"):
        # One file of each package is enough: dpkg-deb clamps them all to the day of the package.
        first = file.read_text(encoding="utf-8").partition("\n")[0].split(maxsplit=1)
        path = tree / first[1] if len(first) == 2 else file
        if path.is_file() and path is not file:
            times.append(int(path.lstat().st_mtime))
    return max(times) if times else int((tree / "usr/lib/os-release").stat().st_mtime)


def build_date(epoch: int) -> str:
    """The date of an image as its record and manifest have it."""
    return time.strftime(DATE, time.gmtime(epoch))


class Stopwatch:
    """Seconds per stage."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        begin = time.monotonic()
        yield
        self.seconds[name] = round(time.monotonic() - begin, 1)


@contextmanager
def writable(tree: Path, folder: Path) -> Iterator[Path]:
    """``tree`` with changes going to ``folder``: as an overlay, or as a copy where the kernel refuses one."""
    target = folder / "tree"
    with ExitStack() as stack:
        try:
            stack.enter_context(overlaid([tree], folder / "upper", folder / "work", target))
        except CommandError as exc:
            log.warning("no overlay (%s), so the tree is copied", exc)
            run(["cp", "-a", "--reflink=auto", f"{tree}/.", target])
        yield target


def make_node(
    tree: Path, request: BuildRequest, epoch: int, progress: Progress, cache: Optional[Cache], key: str
) -> str:
    """Stage 2: turn the root tree ``tree`` into a node's, in place; returns its kernel."""
    profile = request.profile
    progress.step("node", "Adding the node's parts")
    kernel = initramfs.kernel_version(tree)
    packagedb.move(tree)
    initramfs.settle_kernel(tree, kernel)
    runtime.configure_lvm(tree)
    runtime.install_package(tree)
    runtime.install_kickstart(tree)
    runtime.install_dracut_module(tree)
    runtime.install_units(tree, profile)
    perhost.settle_password_days(tree, epoch)
    policy.make_folders(tree)
    with ThreadPoolExecutor(max_workers=1) as beside:
        # Each takes seconds of one processor, and the initramfs has nothing of the policy.
        rules = beside.submit(policy.install, tree)
        initramfs.add_initramfs(tree, profile, kernel, epoch, progress, cache=cache, tree_key=key)
        rules.result()
    labels.add_equal_places(tree, [*packagedb.SAME_LABELS, (f"/{runtime.NODE_LIB}/etc", "/etc")])
    record = runtime.ImageRecord(
        nvr=request.nvr,
        name=profile.name,
        version=request.version,
        release=request.release,
        kernel=kernel,
        boot_args=profile.boot_args,
        build_date=build_date(epoch),
    )
    settle(tree, record, progress)
    return kernel


def settle(tree: Path, record: runtime.ImageRecord, progress: Progress, keep: Collection[str] = ()) -> list[str]:
    """Make the tree ready to be packed: nothing in it of one host, its name, its own /etc, labels.

    ``keep`` and what is returned: see :func:`perhost.clear`.
    """
    removed = perhost.clear(tree, keep)
    log.debug("removed as per host: %s", removed)
    perhost.make_mount_points(tree)
    perhost.mark_updated(tree)
    packagedb.tidy(tree)
    runtime.write_record(tree, record)
    keep_etc(tree)
    labels.apply(tree, progress)
    return removed


def keep_etc(tree: Path) -> None:
    """Keep the image's own /etc at /usr/lib/ovirt-node/etc: an upgrade compares with it what the user changed."""
    kept = tree / runtime.NODE_LIB / "etc"
    if kept.exists():
        shutil.rmtree(kept)
    run(["cp", "-a", tree / "etc", kept])


def _write(
    tree: Path, work: Path, request: BuildRequest, kernel: str, epoch: int, progress: Progress, watch: Stopwatch
) -> Manifest:
    """The image file with its hash tree, under its name only when it is complete, and what goes beside it."""
    with publish.unfinished(request.output / (request.nvr + publish.IMAGE)) as partial:
        options = {"compression": request.compression}
        with watch.stage("squashfs"), growing(partial, progress):
            if request.form == LIVEOS:
                squash.pack_liveos(tree, partial, work / "liveos", level=request.level, epoch=epoch, **options)
            else:
                squash.pack(tree, partial, level=request.level, epoch=epoch, **options)
        with watch.stage("digests"):
            verity = append_tree(partial) if request.verity else None
            size, sha256 = publish.digest_of(partial)
        manifest = Manifest(
            nvr=request.nvr,
            file=request.nvr + publish.IMAGE,
            size=size,
            sha256=sha256,
            form=request.form,
            kernel=kernel,
            boot_args=request.profile.boot_args,
            build_date=build_date(epoch),
            minimum_disk=request.profile.minimum_disk,
            minimum_memory=request.profile.minimum_memory,
            verity=verity,
        )
        publish.publish(partial, manifest, request.signer)
        return manifest


def pack(
    tree: Path, work: Path, request: BuildRequest, kernel: str, epoch: int, progress: Progress, watch: Stopwatch
) -> BuiltImage:
    """Stage 3, and what there is to say of the image."""
    lost = squash.warn_about_acls(tree, progress)
    progress.step("squashfs", f"Writing {request.nvr}.squashfs ({request.compression})")
    made = _write(tree, work, request, kernel, epoch, progress, watch)
    facts = summary.summarize(tree)
    image = request.output / made.file
    progress.step("done", f"{image}: {human(made.size)}, SHA-256 {made.sha256}")
    root = made.verity.roothash if made.verity else ""
    return BuiltImage(image, made.nvr, made.size, made.sha256, kernel, root, facts, tuple(lost), watch.seconds)


def build(request: BuildRequest, progress: Progress) -> BuiltImage:
    """Build an image.  Needs root.  Raises :class:`ImageError` and CommandError; leaves nothing mounted.

    With a cache, the tree of packages and the initramfs are made once for the same inputs.
    """
    check(request)
    watch = Stopwatch()
    with ExitStack() as stack:
        publish.make_folder(request.output)
        base = request.cache if request.cache is not None else request.output
        base.mkdir(parents=True, exist_ok=True)
        work = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix=".build-", dir=base)))
        cache = stack.enter_context(Cache(request.cache if request.cache is not None else work / "cache"))
        with watch.stage("packages"):
            if request.root is None:
                stage = redhat.stage_root if request.profile.rpms else debian.stage_root
                source = stage(request.profile, cache, progress, fresh=request.refresh)
                key = source.name
            else:
                source, key = stack.enter_context(opened(request.root.resolve())), ""
        epoch = source_date(source)
        tree = stack.enter_context(writable(source, work))
        with watch.stage("node"):
            kernel = make_node(tree, request, epoch, progress, cache, key)
        return pack(tree, work, request, kernel, epoch, progress, watch)


def as_json(built: BuiltImage) -> str:
    """What was built, for programs: sizes in bytes, times in seconds."""
    record = {
        "path": os.fspath(built.path),
        "nvr": built.nvr,
        "size": built.size,
        "sha256": built.sha256,
        "kernel": built.kernel,
        "roothash": built.roothash,
        "files": built.summary.files,
        "uncompressed": built.summary.total,
        "without_acls": built.without_acls,
        "seconds": built.seconds,
    }
    return json.dumps(record, sort_keys=True)

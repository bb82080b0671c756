"""Change a finished image: a new image with a name of its own comes out, and the old one stays as it is."""

from __future__ import annotations

import json
import os
import re
import tempfile
import time
from calendar import timegm
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Optional

from org_ovirt_node.errors import ImageError
from org_ovirt_node.image import build, initramfs, insert, perhost, publish, runtime
from org_ovirt_node.image.compare import Difference, as_text
from org_ovirt_node.image.contents import opened
from org_ovirt_node.image.profile import Profile
from org_ovirt_node.node.diff import compare
from org_ovirt_node.node.installed import compare_packages, packages
from org_ovirt_node.payload import manifest as manifests
from org_ovirt_node.payload.facts import ImageFacts
from org_ovirt_node.payload.sources import open_source
from org_ovirt_node.payload.squashfs import inspect
from org_ovirt_node.payload.verity import with_tree
from org_ovirt_node.progress import Progress

RECORD = runtime.NODE_LIB / "image.json"
#: What a generic initramfs is made of, as far as its content does not come with it.
INITRAMFS_PARTS = ("usr/lib/modules", "usr/lib/dracut", "usr/lib/firmware", "etc/dracut.conf", "etc/dracut.conf.d")
#: The installer's and the node's own arguments, which are not an image's to say (docs/interfaces.md).
OWN_ARGUMENTS = ("root=", "ovirt_node.", "rd.lvm.lv=", "BOOT_IMAGE=")
BOOT_ARG = re.compile(r"[\x21-\x7e]+")
#: Lines and paths that are named in a message.
SHOWN = 8
#: How the release of an edited image goes on: 1, 1.e1, 1.e2.
EDITED = re.compile(r"(.*)\.e([0-9]+)")


@dataclass(frozen=True)
class EditRequest:
    """What to change.  ``nvr`` empty: the image's, with its release counted on."""

    image: Path
    output: Path
    nvr: str = ""
    packages: tuple[Path, ...] = ()
    copies: tuple[insert.Copy, ...] = ()
    scripts: tuple[Path, ...] = ()
    boot_args: tuple[str, ...] = ()
    ssh_keys: tuple[str, ...] = ()
    #: Build the initramfs again, with this profile's modules and drivers.
    profile: Optional[Profile] = None
    signer: publish.Signer = field(default_factory=publish.Signer)

    @property
    def changes(self) -> bool:
        given = (self.nvr, self.packages, self.copies, self.scripts, self.boot_args, self.ssh_keys, self.profile)
        return any(given)


def check(request: EditRequest) -> None:
    """Refuse what could not be done, before anything is done.  Raises :class:`ImageError`."""
    if not request.changes:
        raise ImageError("nothing is to be changed", hint="Say what: see 'ovirt-node-image edit --help'.")
    if request.nvr:
        parts_of(request.nvr)
    for argument in request.boot_args:
        if not BOOT_ARG.fullmatch(argument):
            raise ImageError(f"--add-boot-arg {argument!r} is not one argument", hint="Give the option once for each.")
        if argument.startswith(OWN_ARGUMENTS):
            raise ImageError(f"--add-boot-arg {argument!r}: the installer and the node set that themselves")
    for script in request.scripts:
        insert.check_script(script)
    request.signer.check()
    if os.geteuid() != 0:
        raise ImageError("editing an image needs root", hint="Run it with sudo.")


def parts_of(nvr: str) -> tuple[str, str, str]:
    """Name, version and release of ``nvr``.  Raises :class:`ImageError` when an image cannot be called so."""
    name, version, release = ["", "", "", *nvr.rsplit("-", 2)][-3:]
    sound = build.NAME.fullmatch(name) and build.PART.fullmatch(version) and build.PART.fullmatch(release)
    if not sound or len(nvr) > build.NVR_LENGTH:
        raise ImageError(
            f"{nvr!r} is no NVR", hint="Such as node-1.0-2: name, version, release of letters, digits, . _ and ~."
        )
    return name, version, release


def next_nvr(record: runtime.ImageRecord) -> str:
    """The NVR of an edited image that nobody has named: its release goes on with .e1, .e2 and so on."""
    found = EDITED.fullmatch(record.release)
    base, number = (found[1], int(found[2])) if found else (record.release, 0)
    return f"{record.name}-{record.version}-{base}.e{number + 1}"


def read_record(tree: Path, name: str) -> runtime.ImageRecord:
    """What the image says of itself.  Raises :class:`ImageError` when it is none of ours."""
    try:
        fields = json.loads((tree / RECORD).read_text(encoding="utf-8"))
        record = runtime.ImageRecord(**{key: fields[key] for key in runtime.ImageRecord.__dataclass_fields__})
        sound = record.format == 1
    except (OSError, ValueError, KeyError, TypeError):
        sound = False
    if not sound:
        raise ImageError(
            f"{name} was not made by ovirt-node-image: it has no sound /{RECORD}",
            hint="Unpack it, and build an image with 'ovirt-node-image build --root'.",
        )
    return record


def epoch_of(record: runtime.ImageRecord) -> int:
    """The time of the new image, in seconds: SOURCE_DATE_EPOCH, else that of the image that is edited."""
    return build.given_epoch() or timegm(time.strptime(record.build_date, build.DATE))


def edit(request: EditRequest, progress: Progress) -> build.BuiltImage:
    """Make the new image.  Needs root.  Raises ImageError, PayloadError and CommandError; leaves nothing mounted."""
    check(request)
    watch = build.Stopwatch()
    with ExitStack() as stack:
        facts = _facts(request.image)
        before = stack.enter_context(opened(request.image))
        record = renamed(read_record(before, str(request.image)), request)
        target = request.output / f"{record.nvr}{publish.IMAGE}"
        if target.exists():
            raise ImageError(f"{target} is there already", hint="Give the new image another name with --set-nvr.")
        minimum = _minimum(request.image, facts.nvr, progress)
        epoch = epoch_of(record)
        publish.make_folder(request.output)
        work = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix=".edit-", dir=request.output)))
        tree = stack.enter_context(build.writable(before, work))
        with watch.stage("edit"):
            wanted = change(tree, request, epoch, progress)
        with watch.stage("node"):
            record = finish(before, tree, wanted, record, request.profile, epoch, progress)
        _say_packages(before, tree, progress)
        made = _as_build(request, record, facts, minimum)
        return build.pack(tree, work, made, record.kernel, epoch, progress, watch)


def _facts(image: Path) -> ImageFacts:
    if not image.is_file():
        raise ImageError(f"there is no image {image}")
    with open_source(image.resolve().as_uri()) as source:
        return with_tree(inspect(source), image)


def renamed(record: runtime.ImageRecord, request: EditRequest) -> runtime.ImageRecord:
    """The record of the new image: its name, and the boot arguments.  Raises :class:`ImageError`."""
    nvr = request.nvr or next_nvr(record)
    if nvr == record.nvr:
        raise ImageError(f"the new image would be called {nvr} too", hint="Give it another name with --set-nvr.")
    name, version, release = parts_of(nvr)
    arguments = record.boot_args.split()
    arguments += [argument for argument in request.boot_args if argument not in arguments]
    return replace(record, nvr=nvr, name=name, version=version, release=release, boot_args=" ".join(arguments))


def change(tree: Path, request: EditRequest, epoch: int, progress: Progress) -> set[str]:
    """Make the changes in ``tree``; returns what is in it on purpose although such files are per host as a rule."""
    wanted = set(perhost.found(tree))
    insert.install_packages(tree, request.packages, epoch, progress)
    made = set(perhost.found(tree))
    insert.copy_in(tree, request.copies, epoch, progress)
    if request.ssh_keys:
        progress.step("ssh-key", f"Adding {len(request.ssh_keys)} SSH keys for root")
        insert.add_keys(tree, request.ssh_keys)
    # What --copy-in and --ssh-key put there is meant; what packages and scripts make on the side is not.
    wanted |= set(perhost.found(tree)) - made
    wanted |= {copy.place.strip("/") for copy in request.copies}
    insert.run_scripts(tree, request.scripts, epoch, progress)
    return wanted


def finish(
    before: Path,
    tree: Path,
    wanted: set[str],
    record: runtime.ImageRecord,
    profile: Optional[Profile],
    epoch: int,
    progress: Progress,
) -> runtime.ImageRecord:
    """Make an image's tree of it again, as building does; returns its record.  Raises :class:`ImageError`."""
    kernel = initramfs.kernel_version(tree)
    initramfs.settle_kernel(tree, kernel)
    changed = initramfs_changes(before, tree)
    if changed and profile is None:
        raise ImageError(
            f"the initramfs does not fit what was changed (such as /{changed[0]})",
            hint="Give --profile=NAME, the profile that the image was built with, to have it built again.",
        )
    if profile is not None:
        initramfs.add_initramfs(tree, profile, kernel, epoch, progress)
    perhost.settle_password_days(tree, epoch)
    record = replace(record, kernel=kernel, build_date=build.build_date(epoch))
    removed = build.settle(tree, record, progress, wanted)
    if removed:
        progress.detail(f"removed, since each host has its own: {', '.join(removed[:SHOWN])}")
    return record


def initramfs_changes(before: Path, after: Path) -> list[str]:
    """Paths that changed of what an initramfs is made of."""
    changed: list[str] = []
    for name in INITRAMFS_PARTS:
        one, other = before / name, after / name
        if one.is_dir() and other.is_dir():
            changed += [f"{name}/{found.path}" for found in compare(one, other) if not is_own(found.path)]
        elif _content(one) != _content(other):
            changed.append(name)
    return changed


def _content(path: Path) -> Optional[bytes]:
    if path.is_dir():
        return b""
    return path.read_bytes() if path.is_file() else None


def is_own(path: str) -> bool:
    """True for what is made anew from the rest: depmod's indices, whose binary form has no fixed order."""
    return Path(path).name.startswith("modules.") and path.endswith(".bin")


def _say_packages(before: Path, after: Path, progress: Progress) -> None:
    changed = compare_packages(packages(before), packages(after))
    for line in as_text(Difference(changed, ())).splitlines() if changed else ():
        progress.detail(line)


def _as_build(
    request: EditRequest, record: runtime.ImageRecord, facts: ImageFacts, minimum: tuple[int, int]
) -> build.BuildRequest:
    """The request by which building would have made the new image."""
    disk, memory = minimum
    return build.BuildRequest(
        profile=Profile(record.name, record.boot_args, minimum_disk=disk, minimum_memory=memory),
        version=record.version,
        release=record.release,
        output=request.output,
        form=facts.form,
        compression=facts.compression,
        cache=None,
        verity=bool(facts.roothash),
        signer=request.signer,
    )


def _minimum(image: Path, nvr: str, progress: Progress) -> tuple[int, int]:
    """What a host must have (disk and memory, bytes): of the manifest beside ``image``, where that is its own."""
    beside = image.with_suffix(publish.MANIFEST)
    found = manifests.parse(beside.read_bytes(), str(beside)) if beside.is_file() else None
    if found is not None and found.nvr == nvr:
        return found.minimum_disk, found.minimum_memory
    why = f"{beside.name} is that of {found.nvr}" if found else f"there is no {beside.name} beside the image"
    progress.detail(f"Warning: {why}, so the new image asks a host for no minimum of disk and memory.")
    return 0, 0

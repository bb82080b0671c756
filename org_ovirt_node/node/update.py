"""An update: a new image beside the old one, with a layer of its own that is booted on trial.

The steps are a list in code (STEPS).  Each of them may be cut short anywhere: what has been made until then bears the
tag ``ovirt-node:incomplete``, nothing of it is booted, and the next run removes it (or takes over an image that was
read back already).  What GRUB boots changes last, in one write.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Optional

from org_ovirt_node.boot import bls, cmdline, cpio, files, hostfiles, hostinitrd, reachable, trial
from org_ovirt_node.boot.hostinitrd import HostFile
from org_ovirt_node.errors import NodeError, StorageError
from org_ovirt_node.inside import inside
from org_ovirt_node.install.root import OVERLAY_WORK, UPPER, copy_attributes, image_tree, inspected
from org_ovirt_node.kickstart.model import NodeSection
from org_ovirt_node.mounts import mounted, overlaid, watched
from org_ovirt_node.node import (
    bootstate,
    carry,
    etcafter,
    etcmerge,
    health,
    journal,
    lvm,
    packages,
    preflight,
    remove,
    room,
    rootfacts,
    shared,
    survey,
    upper,
)
from org_ovirt_node.node.layers import NodeState, state
from org_ovirt_node.node.merge.model import IdMap
from org_ovirt_node.node.mounted import release_below
from org_ovirt_node.node.places import Places
from org_ovirt_node.payload.choose import Payload, open_payload
from org_ovirt_node.payload.facts import ImageFacts
from org_ovirt_node.payload.transfer import read_back, transfer
from org_ovirt_node.payload.verity import with_tree
from org_ovirt_node.progress import Progress, human
from org_ovirt_node.run import run

log = logging.getLogger(__name__)

#: Options of mkfs beside the type: quiet, and no question.
MKFS = {"ext4": ("-q", "-F"), "xfs": ("-q", "-f")}
#: The journal's blocks need not be written where they read as zeros (mke2fs(8)).
EMPTY_JOURNAL = ("-E", "lazy_journal_init=1")


@dataclass(frozen=True)
class Request:
    """What is asked for: where the image is and how it is checked (``section``), and what goes along."""

    section: NodeSection
    tries: int = 0
    keep: tuple[str, ...] = ()
    inhibit: bool = True


@dataclass
class Prepared:
    """What the preflight found; shown by ``--plan``."""

    node: survey.Node
    facts: ImageFacts
    preflight: preflight.Facts
    problems: tuple[str, ...]
    changes: tuple[upper.Change, ...]
    merge: Optional[etcmerge.Report] = None
    #: Looked for where a plan is asked for.
    changed_packages: tuple[packages.Changed, ...] = ()
    packages: tuple[packages.Package, ...] = ()
    later: tuple[str, ...] = field(default=())


class Update:
    """One update; its methods are the steps, in the order of STEPS."""

    payload: Payload
    prepared: Prepared
    facts: ImageFacts
    journal: journal.Journal
    layer: str
    tree: Path
    root: Path
    upper: Path
    kernel: files.KernelFiles
    host: dict[str, HostFile]
    options: str
    machine_id: str
    ids: IdMap
    #: The node without the leftovers and what made room, before anything was made.
    state: NodeState
    pvs: dict[str, str]
    disks: list[dict[str, Any]]

    def __init__(self, request: Request, progress: Progress, stack: ExitStack, places: Places) -> None:
        self.request = request
        self.progress = progress
        self.stack = stack
        self.places = places
        #: The new root's mounts, released before anything can boot it.
        self.mounts = stack.enter_context(ExitStack())
        #: The file systems that are written to, by their device's number; see mounts.watched().
        self.written: dict[int, Callable[[], None]] = {}
        self.seconds: dict[str, float] = {}
        self.reused = False

    # -- before the first write ----------------------------------------------------------------------------------

    def preflight(self) -> None:
        """Look at the node and the image; everything that can be refused is refused here."""
        prepared = self.prepare()
        if prepared.problems:
            raise NodeError(
                f"the update to {prepared.facts.nvr} cannot start: " + "; ".join(prepared.problems),
                hint="Nothing was changed. 'nodectl update --plan' shows all of it.",
            )

    def prepare(self, *, merge: bool = False) -> Prepared:
        """Look at everything; with ``merge`` the plan for /etc too, for which an image on a server is fetched.

        Changes nothing of the node.  Raises NodeError.
        """
        node = survey.survey_node(self.places)
        self.payload = self.stack.enter_context(open_payload(self.request.section))
        changes = survey.changes_outside_etc(node, self.places)
        packs = packages.kept(self.places)
        plan: Optional[etcmerge.Report] = None
        changed: tuple[packages.Changed, ...] = ()
        with survey.tree_of(self.payload, self.places, self.progress, fetch=merge) as tree:
            facts = survey.facts_of(self.payload, tree)
            boot = survey.boot_need(self.places, node.state.current, tree, facts.kernel)
            if merge:
                changed = packages.changed(packs, self.places, tree)
            if merge and tree is not None:
                with etcmerge.prepared(self.places.image_tree, self.places.live / "etc", tree) as planned:
                    plan = etcmerge.Report(planned.conflicts(), planned.notices())
        kept = survey.kept_size(changes, self.request.keep) + carry.home_size(self.places) + packages.size(packs)
        found = survey.preflight_facts(node, facts, boot, kept, self.places)
        found = replace(found, tries=self.request.tries or node.tries)
        left = [image for image in found.removable if image not in found.room]
        later = room.beyond_slots(len(found.installed) - len(found.room) + 1, node.slots, left)
        self.facts = facts
        said = preflight.problems(found)
        names = tuple(image.name for image in later)
        self.prepared = Prepared(node, facts, found, said, changes, plan, changed, packs, names)
        return self.prepared

    # -- writing -------------------------------------------------------------------------------------------------

    @property
    def vg(self) -> str:
        return self.prepared.node.vg

    def device(self, name: str) -> Path:
        return self.places.dev / self.vg / name

    def leftovers(self) -> None:
        """Remove what an earlier update left; an image that it had read back already is taken over."""
        before = journal.load(self.places.state)
        unfinished = before if before and not before.finished else None
        node = self.prepared.node.state
        release_below(self.places.work)
        name = self.facts.nvr
        volume = node.group.find(name)
        digest = self.payload.sha256
        self.reused = bool(before and volume and volume.incomplete and volume.sha256 and volume.sha256 == digest)
        gone = remove.remove_leftovers(node, self.places, keep=name if self.reused else "")
        for one in gone:
            self.progress.detail(f"removed {one}, which an unfinished update left")
        if unfinished and unfinished.image != name:
            shared.take_back(self.places.live, unfinished.added)
        self.state = self._read_state() if gone else node
        self.journal = journal.Journal(
            image=name,
            previous=node.current,
            source=self.payload.source.name,
            started=time.strftime(journal.TIME, time.gmtime()),
            added=unfinished.added if unfinished and unfinished.image == name else {},
        )
        journal.save(self.journal, self.places.state)

    def room(self) -> None:
        """Remove the oldest images where there is no room for one more beside them."""
        for image in self.prepared.preflight.room:
            self.progress.detail(f"removing {image.name}")
            remove.remove_image(self.state, image.name, self.places)
            self.state = self._read_state()

    def image(self) -> None:
        """Make the volume for the image."""
        if self.reused:
            self.progress.detail("taking over the image that was read back before")
            return
        lvm.create_linear(self.vg, self.facts.nvr, self.facts.size, [lvm.TAG_INCOMPLETE])
        self._settle(self.facts.nvr)

    def transfer(self) -> None:
        """Write the image to its volume."""
        volume = self.state.group.find(self.facts.nvr)
        if self.reused and volume is not None:
            self.journal.sha256, self.journal.size = volume.sha256, volume.content_size
            return
        done = transfer(
            self.payload.source,
            self.device(self.facts.nvr),
            size=self.facts.size,
            fresh=False,
            expected_sha256=self.payload.sha256,
            progress=self.progress,
        )
        self.journal.sha256, self.journal.size = done.sha256, done.size

    def read_back(self) -> None:
        """Read the image back from the disk and compare, and learn what it says of itself."""
        name = self.facts.nvr
        read_back(self.device(name), self.journal.size, self.journal.sha256, self.progress)
        with image_tree(os.fspath(self.device(name)), self.places.work) as tree:
            self.facts = with_tree(inspected(tree, self.facts), self.device(name))
        if self.facts.nvr != name:
            self._rename(name)
        volume = f"{self.vg}/{self.facts.nvr}"
        tags = [lvm.TAG_BASE, *lvm.digest_tags(self.journal.sha256, self.journal.size)]
        before = self.state.group.find(name) if self.reused else None
        if before is None or not before.readonly:
            lvm.seal(volume, tags)
        else:
            lvm.add_tags(volume, tags)

    def _rename(self, name: str) -> None:
        """The volume bears the image's own name, also where only the file's name was known before."""
        if self.state.group.find(self.facts.nvr) is not None:
            raise NodeError(f"the image {self.facts.nvr} is installed already", hint="See 'nodectl list'.")
        lvm.rename(self.vg, name, self.facts.nvr)
        self._settle(self.facts.nvr)
        self.journal.image = self.facts.nvr

    def make_layer(self) -> None:
        """Make the layer, and mount image and layer as the new root."""
        node = self.prepared.node
        names = {volume.name for volume in self.state.group.volumes}
        number = 1
        while f"{self.facts.nvr}+{number}" in names:
            number += 1
        self.layer = self.journal.layer = f"{self.facts.nvr}+{number}"
        journal.save(self.journal, self.places.state)
        tags = [lvm.TAG_INCOMPLETE, lvm.TAG_LAYER]
        lvm.create_thin(self.vg, node.layer.pool, self.layer, node.layer.size, tags)
        self._settle(self.layer)
        device = os.fspath(self.device(self.layer))
        run([f"mkfs.{node.layer_fstype}", *self._mkfs_options(), device])
        work = self.places.work
        self.tree = self.mounts.enter_context(image_tree(os.fspath(self.device(self.facts.nvr)), work))
        base = self.mounts.enter_context(mounted(device, work / "layer", fstype=node.layer_fstype))
        self._watch(base)
        self.upper = base / UPPER
        for name in (UPPER, OVERLAY_WORK):
            (base / name).mkdir()
        copy_attributes(self.tree, self.upper)
        self.root = self.mounts.enter_context(overlaid([self.tree], self.upper, base / OVERLAY_WORK, work / "root"))

    def _mkfs_options(self) -> tuple[str, ...]:
        node = self.prepared.node
        pool = node.state.group.find(node.layer.pool)
        options = MKFS.get(node.layer_fstype, ())
        # ext4's journal is 64 MiB of zeros, and a new thin volume reads as zeros wherever nothing was written.
        return (*options, *EMPTY_JOURNAL) if node.layer_fstype == "ext4" and pool and pool.zeroes else options

    def merge_etc(self) -> None:
        """Merge /etc: the old image's, the node's and the new image's."""
        # Before it is read: what is changed meanwhile is told too.
        self.journal.etc = etcafter.marks(self.places.upper)
        with etcmerge.prepared(self.places.image_tree, self.places.live / "etc", self.tree) as merge:
            self.journal.conflicts = merge.execute(self.root, self.prepared.node.shared)
            self.ids = merge.ids
            for line in merge.summary():
                self.progress.detail(line)

    def carry(self) -> None:
        """Take along root's home, --keep and packages; add to the shared volumes what the new image brings."""
        said = carry.carry(self.places, self.root, self.request.keep)
        if self.prepared.packages:
            before = packages.marks(self.upper)
            said += packages.install(self.prepared.packages, self.places, self.root)
            wrong = packages.label(self.root, self.upper, before)
            self.journal.conflicts += [{"path": "/usr", "text": wrong, "beside": ""}] if wrong else []
        for line in said:
            self.progress.detail(line)
        self._add_to_shared(self.tree, self.ids)
        if self.prepared.packages:
            # They were installed with this node's ids.
            self._add_to_shared(self.root, IdMap())

    def _watch(self, folder: Path) -> None:
        """Know of what the file system of ``folder`` loses from now on."""
        device = folder.stat().st_dev
        if device not in self.written:
            self.written[device] = self.mounts.enter_context(watched(folder))

    def _add_to_shared(self, new: Path, ids: IdMap) -> None:
        """What ``new`` has for the shared volumes and the old image had not."""
        added = shared.additions(new, self.places.image_tree, self.places.live, self.prepared.node.shared)
        for folder in shared.folders(self.places.live, added):
            self._watch(folder)
        self.journal.added |= shared.marks(new, added)
        # Before the first of them is written, so that they can be taken back.
        journal.save(self.journal, self.places.state)
        shared.add(new, self.places.live, added, ids)
        if added:
            self.progress.detail(f"{len(added)} new paths on the shared volumes")

    def boot_files(self) -> None:
        """Put kernel, initramfs and host.img on /boot."""
        boot = self.places.boot
        self.kernel = files.find_kernel(self.tree, self.facts.kernel)
        self.below = rootfacts.below(self.vg)
        host = hostfiles.collect(self.root, self._old_host(), self.below.stack, live=self.places.live)
        image = hostinitrd.build(host)
        needed = self.kernel.kernel.stat().st_size + self.kernel.initramfs.stat().st_size + len(image)
        free = survey.free_bytes(boot)
        if free < needed + preflight.BOOT_MARGIN:
            raise StorageError(
                f"/boot has no room for kernel and initramfs: {human(needed)} are needed, {human(free)} are free",
                hint="Remove an old image with 'nodectl remove', or what else lies in /boot.",
            )
        files.place_layer(boot, self.layer, self.kernel, image)

    def _old_host(self) -> dict[str, HostFile]:
        path = bls.host_image(self.places.boot, self.prepared.node.state.current)
        return cpio.read_host_initrd(path.read_bytes()) if path.is_file() else {}

    def reachable(self) -> None:
        """Check that kernel, initramfs, host.img and command line reach the new root."""
        self.options = self._options()
        layer = rootfacts.Assembled(
            self.layer, self.prepared.node.layer_fstype, self.kernel.version, self.tree, self.root, self.places.boot
        )
        volumes = {*(volume.name for volume in self.state.group.volumes), self.facts.nvr, self.layer}
        facts = rootfacts.gather(layer, self.facts, self.below, options=self.options, vg=self.vg, volumes=volumes)
        reachable.check(facts, self.layer)

    def _options(self) -> str:
        """Ours, the image's, then the user's in their order; what only the old image asked for goes."""
        node = self.prepared.node.state
        entry = node.entry(node.current)
        assert entry is not None  # refused by the preflight
        old = survey.image_boot_args(self.places.image_tree)
        users = cmdline.user_arguments(trial.without_trial(entry.options), old)
        facts = self.facts
        ours = cmdline.layer_arguments(self.vg, facts.nvr, self.layer, facts.roothash, facts.hash_offset)
        return cmdline.command_line(ours, self.facts.boot_args, " ".join(users))

    def release(self) -> None:
        """Bring all that was written to its disk, and unmount the new root, before anything can boot it."""
        self.machine_id = inside(self.root, "etc/machine-id").read_text(encoding="ascii", errors="replace").strip()
        # A pool that ran full, or a disk with errors, has lost what was written since without anybody being told.
        for flush in self.written.values():
            flush()
        self.mounts.close()

    def entry(self) -> None:
        """Write the boot entry, with what makes a hopeless boot end by itself."""
        options = trial.with_trial(self.options, watchdog=self.places.watchdog.exists())
        made = bls.layer_entry(self.layer, self.facts.nvr, self.kernel.version, options, self.machine_id)
        bootstate.write_entry(self.places.boot, made, self.state.current)

    def trial(self) -> None:
        """Let GRUB try the new layer at the next boot; the running one stays what it falls back to."""
        tries = self.request.tries or self.prepared.node.tries
        # One of the same name may have been given up, and removed since.
        health.forget_fallback(self.places, self.layer)
        bootstate.start_trial(self.places.boot, self.layer, tries, self.state.current)

    def finish(self) -> None:
        """Take the tags of the unfinished off, and remove images beyond the slots."""
        self.journal.finished = time.strftime(journal.TIME, time.gmtime())
        journal.save(self.journal, self.places.state)
        lvm.drop_tags(self.vg, [self.layer, self.facts.nvr], [lvm.TAG_INCOMPLETE])
        if not self.prepared.later:
            return
        for name in remove.collect(self._read_state(), self.prepared.node.slots, self.places):
            self.progress.detail(f"removed {name}: there are {self.prepared.node.slots} slots for images")

    def _read_state(self) -> NodeState:
        return state(self.vg, self.places.boot, self.places.cmdline)

    def _settle(self, name: str) -> None:
        """Wait until udev has made the link of the volume ``name``; LVM itself waits for that, where it may."""
        if not self.device(name).exists():
            run(["udevadm", "settle"])

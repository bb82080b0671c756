"""The engine's steps inside Anaconda, where partitions are made and mounted before us and accounts are made after us.

Order: ADOPT and WRITE when the boot loader's turn comes (Anaconda: ConfigureBootloaderWithTasks), FINISH when the
system is configured (InstallWithTasks).  The bare root file system stays mounted at ``bare``; the overlay over it is
what Anaconda sees at ``root`` from then on.
"""

from __future__ import annotations

import logging
import shutil
from collections.abc import Iterable
from contextlib import ExitStack
from pathlib import Path

from org_ovirt_node.boot import efi, netroot
from org_ovirt_node.boot.reachable import ISCSI_RECORDS
from org_ovirt_node.errors import BootError
from org_ovirt_node.i18n import N_, _
from org_ovirt_node.inside import matching
from org_ovirt_node.install import adopt, system, texts
from org_ovirt_node.install.engine import Installation
from org_ovirt_node.install.options import Options
from org_ovirt_node.install.root import OVERLAY_WORK, UPPER, NodeRoot, copy_attributes, image_tree, seed
from org_ovirt_node.kickstart.model import InstallRequest
from org_ovirt_node.layout.model import Firmware
from org_ovirt_node.layout.policy import layer_name, volume_options
from org_ovirt_node.mounts import bound, mounted, watched
from org_ovirt_node.progress import Progress
from org_ovirt_node.run import run
from org_ovirt_node.steps import Step
from org_ovirt_node.storage import iscsi, iscsirecords
from org_ovirt_node.storage.execute import settle

log = logging.getLogger(__name__)

#: Where Anaconda has the bare root file system mounted; what it calls the physical root.
BARE = Path("/mnt/sysimage")
#: With this program there, Anaconda makes no boot entries of its own and does not run grub2-mkconfig, which fails on
#: an overlay (its create_bls_entries).
MARKER = "new-kernel-pkg"
#: Files that Anaconda puts into any root for its own use; where the image has one, the image's is right.
INSTALLERS_OWN = ("etc/resolv.conf",)
#: Folders that Anaconda's later steps write to and do not make (its network module), whatever the image is made from.
WRITTEN_BY_ANACONDA = ("etc/sysconfig",)


class Handover(Installation):
    """An installation onto what Anaconda has partitioned and mounted."""

    def __init__(
        self, request: InstallRequest, options: Options, progress: Progress, stack: ExitStack, bare: Path = BARE
    ) -> None:
        """``stack`` takes what must be released when this fails, and must stay until the machine restarts if not."""
        super().__init__(request, options, progress, stack)
        self.bare = bare
        self.cover = ExitStack()

    def adopt(self) -> None:
        """Look at what Anaconda has made."""
        self.adopted = adopt.adopt(self.options.root, self.facts, self.options.targets)
        self.created = self.adopted.created
        self.layout = self.adopted.layout
        self.layer = layer_name(self.facts.nvr)
        if self.request.bootloader.location != "none":
            self._check_boot_disk()

    def _check_boot_disk(self) -> None:
        if Firmware.EFI in self.layout.firmware and not self.created.esps:
            raise BootError(_("no EFI system partition is mounted at /boot/efi"), hint=_("Give the boot disk one."))
        if self._tells_firmware():
            efi.check_variables()
        if Firmware.BIOS in self.layout.firmware and (self.adopted.table != "gpt" or not self.adopted.has_biosboot):
            raise BootError(
                _("the disk {disk} with /boot has no BIOS boot partition").format(disk=self.created.boot.request.disk),
                hint=_(
                    "Let 'clearpart --all --initlabel --disklabel=gpt' make a GPT, and 'part biosboot --size=1' "
                    "with partitions of your own."
                ),
            )

    def image_volume(self) -> None:
        """Make the volume of the image beside what is there."""
        adopt.make_image_volume(self.layout)

    def assemble(self) -> None:
        """Lay the overlay over Anaconda's root, move what it wrote there, and seed the volumes."""
        root, work = self.options.root, self.options.work
        self._check_name()
        run(["mount", "--make-rprivate", root])
        work.mkdir(parents=True, exist_ok=True)
        self.stack.enter_context(bound(work, work))
        tree = self.stack.enter_context(image_tree(str(self._image_device()), work))
        for name in (UPPER, OVERLAY_WORK):
            (self.bare / name).mkdir(exist_ok=True)
        copy_attributes(tree, self.bare / UPPER)
        moved = adopt.carry_over(self.bare, self.bare / UPPER, tree, leave=INSTALLERS_OWN)
        log.info("carried over: %s", ", ".join(moved))
        adopt.prune(self.bare)
        options = [f"lowerdir={tree}", f"upperdir={self.bare / UPPER}", f"workdir={self.bare / OVERLAY_WORK}"]
        self.stack.enter_context(mounted("overlay", root, fstype="overlay", options=options))
        self.stack.callback(run, ["mount", "--make-rprivate", root])
        for folder in WRITTEN_BY_ANACONDA:
            (root / folder).mkdir(parents=True, exist_ok=True)
        self._bring_mounts(root)
        self._seed(tree, root)
        folders = (self.bare, *(root / place.lstrip("/") for place in self._places()))
        flushes = tuple(self.stack.enter_context(watched(folder)) for folder in folders)
        self.node = NodeRoot(tree=tree, layer=self.bare, root=root, flushes=flushes)
        self._cover(tree, root, work)
        self._find_boot_files()

    def _rename_layer(self, name: str) -> None:
        # The volume is Anaconda's root for now; it is renamed after the last use of its path.
        self.layer = name

    def _bring_mounts(self, root: Path) -> None:
        """Show what is mounted below the bare root (volumes, /dev, /proc …) below the overlay too."""
        found = adopt.mounts()
        for child in adopt.children(found, adopt.top_mount(found, self.bare)):
            inside = child.target.relative_to(self.bare)
            target = root / inside
            if not target.is_dir():
                target.mkdir(parents=True)
            run(["mount", "--rbind", "--make-rslave", child.target, target])
            self.stack.callback(run, ["umount", "--recursive", target])

    def _places(self) -> list[str]:
        """/boot, and the mount points of the volumes but for the layer's."""
        places = sorted(volume.request.mountpoint for volume in self.created.volumes if volume.request.mountpoint)
        return ["/boot", *(place for place in places if place != "/")]

    def _seed(self, tree: Path, root: Path) -> None:
        places = self._places()
        for place in places:
            below = [other for other in places if other.startswith(place + "/")]
            seed(tree, place, root / place.lstrip("/"), below)

    def _cover(self, tree: Path, root: Path, work: Path) -> None:
        """Keep Anaconda from writing boot entries of its own, with nothing left of it in the new system."""
        folder = work / "cover"
        folder.mkdir(exist_ok=True)
        program = folder / MARKER
        program.write_text("#!/bin/sh\nexit 0\n", encoding="ascii")
        program.chmod(0o755)
        sbin = (root / "usr/sbin").resolve()
        own = tree / sbin.relative_to(root.resolve())
        self.cover.enter_context(mounted("overlay", sbin, fstype="overlay", options=["ro", f"lowerdir={folder}:{own}"]))
        self.stack.callback(self.cover.close)

    def configure(self) -> None:
        """Write what belongs to this host; users, network and the like come from Anaconda afterwards."""
        root = self.node.root
        carried = system.read(self.node.upper, "etc/iscsi/initiatorname.iscsi")
        system.identity(root)
        if carried:
            system.write(root, "etc/iscsi/initiatorname.iscsi", carried, 0o600)
        system.write(root, "etc/fstab", self._fstab_text(system.read(root, "etc/fstab")))
        system.node_config(root, self.request.node, self.layout.vg.name, self.facts.nvr)
        self._configure_lvm(root)
        self._configure_iscsi(root)

    def _configure_iscsi(self, root: Path) -> None:
        super()._configure_iscsi(root)
        stack = self.below.stack
        if "iscsi" in stack:
            changed = iscsirecords.node_settings(root=True, multipath="multipath" in stack)
            iscsi.change_records(root, changed, iscsi.targets())

    def _arguments(self) -> str:
        records = matching(self.node.root, f"{ISCSI_RECORDS}**/*").values()
        return netroot.without_secrets(
            super()._arguments(), [path.read_text(encoding="utf-8") for path in records if path.is_file()]
        )

    def _fstab_text(self, written: str) -> str:
        wanted: dict[str, tuple[str, ...]] = {}
        for volume in self.created.volumes:
            if volume.request.thin:
                wanted[volume.request.mountpoint] = volume_options(volume.request.mountpoint)
        return texts.FSTAB_HEADER + adopt_fstab(written, wanted)

    def finish_cover(self) -> None:
        """Take away what kept Anaconda from its own boot entries."""
        self.cover.close()
        shutil.rmtree(self.options.work / "cover", ignore_errors=True)

    def identify(self) -> None:
        """Use the machine-id that Anaconda has made in the meantime, or make one."""
        root = self.node.root
        self.machine_id = system.read(root, "etc/machine-id").strip()
        if len(self.machine_id) != 32:
            self.machine_id = system.identity(root)

    def rename(self) -> None:
        """Give the root's volume its name, now that nobody uses its path any more, and tag the volumes."""
        if self.adopted.root_lv != self.layer:
            run(["lvrename", self.layout.vg.name, self.adopted.root_lv, self.layer])
            settle()
        self.tag_volumes()

    def let_go(self) -> None:
        """Unmount the new system, also what Anaconda mounted of it, and deactivate its VG.

        For a disk image, after everything else: Anaconda takes the image's devices away then, and knows neither the
        overlay nor the volumes that we made.  Raises StorageError and CommandError for what is still in use.
        """
        self.stack.close()
        found = adopt.mounts()
        places = {mount.target for mount in found if self.bare in (mount.target, *mount.target.parents)}
        both = [place for place in (self.options.root, self.bare) if place.is_mount()]
        # What is below goes first: services with mounts of their own (udev, udisks) have copies of the root, which
        # follow only once nothing is mounted on them, and with the private root's mounts they do not lose theirs.
        for place in both:
            for child in adopt.children(found, adopt.top_mount(found, place)):
                run(["umount", "--recursive", child.target])
        for place in both:
            while place.is_mount():
                run(["umount", "--recursive", place])
        run(["vgchange", "--activate", "n", self.layout.vg.name])
        self._stand_in(places)

    def _stand_in(self, places: Iterable[Path]) -> None:
        """Let Anaconda find what it is going to unmount: at the first of its mount points that is not there it gives
        up (blivet's FSError), and the image's devices would stay.  What the host mounts in /run is not its own."""
        for place in sorted(places):
            if self.bare / "run" not in place.parents:
                place.mkdir(parents=True, exist_ok=True)
                run(["mount", "-t", "ramfs", "ovirt-node", place])


def adopt_fstab(written: str, volumes: dict[str, tuple[str, ...]]) -> str:
    """Anaconda's fstab (fstab(5)) for a node: no line for ``/``, and thin volumes pass discards down.

    ``volumes`` maps mount points to options that their line shall have besides its own.
    """
    lines = []
    for line in written.splitlines():
        fields = line.split()
        if not fields or fields[0].startswith("#") or len(fields) < 4:
            lines.append(line)
            continue
        if fields[1] == "/":
            continue
        options = [option for option in fields[3].split(",") if option != "defaults"]
        options += [option for option in volumes.get(fields[1], ()) if option not in options]
        fields[3] = ",".join(options) or "defaults"
        lines.append(" ".join(fields))
    return "\n".join(lines) + "\n"


ADOPT: tuple[Step[Handover], ...] = (
    Step("image", N_("Looking at the image"), Handover.image),
    Step("adopt", N_("Looking at the partitions"), Handover.adopt),
    Step("image-volume", N_("Making the volume of the image"), Handover.image_volume),
)
WRITE: tuple[Step[Handover], ...] = (
    Step("transfer", N_("Writing the image"), Handover.transfer),
    Step("verify", N_("Reading the image back"), Handover.verify),
    Step("assemble", N_("Assembling the root and filling its volumes"), Handover.assemble),
    Step("configure", N_("Configuring the host"), Handover.configure),
    Step("boot-files", N_("Copying kernel and initramfs"), Handover.boot_files),
    Step("boot-loader", N_("Installing the boot loader"), Handover.boot_loader),
)
FINISH: tuple[Step[Handover], ...] = (
    Step("cover", N_("Uncovering the node's programs"), Handover.finish_cover),
    Step("identify", N_("Identifying the host"), Handover.identify),
    Step("label", N_("Labelling files"), Handover.label),
    Step("rename", N_("Naming the volumes"), Handover.rename),
    Step("reachable", N_("Checking that the new root can be reached"), Handover.reachable),
    Step("seal", N_("Marking the volume group"), Handover.seal),
    Step("entry", N_("Writing the boot entry"), Handover.entry),
    Step("start", N_("Making the disk bootable"), Handover.start),
)

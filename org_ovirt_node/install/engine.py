"""The ordered steps of an installation.

Every way in goes through these steps: the stand-alone runner does them all, Anaconda's tasks do them in groups.
Nothing is bootable before the last of them: boot code, system partition and /boot of what was there are cleared before
anything else is written, boot loader and entry come after the image has been read back, and the firmware finds no boot
loader before the entry is on the disk.
"""

from __future__ import annotations

import os
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

from org_ovirt_node.boot import bls, cmdline, efi, files, grubcfg, hostfiles, hostinitrd, loader, network, reachable
from org_ovirt_node.errors import LayoutError
from org_ovirt_node.firstboot import record
from org_ovirt_node.i18n import N_, _
from org_ovirt_node.install import accounts, labels, scripts, system, texts
from org_ovirt_node.install.options import Options, running_firmware
from org_ovirt_node.install.root import Mount, NodeRoot, image_tree, inspected, node_root
from org_ovirt_node.kickstart.model import InstallRequest, NetworkRequest
from org_ovirt_node.layout.model import Firmware, Layout
from org_ovirt_node.layout.plan import plan
from org_ovirt_node.layout.policy import layer_name
from org_ovirt_node.node import lvm, rootfacts
from org_ovirt_node.payload.choose import Payload, open_payload
from org_ovirt_node.payload.facts import ImageFacts
from org_ovirt_node.payload.minimum import check_disks, check_memory
from org_ovirt_node.payload.transfer import read_back, transfer
from org_ovirt_node.payload.verity import with_tree
from org_ovirt_node.progress import Progress, human
from org_ovirt_node.run import run
from org_ovirt_node.steps import Step
from org_ovirt_node.storage import iscsi, iscsirecords, multipath, scan
from org_ovirt_node.storage.execute import Created, create, deactivate, mapper_path, settle

#: Kernel arguments that switch SELinux on where it is not the kernel's default (Debian), or off.
SELINUX_ARGUMENTS = {
    "enforcing": "selinux=1 security=selinux",
    "permissive": "selinux=1 security=selinux",
    "disabled": "selinux=0",
}


class Installation:
    """One installation; its methods are the steps, in the order of STEPS."""

    handle: Any
    payload: Payload
    facts: ImageFacts
    layout: Layout
    created: Created
    node: NodeRoot
    sha256: str
    layer: str
    machine_id: str
    below: rootfacts.Below
    uses_devices_file: bool
    kernel: files.KernelFiles
    grub: loader.Grub
    efi: efi.EfiFiles
    iscsi = iscsi.Connected()
    #: Arguments of the initramfs by which it reaches the portals.
    iscsi_arguments: tuple[str, ...] = ()
    #: What the node's network does with the cards that reach them.
    iscsi_networks: tuple[NetworkRequest, ...] = ()

    def __init__(self, request: InstallRequest, options: Options, progress: Progress, stack: ExitStack) -> None:
        self.request = request
        self.options = options
        self.progress = progress
        self.stack = stack
        self.seconds: dict[str, float] = {}

    def image(self) -> None:
        """Find the image and look at it, before any disk is touched."""
        self.payload = self.stack.enter_context(open_payload(self.request.node))
        self.facts = self.payload.facts
        # A disk image is for another machine than this one.
        if self.payload.manifest and not self.options.images:
            check_memory(self.payload.manifest)
        self.progress.detail(
            f"{self.facts.nvr}: {human(self.facts.size)}, {self.facts.compression or 'squashfs'}, {self.facts.form}"
        )

    def disks(self) -> None:
        """Scan the disks."""
        self._connect()
        if not self.options.images:
            for disk in multipath.assemble():
                self.progress.detail(_("multipath: a device for the paths to the disk with {disk}").format(disk=disk))
        self.handle = scan.open_blivet(self.options.images)
        if self.options.images:
            self.stack.callback(self.handle.devicetree.teardown_disk_images)

    def _connect(self) -> None:
        """Have the disks on iSCSI, and know how the node will."""
        if self.options.images:
            self.iscsi = iscsi.without_sessions(self.request.iscsi)
            return
        self.iscsi = iscsi.connect(self.request.iscsi, self.stack, self.progress)
        networks = (*self.request.system.networks, *self.iscsi.networks)
        ways = iscsi.cards(self.iscsi.portals)
        self.iscsi_arguments = (*network.arguments(ways, networks), *iscsi.root_arguments(self.iscsi))
        self.iscsi_networks = network.profiles(ways, networks)

    def plan(self) -> None:
        """Plan the layout."""
        self.layout = plan(
            scan.disks(self.handle),
            self.request.storage,
            self.request.node,
            self.facts,
            self.options.targets,
            self.request.bootloader.boot_drive,
            file=self.request.file,
        )
        if self.options.first_boot and any(part.encryption for part in self.layout.partitions):
            hint = _("Leave --encrypted out, or --grow-on-first-boot.")
            raise LayoutError(_("an encrypted disk that is copied has the same key in every copy"), hint=hint)
        if self.layout.arrays and self.options.images:
            hint = _("Take the raid lines out of the kickstart.")
            raise LayoutError(_("a disk image is one disk, and a mirror needs two"), hint=hint)
        if self.payload.manifest:
            check_disks(self.payload.manifest, (disk.size for disk in self.layout.disks))
        scan.check_vg_name(self.layout.vg.name)
        self.layer = self.layout.layer.name

    def partition(self) -> None:
        """Make partitions, VG, thin pool and volumes."""
        if self._tells_firmware():
            efi.check_variables()
        self.stack.callback(self._release)
        self.created = create(self.handle, self.layout, self.progress)
        self.tag_volumes()

    def tag_volumes(self) -> None:
        """Say what each volume is; the VG's own tag, which says that all is done, comes last of all."""
        vg = self.layout.vg.name
        shared = [f"{vg}/{volume.name}" for volume in self.layout.shared if volume.thin]
        for tag, volumes in (
            (lvm.TAG_LAYER, [f"{vg}/{self.layer}"]),
            (lvm.TAG_POOL, [f"{vg}/{self.layout.pool.name}"]),
            (lvm.TAG_VOLUME, shared),
        ):
            if volumes:
                run(["lvchange", "--addtag", tag, *volumes])

    def _release(self) -> None:
        name = self.layout.vg.name
        if iscsi.lost():
            # What asks LVM or blivet would fail, and that failure take the place of the one that led here.
            lvm.drop_devices(name)
            return
        if any(group.name == name for group in lvm.groups(f"vg_name={name}")):
            deactivate(name)
        for part in self.layout.partitions:
            if part.encryption is not None or part.array:
                self.handle.devicetree.teardown_all()
                break

    def transfer(self) -> None:
        """Write the image to its volume."""
        done = transfer(
            self.payload.source,
            self._image_device(),
            size=self.facts.size,
            fresh=False,
            expected_sha256=self.payload.sha256,
            progress=self.progress,
        )
        self.sha256 = done.sha256
        self.facts = replace(self.facts, size=done.size)

    def _image_device(self) -> Path:
        return mapper_path(self.layout.vg.name, self.facts.nvr)

    def verify(self) -> None:
        """Read the image back from the disk and compare."""
        read_back(self._image_device(), self.facts.size, self.sha256, progress=self.progress)
        self.facts = with_tree(self.facts, self._image_device())
        volume = f"{self.layout.vg.name}/{self.facts.nvr}"
        lvm.seal(volume, [lvm.TAG_BASE, *lvm.digest_tags(self.sha256, self.facts.size)])

    def assemble(self) -> None:
        """Mount image, layer and volumes as the new root, and seed the volumes."""
        self._check_name()
        vg = self.layout.vg.name
        options = self.options
        mounts = [
            Mount(made.path, made.mountpoint, made.fstype, made.options)
            for made in self.created.file_systems
            if made.mountpoint
        ]
        self.node = self.stack.enter_context(
            node_root(
                str(mapper_path(vg, self.facts.nvr)),
                Mount(str(mapper_path(vg, self.layer)), "/", self.layout.layer.fstype),
                mounts,
                work=options.work,
                root=options.root,
            )
        )
        self._find_boot_files()

    def _find_boot_files(self) -> None:
        """What the image brings to boot from.  Raises BootError where it lacks something."""
        tree = self.node.tree
        self.kernel = files.find_kernel(tree, self.facts.kernel)
        self.grub = loader.find_grub(tree)
        if Firmware.BIOS in self.layout.firmware:
            loader.bios_setup(tree, self.grub)
        if Firmware.EFI in self.layout.firmware:
            self.efi = efi.find_efi(tree, self.grub.name)

    def _check_name(self) -> None:
        """The volumes bear the image's own name, also where only the file's name was known before."""
        if self.facts.kernel:
            return
        planned = self.facts.nvr
        with image_tree(str(self._image_device()), self.options.work) as tree:
            self.facts = inspected(tree, self.facts)
        if self.facts.nvr == planned:
            return
        run(["lvrename", self.layout.vg.name, planned, self.facts.nvr])
        self._rename_layer(layer_name(self.facts.nvr))
        settle()

    def _rename_layer(self, name: str) -> None:
        run(["lvrename", self.layout.vg.name, self.layer, name])
        self.layer = name

    def pre_install(self) -> None:
        """Run the %pre-install scripts: the new root is mounted, nothing of this host is in it yet."""
        scripts.run_scripts(self.request.scripts, "pre-install", self.node.root, self.progress)

    def configure(self) -> None:
        """Write what belongs to this host."""
        root = self.node.root
        self.machine_id = system.identity(root, self.iscsi.initiator)
        system.write(root, "etc/fstab", texts.fstab(system.fstab_lines(self.created.file_systems)))
        system.node_config(root, self.request.node, self.layout.vg.name, self.facts.nvr)
        system.configure(root, self.request.system)
        accounts.configure(root, self.request.system)
        if self.options.first_boot:
            found = record.of(self.layout, self.layer, self.request)
            system.write(root, record.FIRST_BOOT, found.render())
        if self.created.encrypted:
            system.write(root, "etc/crypttab", texts.crypttab(self.created.encrypted), 0o600)
        system.mdadm_config(root, {made.request.name: made.md_uuid for made in self.created.arrays})
        self._configure_lvm(root)
        self._configure_iscsi(root)

    def _configure_iscsi(self, root: Path) -> None:
        """Let the new system have the sessions again that this one has."""
        stack = self.below.stack
        changed = iscsirecords.node_settings(root="iscsi" in stack, multipath="multipath" in stack)
        iscsi.copy_records(self.iscsi, root, changed)
        if "iscsi" in stack:
            system.keep_iscsi(root)
            system.keep_network(root, self.iscsi_networks)
            if self.iscsi.firmware:
                iscsi.set_defaults(root, iscsirecords.node_defaults(multipath="multipath" in stack))

    def _configure_lvm(self, root: Path) -> None:
        """Let the new system's LVM know the disks of its VG."""
        self.below = rootfacts.below(self.layout.vg.name)
        # What LVM knows a disk by here is another disk's there: the first boot registers them.
        self.uses_devices_file = not self.options.first_boot and system.lvm_devices_file(root, tuple(self.below.pvs))

    def boot_files(self) -> None:
        """Put kernel, initramfs and host.img on /boot."""
        root = self.node.root
        if "multipath" in self.below.stack:
            multipath.copy_files(root)
        files.place_layer(root / "boot", self.layer, self.kernel, self._host_initrd())

    def _host_initrd(self) -> bytes:
        return hostinitrd.build(hostfiles.collect(self.node.root, {}, self.below.stack))

    def post(self) -> None:
        """Run the %post scripts in the new system."""
        scripts.run_scripts(self.request.scripts, "post", self.node.root, self.progress)
        # What they changed of multipath or iSCSI is for the initramfs too.
        files.write_durably(self.node.root / "boot" / self.layer / bls.HOST_INITRD, self._host_initrd(), 0o600)

    def boot_loader(self) -> None:
        """Install the boot loader; no firmware starts it yet."""
        if self.request.bootloader.location == "none":
            self.progress.detail("left out, as the kickstart says")
            return
        root = self.node.root
        if Firmware.BIOS in self.layout.firmware:
            for part in self.created.boots:
                loader.install_bios(root, self.grub, part.disk_path, part.number)
        if Firmware.EFI in self.layout.firmware:
            efi.fill_esp(self.node.tree, root, self.efi, efi.render_stub(self.created.boot.uuid, self.grub.folder))

    def start(self) -> None:
        """Let the firmware start the boot loader."""
        if self.request.bootloader.location == "none":
            return
        root = self.node.root
        if Firmware.BIOS in self.layout.firmware:
            for part in self.created.boots:
                loader.start_bios(root, self.grub, part.disk_path)
        if Firmware.EFI in self.layout.firmware:
            efi.start_esp(self.node.tree, root, self.efi, self.grub.name)
        if not self._tells_firmware():
            return
        esp = self.created.esps[0]
        # The entry names the partition by its id, so one path serves for all; efibootmgr takes no map.
        disk = multipath.fresh_path(esp.disk_path)
        gone = [part.partuuid for part in self.created.esps] + list(self.layout.removed)
        efi.register(disk, esp.number, self.efi.start, gone)

    def _tells_firmware(self) -> bool:
        """Does the firmware of this machine get an entry for the node?"""
        here = not self.options.images and not self.options.elsewhere and running_firmware() is Firmware.EFI
        return here and Firmware.EFI in self.layout.firmware and self.request.bootloader.location != "none"

    def label(self) -> None:
        """Give what was written the SELinux labels that the image's policy wants."""
        labels.label_new(self.node, [volume.mountpoint for volume in self.layout.shared])

    def reachable(self) -> None:
        """Check that kernel, initramfs, host.img and command line reach the new root."""
        vg = self.layout.vg.name
        root = self.node.root
        layer = rootfacts.Assembled(
            self.layer, self.layout.layer.fstype, self.kernel.version, self.node.tree, root, root / "boot"
        )
        found = rootfacts.gather(
            layer,
            self.facts,
            self.below,
            options=self._arguments(),
            vg=vg,
            # Those with tags; their names have just been used.
            volumes={self.facts.nvr, self.layer, self.layout.pool.name, *(one.name for one in self.layout.volumes)},
            devices_file=self.uses_devices_file,
        )
        reachable.check(found, self.layer)

    def _arguments(self) -> str:
        return cmdline.command_line(
            cmdline.layer_arguments(
                self.layout.vg.name, self.facts.nvr, self.layer, self.facts.roothash, self.facts.hash_offset
            ),
            self.facts.boot_args,
            " ".join(f"rd.luks.uuid={uuid}" for uuid in self.created.encrypted),
            " ".join(f"rd.md.uuid={uuid}" for uuid in self.below.arrays),
            " ".join(self.iscsi_arguments) if "iscsi" in self.below.stack else "",
            SELINUX_ARGUMENTS.get(self.request.system.selinux, ""),
            self.request.bootloader.append,
        )

    def seal(self) -> None:
        """Mark the VG as a whole node."""
        run(["vgchange", "--addtag", lvm.TAG_VG, "--addtag", lvm.TAG_INIT, self.layout.vg.name])

    def entry(self) -> None:
        """Write the boot entry, and bring everything to the disk."""
        boot = self.node.root / "boot"
        options = self._arguments()
        entry = bls.layer_entry(self.layer, self.facts.nvr, self.kernel.version, options, self.machine_id)
        os.sync()
        # Which tells nobody of a disk that has refused something.
        self.node.flush()
        files.write_durably(bls.entry_path(boot, self.layer), entry.render().encode())
        config = grubcfg.render_config(self.request.bootloader.timeout, options, self.created.environment)
        files.publish_first(boot, self.grub.folder, self.layer, config)


PREPARE: tuple[Step[Installation], ...] = (
    Step("image", N_("Looking at the image"), Installation.image),
    Step("disks", N_("Scanning the disks"), Installation.disks),
    Step("plan", N_("Planning the layout"), Installation.plan),
)
WRITE: tuple[Step[Installation], ...] = (
    Step("partition", N_("Setting up disks and volumes"), Installation.partition),
    Step("transfer", N_("Writing the image"), Installation.transfer),
    Step("verify", N_("Reading the image back"), Installation.verify),
    Step("assemble", N_("Mounting the new root and filling its volumes"), Installation.assemble),
    Step("pre-install", N_("Running the %pre-install scripts"), Installation.pre_install),
    Step("configure", N_("Configuring the host"), Installation.configure),
    Step("boot-files", N_("Copying kernel and initramfs"), Installation.boot_files),
    Step("post", N_("Running the %post scripts"), Installation.post),
    Step("boot-loader", N_("Installing the boot loader"), Installation.boot_loader),
    Step("label", N_("Labelling files"), Installation.label),
    Step("reachable", N_("Checking that the new root can be reached"), Installation.reachable),
    Step("seal", N_("Marking the volume group"), Installation.seal),
    Step("entry", N_("Writing the boot entry"), Installation.entry),
    Step("start", N_("Making the disk bootable"), Installation.start),
)
STEPS = PREPARE + WRITE
#: Steps whose time is the disk's and the scan's, not ours.
DEVICE_BOUND = ("disks", "partition", "transfer", "verify")

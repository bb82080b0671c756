"""A disk image as a vendor makes it: installed into a file, copied to machines' disks, their own at a first boot."""

from __future__ import annotations

import subprocess
from pathlib import Path

from org_ovirt_node.mounts import loop_device, mounted
from tests.vm import artefacts
from tests.vm.artefacts import NodeImage
from tests.vm.installer import running_installer
from tests.vm.qemu import Disk
from tests.vm.scenario import Context
from tests.vm.steps import GIB, install_node, kickstart, provide_payload

FILE = "/scratch/oem.raw"


def vendor_disk(context: Context, image: NodeImage, size: int, firmware: str, left_out: tuple[str, ...] = ()) -> Path:
    """The node as a disk image of ``size`` bytes that grows at its first boot, in a file in the context's folder.

    ``left_out`` are the beginnings of kickstart lines that are left to the customer.
    """
    scratch = artefacts.blank_disk(context.folder / "scratch.raw", size + 2 * GIB)
    subprocess.run(["mke2fs", "-q", "-F", "-t", "ext4", str(scratch)], check=True)
    with running_installer(context.folder) as installer:
        url = provide_payload(installer, image.path, context.folder)
        text = kickstart(url, check_line=f"--sha256={image.sha256}")
        text = "".join(line for line in text.splitlines(keepends=True) if not line.startswith(left_out))
        link = installer.attach(Disk(scratch, "scratch"))
        installer.shell.run(f"mkdir -p /scratch && mount {link} /scratch")
        options = f"--disk-image {FILE},{size // GIB}GiB --grow-on-first-boot --firmware {firmware}"
        install_node(installer, context, text, options=options)
        installer.shell.run("umount /scratch", 120)
        installer.power_off()
    made = context.folder / "oem.raw"
    with loop_device(scratch) as loop, mounted(loop, context.folder / "mnt") as folder:
        subprocess.run(["cp", "--sparse=always", str(folder / "oem.raw"), str(made)], check=True)
    scratch.unlink()
    return made


def larger_copy(made: Path, file: Path, size: int) -> Path:
    """A copy of the disk image ``made`` on a disk of ``size`` bytes."""
    subprocess.run(["cp", "--sparse=always", str(made), str(file)], check=True)
    subprocess.run(["truncate", "-s", str(size), str(file)], check=True)
    return file

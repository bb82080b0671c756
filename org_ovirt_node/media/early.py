"""The first initramfs of an installer medium: busybox, a script, and the modules that lead to the medium."""

from __future__ import annotations

import lzma
from collections.abc import Sequence
from pathlib import Path

from org_ovirt_node.boot import hostinitrd
from org_ovirt_node.errors import ImageError
from org_ovirt_node.image.installer import modules_of

#: Drivers of what a medium can be in: CD drives, disks, USB sticks; and the file systems on it.
DRIVERS = (
    "ahci",
    "ata_piix",
    "cdrom",
    "ehci_pci",
    "nvme",
    "sd_mod",
    "sr_mod",
    "uas",
    "uhci_hcd",
    "usb_storage",
    "virtio_blk",
    "virtio_pci",
    "virtio_scsi",
    "xhci_pci",
)
FILE_SYSTEMS = ("isofs", "loop", "overlay", "squashfs")


def load_order(dependencies: str, built_in: str, wanted: Sequence[str], optional: Sequence[str]) -> list[str]:
    """Paths of modules in the order of loading, from the texts of modules.dep(5) and modules.builtin.

    Of ``optional`` those that the kernel does not have are left out.  Raises ImageError for another one.
    """
    depends: dict[str, list[str]] = {}
    for line in dependencies.splitlines():
        name, _, needed = line.partition(":")
        depends[name] = needed.split()
    paths = {_name(path): path for path in depends}
    inside = {_name(path) for path in built_in.split()}
    order: list[str] = []
    for name in (*wanted, *optional):
        if name in paths:
            # modules.dep lists the nearest dependency first.
            order += [*reversed(depends[paths[name]]), paths[name]]
        elif name not in inside and name not in optional:
            raise ImageError(f"the image's kernel has no module {name}, which its installer needs")
    return list(dict.fromkeys(order))


def _name(path: str) -> str:
    return Path(path).name.split(".")[0].replace("-", "_")


def build(root: Path, init: Path, *, optional: Sequence[str] = DRIVERS) -> bytes:
    """The initramfs with the script ``init``, from the modules and the busybox in ``root``.

    The modules are unpacked, as busybox's insmod wants them.  Raises ImageError.
    """
    modules = modules_of(root)
    texts = [(modules / name).read_text(encoding="utf-8") for name in ("modules.dep", "modules.builtin")]
    files = {
        "/init": hostinitrd.HostFile(init.read_bytes(), 0o755),
        "/bin/busybox": hostinitrd.HostFile((root / "usr/bin/busybox").read_bytes(), 0o755),
    }
    order = []
    for path in load_order(texts[0], texts[1], FILE_SYSTEMS, optional):
        content = (modules / path).read_bytes()
        name = Path(path).name.split(".")[0] + ".ko"
        files[f"/modules/{name}"] = hostinitrd.HostFile(lzma.decompress(content) if path.endswith(".xz") else content)
        order.append(name)
    files["/modules/order"] = hostinitrd.HostFile(("\n".join(order) + "\n").encode())
    return hostinitrd.build(files)

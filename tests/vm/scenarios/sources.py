"""Where payload and kickstart come from, and the payload's two forms."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from org_ovirt_node.run import run
from tests.vm import artefacts
from tests.vm.artefacts import NodeImage
from tests.vm.errors import check, check_equal
from tests.vm.installer import InstallerMachine, running_installer
from tests.vm.qemu import Disk
from tests.vm.scenario import Context, scenario
from tests.vm.servers import make_certificate, nfs_server, serving
from tests.vm.steps import (
    VG,
    booted_node,
    check_root,
    install_node,
    installed,
    kickstart,
    provide_payload,
    run_install,
    target_disk,
)

IMAGE = "image.squashfs"
LABEL = "OVIRTNODE"
#: Seconds for an installation from every kind of source.
SIX_INSTALLATIONS = 2400.0


@scenario("install-liveos", issues=(2,))
def install_liveos(context: Context) -> None:
    """A payload that holds LiveOS/rootfs.img installs and boots like a root tree."""
    image = artefacts.node_image(form="liveos")
    target = target_disk(context)
    with installed(context, image, target):
        pass
    with booted_node(context, target) as node:
        node.check_running()
        check_root(node, image, liveos=True)
        node.reboot()
        node.check_running()
        node.power_off()


def served_folder(context: Context, image: NodeImage) -> Path:
    """A folder with the image in it, for the servers."""
    folder = context.folder / "served"
    folder.mkdir()
    run(["cp", "--reflink=auto", image.path, folder / IMAGE])
    return folder


@scenario("install-http", issues=(2,))
def install_http(context: Context) -> None:
    """Payload and kickstart come by HTTP, and the node boots."""
    image = artefacts.node_image()
    target = target_disk(context)
    folder = served_folder(context, image)
    with serving(folder) as server, running_installer(context.folder) as installer:
        installer.start_network()
        installer.attach(target)
        (folder / "node.ks").write_text(kickstart(f"{server.base}/{IMAGE}", check_line=f"--sha256={image.sha256}"))
        result = run_install(installer, "", url=f"{server.base}/node.ks")
        check_equal(result.done["sha256"], image.sha256, "the digest of what was installed")
        check(any(line.startswith("GET /node.ks") for line in server.requests), "the kickstart was not asked for")
        check(any(line.startswith(f"GET /{IMAGE}") for line in server.requests), "the image was not asked for")
        installer.power_off()
    with booted_node(context, target) as node:
        node.check_running()
        check_root(node, image)
        node.power_off()


def ext4_medium(context: Context, folder: Path) -> Disk:
    """A disk with a labelled ext4 that holds what ``folder`` holds."""
    file = artefacts.blank_disk(context.folder / "medium.raw", 512 << 20)
    run(["mke2fs", "-q", "-F", "-t", "ext4", "-L", LABEL, "-d", folder, file])
    return Disk(file, "medium")


def cdrom_medium(context: Context, folder: Path) -> Disk:
    file = context.folder / "medium.iso"
    run(["xorriso", "-as", "mkisofs", "-quiet", "-r", "-V", "OTHER", "-o", file, folder])
    return Disk(file, "cd", bus="cdrom", readonly=True)


def install_from(installer: InstallerMachine, context: Context, url: str, image: NodeImage, options: str = "") -> None:
    """Install from ``url``, and look at the volume itself."""
    scheme = url.partition(":")[0]
    context.say(f"from {url}")
    only = "ignoredisk --only-use=disk/by-id/virtio-target\n"
    text = kickstart(url, check_line=f"--sha256={image.sha256}", node_options=options, more=only)
    install_node(installer, context, text)
    context.figures[f"{scheme}_seconds"] = context.figures.pop("install_seconds")
    installer.shell.run(f"vgchange -qay {VG}")
    found = installer.shell.text(f"head -c {image.size} /dev/{VG}/{image.nvr} | sha256sum", 300).split()[0]
    check_equal(found, image.sha256, f"SHA-256 of the image LV after an installation from {scheme}:")
    # To take an older node apart is what "reinstall" looks at; here every installation finds a new disk.
    disk = "/dev/disk/by-id/virtio-target"
    installer.shell.run(f"vgchange -qan {VG} && blkdiscard --force {disk} && blockdev --rereadpt {disk}")
    installer.shell.run("udevadm settle --timeout=60")


@contextmanager
def unlocked(path: Path) -> Iterator[Path]:
    """``path`` for others to read, as a server with another user id needs it."""
    path.chmod(0o755)
    for file in path.iterdir():
        file.chmod(0o644)
    with suppress(OSError):
        os.sync()
    yield path


@scenario("install-sources", issues=(2,), limit=SIX_INSTALLATIONS)
def install_sources(context: Context) -> None:
    """One installation from every kind of URL: file, hd, cdrom, http, https, nfs."""
    image = artefacts.node_image()
    target = target_disk(context, size=12 << 30)
    folder = served_folder(context, image)
    certificate = make_certificate(context.folder)
    with running_installer(context.folder, limit=SIX_INSTALLATIONS) as installer:
        installer.start_network()
        file_url = provide_payload(installer, image.path, context.folder)
        installer.attach(target)
        installer.attach(ext4_medium(context, folder))
        installer.attach(cdrom_medium(context, folder))
        install_from(installer, context, file_url, image)
        install_from(installer, context, f"hd:LABEL={LABEL}:/{IMAGE}", image)
        install_from(installer, context, f"cdrom:/{IMAGE}", image)
        with serving(folder) as server:
            install_from(installer, context, f"{server.base}/{IMAGE}", image)
        with serving(folder, certificate=certificate) as server:
            installer.shell.put("/root/server.crt", certificate[0].read_bytes())
            url = f"{server.base}/{IMAGE}"
            install_from(installer, context, url, image, "--cacert=/root/server.crt")
        with unlocked(folder), nfs_server(folder, context.folder) as address:
            install_from(installer, context, f"nfs:{address}:{folder}/{IMAGE}", image)
        installer.power_off()

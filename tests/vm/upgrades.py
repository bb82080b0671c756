"""What the upgrade scenarios share: an installed node to start from, and a second image to go to."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from org_ovirt_node.image.cache import key_of
from org_ovirt_node.mounts import mounted, overlaid
from org_ovirt_node.run import run
from tests.vm import artefacts
from tests.vm.artefacts import NodeImage
from tests.vm.errors import check, check_equal
from tests.vm.installer import running_installer
from tests.vm.qemu import Disk
from tests.vm.scenario import Context
from tests.vm.steps import READ_IMAGE, Node, booted_node, install_node, kickstart, provide_payload, target_disk

#: Seconds for an update of the demo image under emulation.
UPDATE = 600.0
MEDIUM = "/mnt/medium"
NEW = "new.squashfs"
#: With images built beforehand the code of today goes into the machine as well.
CODE_TOO = bool(os.environ.get("OVIRT_NODE_TEST_IMAGE"))
PACKAGE = "/usr/lib/python3/dist-packages/org_ovirt_node"

Change = Callable[[Path], None]


def installed_disk(context: Context, *, node_options: str = "", name: str = "target") -> Disk:
    """A disk with the demo node on it; installed once, and copied for every scenario."""
    image = artefacts.node_image()

    def make(folder: Path) -> None:
        folder.mkdir()
        inner = Context(folder)
        target = target_disk(inner)
        with running_installer(folder) as installer:
            url = provide_payload(installer, image.path, folder)
            installer.attach(target)
            text = kickstart(url, check_line=f"--sha256={image.sha256}", node_options=node_options)
            install_node(installer, inner, text)
            installer.power_off()

    key = key_of(image.sha256, node_options)
    made = artefacts.cache().get("installed-node", key, make) / "target.raw"
    copy = context.folder / f"{name}.raw"
    context.folder.mkdir(parents=True, exist_ok=True)
    run(["cp", "--sparse=always", "--reflink=auto", made, copy])
    return Disk(copy, name)


def changed_image(release: str, name: str, change: Change) -> NodeImage:
    """The demo image of ``release`` with ``change`` made to its root tree; ``name`` tells changes apart."""
    image = artefacts.node_image(release)

    def make(folder: Path) -> None:
        work = folder / "work"
        for part in ("lower", "upper", "overlay", "root"):
            (work / part).mkdir(parents=True)
        with (
            mounted(str(image.path), work / "lower", fstype="squashfs", options=["ro"]) as lower,
            overlaid([lower], work / "upper", work / "overlay", work / "root") as root,
        ):
            change(root)
            options = ["-noappend", "-quiet", "-no-progress", "-xattrs", "-comp", "zstd", "-Xcompression-level", "1"]
            run(["mksquashfs", root, folder / "image.squashfs", *options])
        run(["rm", "-rf", work])

    file = artefacts.cache().get(f"changed-image-{release}", key_of(image.sha256, name), make) / "image.squashfs"
    return NodeImage(file, image.nvr, file.stat().st_size, artefacts.sha256(file))


def edit(root: Path, path: str, text: str) -> None:
    """Write a file of the image's /etc, and the copy of it that merges compare with."""
    for folder in ("etc", "usr/lib/ovirt-node/etc"):
        target = root / folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text, encoding="utf-8")


@contextmanager
def node_with(context: Context, target: Disk, *images: NodeImage, name: str = "node", **spec: Any) -> Iterator[Node]:
    """The node on ``target``, booted, with ``images`` on a medium at MEDIUM as ``<nvr>.squashfs``."""
    files: dict[str, Any] = {f"{image.nvr}.squashfs": image.path for image in images}
    medium = artefacts.files_disk(context.folder, "medium", files or {"empty": b""})
    disks = [target, Disk(medium, "medium", readonly=True)]
    if CODE_TOO:
        disks.append(Disk(artefacts.code_disk(context.folder), "code", readonly=True))
    with booted_node(context, *disks, name=name, **spec) as node:
        prepare(node)
        yield node


def prepare(node: Node) -> None:
    """After each boot: the medium is mounted, and the code of today is in its place where that is asked for."""
    node.shell.run(f"mkdir -p {MEDIUM} && mount -o ro /dev/disk/by-id/virtio-medium {MEDIUM}")
    if CODE_TOO:
        node.shell.run(
            "mkdir -p /mnt/code && mount -o ro /dev/disk/by-id/virtio-code /mnt/code && "
            f"mount --bind /mnt/code/org_ovirt_node {PACKAGE}"
        )


def update(node: Node, image: NodeImage, options: str = "") -> dict[str, Any]:
    """Run ``nodectl update`` to its success; returns what it says, with its times as they are on an idle host."""
    before = node.machine.host_share()
    command = f"nodectl --machine-readable update {MEDIUM}/{image.nvr}.squashfs --sha256 {image.sha256} {options}"
    done = node.shell.run(f"{command} 2>/tmp/update.err", UPDATE, check=False)
    said = node.shell.text("cat /tmp/update.err")
    check(done.ok, f"the update ended with {done.status}:\n{done.output}\n{said}")
    found: dict[str, Any] = json.loads(done.text.splitlines()[-1])
    # A machine that had to wait for the host's processors is not slower for it: the waiting is taken out.
    found["host_share"] = round(node.machine.host_share().since(before), 2)
    found["own_seconds"] = round(found["own_seconds"] * found["host_share"], 1)
    return found


def refused(node: Node, image: NodeImage, *words: str, options: str = "") -> str:
    """``nodectl update`` is refused in a sentence that has all of ``words``."""
    command = f"nodectl update {MEDIUM}/{image.nvr}.squashfs --sha256 {image.sha256} {options}"
    done = node.shell.run(command, UPDATE, check=False)
    check(done.status == 1, f"the update was not refused (status {done.status}):\n{done.output}")
    check("Traceback" not in done.output, f"a traceback:\n{done.output}")
    for word in words:
        check(word in done.output, f"the refusal does not say {word!r}:\n{done.output}")
    return done.output


def state(node: Node) -> dict[str, Any]:
    """``nodectl info``."""
    found: dict[str, Any] = node.shell.json("nodectl info --machine-readable")
    return found


def check_health(node: Node, expected: str = "ok") -> dict[str, Any]:
    """``nodectl check`` says ``expected``."""
    found: dict[str, Any] = node.shell.json("nodectl check --machine-readable")
    check_equal(found["status"], expected, f"the state that nodectl check finds ({json.dumps(found)})")
    return found


def check_runs(node: Node, layer: str) -> None:
    """The node runs from ``layer``, whose image is intact."""
    check_equal(state(node)["current_layer"], layer, "the running layer")
    image = layer.rpartition("+")[0]
    result = node.shell.json(f"nodectl verify --machine-readable {image} 2>/dev/null", READ_IMAGE)
    check(result["images"][0]["ok"] is not False, f"nodectl verify {image}: {result}")


def environment(node: Node) -> dict[str, str]:
    """GRUB's variables, as GRUB's own tool reads them."""
    text = node.shell.text("cat /boot/grub/grubenv | tr -d '#' | grep = || true")
    return dict(line.split("=", 1) for line in text.splitlines())


def reboot(node: Node) -> None:
    """Reboot, and get ready again."""
    node.reboot()
    prepare(node)

"""What the upgrade scenarios share: a running node to start from, and a second image to go to."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Optional

from org_ovirt_node.image.cache import key_of
from org_ovirt_node.mounts import mounted, overlaid
from org_ovirt_node.payload.verity import append_tree
from org_ovirt_node.run import run
from tests.vm import artefacts
from tests.vm.accel import accelerator
from tests.vm.artefacts import NodeImage
from tests.vm.errors import check, check_equal
from tests.vm.installer import PLUG, STATE, renew
from tests.vm.qemu import Disk, Machine, Spec, command_line
from tests.vm.scenario import Context
from tests.vm.steps import BOOT, READ_IMAGE, Node, installed, kickstart, target_disk

#: Seconds for an update of the demo image under emulation.
UPDATE = 600.0
MEDIUM = "/mnt/medium"
#: Name and serial number of the node's disk.
DISK = "target"
#: Seconds that the machine may take whose state is saved.
LIFETIME = 1200.0
#: With images built beforehand the code of today goes into the machine as well.
CODE_TOO = bool(os.environ.get("OVIRT_NODE_TEST_IMAGE"))
PACKAGE = "/usr/lib/python3/dist-packages/org_ovirt_node"

Change = Callable[[Path], None]
#: See Disk.filters.
Filters = tuple[dict[str, Any], ...]


def settled_node() -> Path:
    """A folder with the demo node, installed, booted and settled: its disk, and the state of its machine.

    Made once; a scenario goes on from copies, without an installation and a boot of its own.
    """
    image = artefacts.node_image()
    argv = command_line(_spec(Path("/disk"), LIFETIME), Path(), Path())

    def make(folder: Path) -> None:
        folder.mkdir()
        inner = Context(folder)
        target = target_disk(inner, DISK)
        with installed(inner, image, target):
            pass
        for file in ("payload.d", "payload.squashfs", "installer"):
            run(["rm", "-rf", folder / file])
        with Machine(_spec(target.file, LIFETIME), folder / "machine") as machine:
            node = Node(machine)
            node.await_login()
            node.check_running()
            # Nothing is half-done when the state is taken, and the page cache has what every scenario needs.
            node.shell.run("udevadm settle --timeout=60 && nodectl check", BOOT)
            node.shell.run("sync; echo 1 > /proc/sys/vm/compact_memory || true")
            machine.save(folder / "state", STATE)

    key = key_of(image.sha256, kickstart(""), argv, accelerator(), artefacts.qemu_version())
    return artefacts.cache().get("settled-node", key, make)


def _spec(disk: Path, limit: float, filters: Filters = (), **more: Any) -> Spec:
    return Spec("node", memory=1024, disks=(Disk(disk, DISK, filters=filters),), reboots=True, limit=limit, **more)


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
        append_tree(folder / "image.squashfs")

    key = key_of(image.sha256, name, "tree")
    file = artefacts.cache().get(f"changed-image-{release}", key, make) / "image.squashfs"
    return artefacts.image_at(file, image.nvr)


def edit(root: Path, path: str, text: str) -> None:
    """Write a file of the image's /etc, and the copy of it that merges compare with."""
    for folder in ("etc", "usr/lib/ovirt-node/etc"):
        target = root / folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text, encoding="utf-8")


@contextmanager
def node_with(
    context: Context,
    *images: NodeImage,
    limit: float,
    more: Optional[Mapping[str, Path]] = None,
    filters: Filters = (),
) -> Iterator[Node]:
    """The demo node, booted and settled, with ``images`` on a medium at MEDIUM as ``<nvr>.squashfs``, and ``more``.

    ``filters`` are block nodes over its disk.
    """
    made = settled_node()
    disk = context.folder / f"{DISK}.raw"
    run(["cp", "--sparse=always", "--reflink=auto", made / disk.name, disk])
    media = [medium(context, *images, more=more)]
    if CODE_TOO:
        media.append(Disk(artefacts.code_disk(context.folder), "code", readonly=True))
    with Machine(_spec(disk, limit, filters, incoming=made / "state"), context.folder / "node") as machine:
        machine.go_on(STATE)
        node = Node(machine)
        renew(node.shell)
        for one in media:
            machine.attach(one)
        prepare(node)
        yield node


def medium(context: Context, *images: NodeImage, more: Optional[Mapping[str, Path]] = None) -> Disk:
    """A disk with ``images`` as ``<nvr>.squashfs``, and the files ``more``."""
    files = {**{f"{image.nvr}.squashfs": image.path for image in images}, **(more or {})}
    return Disk(artefacts.files_disk(context.folder, "medium", files), "medium", readonly=True)


def prepare(node: Node) -> None:
    """After each boot: the medium is mounted, and the code of today is in its place where that is asked for."""
    _mount(node, "medium", MEDIUM)
    if CODE_TOO:
        _mount(node, "code", "/mnt/code")
        node.shell.run(f"mount --bind /mnt/code/org_ovirt_node {PACKAGE}")


def _mount(node: Node, serial: str, target: str) -> None:
    """Mount a disk that may have been plugged in just now."""
    link = f"/dev/disk/by-id/virtio-{serial}"
    node.shell.run(
        f"udevadm wait --timeout={PLUG:.0f} {link} && mkdir -p {target} && mount -o ro {link} {target}", 2 * PLUG
    )


def update(node: Node, image: NodeImage, options: str = "") -> dict[str, Any]:
    """Run ``nodectl update`` to its success; returns what it says, with its times as they are on an idle host."""
    before, started = node.machine.host_share(), node.machine.seconds
    command = f"nodectl --machine-readable update {MEDIUM}/{image.nvr}.squashfs --sha256 {image.sha256} {options}"
    done = node.shell.run(f"{command} 2>/tmp/update.err", UPDATE, check=False)
    seconds = node.machine.seconds - started
    said = node.shell.text("cat /tmp/update.err")
    check(done.ok, f"the update ended with {done.status}:\n{done.output}\n{said}")
    found: dict[str, Any] = json.loads(done.text.splitlines()[-1])
    # A machine that had to wait for the host's processors is not slower for it: the waiting is taken out.
    found["host_share"] = round(node.machine.host_share().since(before), 2)
    found["own_seconds"] = round(found["own_seconds"] * found["host_share"], 1)
    # From the command's start to its end, with the loading of Python and its modules.
    found["command_seconds"] = round(seconds * found["host_share"], 1)
    return found


def planned(node: Node, image: NodeImage, options: str = "") -> dict[str, Any]:
    """What ``nodectl update --plan`` says, whether the update is possible or not."""
    command = (
        f"nodectl update --plan --machine-readable {MEDIUM}/{image.nvr}.squashfs --sha256 {image.sha256} {options}"
    )
    done = node.shell.run(f"{command} 2>/tmp/plan.err", UPDATE, check=False)
    check(done.status in (0, 1), f"the plan ended with {done.status}:\n{node.shell.text('cat /tmp/plan.err')}")
    found: dict[str, Any] = json.loads(done.text)
    check_equal(found["possible"], done.ok, "what the plan's status says")
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
    """The node runs from ``layer``, whose image is intact and read through dm-verity."""
    found = state(node)
    check_equal(found["current_layer"], layer, "the running layer")
    roothash = found["verity"][layer]
    # Kernel: admin-guide/device-mapper/verity.rst.
    table = node.shell.text("dmsetup table $(findmnt -nro SOURCE /run/ovirt-node/image)").split()
    check(
        table[2] == "verity" and roothash in table[3:], f"the root hash is {roothash!r}, the image is read by {table}"
    )
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

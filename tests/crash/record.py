"""Recordings: an operation run once in a machine, with every write and flush of its disk in a log.

A recording is a folder: ``base.raw`` (the disk before; absent for a blank one), ``log`` (tests/crash/writelog.py),
``facts.json`` (what happened when, what was installed) and the images as ``<nvr>.squashfs``.  Recordings are kept in
the cache by what they are made from.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from org_ovirt_node.image import runtime
from org_ovirt_node.image.cache import key_of
from org_ovirt_node.run import run
from tests.vm import artefacts
from tests.vm.accel import accelerator
from tests.vm.artefacts import NodeImage
from tests.vm.errors import check_equal
from tests.vm.installer import running_installer
from tests.vm.qemu import Disk
from tests.vm.scenario import Context
from tests.vm.steps import GIB, booted_node, install_node, kickstart, provide_payload
from tests.vm.upgrades import DISK, environment, node_with, settled_node, update
from tests.vm.vendor import larger_copy, vendor_disk

#: Bytes of the disk that is installed to: the settled node has the same.
SIZE = 20 * GIB
#: Bytes of a vendor's disk image, which is copied to a disk of SIZE.
VENDOR_SIZE = 8 * GIB
#: Seconds for a recording: an installation, or an update and a boot.
LIMIT = 2400.0
#: Seconds for a boot or a command on a busy host.
BUSY = 900.0
BASE, LOG, FACTS, AFTER = "base.raw", "log", "facts.json", "after.raw"


@dataclass
class Recording:
    """A recording that was made: where it is, and what is known of it."""

    folder: Path
    #: One of MAKERS.
    name: str
    size: int
    #: The NVR of each image that is put on the disk, with SHA-256 and size in bytes.
    images: dict[str, tuple[str, int]]
    #: What was finished when the log had this many bytes, in the order of time.
    marks: list[tuple[str, int]] = field(default_factory=list)

    @property
    def base(self) -> Path:
        return self.folder / BASE

    @property
    def log(self) -> Path:
        return self.folder / LOG

    def image(self, nvr: str) -> Path:
        """The image ``nvr`` as it was installed, whatever images are built since."""
        return self.folder / f"{nvr}.squashfs"

    def mark(self, name: str) -> None:
        """Note that ``name`` is finished now."""
        self.marks.append((name, self.log.stat().st_size))

    def save(self) -> None:
        facts = {"name": self.name, "size": self.size, "images": self.images, "marks": self.marks}
        (self.folder / FACTS).write_text(json.dumps(facts, indent=1))


def load(folder: Path) -> Recording:
    """Read what :meth:`Recording.save` wrote."""
    facts: dict[str, Any] = json.loads((folder / FACTS).read_text())
    images = {nvr: (str(digest), int(size)) for nvr, (digest, size) in facts["images"].items()}
    marks = [(str(name), int(place)) for name, place in facts["marks"]]
    return Recording(folder, facts["name"], int(facts["size"]), images, marks)


def recorder(log: Path) -> tuple[dict[str, Any], ...]:
    """The block nodes that record a disk's writes in ``log`` (QEMU: block/blklogwrites.c)."""
    log.write_bytes(b"")
    target = {"driver": "file", "filename": str(log), "cache": {"direct": False, "no-flush": True}}
    return ({"driver": "blklogwrites", "log": target, "log-sector-size": 512},)


def _begun(folder: Path, name: str, *images: NodeImage) -> Recording:
    """An empty recording in the new folder ``folder``."""
    folder.mkdir()
    return Recording(folder, name, SIZE, {image.nvr: (image.sha256, image.size) for image in images})


def _ended(made: Recording, *images: NodeImage) -> None:
    """Only the recording and what the machines said stay."""
    made.save()
    for file in made.folder.rglob("*"):
        if file.is_file() and file.name not in (BASE, LOG, FACTS, AFTER) and file.suffix != ".log":
            file.unlink()
    for image in images:
        run(["cp", "--reflink=auto", image.path, made.image(image.nvr)])


def record_install(folder: Path, name: str) -> None:
    """The installation on a blank disk (``install``), or over a node (``reinstall``)."""
    image = artefacts.node_image()
    context = Context(folder)
    recording = _begun(folder, name, image)
    target = folder / f"{DISK}.raw"
    if name == "reinstall":
        _copy_base(recording, target)
    else:
        artefacts.blank_disk(target, SIZE)
    with running_installer(folder, limit=LIMIT) as installer:
        url = provide_payload(installer, image.path, folder)
        installer.attach(Disk(target, DISK, filters=recorder(recording.log)))
        recording.mark("begin")
        install_node(installer, context, kickstart(url, check_line=f"--sha256={image.sha256}"))
        recording.mark("installed")
        installer.power_off()
    recording.mark("off")
    _ended(recording, image)


def _copy_base(recording: Recording, target: Path) -> None:
    """The settled node's disk: one to work on, and one that stays (a hard link, for nobody writes to it)."""
    made = settled_node()
    os.link(made / target.name, recording.base)
    run(["cp", "--sparse=always", "--reflink=auto", made / target.name, target])


def record_upgrade(folder: Path, name: str) -> None:
    """A settled node is upgraded; its disk as it is then is what the next recording begins with."""
    old, new = artefacts.node_image(), artefacts.node_image("2")
    recording = _begun(folder, name, old, new)
    os.link(settled_node() / f"{DISK}.raw", recording.base)
    with node_with(Context(folder), new, limit=LIMIT, filters=recorder(recording.log)) as node:
        node.check_running()
        recording.mark("begin")
        update(node, new)
        recording.mark("updated")
        # What comes now is of no interest; the disk that stays must be a whole one.
        node.shell.run("sync")
    (folder / f"{DISK}.raw").rename(folder / AFTER)
    _ended(recording, old, new)


def record_trial(folder: Path, name: str) -> None:
    """The new layer is booted and marked good; the node is rolled back and forth, and loses the old image."""
    old, new = artefacts.node_image(), artefacts.node_image("2")
    before = recording("upgrade").folder / AFTER
    made = _begun(folder, name, old, new)
    os.link(before, made.base)
    target = folder / f"{DISK}.raw"
    run(["cp", "--sparse=always", "--reflink=auto", before, target])
    disk = Disk(target, DISK, filters=recorder(made.log))
    with booted_node(Context(folder), disk, login=False, limit=LIMIT) as node:
        node.await_login(BUSY)
        made.mark("booted")
        node.check_running()
        check_equal(environment(node), {"saved_entry": f"{new.nvr}+1"}, "GRUB's variables once the layer is good")
        made.mark("good")
        node.shell.run("nodectl rollback", BUSY)
        made.mark("rolled back")
        node.shell.run(f"nodectl rollback --to {new.nvr}", BUSY)
        made.mark("rolled forth")
        node.shell.run(f"nodectl remove {old.nvr}", BUSY)
        made.mark("removed")
        node.power_off()
    made.mark("off")
    _ended(made, old, new)


def record_first_boot(folder: Path, name: str) -> None:
    """A vendor's disk, copied to a larger one, at its first boot: new ids, and growth into the disk."""
    image = artefacts.node_image()
    context = Context(folder)
    made = _begun(folder, name, image)
    vendor = vendor_disk(context, image, VENDOR_SIZE, "bios")
    larger_copy(vendor, made.base, SIZE)
    vendor.unlink()
    target = folder / f"{DISK}.raw"
    run(["cp", "--sparse=always", "--reflink=auto", made.base, target])
    disk = Disk(target, DISK, filters=recorder(made.log))
    with booted_node(context, disk, login=False, limit=LIMIT) as node:
        node.await_login(BUSY)
        node.check_running()
        check_equal(node.shell.text("test -e /etc/ovirt-node/first-boot.json; echo $?"), "1", "an open first boot")
        node.shell.run("sync")
        made.mark("grown")
        node.power_off()
    made.mark("off")
    _ended(made, image)


MAKERS: dict[str, Callable[[Path, str], None]] = {
    "install": record_install,
    "reinstall": record_install,
    "upgrade": record_upgrade,
    "trial": record_trial,
    "first-boot": record_first_boot,
}


#: Recordings that begin with a node.
OF_A_NODE = ("upgrade", "trial")


def recording(name: str) -> Recording:
    """The recording ``name``, made now when the cache has none of these images, this code and this QEMU."""
    images = [artefacts.node_image(), *([artefacts.node_image("2")] if name in OF_A_NODE else [])]
    sources = [Path(__file__)]
    # The installer runs the code of today, and so does a node whose image was built before; else it is the image's.
    if name not in OF_A_NODE or os.environ.get("OVIRT_NODE_TEST_IMAGE"):
        sources += sorted(runtime.sources())
    code = [artefacts.sha256(file) for file in sources]
    key = key_of(name, [image.sha256 for image in images], code, accelerator(), artefacts.qemu_version())
    return load(artefacts.cache().get(f"recording-{name}", key, lambda folder: MAKERS[name](folder, name)))


def kept(name: str) -> Recording:
    """The newest recording ``name`` in the cache, whatever it was made from: for work on what judges it."""
    found = sorted(artefacts.cache().folder.glob(f"recording-{name}-*"), key=lambda path: path.stat().st_mtime)
    if not found:
        raise FileNotFoundError(
            f"the cache has no recording {name}: make one with 'python -m tests.crash record {name}'"
        )
    return load(found[-1])

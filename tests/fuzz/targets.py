"""What reads what others have written: for each a function of bytes, and samples to start from.

A target returns, or raises an error of the project's family.  Everything else is a finding.
"""

from __future__ import annotations

import json
import os
import shlex
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from org_ovirt_node.boot import bls, cmdline, cpio, files, grubcfg, grubenv, hostinitrd, trial
from org_ovirt_node.boot.hostinitrd import HostFile
from org_ovirt_node.errors import NodeError
from org_ovirt_node.install.handover import adopt_fstab
from org_ovirt_node.kickstart import units
from org_ovirt_node.kickstart.model import NodeSection
from org_ovirt_node.kickstart.section import format_section, parse_section
from org_ovirt_node.node import journal, layers, lvm
from org_ovirt_node.node.merge import acctfile
from org_ovirt_node.payload import manifest, squashfs, verity
from org_ovirt_node.urls import redact_url, redact_urls

CORPUS = Path(__file__).parent / "corpus"


@dataclass(frozen=True)
class Target:
    """``act`` reads the bytes; ``samples`` are sound input."""

    act: Callable[[bytes], object]
    samples: tuple[bytes, ...]


def text(data: bytes) -> str:
    return data.decode("utf-8", errors="replace")


def section(data: bytes) -> None:
    head, *lines = text(data).split("\n")
    found = parse_section(head.split(), list(enumerate(lines, 2)), file="test.ks", line=1)
    again = format_section(found)
    assert format_section(parse_again(again)) == again, "what is printed is not read as it was"


def parse_again(printed: str) -> NodeSection:
    head, *lines = printed.rstrip("\n").split("\n")
    if lines and lines[-1] == "%end":
        lines.pop()
    return parse_section(shlex.split(head)[2:], list(enumerate(lines, 2)), file="test.ks", line=1)


def lvm_report(data: bytes) -> None:
    for row in lvm.parse_rows(text(data), "lv"):
        volume = lvm.parse_volume(row)
        assert isinstance(volume.content_size, int) and isinstance(volume.sha256, str)


def boot_entry(data: bytes) -> None:
    entry = bls.parse(text(data), "name")
    assert bls.parse(entry.render(), "name").linux == entry.linux
    menu = grubcfg.render_entries([entry])
    assert menu.count("\nmenuentry ") == 0, "an entry has made another one"


def environment(data: bytes) -> None:
    values = grubenv.parse(data)
    try:
        block = grubenv.render(values)
    except NodeError:
        return
    assert len(block) == grubenv.SIZE


def boot_folder(data: bytes) -> None:
    """The state of GRUB from an environment block and a menu that others wrote."""
    with tempfile.TemporaryDirectory(dir="/dev/shm", prefix="ovirt-node-fuzz-") as folder:
        boot = Path(folder)
        (boot / "grub").mkdir()
        (boot / "grub/grub.cfg").write_bytes(b"x")
        (boot / "grub/grubenv").write_bytes(data)
        (boot / "grub/entries.cfg").write_bytes(data)
        entries = boot / bls.ENTRIES
        entries.mkdir(parents=True)
        (entries / "a.conf").write_bytes(data)
        state = layers.boot_state(boot)
        assert state.next in (*state.names, state.first, "")
        assert files.grub_folder(boot) == "grub"


def accounts(data: bytes) -> None:
    for database in acctfile.FIELDS:
        table = acctfile.parse(database, data)
        lines = acctfile.text(table.lines)
        assert lines == data or lines == data + b"\n", f"{database}: a line was lost"


def kernel_line(data: bytes) -> None:
    line = text(data)
    words = cmdline.split(line)
    assert cmdline.split(" ".join(words)) == words
    assert not trial.on_trial(trial.without_trial(line))
    assert isinstance(layers.argument("ovirt_node.layer", line), str)
    cmdline.command_line(cmdline.layer_arguments("onn", "a", "a+1"), line)


def fstab(data: bytes) -> None:
    written = adopt_fstab(text(data), {"/var": ("discard",)})
    for line in written.splitlines():
        fields = line.split()
        assert len(fields) < 4 or fields[0].startswith("#") or fields[1] != "/", "a line for / is left"


def host_image(data: bytes) -> None:
    for path, file in cpio.read_host_initrd(data).items():
        assert path.startswith("/") and isinstance(file.content, bytes)


def initramfs(data: bytes) -> None:
    with tempfile.NamedTemporaryFile(dir="/dev/shm", prefix="ovirt-node-fuzz-") as file:
        # What is compressed is another program's to read.
        Path(file.name).write_bytes(b"0707" + data[4:])
        cpio.names(Path(file.name))


def node_journal(data: bytes) -> None:
    with tempfile.TemporaryDirectory(dir="/dev/shm", prefix="ovirt-node-fuzz-") as folder:
        journal.save(journal.Journal("a", "b", "c"), Path(folder))
        (file,) = [Path(top) / name for top, _, names in os.walk(folder) for name in names]
        file.write_bytes(data)
        journal.load(Path(folder))


def settings(data: bytes) -> None:
    with tempfile.NamedTemporaryFile(dir="/dev/shm", prefix="ovirt-node-fuzz-") as file:
        Path(file.name).write_bytes(data)
        layers.config(Path(file.name))


def hash_tree(data: bytes) -> None:
    with tempfile.NamedTemporaryFile(dir="/dev/shm", prefix="ovirt-node-fuzz-") as file:
        Path(file.name).write_bytes(data)
        verity.read_tree(Path(file.name), len(data))


def addresses(data: bytes) -> None:
    line = text(data)
    assert "geheim" not in redact_url("https://user:geheim@example.org/" + line.replace("geheim", ""))
    redact_urls(line)


def size(data: bytes) -> None:
    try:
        found = units.parse_size(text(data))
    except ValueError as exc:
        # Its callers say where; the sentence is its own.
        raise NodeError(str(exc)) from exc
    assert units.parse_size(units.format_size(found)) == found


MANIFEST = {
    "format": 1,
    "nvr": "node-1.0-1",
    "file": "node-1.0-1.squashfs",
    "size": 8192,
    "sha256": "0" * 64,
    "form": "tree",
    "kernel": "6.12",
    "boot_args": "quiet",
    "build_date": "2026-01-01T00:00:00Z",
    "minimum": {"disk": 1, "memory": 1},
    "verity": None,
}
ROW = {
    **dict.fromkeys(lvm.LV_FIELDS.split(","), ""),
    "lv_name": "a",
    "vg_name": "onn",
    "lv_size": "4194304B",
    "lv_attr": "Vwi-aotz--",
    "lv_tags": "imgbased:base,ovirt-node:size=12",
    "data_percent": "12.50",
}
ENTRY = b"title a\nversion 6\nlinux /a/vmlinuz\ninitrd /a/initramfs.img /a/host.img\noptions root=ovirt-node quiet\n"

ABSENT = (1 << 64) - 1
SUPERBLOCK = squashfs.SUPERBLOCK.pack(
    *(0x73717368, 10, 0, 131072, 0, 6, 17, 0, 1, 4, 0), *(0, 4000, 3000, ABSENT, 1000, 2000, ABSENT, ABSENT)
)
TREE = verity.TREE_SUPERBLOCK.pack(
    verity.TREE_SIGNATURE, *verity.TREE_VERSION, bytes(16), verity.ALGORITHM, 4096, 4096, 1, 0, bytes(256)
).ljust(4096, b"\0") + bytes(4096)

TARGETS: dict[str, Target] = {
    "section": Target(
        section,
        (
            b"--image=https://example.org/a.squashfs --sha256="
            + b"a" * 64
            + b" --image-slots=4\nvolume /var --size=4096M\n",
            b"--image=file:/a --nosignature\nnovolume /home\nvolume /data --size=10G --fstype=ext4\n",
        ),
    ),
    "manifest": Target(lambda data: manifest.parse(data, "m.json"), (json.dumps(MANIFEST).encode(),)),
    "superblock": Target(squashfs.read_superblock, (SUPERBLOCK,)),
    "lvm": Target(lvm_report, (json.dumps({"report": [{"lv": [ROW]}]}).encode(),)),
    "grubenv": Target(environment, (grubenv.render({"saved_entry": "a", "b": "x\\y"}),)),
    "boot-folder": Target(boot_folder, (grubenv.render({"trial_entry": "a", "trial_tries": "3"}), ENTRY)),
    "entry": Target(boot_entry, (ENTRY,)),
    "fstab": Target(fstab, (b"# x\nUUID=a / ext4 defaults 1 1\nUUID=b /var xfs defaults,discard 0 0\n",)),
    "accounts": Target(
        accounts, (b"root:x:0:0:root:/root:/bin/sh\n+@nis\n", b"root:*:19000:0:99999:7:::\n", b"wheel:x:10:a,b\n")
    ),
    "cmdline": Target(kernel_line, (b'BOOT_IMAGE=/a root=ovirt-node ovirt_node.layer=a+1 x="a b" quiet\n',)),
    "host-image": Target(host_image, (hostinitrd.build({"/etc/a": HostFile(b"content", 0o600)}),)),
    "initramfs": Target(initramfs, (hostinitrd.build({"/etc/a": HostFile(b"content", 0o600)}),)),
    "journal": Target(node_journal, (b'{"format": 1, "image": "a", "layer": "b", "previous": "c"}',)),
    "settings": Target(settings, (b'{"vg": "onn", "image_slots": 3}',)),
    "hash-tree": Target(hash_tree, (SUPERBLOCK.ljust(4096, b"\0") + TREE,)),
    "sizes": Target(size, (b"10G", b"1.5 GiB")),
    "urls": Target(addresses, (b"https://user:secret@example.org/a?token=b",)),
}


def corpus(name: str) -> list[bytes]:
    """What was found before with the target ``name``."""
    folder = CORPUS / name
    return [file.read_bytes() for file in sorted(folder.iterdir())] if folder.is_dir() else []


def attack(name: str, data: bytes) -> None:
    """Give ``data`` to a target.  Raises whatever is a finding."""
    try:
        TARGETS[name].act(data)
    except NodeError as exc:
        assert str(exc).strip(), "an error that says nothing"
        # A long line may be shown, and escaped, and named twice; more would be a way to fill a log.
        assert len(str(exc)) < 4000 + 10 * len(data), "an error that is much longer than its input"

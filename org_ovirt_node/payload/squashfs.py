"""What a squashfs says about itself, before and after it can be mounted.

The superblock: 96 bytes, little-endian (Linux Documentation/filesystems/squashfs.rst and fs/squashfs/squashfs_fs.h,
struct squashfs_super_block; https://dr-emann.github.io/squashfs/squashfs.html).
"""

from __future__ import annotations

import json
import logging
import re
import struct
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Optional

from org_ovirt_node.errors import CommandError, PayloadError
from org_ovirt_node.i18n import N_, _, translated
from org_ovirt_node.payload.facts import LIVEOS, ImageFacts
from org_ovirt_node.payload.source import Source
from org_ovirt_node.rounding import round_up
from org_ovirt_node.run import run

log = logging.getLogger(__name__)

SUPERBLOCK = struct.Struct("<IIIIIHHHHHHQQQQQQQQ")
MAGIC = b"hsqs"
COMPRESSIONS = {1: "gzip", 2: "lzma", 3: "lzo", 4: "xz", 5: "lz4", 6: "zstd"}
MIN_BLOCK, MAX_BLOCK = 4096, 1 << 20
#: mksquashfs pads its output to this; a verity tree begins at such a boundary.
PADDING = 4096
#: A metadata block holds so many bytes; the root inode's place within one is below it.
METADATA = 8192
ABSENT = (1 << 64) - 1

IMAGE_JSON = Path("usr/lib/ovirt-node/image.json")
INNER_IMAGE = Path("LiveOS/rootfs.img")
#: image.json has a handful of short fields; anything larger is not ours to read.
MAX_JSON = 64 << 10
#: What lvm(8) takes as a name, without the "+" that tells a layer from its image.
NVR = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,119}")
KERNEL = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+~-]*|")
#: What unsquashfs says of a compression that it was built without; the kernel may well know it.
UNSUPPORTED = "not supported by this version"
SUFFIXES = (".img", ".squashfs", ".sqfs", ".sqsh")

#: Starts of what is handed in by mistake, and what to say.
LOOKALIKES = (
    (b"sqsh", N_("a big-endian squashfs, which Linux cannot mount")),
    (b"\x1f\x8b", N_("a gzip archive")),
    (b"\xfd7zXZ", N_("an xz archive")),
    (b"\x28\xb5\x2f\xfd", N_("a zstd archive")),
    (b"PK\x03\x04", N_("a zip archive")),
    (b"\xed\xab\xee\xdb", N_("an RPM package")),
    (b"QFI\xfb", N_("a qcow2 disk")),
    (b"<", N_("a web page")),
    (b"{", N_("a JSON file")),
)


@dataclass(frozen=True)
class Superblock:
    """The fields that matter; sizes and offsets in bytes."""

    bytes_used: int
    block_size: int
    compression: str
    inodes: int
    created: int

    @property
    def padded(self) -> int:
        """The size with mksquashfs' padding, where a verity tree may follow."""
        return round_up(self.bytes_used, PADDING)


def read_superblock(data: bytes, name: str = "") -> Superblock:
    """The superblock in ``data``, the image's first bytes.  Raises PayloadError for anything but a sound one."""
    name = name or _("The image")
    if data[:4] != MAGIC:
        looks = next((text for start, text in LOOKALIKES if data.lstrip()[: len(start)] == start), "")
        wrong = _("{name} is not a squashfs image: it looks like {looks}")
        if not looks:
            wrong = _("{name} is not a squashfs image")
        raise PayloadError(
            wrong.format(name=name, looks=translated(looks)),
            hint=_("Name the image's squashfs file."),
        )
    if len(data) < SUPERBLOCK.size:
        raise PayloadError(
            _("{name} is truncated: it has {count} bytes").format(name=name, count=len(data)),
            hint=_("Fetch the image again."),
        )
    fields = SUPERBLOCK.unpack_from(data)
    _unused, inodes, created, block_size, _unused, compression, block_log, _unused, ids, major, minor = fields[:11]
    root_inode, bytes_used, id_table, xattrs, inode_table, directories, fragments, exports = fields[11:]
    if (major, minor) != (4, 0):
        raise PayloadError(
            _("{name} is a squashfs of version {major}.{minor}, not 4.0").format(name=name, major=major, minor=minor),
            hint=_("Build the image anew."),
        )
    tables = [table for table in (id_table, xattrs, inode_table, directories, fragments, exports) if table != ABSENT]
    damaged = (
        (_("block size"), MIN_BLOCK <= block_size <= MAX_BLOCK and block_size == 1 << min(block_log, 63)),
        (_("compression"), compression in COMPRESSIONS),
        (_("size"), bytes_used >= SUPERBLOCK.size),
        (_("number of inodes"), inodes > 0 and ids > 0),
        (_("tables"), all(SUPERBLOCK.size <= table < bytes_used for table in tables)),
        (_("required tables"), ABSENT not in (id_table, inode_table, directories) and inode_table < directories),
        (_("root inode"), root_inode & 0xFFFF < METADATA and inode_table + (root_inode >> 16) < directories),
    )
    odd = [what for what, sound in damaged if not sound]
    if odd:
        raise PayloadError(
            _("{name} is damaged: its superblock has an impossible {field}").format(name=name, field=odd[0]),
            hint=_("Fetch the image again."),
        )
    return Superblock(bytes_used, block_size, COMPRESSIONS[compression], inodes, created)


def inspect(source: Source, manifest: Optional[ImageFacts] = None) -> ImageFacts:
    """What is known of an image before it is written.

    From the superblock, from ``manifest`` (what a manifest says, already trusted), from image.json inside when the
    image is a local file, and else from the file's name.  ``size`` is the source's, or the squashfs' own padded size
    when the server does not tell.  Raises PayloadError.
    """
    superblock = read_superblock(source.read_at(0, SUPERBLOCK.size), source.name)
    size = source.size if source.size is not None else superblock.padded
    if superblock.bytes_used > size:
        raise PayloadError(
            _("{name} is truncated: it has {size} of {expected} bytes").format(
                name=source.name, size=size, expected=superblock.bytes_used
            ),
            hint=_("Fetch the image again."),
        )
    if manifest is not None:
        if source.size is not None and manifest.size != source.size:
            raise PayloadError(
                _("{name} has {size} bytes where its manifest says {expected}").format(
                    name=source.name, size=source.size, expected=manifest.size
                ),
                hint=_("Image and manifest must come from the same build."),
            )
        return replace(manifest, compression=superblock.compression)
    facts = ImageFacts(nvr=nvr_of_name(source.file_name), size=size, compression=superblock.compression)
    return _inspect_local(source.path, facts) if source.path else facts


def nvr_of_name(file_name: str) -> str:
    """The NVR that a file name stands for: ``node-1.0-1.squashfs.img`` is node-1.0-1.  Raises PayloadError."""
    stem = file_name
    while stem.endswith(SUFFIXES):
        stem = stem[: stem.rindex(".")]
    return checked_nvr(stem, _("The file name {name}").format(name=file_name))


def checked_nvr(nvr: object, where: str) -> str:
    """``nvr`` when a volume and a boot entry can bear it as their name.  Raises PayloadError."""
    if not isinstance(nvr, str) or not NVR.fullmatch(nvr):
        raise PayloadError(
            _("{where} is no usable name-version-release: {nvr}").format(where=where, nvr=repr(str(nvr)[:80])),
            hint=_("Letters, digits and . _ - are possible, as LVM has it, at most 120."),
        )
    return nvr


def _inspect_local(path: Path, facts: ImageFacts) -> ImageFacts:
    """Add what unsquashfs finds; without it (some installers lack it) the engine learns the rest after the transfer."""
    try:
        listed = run(["unsquashfs", "-lls", path, IMAGE_JSON, INNER_IMAGE], check=False)
    except CommandError as exc:
        log.info("%s", exc)
        return facts
    # unsquashfs(1): 1 is a fatal error, a path that is not there is none.
    if listed.status == 1 and UNSUPPORTED not in listed.stderr:
        said = (listed.stderr.strip().splitlines() or [_("unsquashfs cannot read it")])[0]
        raise PayloadError(
            _("{path} is damaged: {said}").format(path=path, said=said), hint=_("Fetch the image again.")
        )
    listing = listed.stdout
    entries = {words[5]: words for words in (line.split(None, 5) for line in listing.splitlines()) if len(words) == 6}
    if f"squashfs-root/{INNER_IMAGE}" in entries:
        return replace(facts, form=LIVEOS)
    entry = entries.get(f"squashfs-root/{IMAGE_JSON}")
    if entry is None:
        return facts
    if not entry[0].startswith("-") or not entry[2].isdigit() or int(entry[2]) > MAX_JSON:
        raise _odd_json(f"{path}: /{IMAGE_JSON}")
    shown = run(["unsquashfs", "-cat", path, IMAGE_JSON], check=False)
    return with_image_json(facts, shown.stdout.encode(), f"{path}") if shown.ok else facts


def _odd_json(where: str) -> PayloadError:
    return PayloadError(
        _("{where} is not a small plain file").format(where=where),
        hint=_("Build the image anew."),
    )


def with_image_json(facts: ImageFacts, data: bytes, name: str) -> ImageFacts:
    """``facts`` with what image.json (docs/interfaces.md) adds.  Raises PayloadError when it is not sound."""
    where = f"{name}: /{IMAGE_JSON}"
    try:
        fields = json.loads(data)
    except (ValueError, RecursionError) as exc:
        raise PayloadError(_("{where} is not JSON").format(where=where), hint=_("Build the image anew.")) from exc
    if not isinstance(fields, dict) or fields.get("format") != 1:
        raise PayloadError(
            _("{where} is not of format 1").format(where=where), hint=_("Use an installer as new as the image.")
        )
    texts = {key: fields.get(key, "") for key in ("kernel", "boot_args")}
    for key, value in texts.items():
        if not isinstance(value, str) or "\n" in value or "\0" in value:
            raise PayloadError(
                _("{where}: {key} is not a line of text").format(where=where, key=key), hint=_("Build the image anew.")
            )
    if not KERNEL.fullmatch(texts["kernel"]):
        raise PayloadError(
            _("{where}: {text} is no version of a kernel").format(where=where, text=repr(texts["kernel"][:80])),
            hint=_("Build the image anew."),
        )
    nvr = checked_nvr(fields.get("nvr"), where)
    return replace(facts, nvr=nvr, kernel=texts["kernel"], boot_args=texts["boot_args"])


def inspect_mounted(root: Path, facts: ImageFacts) -> ImageFacts:
    """What the image that is mounted at ``root`` says of itself, added to ``facts``.

    For the ``liveos`` form: with the outer image at ``root`` it only tells the form; call it again with the inner
    image's mount.  An image without image.json leaves ``facts`` as they are.  Raises PayloadError.
    """
    if (root / INNER_IMAGE).is_file():
        return replace(facts, form=LIVEOS)
    file = root / IMAGE_JSON
    try:
        # Not followed when it is a link: an absolute one would lead to a file of the installer.
        if file.is_symlink() or file.stat().st_size > MAX_JSON:
            raise _odd_json(_("the image's /{file}").format(file=IMAGE_JSON))
        data = file.read_bytes()
    except FileNotFoundError:
        # An image that another tool built: its name stays that of the file or of the manifest.
        return facts
    except OSError as exc:
        raise PayloadError(
            _("The image's /{file} cannot be read: {error}").format(file=IMAGE_JSON, error=exc.strerror),
            hint=_("Fetch the image again."),
        ) from exc
    return with_image_json(facts, data, _("The image"))

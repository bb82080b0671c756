"""The manifest beside an image: what it is, as JSON (docs/manifest.md).

Parsing is strict: whoever signs a manifest decides what a host boots, and what is not understood must not be passed
over.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Optional

from org_ovirt_node.errors import PayloadError
from org_ovirt_node.i18n import N_, _, translated
from org_ovirt_node.payload.facts import LIVEOS, TREE, ImageFacts
from org_ovirt_node.payload.squashfs import checked_nvr

FORMAT = 1
#: A manifest has some 20 short fields.
MAX_SIZE = 64 << 10
#: Larger than any file system can hold as a file (ext4: 16 TiB, xfs: 8 EiB), and safe in every integer type.
MAX_BYTES = 1 << 50
BLOCK_SIZES = (512, 1024, 2048, 4096)
#: Keys with this prefix are free for others' notes; no other unknown key is accepted.
FREE_PREFIX = "x-"

HEX_DIGEST = re.compile(r"[0-9a-f]{64}")
HEX_SALT = re.compile(r"(?:[0-9a-f]{2}){0,256}")
UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
FILE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._~^+-]{0,199}")
KERNEL = re.compile(r"[A-Za-z0-9][A-Za-z0-9._~+-]{0,99}")
LINE = re.compile(r"[\x20-\x7e]{0,1024}")
DATE = re.compile(r"\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}Z")


@dataclass(frozen=True)
class Verity:
    """A dm-verity hash tree behind the squashfs, in the same file; sizes and offsets in bytes.

    ``data_size`` bytes are covered; the tree's superblock follows them, at ``hash_offset`` (cryptsetup,
    lib/verity/verity.c).
    """

    roothash: str
    data_size: int
    hash_offset: int
    salt: str
    uuid: str
    data_block_size: int = 4096
    hash_block_size: int = 4096
    algorithm: str = "sha256"


@dataclass(frozen=True)
class Manifest:
    """A manifest; sizes in bytes, ``minimum_disk`` and ``minimum_memory`` 0 when it does not say."""

    nvr: str
    file: str
    size: int
    sha256: str
    form: str
    kernel: str
    build_date: str
    boot_args: str = ""
    minimum_disk: int = 0
    minimum_memory: int = 0
    verity: Optional[Verity] = None

    @property
    def facts(self) -> ImageFacts:
        """What the rest of the installer wants to know of it."""
        return ImageFacts(
            nvr=self.nvr,
            size=self.size,
            form=self.form,
            kernel=self.kernel,
            boot_args=self.boot_args,
            roothash=self.verity.roothash if self.verity else "",
            hash_offset=self.verity.hash_offset if self.verity else 0,
            sha256=self.sha256,
        )


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object's pairs; a key that comes twice means one thing to one reader and another to the next."""
    fields = dict(pairs)
    if len(fields) != len(pairs):
        raise ValueError("a key comes twice")
    return fields


class _Fields:
    """The checked fields of one JSON object; every failure names the field."""

    def __init__(self, name: str, fields: object, prefix: str = "") -> None:
        self.name = name
        self.prefix = prefix
        if not isinstance(fields, dict):
            raise self.error(prefix.rstrip(".") or _("the whole"), N_("{field} is not an object"))
        self.fields: dict[str, Any] = fields
        self.taken: set[str] = set()

    def error(self, field: str, wrong: str, **values: object) -> PayloadError:
        """``wrong`` is a sentence about the ``{field}``, to be translated, and ``values`` what else is in it."""
        return PayloadError(
            f"{self.name}: {translated(wrong).format(field=field, **values)}",
            hint=_("The manifest must be one of ovirt-node-image, whole."),
        )

    def take(self, field: str, default: Any = None) -> Any:
        self.taken.add(field)
        value = self.fields.get(field, default)
        if value is None:
            raise self.error(self.prefix + field, N_("{field} is missing"))
        return value

    def text(self, field: str, pattern: re.Pattern[str], default: Optional[str] = None) -> str:
        value = self.take(field, default)
        if not isinstance(value, str) or not pattern.fullmatch(value):
            raise self.error(
                self.prefix + field, N_("{field} is not as it must be: {value}"), value=repr(str(value)[:80])
            )
        return value

    def number(self, field: str, default: Optional[int] = None, least: int = 0) -> int:
        value = self.take(field, default)
        if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= MAX_BYTES:
            wrong = N_("{field} is not a number of bytes from {least} on: {value}")
            raise self.error(self.prefix + field, wrong, least=least, value=str(value)[:80])
        return value

    def one_of(self, field: str, choices: tuple[Any, ...]) -> Any:
        value = self.take(field)
        if value not in choices or type(value) not in {type(choice) for choice in choices}:
            accepted = ", ".join(str(choice) for choice in choices)
            wrong = N_("{field} is {value}; accepted: {accepted}")
            raise self.error(self.prefix + field, wrong, value=repr(str(value)[:80]), accepted=accepted)
        return value

    def finish(self) -> None:
        unknown = sorted(key for key in self.fields if key not in self.taken and not key.startswith(FREE_PREFIX))
        if unknown:
            raise self.error(self.prefix + unknown[0][:80], N_("{field} is not a field of format 1"))


def parse(data: bytes, name: str) -> Manifest:
    """The manifest in ``data``; ``name`` is for messages.  Raises PayloadError for anything unsound."""
    if len(data) > MAX_SIZE:
        raise PayloadError(
            _("{name} is no manifest: it is larger than {limit} KiB").format(name=name, limit=MAX_SIZE >> 10)
        )
    try:
        loaded = json.loads(data.decode("utf-8"), object_pairs_hook=_unique)
    except (ValueError, RecursionError) as exc:
        raise PayloadError(
            _("{name} is no manifest: it is not sound JSON").format(name=name), hint=_("Name the image's manifest.")
        ) from exc
    fields = _Fields(name, loaded)
    version = fields.take("format")
    if type(version) is not int or version != FORMAT:
        raise PayloadError(
            _("{name} is a manifest of format {version}, not {format}").format(
                name=name, version=str(version)[:20], format=FORMAT
            ),
            hint=_("Use an installer as new as the image."),
        )
    minimum = _Fields(name, fields.take("minimum", {}), "minimum.")
    fields.taken.add("verity")
    size = fields.number("size", least=1)
    verity = _verity(_Fields(name, fields.fields["verity"], "verity."), size) if fields.fields.get("verity") else None
    manifest = Manifest(
        nvr=checked_nvr(fields.take("nvr"), f"{name}: nvr"),
        file=fields.text("file", FILE_NAME),
        size=size,
        sha256=fields.text("sha256", HEX_DIGEST),
        form=fields.one_of("form", (TREE, LIVEOS)),
        kernel=fields.text("kernel", KERNEL),
        build_date=fields.text("build_date", DATE),
        boot_args=fields.text("boot_args", LINE, ""),
        minimum_disk=minimum.number("disk", 0),
        minimum_memory=minimum.number("memory", 0),
        verity=verity,
    )
    minimum.finish()
    fields.finish()
    return manifest


def _verity(fields: _Fields, size: int) -> Verity:
    verity = Verity(
        roothash=fields.text("roothash", HEX_DIGEST),
        data_size=fields.number("data_size", least=1),
        hash_offset=fields.number("hash_offset", least=1),
        salt=fields.text("salt", HEX_SALT),
        uuid=fields.text("uuid", UUID),
        data_block_size=fields.one_of("data_block_size", BLOCK_SIZES),
        hash_block_size=fields.one_of("hash_block_size", BLOCK_SIZES),
        algorithm=fields.one_of("algorithm", ("sha256",)),
    )
    fields.finish()
    if verity.data_size % verity.data_block_size or verity.hash_offset % verity.hash_block_size:
        raise fields.error("verity", N_("{field} has sizes that are no multiples of its blocks"))
    if not verity.data_size == verity.hash_offset < size:
        wrong = N_("{field} is not where the data ends: {value}")
        raise fields.error("verity.hash_offset", wrong, value=verity.hash_offset)
    return verity


def as_dict(manifest: Manifest) -> Mapping[str, Any]:
    """The JSON object of ``manifest``, in the documented order."""
    verity = manifest.verity
    return {
        "format": FORMAT,
        "nvr": manifest.nvr,
        "file": manifest.file,
        "size": manifest.size,
        "sha256": manifest.sha256,
        "form": manifest.form,
        "kernel": manifest.kernel,
        "boot_args": manifest.boot_args,
        "build_date": manifest.build_date,
        "minimum": {"disk": manifest.minimum_disk, "memory": manifest.minimum_memory},
        "verity": None
        if verity is None
        else {
            "algorithm": verity.algorithm,
            "data_block_size": verity.data_block_size,
            "hash_block_size": verity.hash_block_size,
            "data_size": verity.data_size,
            "hash_offset": verity.hash_offset,
            "salt": verity.salt,
            "uuid": verity.uuid,
            "roothash": verity.roothash,
        },
    }


def as_text(manifest: Manifest) -> str:
    """The manifest file's text; the same for the same manifest."""
    return json.dumps(as_dict(manifest), indent=2) + "\n"

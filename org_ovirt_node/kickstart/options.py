"""The options of the section's header: one table for the parser, the printer, the messages and the documentation."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any

from org_ovirt_node.kickstart import checks
from org_ovirt_node.kickstart.model import NodeSection
from org_ovirt_node.kickstart.units import format_size

#: More slots than this would be a slip of the hand: each takes the room of an image.
MOST_SLOTS = 32
#: GRUB counts the tries with one digit.
MOST_TRIES = 9

_DEFAULTS = {field.name: field.default for field in fields(NodeSection)}


@dataclass(frozen=True)
class Option:
    """An option: where it lands, what its value is called, and the check that gives its value."""

    name: str
    field: str
    metavar: str
    help: str
    check: Callable[[str], Any] = str
    repeated: bool = False
    is_size: bool = False

    @property
    def flag(self) -> bool:
        """True for an option that has no value."""
        return not self.metavar

    @property
    def usage(self) -> str:
        """How it is written."""
        return f"{self.name}={self.metavar}" if self.metavar else self.name

    def words(self, value: Any) -> list[str]:
        """The words that give ``value``; none for the default."""
        if value == _DEFAULTS[self.field]:
            return []
        if self.flag:
            return [self.name]
        values = value if self.repeated else [value]
        return [f"{self.name}={format_size(one) if self.is_size else one}" for one in values]


OPTIONS = (
    Option(
        "--image", "images", "URL", "Where the image is; given again, a mirror that is tried next.", checks.url, True
    ),
    Option("--sha256", "sha256", "HEX", "Digest of the image; it is checked.", checks.sha256),
    Option("--manifest", "manifest", "URL", "Manifest of the image, with its signature beside it.", checks.url),
    Option("--key", "key", "FILE", "Key ring or certificate that the manifest is signed by.", checks.path),
    Option("--nosignature", "nosignature", "", "Take the image with no check of where it comes from."),
    Option("--vg", "vg", "NAME", "Name of the volume group.", checks.vg_name),
    Option("--pool", "pool", "NAME", "Name of the thin pool.", checks.lvm_name),
    Option("--image-slots", "image_slots", "N", "Images that there is room for.", checks.between(1, MOST_SLOTS)),
    Option("--layer-size", "layer_size", "SIZE", "Size of the writable layer.", checks.layer_size, is_size=True),
    Option("--boot-tries", "boot_tries", "N", "Boots that a new layer gets.", checks.between(1, MOST_TRIES)),
    Option("--proxy", "proxy", "URL", "Proxy for http and https.", checks.proxy),
    Option("--noverifyssl", "noverifyssl", "", "Do not check the certificate of an https server."),
    Option("--cacert", "cacert", "FILE", "Certificates to check an https server with.", checks.path),
)
BY_NAME = {option.name: option for option in OPTIONS}

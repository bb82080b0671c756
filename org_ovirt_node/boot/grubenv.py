"""GRUB's environment block: a file of exactly 1024 bytes that GRUB rewrites in place.

Format: GRUB manual, section "The GRUB environment block" (and ``include/grub/lib/envblk.h``): the signature line,
``name=value`` lines, and ``#`` up to the end.  Backslash and newline in a value are escaped with a backslash.
"""

from __future__ import annotations

from collections.abc import Mapping

from org_ovirt_node.errors import BootError
from org_ovirt_node.i18n import _

SIZE = 1024
SIGNATURE = b"# GRUB Environment Block\n"


def parse(data: bytes) -> dict[str, str]:
    """The variables in a block.

    A lost, truncated or foreign file must never stop a boot or an upgrade: what cannot be read is left out, and a
    file without the signature has no variables.
    """
    if not data.startswith(SIGNATURE):
        return {}
    values: dict[str, str] = {}
    for line in _logical_lines(data[len(SIGNATURE) : SIZE].decode("utf-8", errors="replace")):
        name, separator, value = line.partition("=")
        if separator and name and not name.startswith("#"):
            values[name] = value
    return values


def _logical_lines(text: str) -> list[str]:
    lines: list[str] = []
    current = ""
    escaped = False
    for char in text:
        if escaped:
            current += char
            escaped = False
        elif char == "\\":
            escaped = True
        elif char == "\n":
            lines.append(current)
            current = ""
        else:
            current += char
    return lines


def render(values: Mapping[str, str]) -> bytes:
    """The block that holds ``values``.  Raises BootError when they do not fit into 1024 bytes."""
    body = SIGNATURE
    for name, value in values.items():
        escaped = value.replace("\\", "\\\\").replace("\n", "\\\n")
        body += f"{name}={escaped}\n".encode()
    if len(body) > SIZE:
        raise BootError(
            _("GRUB's environment block holds {size} bytes and {count} are needed").format(size=SIZE, count=len(body)),
            hint=_("Remove variables from it with grub-editenv."),
        )
    return body + b"#" * (SIZE - len(body))

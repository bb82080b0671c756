"""Collects what users read into po/ovirt-node.pot: ``_()`` and ``N_()`` in Python, translatable strings in glade files.

Format: GNU gettext manual, "The Format of PO Files".
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree

PROJECT = Path(__file__).resolve().parents[1]
PACKAGE = PROJECT / "org_ovirt_node"
TARGET = PROJECT / "po/ovirt-node.pot"
MARKS = ("_", "N_")
HEADER = """\
# Translations of the oVirt Node add-on for Anaconda.
msgid ""
msgstr ""
"Project-Id-Version: ovirt-node\\n"
"Content-Type: text/plain; charset=UTF-8\\n"
"Content-Transfer-Encoding: 8bit\\n"

"""


def in_python(path: Path) -> Iterator[str]:
    """The marked strings of a module.  Raises ValueError for a mark on anything but a string."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in MARKS):
            continue
        first = node.args[0] if node.args else None
        if isinstance(first, ast.Constant) and isinstance(first.value, str):
            yield first.value
        elif not isinstance(first, ast.Name):
            raise ValueError(f"{path}:{node.lineno}: only a whole string can be translated")


def in_glade(path: Path) -> Iterator[str]:
    """The translatable strings of a glade file."""
    for element in ElementTree.parse(path).iter("property"):
        if element.get("translatable") == "yes" and element.text:
            yield element.text


def collect() -> dict[str, list[str]]:
    """Each string with the files where it is; no lines, which would change with everything."""
    found: dict[str, list[str]] = {}
    for path in sorted([*PACKAGE.rglob("*.py"), *PACKAGE.rglob("*.glade")]):
        reader = in_python if path.suffix == ".py" else in_glade
        for text in reader(path):
            places = found.setdefault(text, [])
            if (place := str(path.relative_to(PROJECT))) not in places:
                places.append(place)
    return found


def quoted(text: str) -> str:
    """A string as the format writes it."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("\t", "\\t").replace("\n", "\\n")
    return f'"{escaped}"'


def render(found: dict[str, list[str]]) -> str:
    """The whole file."""
    parts = [HEADER]
    for text, places in found.items():
        flag = "#, python-brace-format\n" if "{" in text else ""
        parts.append(f'#: {" ".join(places)}\n{flag}msgid {quoted(text)}\nmsgstr ""\n\n')
    return "".join(parts).rstrip("\n") + "\n"


def main() -> int:
    TARGET.parent.mkdir(exist_ok=True)
    TARGET.write_text(render(collect()), encoding="utf-8")
    print(TARGET.relative_to(PROJECT))
    return 0


if __name__ == "__main__":
    sys.exit(main())

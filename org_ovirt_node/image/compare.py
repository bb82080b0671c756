"""What one image has otherwise than another: packages and files."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from org_ovirt_node.node.diff import compare as compare_files
from org_ovirt_node.node.installed import PackageChange, compare_packages, packages_of
from org_ovirt_node.node.merge.names import escaped
from org_ovirt_node.node.upper import Change


@dataclass(frozen=True)
class Difference:
    """What the second image has otherwise than the first; of what is deleted the topmost path alone."""

    packages: tuple[PackageChange, ...]
    files: tuple[Change, ...]

    def __bool__(self) -> bool:
        return bool(self.packages or self.files)


def compare(before: Path, after: Path) -> Difference:
    """Compare the root trees ``before`` and ``after``; a tree without a package database has no packages."""
    return Difference(compare_packages(packages_of(before), packages_of(after)), tuple(compare_files(before, after)))


def as_dict(difference: Difference) -> dict[str, Any]:
    """For programs; sizes in bytes."""
    return {
        "packages": [
            {"name": one.name, "kind": one.kind.value, "before": one.before, "after": one.after}
            for one in difference.packages
        ],
        "files": [
            {"path": f"/{escaped(one.path)}", "kind": one.kind.value, "size": one.size} for one in difference.files
        ],
    }


def as_text(difference: Difference) -> str:
    """For people: packages, then files."""
    lines = []
    for package in difference.packages:
        versions = " → ".join(version for version in (package.before, package.after) if version)
        lines.append(f"{package.kind.value:8} {package.name} {versions}")
    if lines and difference.files:
        lines.append("")
    lines += [f"{change.kind.value:8} /{escaped(change.path)}" for change in difference.files]
    return "\n".join(lines) or "Nothing differs."

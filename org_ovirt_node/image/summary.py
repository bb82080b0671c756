"""What takes the space in an image: by folder, and by package."""

from __future__ import annotations

import os
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

from org_ovirt_node.image.squash import walk
from org_ovirt_node.progress import human

DPKG_INFO = Path("usr/lib/sysimage/dpkg/info")
#: Folders are summed up at this depth: /usr/lib/grub and not /usr.
DEPTH = 3
LINES = 15


@dataclass(frozen=True)
class Summary:
    """Sizes in bytes as the files have them, before compression; largest first."""

    total: int
    files: int
    folders: tuple[tuple[str, int], ...]
    packages: tuple[tuple[str, int], ...]


def _package_sizes(root: Path, sizes: dict[str, int]) -> dict[str, int]:
    """Bytes per package; what no package owns is under "(no package)"."""
    result: dict[str, int] = defaultdict(int)
    left = dict(sizes)
    for file in sorted((root / DPKG_INFO).glob("*.list")):
        name = file.name[: -len(".list")].split(":", 1)[0]
        for line in file.read_text(encoding="utf-8").splitlines():
            # Packages name /lib and /bin; the tree has them below /usr.
            for path in (line, f"/usr{line}"):
                result[name] += left.pop(path, 0)
    result["(no package)"] = sum(left.values())
    return result


def summarize(root: Path) -> Summary:
    """Add up what is below ``root``; a file with several names counts once."""
    sizes: dict[str, int] = {}
    seen: set[tuple[int, int]] = set()
    for entry in walk(root):
        facts = entry.stat(follow_symlinks=False)
        if entry.is_dir(follow_symlinks=False) or (facts.st_dev, facts.st_ino) in seen:
            continue
        seen.add((facts.st_dev, facts.st_ino))
        sizes["/" + os.path.relpath(entry.path, root)] = facts.st_size
    folders: dict[str, int] = defaultdict(int)
    for path, size in sizes.items():
        folders["/".join(path.split("/")[:-1][: DEPTH + 1])] += size
    packages = _package_sizes(root, sizes)

    def largest(table: dict[str, int]) -> tuple[tuple[str, int], ...]:
        return tuple(sorted(table.items(), key=lambda item: (-item[1], item[0])))

    return Summary(sum(sizes.values()), len(sizes), largest(folders), largest(packages))


def as_text(summary: Summary, image_size: int) -> str:
    """The summary for people."""
    lines = [f"{human(image_size)} image, {human(summary.total)} in {summary.files} files before compression"]
    for title, table in (("folders", summary.folders), ("packages", summary.packages)):
        lines.append(f"largest {title}:")
        lines += [f"  {human(size):>10}  {name}" for name, size in table[:LINES] if size]
    return "\n".join(lines)

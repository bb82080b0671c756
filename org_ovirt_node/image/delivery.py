"""The files that go into an installer: an installed tree, or an image that Anaconda lays over its root.

``images/product.img`` and ``images/updates.img`` on the media, and what ``inst.updates=`` names, are cpio archives in
the "new ASCII" format, gzip'ed (Anaconda: docs/boot-options.rst, and dracut's unpack_img).  Both hold the same files;
product.img is meant for media of one's own, updates.img for a boot of somebody else's.
"""

from __future__ import annotations

import argparse
import gzip
import io
import lzma
import stat
import sys
import tarfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Optional

from org_ovirt_node.boot import cpio
from org_ovirt_node.boot.hostinitrd import ALIGNMENT, HostFile, build
from org_ovirt_node.errors import BootError, ImageError
from org_ovirt_node.install.options import SKELETON
from org_ovirt_node.rounding import round_up

ADDON = "usr/share/anaconda/addons/org_ovirt_node"
SERVICES = "usr/share/anaconda/dbus/services"
POLICIES = "usr/share/anaconda/dbus/confs"
DEFAULT_KICKSTART = "usr/share/anaconda/interactive-defaults.ks"
#: What of the package is not for an installer.
LEFT_OUT = ("image", "media", "setup")
SUFFIXES = (".py", ".glade", ".svg", ".txt")
#: Anaconda unpacks this as its payload; it only has to be able to write there before the image is in its place.
SKELETON_FOLDERS = ("etc", "etc/sysconfig")
#: How the file for profile.d begins; Anaconda before 36 knows products (inst.product=) instead of profiles.
PROFILE = "[Profile]\nprofile_id = ovirt-node\nbase_profile = centos\n"
PRODUCT = "[Product]\nproduct_name = oVirt Node\n\n[Base Product]\nproduct_name = CentOS Stream\n"
COMMAND = """\
#!/usr/bin/python3
import sys

sys.path.append("/usr/share/anaconda/addons")
from org_ovirt_node.cli.install import main

sys.exit(main())
"""


#: First bytes of an archive as lorax packs it (its installimg: xz, or gzip) → what unpacks it.
PACKED: dict[bytes, Callable[[bytes], bytes]] = {b"\x1f\x8b": gzip.decompress, b"\xfd7zXZ": lzma.decompress}


@dataclass(frozen=True)
class Item:
    """A file of the delivery: its path without a leading slash, content and permission bits."""

    path: str
    content: bytes
    mode: int = 0o644


def skeleton() -> bytes:
    """A tar of a few empty folders, the same bytes every time."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.GNU_FORMAT) as archive:
        for name in SKELETON_FOLDERS:
            member = tarfile.TarInfo(name)
            member.type, member.mode = tarfile.DIRTYPE, 0o755
            archive.addfile(member)
    return out.getvalue()


def items(source: Path, *, interactive: bool) -> Iterator[Item]:
    """The files, from a checkout or an unpacked source archive at ``source``.

    ``interactive`` adds the default kickstart of Anaconda, by which media without a kickstart install a node.
    """
    package = source / "org_ovirt_node"
    for path in sorted(package.rglob("*")):
        inside = path.relative_to(package)
        if path.is_file() and path.suffix in SUFFIXES and inside.parts[0] not in LEFT_OUT:
            yield Item(f"{ADDON}/{inside}", path.read_bytes())
    data = source / "data/anaconda"
    for folder, pattern in ((SERVICES, "*.service"), (POLICIES, "org.fedoraproject.*.conf")):
        for path in sorted(data.glob(pattern)):
            yield Item(f"{folder}/{path.name}", path.read_bytes())
    profile = (data / "ovirt-node.conf").read_text(encoding="ascii")
    yield Item("etc/anaconda/profile.d/ovirt-node.conf", profile.encode())
    yield Item("etc/anaconda/product.d/ovirt-node.conf", profile.replace(PROFILE, PRODUCT).encode())
    # Read after the profile of whatever distribution this is, which stays in force for all the rest.
    yield Item("etc/anaconda/conf.d/50-ovirt-node.conf", profile.partition(PROFILE)[2].lstrip().encode())
    yield Item(SKELETON, skeleton())
    yield Item("usr/bin/ovirt-node-install", COMMAND.encode(), 0o755)
    if interactive:
        yield Item(DEFAULT_KICKSTART, (source / "kickstarts/interactive-defaults.ks").read_bytes())


def install(source: Path, target: Path, *, interactive: bool) -> None:
    """Write the files below ``target``."""
    for item in items(source, interactive=interactive):
        path = target / item.path
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(item.content)
        path.chmod(item.mode)


def archive(found: Sequence[Item], *, over: Optional[Path] = None) -> bytes:
    """The image: cpio (kernel: buffer-format.rst) in gzip, the same bytes for the same files.

    ``over`` is the file of another one, whose files stay where we have none.  Raises ImageError when it cannot be read.
    """
    packed = build({f"/{item.path}": HostFile(item.content, stat.S_IMODE(item.mode)) for item in found})
    return gzip.compress((_open_end(over) if over else b"") + packed, mtime=0)


def _open_end(file: Path) -> bytes:
    """An archive without its end: what comes next is unpacked over it.  Raises ImageError."""
    content = file.read_bytes()
    unpack = next((unpack for magic, unpack in PACKED.items() if content.startswith(magic)), None)
    try:
        plain = unpack(content) if unpack else content
        found = [cpio.Member("", 0, 0, 0), *cpio.members(plain)]
    except (OSError, EOFError, zlib.error, lzma.LZMAError, BootError) as error:
        raise ImageError(
            f"the {file.name} that is there already cannot be added to: it is no cpio archive in gzip or xz",
            hint="Take it off the medium first.",
        ) from error
    last = found[-2]
    return plain[: round_up(last.offset + last.size, ALIGNMENT)]


def main(arguments: Sequence[str] = ()) -> int:
    """``product.img FILE``, ``updates.img FILE`` or ``install DESTDIR``."""
    parser = argparse.ArgumentParser(prog="delivery", description="Files for an installer.")
    parser.add_argument("kind", choices=("product.img", "updates.img", "install"))
    parser.add_argument("target", type=Path)
    parser.add_argument("--source", type=Path, default=Path(__file__).resolve().parents[2])
    given = parser.parse_args(arguments or sys.argv[1:])
    interactive = given.kind == "product.img"
    if given.kind == "install":
        install(given.source, given.target, interactive=False)
    else:
        given.target.parent.mkdir(parents=True, exist_ok=True)
        given.target.write_bytes(archive(list(items(given.source, interactive=interactive))))
    print(given.target)
    return 0


if __name__ == "__main__":
    sys.exit(main())

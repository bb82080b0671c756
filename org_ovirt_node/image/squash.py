"""Making the squashfs of an image, and saying what it holds and cannot hold."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

from org_ovirt_node.errors import ImageError
from org_ovirt_node.node.copying import attribute_names
from org_ovirt_node.payload.verity import file_digest
from org_ovirt_node.progress import Progress
from org_ovirt_node.run import Arg, run

COMPRESSIONS = ("zstd", "xz", "gzip", "lz4", "lzo")
#: mksquashfs's own default, 15, takes nine times as long for an image that is 4 % smaller.
ZSTD_LEVEL = 9
BLOCK_SIZE = 128 * 1024
ACL_ATTRIBUTES = ("system.posix_acl_access", "system.posix_acl_default")
#: Room beyond its content in the ext4 of a LiveOS image: tables, and blocks that files do not fill.
INNER_FACTOR, INNER_ROOM = 1.25, 96 * 1024 * 1024
#: Fixed, so that the same tree gives the same inner image.
INNER_UUID = "6f766972-742d-6e6f-6465-726f6f746673"

#: Of dumpe2fs(8): the number of inodes, then that of free ones.
INODES = re.compile(r"^(?:Inode count|Free inodes): +(\d+)$", re.MULTILINE)


def walk(root: Path) -> Iterator[os.DirEntry[str]]:
    """Every entry below ``root``, not following links."""
    waiting = [os.fspath(root)]
    while waiting:
        # Read to its end and closed: an open folder would keep the tree from being unmounted.
        with os.scandir(waiting.pop()) as listing:
            entries = list(listing)
        for entry in entries:
            yield entry
            if entry.is_dir(follow_symlinks=False):
                waiting.append(entry.path)


def with_acls(root: Path) -> list[str]:
    """The paths below ``root`` with POSIX ACLs (acl(5)), which a squashfs does not keep."""
    lossy = set(ACL_ATTRIBUTES)
    return sorted(
        "/" + os.path.relpath(entry.path, root)
        for entry in walk(root)
        if not entry.is_symlink() and lossy & set(attribute_names(Path(entry.path)))
    )


def sha256(path: Path) -> str:
    """The SHA-256 of a file, as hex digits."""
    return file_digest(path).hex()


def pack(source: Path, target: Path, *, compression: str, level: int, epoch: int) -> None:
    """Write the folder ``source`` as a squashfs to ``target``; the same folder and ``epoch`` give the same bytes.

    ``epoch`` is in seconds: no time stamp in the image is later.  Extended attributes and hard links are kept.
    """
    if compression not in COMPRESSIONS:
        raise ImageError(f"unknown compression {compression!r}", hint=f"Known are {', '.join(COMPRESSIONS)}.")
    argv: list[Arg] = ["mksquashfs", source, target, "-noappend", "-no-progress", "-quiet", "-xattrs"]
    argv += ["-b", str(BLOCK_SIZE), "-comp", compression]
    if compression == "zstd":
        argv += ["-Xcompression-level", str(level or ZSTD_LEVEL)]
    run(argv, env={"SOURCE_DATE_EPOCH": str(epoch)}, hint="Is there enough free space for the image?")


def pack_liveos(source: Path, target: Path, folder: Path, *, compression: str, level: int, epoch: int) -> None:
    """Like :func:`pack`, with the tree in an ext4 at LiveOS/rootfs.img, as livemedia-creator makes it.

    Files of ``source`` that are newer than ``epoch`` are set back to it.
    """
    inner = folder / "LiveOS" / "rootfs.img"
    inner.parent.mkdir(parents=True)
    used = sum(entry.stat(follow_symlinks=False).st_blocks * 512 for entry in walk(source))
    with inner.open("wb") as stream:
        stream.truncate(int(used * INNER_FACTOR) + INNER_ROOM)
    seed = ["-U", INNER_UUID, "-E", f"hash_seed={INNER_UUID}"]
    for entry in walk(source):
        if entry.stat(follow_symlinks=False).st_mtime > epoch:
            os.utime(entry.path, (epoch, epoch), follow_symlinks=False)
    environment = {"E2FSPROGS_FAKE_TIME": str(epoch)}
    run(["mke2fs", "-q", "-F", "-t", "ext4", "-L", "rootfs", *seed, "-d", source, inner], env=environment)
    _settle_times(inner, folder, epoch)
    pack(folder, target, compression=compression, level=level, epoch=epoch)


def _settle_times(image: Path, work: Path, epoch: int) -> None:
    """Set change and access times in the ext4 ``image``, which mke2fs takes over from the files that it copies."""
    environment = {"E2FSPROGS_FAKE_TIME": str(epoch)}
    header = run(["dumpe2fs", "-h", image]).stdout
    count, free = (int(number) for number in INODES.findall(header))
    script = work.with_name(work.name + ".debugfs")
    # mke2fs hands out inode numbers in a row.
    numbers = range(1, count - free + 1)
    lines = [f"set_inode_field <{number}> {what} @{epoch}" for number in numbers for what in ("ctime", "atime")]
    script.write_text("\n".join(lines) + "\n", encoding="ascii")
    run(["debugfs", "-w", "-f", script, image], env=environment)
    script.unlink()


def warn_about_acls(root: Path, progress: Progress) -> list[str]:
    """Name the files whose ACLs will be lost."""
    lost = with_acls(root)
    if lost:
        progress.detail(f"a squashfs keeps no POSIX ACLs; they are lost on {len(lost)} paths: {', '.join(lost[:8])}")
    return lost

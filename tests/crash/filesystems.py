"""File systems as a power cut left them: the journal is replayed on a copy, then everything is checked."""

from __future__ import annotations

import hashlib
import re
import stat
import subprocess
from pathlib import Path

from org_ovirt_node.errors import NodeError
from org_ovirt_node.mounts import mounted

#: Seconds for one of the programs on a volume of a test's node.
LIMIT = 300.0
EXT4_MAGIC, EXT4_PLACE = b"\x53\xef", 1080
XFS_MAGIC = b"XFSB"
#: e2fsck(8): bits of the exit status: all is well now; it could not begin.
MENDED, FAILED = 1, 8
#: ext4 writes its superblock in place: two sectors with one checksum.  A disk that tears them leaves a file system that
#: neither the kernel nor e2fsck -p takes; its second superblock mends it.  This is ext4's to lose, and is counted.
TORN_SUPERBLOCK = "Superblock checksum does not match"
SUPERBLOCK_TORN = "the superblock was torn"
#: Where the second superblock says that there is a journal to replay (growing a mounted ext4 writes it so), e2fsck -b
#: replays it, puts superblock and descriptors back, and ends with this, for it reads the second superblock once more.
AGAIN = "unable to set superblock flags"
#: The second descriptors come without the sums of bitmaps, and without what says that there is no bitmap yet
#: (lib/ext2fs/openfs.c: "If recovering from backup superblock"), so the next e2fsck -p makes the sums anew.
STALE_SUM = re.compile(r"Group \d+ (block|inode) bitmap does not match checksum")
#: Block number of the second superblock and bytes of a block, for large file systems and for small ones.
SECOND_SUPERBLOCKS = ((32768, 4096), (8193, 1024))
#: What e2fsck says when the commit block of the last transaction was torn: it is as if that had never been committed,
#: and e2fsck -p goes on with what came before.
TORN_COMMIT = re.compile(r"Journal transaction \d+ was corrupt, replay was aborted")
#: What was torn in the file systems that were looked at, in their order.
torn: list[str] = []
#: What e2fsck -p says of a file system that was in use when the power went, and that is no damage: the journal, files
#: that were deleted while they were open, and sums that ext4 writes only when it is unmounted.  e2fsck lets go of the
#: files in the orphan file first, and empties that file at its end (e2fsck/super.c: check_init_orphan_file), each time.
USUAL = re.compile(
    r"recovering journal|clean, \d+|^.*: \d+/\d+ files|[Cc]lear(ing|ed) orphaned inode|"
    r"Free (blocks|inodes) count wrong|Truncating orphaned inode|was not cleanly unmounted, check forced|^\s*$|"
    r"orphan_present is set but orphan file is clean|Orphan file \(inode \d+\) block \d+ is not clean|"
    r"^(CLEARED|FIXED)\.$|Padding at end of (inode|block) bitmap is not set"
)


def kind(file: Path) -> str:
    """ext4, xfs, or an empty string for anything else."""
    with file.open("rb") as opened:
        head = opened.read(EXT4_PLACE + 2)
    if head[EXT4_PLACE:] == EXT4_MAGIC:
        return "ext4"
    return "xfs" if head.startswith(XFS_MAGIC) else ""


def replay_and_check(file: Path, scratch: Path) -> str:
    """Replay the journal of the file system in ``file`` (which is changed) and check it; what is wrong, or ""."""
    found = kind(file)
    if found == "ext4":
        return _ext4(file)
    if found == "xfs":
        return _xfs(file, scratch)
    return "there is no file system"


def _ext4(file: Path) -> str:
    # As the initramfs does it; what -p may not mend by itself has status 4.
    done = _run(["e2fsck", "-f", "-p", file])
    usual = [USUAL, TORN_COMMIT]
    if done.returncode & FAILED and TORN_SUPERBLOCK in done.stdout + done.stderr:
        torn.append(SUPERBLOCK_TORN)
        for second, size in SECOND_SUPERBLOCKS:
            done = _run(["e2fsck", "-f", "-y", "-b", second, "-B", size, file])
            if AGAIN in done.stderr:
                usual.append(STALE_SUM)
                break
            if not done.returncode & FAILED:
                break
        done = _run(["e2fsck", "-f", "-p", file])
    if TORN_COMMIT.search(done.stdout):
        torn.append("the commit of the journal's last transaction was torn")
    said = [line for line in done.stdout.splitlines() if not any(one.search(line) for one in usual)]
    if done.returncode & ~MENDED:
        return f"e2fsck -p ended with {done.returncode}: {_last(done)}"
    if said:
        return f"e2fsck -p mended more than a journal does: {' / '.join(said[:3])}"
    # -f has looked at everything, and what it says beside the usual would have been returned: -n would see no more.
    return ""


def _xfs(file: Path, scratch: Path) -> str:
    # Only the kernel replays the log of XFS.
    try:
        with mounted(str(file), scratch, fstype="xfs", options=["nouuid"]):
            pass
    except NodeError as exc:
        return f"the kernel does not mount it: {exc}"
    done = _run(["xfs_repair", "-n", file])
    return f"xfs_repair -n ended with {done.returncode}: {_last(done)}" if done.returncode else ""


def _run(argv: list[object]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(word) for word in argv], capture_output=True, text=True, errors="replace", timeout=LIMIT, check=False
    )


def _last(done: subprocess.CompletedProcess[str]) -> str:
    return " / ".join((done.stdout + done.stderr).strip().splitlines()[-4:])


def digests(top: Path, names: tuple[str, ...] = ("",)) -> dict[str, str]:
    """What is below ``top``: for each path type, mode, owner and the SHA-256 of its content."""
    found: dict[str, str] = {}
    for name in names:
        place = top / name
        paths = [place, *sorted(place.rglob("*"))] if place.is_dir() and not place.is_symlink() else [place]
        for path in paths:
            if path.is_symlink() or path.exists():
                found[str(path.relative_to(top))] = describe(path)
    return found


def describe(path: Path) -> str:
    """One path: ``f 644 0:0 <sha256>``, ``d 755 0:0``, ``l 777 0:0 <target>``, ``c …`` for a device."""
    state = path.lstat()
    mode = state.st_mode
    head = f"{stat.S_IMODE(mode):o} {state.st_uid}:{state.st_gid}"
    if stat.S_ISLNK(mode):
        return f"l {head} {path.readlink()}"
    if stat.S_ISREG(mode):
        return f"f {head} {hashlib.sha256(path.read_bytes()).hexdigest()}"
    if stat.S_ISDIR(mode):
        return f"d {head}"
    return f"o {head} {stat.S_IFMT(mode):o} {state.st_rdev}"

"""Mounts and loop devices as context managers; released in order and never lazily."""

from __future__ import annotations

import ctypes
import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

from org_ovirt_node.errors import CommandError, StorageError
from org_ovirt_node.i18n import _
from org_ovirt_node.run import Arg, run

#: What programs in a chroot expect of the running kernel.
API_FILE_SYSTEMS = ("/dev", "/proc", "/sys", "/run")

#: linux/sched.h: a mount namespace of one's own; Python has it from 3.12 on.
CLONE_NEWNS = 0x00020000
#: linux/mount.h.
MS_BIND, MS_PRIVATE = 0x1000, 0x40000
SYS_BLOCK = Path("/sys/block")
#: Seconds that others may take to close a loop device that is detached.
DETACH = 30.0


def _system_call(name: str, *arguments: Any) -> str:
    """Call libc's ``name``; returns what went wrong, empty when nothing did.

    An installation mounts and unmounts some forty times, and a program for each takes a tenth of a second where the
    processor is slow; mount(8) is for what needs its reading of options.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    return os.strerror(ctypes.get_errno()) if getattr(libc, name)(*arguments) else ""


def _mount_call(source: Path, target: Path, flags: int) -> None:
    """mount(2) without a file system type.  Raises StorageError."""
    wrong = _system_call("mount", os.fsencode(source), os.fsencode(target), None, ctypes.c_ulong(flags), None)
    if wrong:
        raise StorageError(
            _("{source} could not be shown at {target}: {wrong}").format(source=source, target=target, wrong=wrong),
            hint=_("Run this as root."),
        )


def unmount(target: Path) -> None:
    """Unmount ``target`` and fail when it is busy: a lazy unmount would hide a program that still writes."""
    wrong = _system_call("umount2", os.fsencode(target), 0)
    if wrong and os.path.ismount(target):
        raise StorageError(
            _("{target} could not be unmounted: {wrong}").format(target=target, wrong=wrong),
            hint=_("See who uses it with 'fuser -vm {target}', then run this again.").format(target=target),
        )


@contextmanager
def watched(folder: Path) -> Iterator[Callable[[], None]]:
    """What brings the file system that ``folder`` is on to its disk, and no other (syncfs(2)).

    It raises OSError also for what could not be written since the begin of the block, when nobody waited for it.
    Unmounting tells nobody of that, and an overlay does not know it of its upper side: call it for a folder of the
    upper side's own file system, before what depends on it becomes visible.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)

    def flush() -> None:
        if libc.syncfs(descriptor) != 0:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number))

    try:
        yield flush
    finally:
        os.close(descriptor)


def fstype_of(device: Arg) -> str:
    """The type of the file system on ``device``, as mount(8) names it.  Raises CommandError when there is none."""
    return run(["blkid", "-p", "-s", "TYPE", "-o", "value", device]).stdout.strip()


@contextmanager
def mounted(
    source: str, target: Path, *, fstype: str = "", options: Sequence[str] = (), hint: str = ""
) -> Iterator[Path]:
    """Mount ``source`` on ``target`` (made when missing) for the length of the block.

    Raises CommandError, with ``hint``.
    """
    target.mkdir(parents=True, exist_ok=True)
    argv = ["mount"]
    if fstype:
        argv += ["-t", fstype]
    if options:
        argv += ["-o", ",".join(options)]
    run([*argv, source, os.fspath(target)], hint=hint)
    try:
        yield target
    finally:
        unmount(target)


@contextmanager
def bound(source: Path, target: Path, *, readonly: bool = False) -> Iterator[Path]:
    """Bind ``source`` to ``target``, private, so that nothing propagates back (Linux mount_namespaces(7))."""
    target.mkdir(parents=True, exist_ok=True)
    _mount_call(source, target, MS_BIND)
    try:
        _mount_call(source, target, MS_PRIVATE)
        if readonly:
            run(["mount", "-o", "remount,bind,ro", target])
        yield target
    finally:
        unmount(target)


@contextmanager
def overlaid(lower: Sequence[Path], upper: Path, work: Path, target: Path) -> Iterator[Path]:
    """Mount an overlay: ``lower`` (topmost first) read-only, ``upper`` takes the writes (kernel overlayfs.rst)."""
    for folder in (upper, work):
        folder.mkdir(parents=True, exist_ok=True)
    options = [
        "lowerdir=" + ":".join(os.fspath(path) for path in lower),
        f"upperdir={upper}",
        f"workdir={work}",
    ]
    with mounted("overlay", target, fstype="overlay", options=options):
        yield target


@contextmanager
def loop_device(file: Path, *, readonly: bool = False, sector_size: int = 0, partscan: bool = False) -> Iterator[str]:
    """Attach ``file`` to a free loop device and yield its path.  Raises CommandError."""
    argv = ["losetup", "--find", "--show"]
    if readonly:
        argv.append("--read-only")
    if sector_size:
        argv += ["--sector-size", str(sector_size)]
    if partscan:
        argv.append("--partscan")
    device = run([*argv, os.fspath(file)]).stdout.strip()
    held = SYS_BLOCK / Path(device).name / "loop/backing_file"
    name = held.read_text(encoding="utf-8", errors="replace")
    try:
        yield device
    finally:
        run(["losetup", "--detach", device])
        _await_detached(held, name)


def _await_detached(held: Path, name: str) -> None:
    """Wait until a loop device has let its file go: while somebody else has it open (udev looks at every new device)
    the kernel only notes the wish (loop(4), LO_FLAGS_AUTOCLEAR), and the file's own file system stays busy.

    Another one may have the device by then, with another file.  Raises StorageError after DETACH seconds.
    """
    deadline = time.monotonic() + DETACH
    while _attached(held, name):
        if time.monotonic() > deadline:
            raise StorageError(
                _("the loop device of {name} is still in use after {seconds:g} s").format(
                    name=name.strip(), seconds=DETACH
                ),
                hint=_("See who uses it with 'losetup -a' and 'fuser'."),
            )
        time.sleep(0.02)
    # The device is without its file before the file is closed, by whoever closes the device last: udev has done that
    # when it is through with its events.  Where there is no udev, nobody of it looked.
    with suppress(CommandError):
        run(["udevadm", "settle", f"--timeout={DETACH:.0f}"])


def _attached(held: Path, name: str) -> bool:
    try:
        return held.read_text(encoding="utf-8", errors="replace") == name
    except OSError:
        return False


@contextmanager
def chroot_ready(root: Path) -> Iterator[Path]:
    """Give ``root`` the kernel's file systems that programs in a chroot expect; take them away afterwards."""
    with ExitStack() as stack:
        for name in API_FILE_SYSTEMS:
            stack.enter_context(bound(Path(name), root / name.lstrip("/")))
        yield root


def keep_private() -> None:
    """Give this process and its children mounts of their own (unshare(2), CLONE_NEWNS).

    From then on whatever they mount goes away with the last of them, also when they are killed.  Raises StorageError.
    """
    wrong = _system_call("unshare", CLONE_NEWNS)
    if wrong:
        raise StorageError(
            _("this process cannot have mounts of its own: {wrong}").format(wrong=wrong), hint=_("Run it as root.")
        )
    run(["mount", "--make-rprivate", "/"])

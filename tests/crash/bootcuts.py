"""Power cuts in everything that changes /boot, on a real ext4 and without a machine.

The product's own functions run on a mounted file system whose writes are recorded; each cut of the recording is judged
as GRUB sees it (without the journal) and as Linux does (after the journal).
"""

from __future__ import annotations

import hashlib
import random
import subprocess
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from org_ovirt_node.boot import bls, files, grubcfg
from org_ovirt_node.errors import NodeError
from org_ovirt_node.mounts import mounted
from org_ovirt_node.node import bootstate
from org_ovirt_node.node.layers import boot_state
from tests.crash import cuts, filesystems, grubview, operations
from tests.crash.native import recorded_mount
from tests.crash.replay import Replay
from tests.crash.writelog import Entry, Log

#: Bytes of the file system: large enough for a second copy of its superblock.
SIZE = 160 << 20
GRUB = "grub"
OLD, NEW, THIRD = "node-1.0-1+1", "node-1.0-2+1", "node-1.0-3+1"
#: In one of so many cuts the operation is done again to its end.
AGAIN = 9
#: Bytes of the kernels and initramfs of the test.
KERNEL, INITRAMFS = 300_000, 700_000
OPTIONS = "root=ovirt-node ovirt_node.vg=onn ovirt_node.image={image} ovirt_node.layer={layer} console=ttyS0"


@dataclass(frozen=True)
class Operation:
    """A change of /boot: what may be booted while it runs, and what is when it has returned."""

    name: str
    act: Callable[[Path, Path], None]
    during: frozenset[str]
    after: str


@dataclass
class Outcome:
    """What became of all cuts: their number, and each violation with its cut.

    ``left`` are those in which the disk has torn what is mended all the same.
    """

    cuts: int = 0
    left: int = 0
    violations: list[str] = field(default_factory=list)


def make_kernel(folder: Path, layer: str) -> files.KernelFiles:
    """The boot files of ``layer``, the same for the same name."""
    source = random.Random(layer)
    place = folder / layer
    place.mkdir(parents=True, exist_ok=True)
    (place / "vmlinuz").write_bytes(source.randbytes(KERNEL))
    (place / "initramfs.img").write_bytes(source.randbytes(INITRAMFS))
    return files.KernelFiles("6.12", place / "vmlinuz", place / "initramfs.img")


def host_image(layer: str) -> bytes:
    return random.Random(f"host {layer}").randbytes(2000)


def entry(layer: str) -> bls.Entry:
    image = layer.partition("+")[0]
    return bls.layer_entry(layer, image, "6.12", OPTIONS.format(image=image, layer=layer), "0" * 32)


def place(boot: Path, work: Path, layer: str) -> None:
    """What the step "boot-files" does."""
    files.place_layer(boot, layer, make_kernel(work, layer), host_image(layer))


def install(boot: Path, work: Path) -> None:
    """What an installation leaves, in its order (install/engine.py)."""
    place(boot, work, OLD)
    files.write_durably(bls.entry_path(boot, OLD), entry(OLD).render().encode())
    files.publish_first(boot, GRUB, OLD, grubcfg.render_config(1, ""))


def upgrade(boot: Path, work: Path, layer: str, good: str) -> None:
    """The update's steps "boot-files", "entry" and "trial"."""
    place(boot, work, layer)
    bootstate.write_entry(boot, entry(layer), good)
    bootstate.start_trial(boot, layer, 3, good)


def renew(boot: Path, layer: str, good: str) -> None:
    """Another host.img for ``layer``, as a rollback and the last step of a first boot write it."""
    own = next(one for one in bls.read_all(boot) if one.name == layer)
    bootstate.write_host(boot, own, host_image(layer), good)


def rollback_renewed(boot: Path, _work: Path) -> None:
    """A rollback to a layer that gets another host.img."""
    renew(boot, OLD, NEW)
    bootstate.set_default(boot, OLD)


def operation_list() -> tuple[Operation, ...]:
    """An upgrade and what follows it, then another one that falls back and is removed."""
    one, two, both = frozenset({OLD}), frozenset({NEW}), frozenset({OLD, NEW})
    return (
        Operation("upgrade", lambda boot, work: upgrade(boot, work, NEW, OLD), both, NEW),
        Operation("mark good", lambda boot, work: bootstate.mark_good(boot, NEW), two, NEW),
        Operation("rollback", lambda boot, work: bootstate.set_default(boot, OLD), both, OLD),
        Operation("rollback to the newer", lambda boot, work: bootstate.set_default(boot, NEW), both, NEW),
        Operation("new host.img", lambda boot, work: renew(boot, NEW, NEW), two, NEW),
        Operation("new host.img and rollback", rollback_renewed, both, OLD),
        Operation("forth from it", lambda boot, work: bootstate.set_default(boot, NEW), both, NEW),
        Operation("remove the old", lambda boot, work: bootstate.forget(boot, OLD), two, NEW),
        Operation("second upgrade", lambda boot, work: upgrade(boot, work, OLD, NEW), both, OLD),
        Operation("cancel", lambda boot, work: bootstate.set_default(boot, NEW), both, NEW),
        Operation("remove the cancelled", lambda boot, work: bootstate.forget(boot, OLD), two, NEW),
        Operation("write it again", lambda boot, work: bootstate.set_default(boot, NEW), one | two, NEW),
    )


def blank(file: Path) -> Path:
    """An ext4 as /boot has it."""
    with file.open("wb") as handle:
        handle.truncate(SIZE)
    subprocess.run(["mkfs.ext4", "-q", "-F", "-b", "4096", file], check=True)
    return file


def record_operations(folder: Path, wanted: Sequence[Operation]) -> tuple[Path, Path, list[tuple[Operation, int]]]:
    """Run the operations; the file system before the first, the log, and for each its place in the log at its end."""
    base, disk, work = folder / "base.img", folder / "disk.img", folder / "work"
    blank(base)
    with mounted(str(base), folder / "first", fstype="ext4", options=["loop"]) as boot:
        install(boot, work)
    subprocess.run(["cp", "--sparse=always", base, disk], check=True)
    ends = []
    with recorded_mount(disk, folder / "log", folder / "recorded") as boot:
        for operation in wanted:
            operation.act(boot, work)
            ends.append((operation, (folder / "log").stat().st_size))
    return base, folder / "log", ends


def judged(folder: Path, seed: int, subsets: int) -> Outcome:
    """Record, cut, and judge every cut."""
    base, log, ends = record_operations(folder, operation_list())
    outcome = Outcome()
    seen: set[tuple[bytes, frozenset[str]]] = set()
    with Log(log) as opened, Replay(opened, base, SIZE, folder / "cut.img") as replay:
        places = [operations.entries_before(tuple(replay.entries), end) for _, end in ends]
        for cut in cuts.plan(cuts.windows(replay.entries), seed, subsets):
            allowed = allowed_at([one for one, _ in ends], places, cut.window.first, cut.window.end)
            with replay.cut(cut):
                # The same content is the same cut, by whatever way it came about.
                before = len(seen)
                seen.add((replay.stamp(0, SIZE), allowed))
                if len(seen) == before:
                    continue
                outcome.cuts += 1
                torn = len(filesystems.torn)
                outcome.violations += [f"cut {cut.name}: {wrong}" for wrong in wrong_in(replay.work, folder, allowed)]
                if outcome.cuts % AGAIN == 0:
                    running = sum(1 for one in places if one <= cut.window.first)
                    doing = ends[min(running, len(ends) - 1)][0]
                    found = wrong_again(folder, doing)
                    outcome.violations += [f"cut {cut.name}, {doing.name} again: {wrong}" for wrong in found]
                outcome.left += len(filesystems.torn) > torn
    return outcome


def allowed_at(done: list[Operation], places: list[int], first: int, end: int) -> frozenset[str]:
    """What may be booted when the entries before ``first`` are on the disk, and any of those before ``end``.

    What had returned before the last flush holds; what ran in the window may have come to its end.
    """
    finished = sum(1 for one in places if one <= first)
    found = {done[finished - 1].after if finished else OLD}
    for operation, begin in zip(done[finished:], [places[finished - 1] if finished else 0, *places[finished:]]):
        if begin < end:
            found |= operation.during
    return frozenset(found)


def wrong_in(image: Path, folder: Path, allowed: frozenset[str]) -> Iterator[str]:
    """Every violation in a file system that a cut left."""
    view = grubview.look(image, "loop0", GRUB)
    if not view.config:
        yield "GRUB: grub.cfg cannot be read"
    if view.broken or not view.menu:
        yield f"GRUB: there is no whole menu: {view.broken or 'it is empty or cannot be read'}"
    for one in view.menu:
        for path in one.files:
            if digest(grubview.read(image, "loop0", path) or b"") != right(path):
                yield f"GRUB: {path}, which an entry names, is not whole"
    booted = grubview.boot_state(view.variables, [one.name for one in view.menu]).next
    if view.menu and booted not in allowed:
        yield f"GRUB boots {booted}, not {' or '.join(sorted(allowed))}"
    yield from _wrong_for_linux(image, folder, allowed)


def _wrong_for_linux(image: Path, folder: Path, allowed: frozenset[str]) -> Iterator[str]:
    copy = folder / "linux.img"
    subprocess.run(["cp", "--sparse=always", image, copy], check=True)
    wrong = filesystems.replay_and_check(copy, folder / "scratch")
    if wrong:
        yield f"Linux: {wrong}"
        return
    with mounted(str(copy), folder / "looked", fstype="ext4", options=["ro", "noload", "loop"]) as boot:
        state = boot_state(boot)
        if state.next not in allowed:
            yield f"Linux: {state.next} would be booted, not {' or '.join(sorted(allowed))}"
        if not state.sound:
            yield "Linux: the environment block is not whole"
        for one in bls.read_all(boot):
            for path in (one.linux, *one.initrds):
                file = boot / path.lstrip("/")
                if not file.is_file() or digest(file.read_bytes()) != right(path):
                    yield f"Linux: {path}, which an entry names, is not whole"


def wrong_again(folder: Path, operation: Operation) -> Iterator[str]:
    """What is wrong when the operation that was cut short is done again, on the disk that Linux has made good."""
    # A copy, for the loop device of the look may still be there, read-only.
    copy = folder / "again.img"
    subprocess.run(["cp", "--sparse=always", folder / "linux.img", copy], check=True)
    with mounted(str(copy), folder / "again", fstype="ext4", options=["loop"]) as boot:
        layers = [one.name for one in bls.read_all(boot)]
        if operation.after not in layers and not operation.name.endswith("upgrade"):
            # What a rollback would go to was not there yet, or is gone.
            return
        try:
            operation.act(boot, folder / "work")
        except (NodeError, StopIteration) as exc:
            yield f"it fails: {exc}"
            return
        state = boot_state(boot)
        if state.next != operation.after:
            yield f"{state.next} would be booted, not {operation.after}"
        if files.menu_is_stale(boot, GRUB, state.good):
            yield "a copy of the menu is not made from the entries"
        for one in bls.read_all(boot):
            kept = [name for name in bls.HOST_NAMES if (boot / one.name / name).is_file()]
            if len(kept) != 1:
                yield f"{one.name} has {kept}"
        named = {one.name for one in bls.read_all(boot)}
        stray = [path.name for path in boot.glob("node-*") if path.name not in named]
        if stray:
            yield f"{', '.join(stray)} has no entry"


def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def right(path: str) -> str:
    """The digest that a file of a layer must have."""
    _, layer, name = path.split("/")
    source = random.Random(layer)
    kernel, initramfs = source.randbytes(KERNEL), source.randbytes(INITRAMFS)
    known = {"vmlinuz": kernel, "initramfs.img": initramfs, **dict.fromkeys(bls.HOST_NAMES, host_image(layer))}
    return digest(known[name])


def dropped(entries: list[Entry]) -> list[Entry]:
    """The log as if nothing had ever called fsync."""
    return [one for one in entries if not one.flush or one.changes]

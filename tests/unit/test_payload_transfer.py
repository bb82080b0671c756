"""From a source to a volume and back: what lands equals what was sent, and nothing else counts as done."""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import random
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Optional

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from org_ovirt_node.errors import Interrupted, NodeError, PayloadError, StorageError
from org_ovirt_node.mounts import loop_device, mounted
from org_ovirt_node.payload import ioctl
from org_ovirt_node.payload.direct import BUFFER_SIZE
from org_ovirt_node.payload.local import FileSource
from org_ovirt_node.payload.source import Source, StartOver, Stream
from org_ovirt_node.payload.transfer import read_back, transfer
from org_ovirt_node.progress import Silent

MIB = 1 << 20
NOISE = random.Random(2).randbytes(4 * MIB)
DIRTY = b"\xaa"


class Memory(Source):
    """A source in memory."""

    def __init__(self, data: bytes, size: Optional[int] = -1) -> None:
        self.data = data
        self.name = self.file_name = "memory"
        self.size = len(data) if size == -1 else size

    def read_at(self, offset: int, length: int) -> bytes:
        return self.data[offset : offset + length]

    def stream(self, offset: int = 0) -> Stream:
        return MemoryStream(self.data[offset:])

    def close(self) -> None:
        """Nothing."""


class MemoryStream(Stream):
    def __init__(self, data: bytes) -> None:
        self.data = memoryview(data)

    def readinto(self, view: memoryview) -> int:
        part, self.data = self.data[: len(view)], self.data[len(view) :]
        view[: len(part)] = part
        return len(part)

    def close(self) -> None:
        """Nothing."""


@pytest.fixture(autouse=True)
def nothing_is_left() -> Iterator[None]:
    before = len(list(Path("/proc/self/fd").iterdir()))
    yield
    assert not [thread.name for thread in threading.enumerate() if thread.name.startswith("payload")]
    assert len(list(Path("/proc/self/fd").iterdir())) == before


def send(data: bytes, target: Path, *, fresh: bool = True, hash: bool = True, expected: str = "") -> str:
    done = transfer(
        Memory(data), target, size=len(data), fresh=fresh, hash=hash, expected_sha256=expected, progress=Silent()
    )
    assert done.size == len(data)
    return done.sha256


#: Runs of zeros and of noise whose ends lie on and beside the borders of buffers, pages and sectors.
LENGTHS = st.one_of(
    st.sampled_from([1, 511, 512, 4095, 4096, 4097, BUFFER_SIZE - 1, BUFFER_SIZE, BUFFER_SIZE + 1]),
    st.integers(1, BUFFER_SIZE * 2),
)
RUNS = st.lists(st.tuples(st.booleans(), LENGTHS), min_size=1, max_size=6)


def contents(runs: list[tuple[bool, int]]) -> bytes:
    return b"".join(bytes(length) if zero else NOISE[:length] for zero, length in runs)


@given(RUNS, st.booleans())
@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_what_lands_in_a_file_is_what_was_sent(tmp_path: Path, runs: list[tuple[bool, int]], hash: bool) -> None:
    data, out = contents(runs), tmp_path / "out"
    out.write_bytes(DIRTY * 3 * MIB)
    digest = send(data, out, hash=hash)
    assert out.read_bytes() == data
    assert digest == (hashlib.sha256(data).hexdigest() if hash else "")


@pytest.fixture(scope="module", params=[512, 4096])
def device(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A block device of 13 MiB with logical sectors of 512 or 4096 bytes."""
    file = tmp_path_factory.mktemp("disk") / "disk"
    file.write_bytes(DIRTY * 13 * MIB)
    with loop_device(file, sector_size=request.param) as name:
        fd = os.open(name, os.O_RDONLY)
        assert ioctl.sector_size(fd) == request.param
        assert ioctl.device_size(fd) == 13 * MIB
        os.close(fd)
        yield Path(name)


@given(RUNS)
@settings(max_examples=25)
def test_what_lands_on_a_used_device_is_what_was_sent(device: Path, runs: list[tuple[bool, int]]) -> None:
    data = contents(runs)
    device.write_bytes(DIRTY * 13 * MIB)
    digest = send(data, device, fresh=False)
    on_disk = device.read_bytes()
    assert on_disk[: len(data)] == data
    tail = on_disk[len(data) : -(-len(data) // 512) * 512]
    assert tail == bytes(len(tail))
    read_back(device, len(data), digest, Silent())


def test_the_tail_is_padded_with_zeros_also_in_a_buffer_that_was_used(device: Path) -> None:
    data = (NOISE * 3)[: 9 * MIB + 100]
    device.write_bytes(DIRTY * 13 * MIB)
    send(data, device, fresh=True)  # without a discard, so that only the padding itself makes zeros
    on_disk = device.read_bytes()
    assert on_disk[: len(data)] == data
    assert on_disk[len(data) : 9 * MIB + 512] == bytes(412)


def test_zeros_are_skipped_on_a_fresh_device_only(device: Path) -> None:
    data = NOISE[:MIB] + bytes(2 * MIB) + NOISE[:100]
    device.write_bytes(DIRTY * 13 * MIB)
    done = transfer(Memory(data), device, size=len(data), fresh=True, progress=Silent())
    assert done.zeros == 2 * MIB
    # "fresh" was not true: the zeros were left out, and the read-back finds it.
    with pytest.raises(StorageError, match="does not give back what was written"):
        read_back(device, len(data), done.sha256, Silent())
    assert transfer(Memory(data), device, size=len(data), fresh=False, progress=Silent()).zeros == 0
    read_back(device, len(data), done.sha256, Silent())


def test_zeros_are_written_where_a_device_cannot_discard(device: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ioctl, "discard", lambda *_: False)
    data = NOISE[:MIB] + bytes(2 * MIB) + NOISE[:MIB] + bytes(100)
    device.write_bytes(DIRTY * 13 * MIB)
    digest = send(data, device, fresh=False)
    read_back(device, len(data), digest, Silent())


class SecondTime(Memory):
    """A source that has other bytes at first and then has to start over."""

    def __init__(self, data: bytes) -> None:
        super().__init__(data)
        self.first = True

    def stream(self, offset: int = 0) -> Stream:
        if not self.first:
            return super().stream(offset)
        self.first = False
        # More than the buffers hold: for the last to be read the first must have been written.
        return Restarting(NOISE * 3)


class Restarting(MemoryStream):
    def readinto(self, view: memoryview) -> int:
        if not self.data:
            raise StartOver("again")
        return super().readinto(view)


def test_what_a_first_try_left_is_gone_after_the_second(device: Path) -> None:
    """Also on a fresh device: it is not fresh any more, so that zeros count."""
    device.write_bytes(bytes(13 * MIB))
    data = NOISE[:MIB] + bytes(11 * MIB) + NOISE[:5]
    progress = Recorder()
    done = transfer(SecondTime(data), device, size=len(data), fresh=True, progress=progress)
    read_back(device, len(data), done.sha256, Silent())
    assert device.read_bytes()[: len(data)] == data
    assert progress.details == ["again"]


def test_a_source_that_always_starts_over_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = Memory(NOISE)
    monkeypatch.setattr(source, "stream", lambda: Restarting(b""))
    with pytest.raises(PayloadError, match="cannot be read in one go after 16 starts"):
        transfer(source, tmp_path / "out", size=len(NOISE), fresh=True, progress=Silent())


def test_a_device_that_is_used_is_discarded_first(device: Path) -> None:
    device.write_bytes(DIRTY * 13 * MIB)
    send(NOISE[:5000], device, fresh=False)
    assert device.read_bytes()[8192:] == bytes(13 * MIB - 8192)


def test_a_device_that_is_too_small_is_left_alone(device: Path) -> None:
    device.write_bytes(DIRTY * 13 * MIB)
    with pytest.raises(StorageError, match=f"has {13 * MIB} bytes, too few for an image of {13 * MIB + 1}"):
        send(bytes(13 * MIB + 1), device, fresh=False)
    assert device.read_bytes() == DIRTY * 13 * MIB


def test_a_device_in_use_is_refused(tmp_path: Path) -> None:
    with small_ext4(tmp_path) as folder:
        name = subprocess.run(
            ["findmnt", "-no", "SOURCE", str(folder)], check=True, capture_output=True, text=True
        ).stdout.strip()
        with pytest.raises(StorageError, match="cannot be opened for writing: Device or resource busy"):
            send(NOISE, Path(name))


def small_ext4(tmp_path: Path) -> AbstractContextManager[Path]:
    """A mounted ext4 of 8 MiB."""
    file = tmp_path / "ext4"
    file.write_bytes(b"")
    os.truncate(file, 8 * MIB)
    subprocess.run(["mkfs.ext4", "-q", "-O", "^has_journal", str(file)], check=True)
    return mounted(str(file), tmp_path / "mnt", options=["loop"])


def test_no_space_left(tmp_path: Path) -> None:
    with small_ext4(tmp_path) as folder:
        with pytest.raises(StorageError, match=r"cannot be written at byte .*No space left on device"):
            send(NOISE * 4, folder / "out")
        assert_not_an_image(folder / "out")


def test_a_device_that_loses_writes(tmp_path: Path) -> None:
    """The file under the loop device cannot grow: its writes end in an I/O error."""
    with small_ext4(tmp_path) as folder:
        (folder / "disk").touch()
        os.truncate(folder / "disk", 32 * MIB)
        with loop_device(folder / "disk") as name, pytest.raises(StorageError, match="cannot be written"):
            send(NOISE * 4, Path(name))


@pytest.fixture
def damaged(tmp_path: Path) -> Iterator[Path]:
    """A file of 4 MiB whose last MiB the kernel cannot read (a squashfs with flipped bits)."""
    tree, image = tmp_path / "tree", tmp_path / "image"
    tree.mkdir()
    (tree / "file").write_bytes(NOISE[: 3 * MIB] + bytes(range(256)) * 4096)
    argv = ["mksquashfs", str(tree), str(image), "-b", "1M", "-quiet", "-no-progress", "-no-fragments"]
    subprocess.run(argv, check=True, capture_output=True)
    with image.open("r+b") as file:
        file.seek(96 + 3 * MIB)
        file.write(b"\xff" * 2000)
    with mounted(str(image), tmp_path / "mnt", fstype="squashfs", options=["loop", "ro"]) as folder:
        yield folder / "file"


def test_a_source_with_an_io_error(damaged: Path, tmp_path: Path) -> None:
    source = FileSource(damaged)
    with pytest.raises(PayloadError, match=r"byte 3145728 and on, cannot be read: Input/output error.*damaged"):
        transfer(source, tmp_path / "out", size=source.size, fresh=True, progress=Silent())
    assert_not_an_image(tmp_path / "out")


@pytest.mark.parametrize("kind", ["file", "device"])
def test_a_read_back_with_an_io_error(damaged: Path, kind: str) -> None:
    with pytest.raises(StorageError, match=r"cannot be read back at byte 3145728: Input/output error.*failing"):
        if kind == "file":
            read_back(damaged, 4 * MIB, "0" * 64, Silent())
        else:
            with loop_device(damaged, readonly=True) as name:
                read_back(Path(name), 4 * MIB, "0" * 64, Silent())


def test_a_read_back_of_too_little(tmp_path: Path) -> None:
    (tmp_path / "out").write_bytes(b"123")
    with pytest.raises(StorageError, match="gives back 3 of 4 bytes"):
        read_back(tmp_path / "out", 4, "0" * 64, Silent())


def test_a_read_back_sees_a_flipped_bit(device: Path) -> None:
    digest = send(NOISE, device, fresh=False)
    with device.open("r+b") as disk:
        disk.seek(2 * MIB + 17)
        disk.write(bytes((NOISE[2 * MIB + 17] ^ 1,)))
    with pytest.raises(StorageError, match="does not give back what was written"):
        read_back(device, len(NOISE), digest, Silent())


def assert_not_an_image(path: Path) -> None:
    assert path.read_bytes()[:4096].strip(b"\0") == b""


def test_a_wrong_digest_leaves_nothing_that_mounts(device: Path) -> None:
    device.write_bytes(b"hsqs" + DIRTY * MIB)
    with pytest.raises(PayloadError, match=f"has the SHA-256 digest {hashlib.sha256(NOISE).hexdigest()}, not 0000"):
        send(NOISE, device, fresh=False, expected="0" * 64)
    assert_not_an_image(device)


def test_a_buffered_read_back_does_not_read_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where direct reading is refused, what the page cache holds of the device is dropped first."""
    whole_open = os.open

    def no_direct_open(path: Path, flags: int, *args: int, **kwargs: int) -> int:
        if flags & os.O_DIRECT:
            raise OSError(errno.EINVAL, "refused")
        return whole_open(path, flags, *args, **kwargs)

    disk = tmp_path / "disk"
    disk.write_bytes(NOISE)
    with loop_device(disk) as name:
        keep = os.open(name, os.O_RDONLY)  # an open device keeps its cache
        assert Path(name).read_bytes() == NOISE
        disk.write_bytes(NOISE[::-1])
        monkeypatch.setattr(os, "open", no_direct_open)
        read_back(Path(name), len(NOISE), hashlib.sha256(NOISE[::-1]).hexdigest(), Silent())
        os.close(keep)


def test_the_right_digest_in_capitals(tmp_path: Path) -> None:
    send(NOISE, tmp_path / "out", expected=hashlib.sha256(NOISE).hexdigest().upper())
    assert (tmp_path / "out").read_bytes() == NOISE


def test_a_digest_is_checked_also_when_none_is_asked_for(tmp_path: Path) -> None:
    send(NOISE, tmp_path / "out", expected=hashlib.sha256(NOISE).hexdigest(), hash=False)
    with pytest.raises(PayloadError, match="has the SHA-256 digest"):
        send(NOISE, tmp_path / "out", expected="0" * 64, hash=False)


@pytest.mark.parametrize(
    ("length", "size", "told", "message"),
    [
        (MIB, MIB + 1, -1, "has 1048576 bytes, not 1048577"),
        (MIB, 2 * MIB, 2 * MIB, "ended after 1048576 of 2097152 bytes"),
        (5, 2 * MIB, 2 * MIB, "ended after 5 of 2097152 bytes"),
        (0, 4096, None, "ended after 0 of 4096"),
        (MIB - 4096, MIB, None, "ended after 1044480 of 1048576 bytes"),
        (MIB + 1, MIB, None, "longer than the 1048576 bytes of its squashfs"),
        (MIB + 1, MIB - 4096, None, "longer than the 1044480 bytes of its squashfs"),
        (MIB, MIB - 4096, None, "longer than the 1044480 bytes of its squashfs"),
        (MIB - 4095, MIB, None, ""),
        (MIB, MIB, None, ""),
    ],
)
def test_sources_of_another_length(tmp_path: Path, length: int, size: int, told: Optional[int], message: str) -> None:
    out = tmp_path / "out"
    source = Memory(NOISE[:length], told)
    if not message:
        assert transfer(source, out, size=size, fresh=True, progress=Silent()).size == length
        assert out.read_bytes() == NOISE[:length]
        return
    with pytest.raises(PayloadError, match=message):
        transfer(source, out, size=size, fresh=True, progress=Silent())
    assert not out.exists() or out.read_bytes()[:4096].strip(b"\0") == b""


def test_short_writes_are_gone_on_with(device: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole, calls = os.pwrite, []

    def short(fd: int, data: memoryview, offset: int) -> int:
        calls.append(offset)
        return whole(fd, data[: 256 << 10], offset)

    monkeypatch.setattr(os, "pwrite", short)
    digest = send(NOISE, device, fresh=False)
    assert len(calls) == 17
    read_back(device, len(NOISE), digest, Silent())


@pytest.mark.parametrize("where", ["pwrite", "fsync"])
def test_an_io_error_while_writing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str) -> None:
    whole = getattr(os, where)

    def failing(fd: int, *args: object) -> object:
        if where == "fsync" or args[-1] == 2 * MIB:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return whole(fd, *args)

    monkeypatch.setattr(os, where, failing)
    at = "to its end" if where == "fsync" else f"at byte {2 * MIB}"
    with pytest.raises(StorageError, match=f"cannot be written {at}: Input/output error.*failing"):
        send(NOISE, tmp_path / "out")


def test_direct_writing_may_be_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """When the file is opened, or at the first transfer: then it goes through the page cache."""
    whole_open, whole_write, whole_read, refused = os.open, os.pwrite, os.preadv, []

    def no_direct_open(path: Path, flags: int, *args: int, **kwargs: int) -> int:
        if flags & os.O_DIRECT:
            refused.append("open")
            raise OSError(errno.EINVAL, "refused")
        return whole_open(path, flags, *args, **kwargs)

    def no_direct_write(fd: int, data: memoryview, offset: int) -> int:
        if fcntl_flags(fd) & os.O_DIRECT:
            refused.append("write")
            raise OSError(errno.EINVAL, "refused")
        return whole_write(fd, data, offset)

    def no_direct_read(fd: int, buffers: list[memoryview], offset: int) -> int:
        if fcntl_flags(fd) & os.O_DIRECT:
            refused.append("read")
            raise OSError(errno.EINVAL, "refused")
        return whole_read(fd, buffers, offset)

    for name, fake in (("open", no_direct_open), ("pwrite", no_direct_write), ("preadv", no_direct_read)):
        with monkeypatch.context() as patch:
            patch.setattr(os, name, fake)
            digest = send(NOISE + b"tail", tmp_path / name)
            read_back(tmp_path / name, len(NOISE) + 4, digest, Silent())
        assert (tmp_path / name).read_bytes() == NOISE + b"tail"
    assert set(refused) == {"open", "write", "read"}


def fcntl_flags(fd: int) -> int:
    return fcntl.fcntl(fd, fcntl.F_GETFL)


def test_from_a_file_to_tmpfs_and_back() -> None:
    with mounted("tmpfs", Path("/tmp") / f"payload-{os.getpid()}", fstype="tmpfs") as folder:
        (folder / "in").write_bytes(NOISE + b"tail")
        source = FileSource(folder / "in")
        done = transfer(source, folder / "out", size=source.size, fresh=True, progress=Silent())
        assert (folder / "out").read_bytes() == NOISE + b"tail"
        read_back(folder / "out", source.size, done.sha256, Silent())
    folder.rmdir()


class Endless(MemoryStream):
    """Gives some bytes, has the process signalled, and then waits for the abort."""

    def __init__(self) -> None:
        super().__init__(NOISE)
        self.aborted = threading.Event()

    def readinto(self, view: memoryview) -> int:
        if self.data:
            return super().readinto(view)
        os.kill(os.getpid(), signal.SIGTERM)
        if not self.aborted.wait(20):
            raise AssertionError("nobody stopped the stream")
        raise PayloadError("the transfer was stopped")

    def abort(self) -> None:
        self.aborted.set()


def test_a_signal_stops_it(device: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stream = Endless()
    source = Memory(b"", 12 * MIB)
    monkeypatch.setattr(source, "stream", lambda: stream)

    def handler(*_: object) -> None:
        raise Interrupted("stopped by SIGTERM")

    before = signal.signal(signal.SIGTERM, handler)
    try:
        with pytest.raises(Interrupted):
            transfer(source, device, size=12 * MIB, fresh=False, progress=Silent())
    finally:
        signal.signal(signal.SIGTERM, before)
    assert stream.aborted.is_set()
    assert_not_an_image(device)


class Recorder(Silent):
    def __init__(self) -> None:
        self.seen: list[tuple[int, Optional[int]]] = []
        self.details: list[str] = []

    def detail(self, text: str) -> None:
        self.details.append(text)

    def transferred(self, done: int, total: Optional[int]) -> None:
        self.seen.append((done, total))


def test_progress_ends_at_the_whole(tmp_path: Path) -> None:
    progress = Recorder()
    transfer(Memory(NOISE), tmp_path / "out", size=len(NOISE), fresh=True, progress=progress)
    assert progress.seen[0][0] < len(NOISE)
    assert progress.seen[-1] == (len(NOISE), len(NOISE))


def test_a_failing_progress_stops_it(tmp_path: Path) -> None:
    class Failing(Silent):
        def transferred(self, done: int, total: Optional[int]) -> None:
            raise NodeError("no terminal")

    with pytest.raises(NodeError, match="no terminal"):
        transfer(Memory(NOISE), tmp_path / "out", size=len(NOISE), fresh=True, progress=Failing())


def test_memory_stays_bounded(tmp_path: Path) -> None:
    """The process that moves a GiB needs no more than 64 MiB at its peak (VmHWM)."""
    (tmp_path / "in").touch()
    os.truncate(tmp_path / "in", 1 << 30)
    program = (
        "import sys; from pathlib import Path\n"
        "from org_ovirt_node.payload.sources import open_source\n"
        "from org_ovirt_node.payload.transfer import transfer, read_back\n"
        "from org_ovirt_node.progress import Silent\n"
        "with open_source(sys.argv[1]) as source:\n"
        "    done = transfer(source, Path(sys.argv[2]), size=source.size, fresh=True, progress=Silent())\n"
        "assert done.zeros == 1 << 30\n"
        "status = Path('/proc/self/status').read_text()\n"
        "print(next(line.split()[1] for line in status.splitlines() if line.startswith('VmHWM')))\n"
    )
    argv = [sys.executable, "-c", program, str(tmp_path / "in"), str(tmp_path / "out")]
    peak = int(subprocess.run(argv, check=True, capture_output=True, text=True).stdout) << 10
    assert 10 * MIB < peak <= 64 * MIB
    assert (tmp_path / "out").stat().st_blocks <= 8  # the first page is always written

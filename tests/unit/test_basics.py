"""The command runner, mounts, loop devices, and progress."""

from __future__ import annotations

import io
import json
import logging
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from org_ovirt_node import mounts, progress
from org_ovirt_node.errors import CommandError, KickstartProblem, NodeError, StorageError
from org_ovirt_node.run import CLEAN_PATH, run


def test_a_missing_program_is_named() -> None:
    with pytest.raises(CommandError, match="the program no-such-program is not installed"):
        run(["no-such-program"])


def test_a_failing_program_is_named_with_status_and_last_words() -> None:
    with pytest.raises(CommandError) as caught:
        run(["sh", "-c", "echo first; echo 'disk on fire' >&2; exit 7"], hint="Put it out.")
    assert caught.value.exit_status == 7
    assert str(caught.value) == "sh failed with exit status 7: disk on fire. Put it out."


def test_without_check_the_status_is_given_back() -> None:
    done = run(["sh", "-c", "echo out; exit 3"], check=False)
    assert (done.status, done.stdout, done.ok) == (3, "out\n", False)


def test_a_program_that_hangs_is_an_error() -> None:
    with pytest.raises(CommandError, match="no answer within"):
        run(["sleep", "60"], timeout=0.1)


def test_no_secret_reaches_log_or_error(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG), pytest.raises(CommandError) as caught:
        run(["sh", "-c", "echo hunter2; echo hunter2 >&2; exit 1", "hunter2"], secrets=["hunter2"])
    assert "hunter2" not in caplog.text
    assert "hunter2" not in str(caught.value) + repr(caught.value.argv) + caught.value.output


def test_programs_see_a_clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LVM_SYSTEM_DIR", "/somewhere")
    monkeypatch.setenv("LC_ALL", "cs_CZ.UTF-8")
    shown = run(["env"], env={"EXTRA": "1"}).stdout.splitlines()
    assert "LC_ALL=C.UTF-8" in shown
    assert "EXTRA=1" in shown
    assert not any(line.startswith("LVM_SYSTEM_DIR") for line in shown)


def test_an_error_is_a_sentence_and_what_to_do() -> None:
    assert str(NodeError("the disk is full.", hint="Free some room.")) == "the disk is full. Free some room."
    assert str(KickstartProblem("unknown option", file="a.ks", line=3)) == "a.ks:3: unknown option"


def mounted_at(folder: Path) -> bool:
    return f" {folder} " in Path("/proc/self/mountinfo").read_text(encoding="utf-8")


def test_a_mount_is_there_in_the_block_and_gone_after_a_failure(tmp_path: Path) -> None:
    target = tmp_path / "deep" / "target"
    with pytest.raises(KeyError), mounts.mounted("tmpfs", target, fstype="tmpfs", options=["size=1m"]):
        assert mounted_at(target)
        raise KeyError
    assert not mounted_at(target)


def test_a_busy_mount_is_an_error_that_names_it(tmp_path: Path) -> None:
    user = None
    try:
        with (
            pytest.raises(StorageError, match=f"{tmp_path}/busy could not be unmounted"),
            mounts.mounted("tmpfs", tmp_path / "busy", fstype="tmpfs"),
        ):
            user = subprocess.Popen(
                [sys.executable, "-c", "print('in', flush=True); input()"],
                cwd=tmp_path / "busy",
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
            )
            assert user.stdout is not None
            assert user.stdout.readline() == b"in\n"
    finally:
        assert user is not None
        user.communicate(b"\n")
        subprocess.run(["umount", str(tmp_path / "busy")], check=True)


def test_a_bind_is_private_and_can_be_read_only(tmp_path: Path) -> None:
    source, target = tmp_path / "source", tmp_path / "target"
    source.mkdir()
    (source / "file").write_text("x")
    with mounts.bound(source, target, readonly=True):
        line = next(
            line
            for line in Path("/proc/self/mountinfo").read_text(encoding="utf-8").splitlines()
            if str(target) in line
        )
        assert "shared:" not in line
        with pytest.raises(OSError, match="Read-only"):
            (target / "file").write_text("y")
    assert not mounted_at(target)


def test_an_overlay_writes_to_its_upper_side_only(tmp_path: Path) -> None:
    lower = tmp_path / "lower"
    lower.mkdir()
    (lower / "file").write_text("image")
    # An overlay on the overlay of a container is not possible; a tmpfs below it is.
    with (
        mounts.mounted("tmpfs", tmp_path / "layer", fstype="tmpfs") as layer,
        mounts.overlaid([lower], layer / "upper", layer / "work", tmp_path / "root") as root,
    ):
        (root / "file").write_text("changed")
        assert (lower / "file").read_text() == "image"
        assert (layer / "upper/file").read_text() == "changed"


def test_a_loop_device_has_the_sector_size_and_is_detached(tmp_path: Path) -> None:
    file = tmp_path / "disk.raw"
    file.write_bytes(bytes(1 << 20))
    with mounts.loop_device(file, sector_size=4096) as device:
        name = Path(device).name
        assert Path(f"/sys/class/block/{name}/queue/logical_block_size").read_text().strip() == "4096"
        backing = Path(f"/sys/class/block/{name}/loop/backing_file")
        assert backing.read_text().strip() == str(file)
    assert not backing.exists() or backing.read_text().strip() != str(file)


def test_a_loop_device_that_somebody_else_looks_at_is_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "disk.raw"
    file.write_bytes(bytes(1 << 20))
    looking: list[int] = []

    def stop_looking(seconds: float) -> None:
        os.close(looking.pop())

    monkeypatch.setattr(time, "sleep", stop_looking)
    with mounts.loop_device(file, readonly=True) as device:
        looking.append(os.open(device, os.O_RDONLY))
        backing = Path(f"/sys/class/block/{Path(device).name}/loop/backing_file")
    assert not looking
    assert not backing.exists() or backing.read_text().strip() != str(file)


def test_udev_is_through_with_a_loop_device_before_its_file_system_is_unmounted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The kernel closes the file behind a loop device after it has said that the device is free."""
    program = tmp_path / "bin/udevadm"
    program.parent.mkdir()
    with mounts.mounted("tmpfs", tmp_path / "outer", fstype="tmpfs") as outer:
        program.write_text(
            f"#!/bin/sh\ncat /sys/block/loop*/loop/backing_file > {tmp_path}/still\necho $1 > {tmp_path}/said"
        )
        program.chmod(0o755)
        monkeypatch.setenv("OVIRT_NODE_PATH", f"{program.parent}:{CLEAN_PATH}")
        (outer / "disk.raw").write_bytes(bytes(1 << 20))
        with mounts.loop_device(outer / "disk.raw", readonly=True):
            pass
        assert (tmp_path / "said").read_text() == "settle\n"
        assert str(outer) not in (tmp_path / "still").read_text()


def test_a_loop_device_that_stays_in_use_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "disk.raw"
    file.write_bytes(bytes(1 << 20))
    monkeypatch.setattr(mounts, "DETACH", 0.1)
    opened = -1
    with pytest.raises(StorageError, match=r"disk\.raw is still in use"), mounts.loop_device(file) as device:
        opened = os.open(device, os.O_RDONLY)
    os.close(opened)


@pytest.mark.parametrize(
    ("size", "text"), [(0, "0 B"), (1023, "1023 B"), (1024, "1.0 KiB"), (1 << 30, "1.0 GiB"), (3 << 41, "6.0 TiB")]
)
def test_sizes_for_people(size: int, text: str) -> None:
    assert progress.human(size) == text


def test_a_transfer_shows_bytes_rate_and_time_left() -> None:
    now = [100.0]
    meter = progress.Meter(clock=lambda: now[0])
    assert meter.due(0, 100 << 20)
    now[0] += 0.1
    assert not meter.due(1 << 20, 100 << 20)
    now[0] += 9.9
    assert meter.due(50 << 20, 100 << 20)
    assert meter.text(50 << 20, 100 << 20) == "50.0 MiB of 100.0 MiB, 50 %, 5.0 MiB/s, 10 s left"
    assert meter.due(100 << 20, 100 << 20)


def test_a_file_that_another_program_writes_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "GROWTH_INTERVAL", 0.01)
    out, file = io.StringIO(), tmp_path / "file"
    with progress.growing(file, progress.JsonProgress(out)):
        file.write_bytes(b"x" * 4096)
        deadline = time.monotonic() + 10
        while not out.getvalue() and time.monotonic() < deadline:
            time.sleep(0.01)
    assert json.loads(out.getvalue().splitlines()[0]) == {"event": "transfer", "done": 4096, "total": None}


def test_the_rate_of_a_file_that_grows_counts_from_its_beginning() -> None:
    now = [5.0]
    meter = progress.Meter(lambda: now[0])
    assert not meter.due(0, None)
    now[0] = 7.0
    assert meter.due(8 << 20, None)
    assert meter.text(8 << 20, None) == "8.0 MiB, 4.0 MiB/s"


def test_json_progress_is_one_object_per_line() -> None:
    out = io.StringIO()
    shown = progress.JsonProgress(out)
    shown.step("transfer", "Writing the image")
    shown.transferred(5, 5)
    events = [json.loads(line) for line in out.getvalue().splitlines()]
    assert events == [
        {"event": "step", "name": "transfer", "text": "Writing the image"},
        {"event": "transfer", "done": 5, "total": 5},
    ]

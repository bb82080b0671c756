"""What the disk has refused after the programs that wrote it had gone on: nothing that depends on it may be booted."""

from __future__ import annotations

import dataclasses
import errno
import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from org_ovirt_node.errors import NodeError, StorageError
from org_ovirt_node.mounts import loop_device, mounted, watched
from org_ovirt_node.node import layerroot, update_run
from org_ovirt_node.node.layers import NodeState, config, state
from org_ovirt_node.node.update import Update
from org_ovirt_node.progress import Silent
from org_ovirt_node.steps import Step
from tests.support.fakenode import MIB, NEW, OLD, FakeNode, updatable, update_request

#: Bytes of the "pool": the memory that all volumes are in.
POOL = 192 * MIB
LARGE = 4 * MIB


@pytest.fixture
def pool(memory: Path) -> Iterator[Path]:
    with mounted("tmpfs", memory / "pool", fstype="tmpfs", options=[f"size={POOL}"]) as folder:
        yield folder


def write_back_into_full_pool(pool: Path, layer: Path) -> None:
    """Let the kernel write back what it has of ``layer`` while the pool has no room; then there is room again."""
    filler = pool / "filler"
    with filler.open("wb") as file, pytest.raises(OSError, match="No space left"):
        while True:
            file.write(bytes(MIB))
            file.flush()
    subprocess.run(["sync", "--file-system", str(layer)], capture_output=True, check=False)
    filler.unlink()


def lossy(name: str, act: Callable[[], None]) -> tuple[Step[Update], ...]:
    """The steps of an update; after the one called ``name`` comes ``act``."""

    def step_and(action: Callable[[Update], None]) -> Callable[[Update], None]:
        def both(doing: Update) -> None:
            action(doing)
            act()

        return both

    return tuple(
        dataclasses.replace(step, action=step_and(step.action)) if step.name == name else step
        for step in update_run.STEPS
    )


def test_a_pool_that_filled_unnoticed_ends_the_update(pool: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with updatable(pool / "node", monkeypatch) as node:
        home = node.places.live / "root"
        home.mkdir(exist_ok=True)
        (home / "precious").write_bytes(os.urandom(LARGE))
        layer = node.places.work / "layer"
        steps = lossy("carry", lambda: write_back_into_full_pool(pool, layer))
        monkeypatch.setattr(update_run.run_steps, "__defaults__", (steps,))
        with pytest.raises(StorageError, match="Unmounting failed"):
            update_run.update(update_request(node), Silent(), node.places)
        assert node.menu == [f"{OLD}+1"]
        assert sorted(node.volumes) == sorted(["pool00", OLD, f"{OLD}+1"])


def test_a_shared_volume_that_lost_what_the_update_added_ends_it(pool: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with updatable(pool / "node", monkeypatch) as node:
        image, log = pool / "image", node.places.live / "var/log"
        with image.open("wb") as file:
            file.truncate(64 * MIB)
        subprocess.run(["mke2fs", "-q", "-F", "-t", "ext4", str(image)], check=True)
        with loop_device(image) as device, mounted(device, log, fstype="ext4"):

            def lose() -> None:
                # Not one that is there: ext4 does not wait with what replaces a file.
                (log / "large").write_bytes(os.urandom(LARGE))
                write_back_into_full_pool(pool, log)

            steps = lossy("carry", lose)
            monkeypatch.setattr(update_run.run_steps, "__defaults__", (steps,))
            with pytest.raises(StorageError, match="Unmounting failed"):
                update_run.update(update_request(node), Silent(), node.places)
            assert node.menu == [f"{OLD}+1"]


def test_a_file_system_says_what_it_has_lost_though_somebody_was_told_before(pool: Path) -> None:
    image = pool / "image"
    with image.open("wb") as file:
        file.truncate(64 * MIB)
    subprocess.run(["mke2fs", "-q", "-F", "-t", "ext4", str(image)], check=True)
    with (
        loop_device(image) as device,
        mounted(device, pool / "mnt", fstype="ext4") as mount,
        watched(mount) as flush,
    ):
        flush()
        (mount / "large").write_bytes(os.urandom(LARGE))
        write_back_into_full_pool(pool, mount)
        with pytest.raises(OSError) as caught:
            flush()
        assert caught.value.errno in (errno.EIO, errno.ENOSPC)


def test_a_layer_that_is_written_to_again_is_watched_too(pool: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with updatable(pool / "node", monkeypatch) as node:
        update_run.update(update_request(node), Silent(), node.places)
        with (
            pytest.raises(NodeError, match=f"written to {NEW}\\+1 has not come to its disk"),
            layerroot.changed(_state(node), f"{NEW}+1", node.places, node.places.work) as (_, root),
        ):
            (root / "etc/large").write_bytes(os.urandom(LARGE))
            write_back_into_full_pool(pool, node.places.work / "layer")


def _state(node: FakeNode) -> NodeState:
    return state(config(node.places.config)["vg"], node.places.boot, node.places.cmdline)

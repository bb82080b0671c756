"""Layers that do not run, as a power cut may have left them."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from org_ovirt_node.mounts import fstype_of, loop_device, mounted
from org_ovirt_node.node import layerroot, update_run
from org_ovirt_node.node.layers import config, state
from org_ovirt_node.progress import Silent
from tests.support.fakenode import NEW, updatable, update_request


def test_a_layer_whose_power_failed_is_seen_with_what_its_journal_has(
    memory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with updatable(memory / "node", monkeypatch) as node:
        update_run.update(update_request(node), Silent(), node.places)
        places = node.places
        known = state(config(places.config)["vg"], places.boot, places.cmdline)
        device = Path(layerroot.device_of(known, f"{NEW}+1", places))
        with mounted(str(device), memory / "layer", fstype=fstype_of(str(device))) as base:
            folder = base / "upper/etc/made-late"
            folder.mkdir(parents=True)
            with (folder / "file").open("wb") as file:
                file.write(b"of the last second")
                file.flush()
                os.fsync(file.fileno())
            # What is on the disk now: the journal has the folder, its place in the file system does not.
            shutil.copyfile(device.resolve(), memory / "cut")
        device.unlink()
        # A volume is a block device that may be written to; of a file mount(8) makes one that may not.
        with loop_device(memory / "cut") as loop:
            device.symlink_to(loop)
            with layerroot.looked_at(known, f"{NEW}+1", places, places.work) as (_, root):
                assert (root / "etc/made-late/file").read_bytes() == b"of the last second"

"""Where the parts of a running node are; tests put them elsewhere."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from org_ovirt_node.node import journal, layers, lock


@dataclass(frozen=True)
class Places:
    """``live`` is the running root; ``run`` is where the initramfs left image and layer."""

    live: Path = Path("/")
    boot: Path = layers.BOOT
    run: Path = Path("/run/ovirt-node")
    work: Path = Path("/run/ovirt-node-update")
    temporary: Path = Path("/var/tmp")
    state: Path = journal.STATE
    cmdline: Path = layers.PROC_CMDLINE
    config: Path = layers.CONFIG
    lock: Path = lock.LOCK
    dev: Path = Path("/dev")
    power: Path = Path("/sys/class/power_supply")
    watchdog: Path = Path("/dev/watchdog")
    motd: Path = Path("/run/motd.d/60-ovirt-node")
    good: Path = Path("/run/ovirt-node-good")

    @property
    def image_tree(self) -> Path:
        """The root tree of the running image, read-only."""
        inner = self.run / "rootfs"
        return inner if (inner / "usr").is_dir() else self.run / "image"

    @property
    def upper(self) -> Path:
        """What was written over the running image."""
        return self.run / "layer/upper"

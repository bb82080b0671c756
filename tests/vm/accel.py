"""Which accelerator QEMU gets: KVM where it is shown to work, else emulation."""

from __future__ import annotations

import functools
import os
import subprocess
from pathlib import Path

from org_ovirt_node.image.cache import default_folder

#: Seconds for a kernel to start under KVM and switch off again: it takes 1 s where KVM works.
PROBE = 15.0
ALIVE = b"ovirt-node-probe: alive"

#: QEMU 7.2 emulates cmpxchg16b with flags computed from stale state: an interrupt right after it saves garbage into
#: EFLAGS, and the guest's kernel dies of it (double fault, bad list walk) once in some ten boots on a busy host.
#: Without the feature the kernel uses a sequence of its own.
EMULATION = ("-accel", "tcg,thread=multi,tb-size=512", "-cpu", "max,-cx16")
HARDWARE = ("-accel", "kvm", "-cpu", "host")


@functools.cache
def accelerator() -> tuple[str, ...]:
    """QEMU's arguments for the accelerator that :func:`probe` found for this boot of the host, emulation without."""
    found = _answer_file()
    return HARDWARE if found.exists() and found.read_text() == "kvm" else EMULATION


def _answer_file() -> Path:
    boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    return default_folder() / f"accelerator.{boot}"


def probe(kernel: Path, initramfs: Path) -> None:
    """Try once per boot of the host whether a kernel really runs under KVM (/dev/kvm alone says little)."""
    answer = _answer_file()
    if answer.exists():
        return
    answer.parent.mkdir(parents=True, exist_ok=True)
    works = os.access("/dev/kvm", os.R_OK | os.W_OK) and _boots(kernel, initramfs)
    answer.write_text("kvm" if works else "tcg")
    accelerator.cache_clear()


def _boots(kernel: Path, initramfs: Path) -> bool:
    argv = ["qemu-system-x86_64", *HARDWARE, "-nodefaults", "-m", "512", "-display", "none", "-no-reboot"]
    argv += ["-serial", "stdio", "-kernel", str(kernel), "-initrd", str(initramfs)]
    argv += ["-append", "console=ttyS0 panic=1 ovirt_node.probe"]
    try:
        done = subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, timeout=PROBE, check=False)
    except subprocess.TimeoutExpired:
        return False
    return ALIVE in done.stdout

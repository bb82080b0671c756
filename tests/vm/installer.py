"""The installer in a machine: started from a saved state where there is one, with the project's code of today."""

from __future__ import annotations

import dataclasses
import os
import shutil
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Optional

from org_ovirt_node.image.cache import key_of
from tests.vm import artefacts
from tests.vm.accel import accelerator
from tests.vm.console import Shell
from tests.vm.qemu import LIFETIME, Disk, Efi, Machine, Spec, command_line

#: Seconds from power-on to the installer's shell; 10 to 20 under emulation, more on a busy host.
BOOT = 180.0
#: The same where the network card's firmware fetches it first.
NETWORK_BOOT = 600.0
#: Seconds to save or to go on with a machine of some 300 MB of state.
STATE = 120.0
#: Seconds for a disk that was plugged in to show up; where the installer was just booted, udev is still busy then.
PLUG = 120.0
READY = "ovirt-node-shell: ready"
KERNEL = "console=ttyS0 panic=1 oops=panic ovirt_node.lower=installer:node"
#: Host as seen from a machine, and the machine's own address (QEMU's user network).
HOST_ADDRESS = "10.0.2.2"
OWN_ADDRESS = "10.0.2.15/24"


class InstallerMachine:
    """A machine that runs the installer's environment, with a root shell in it."""

    def __init__(self, machine: Machine) -> None:
        self.machine = machine
        self.shell = Shell(machine.shell)

    def attach(self, disk: Disk, timeout: float = PLUG) -> str:
        """Plug ``disk`` in, wait until udev is through with it, and return its /dev/disk/by-id link."""
        self.machine.attach(disk)
        prefix = {
            "virtio": "virtio-",
            "scsi": "scsi-0QEMU_QEMU_HARDDISK_",
            "cdrom": "scsi-0QEMU_QEMU_CD-ROM_",
            "nvme": "nvme-QEMU_NVMe_Ctrl_",
        }
        link = f"/dev/disk/by-id/{prefix[disk.bus]}{disk.serial}"
        # udevadm waits for the event: no polling.
        self.shell.run(f"udevadm wait --timeout={timeout:.0f} {link}", timeout + PLUG)
        return link

    def load_code(self) -> None:
        """Put the project's code where Python and the installer look for it."""
        code = artefacts.code_disk(self.machine.folder)
        link = self.attach(Disk(code, "code", readonly=True))
        self.shell.run(
            f"mount -o ro {link} /opt/ovirt-node && "
            "mount --bind /opt/ovirt-node/org_ovirt_node /usr/lib/python3/dist-packages/org_ovirt_node"
        )

    def start_network(self) -> None:
        """An address on QEMU's user network."""
        self.shell.run(
            f"nic=$(ls /sys/class/net | grep -v lo) && ip addr add {OWN_ADDRESS} dev $nic && ip link set $nic up && "
            f"ip route add default via {HOST_ADDRESS} && echo nameserver 10.0.2.3 > /etc/resolv.conf"
        )

    def power_off(self) -> None:
        self.machine.shell.send("systemctl poweroff --force --force\n")
        self.machine.wait_off(PLUG)


def _spec(memory: int, network: Sequence[str] = ()) -> Spec:
    parts = artefacts.installer()
    layers = (
        Disk(parts.node, "node", readonly=True),
        Disk(parts.delta, "installer", readonly=True),
    )
    return Spec(
        "installer",
        memory=memory,
        disks=layers,
        kernel=parts.kernel,
        initrd=parts.initramfs,
        append=KERNEL,
        network=tuple(network),
    )


def kernel_script(folder: Path, base: str) -> list[str]:
    """Lines of a script for iPXE that start the installer, from files in ``folder`` that a server shows at ``base``."""
    parts = artefacts.installer()
    for source, name in ((parts.kernel, "vmlinuz"), (parts.initramfs, "initramfs.img")):
        shutil.copyfile(source, folder / name)
    return [f"kernel {base}/vmlinuz initrd=initramfs.img {KERNEL}", f"initrd {base}/initramfs.img", "boot"]


def _await_shell(machine: Machine, timeout: float) -> Shell:
    machine.shell.wait_for(READY, timeout)
    return Shell(machine.shell)


#: Puts what every scenario needs into the page cache.
WARM = "python3 -c 'import blivet, pykickstart.parser, requests'; lvm version"


def saved_state(spec: Spec, warm: str = WARM) -> Path:
    """A machine of ``spec`` that has come up to its shell and run ``warm``, as a file: kept by all it depends on."""
    key = key_of(
        command_line(dataclasses.replace(spec, network=()), Path(), Path()),
        accelerator(),
        artefacts.qemu_version(),
        warm,
    )

    def make(folder: Path) -> None:
        folder.mkdir()
        with Machine(spec, folder / "machine") as machine:
            shell = _await_shell(machine, BOOT)
            # Nothing is half-done when the state is taken.
            shell.run("udevadm settle --timeout=60", BOOT)
            shell.run(warm, BOOT)
            shell.run("sync; echo 1 > /proc/sys/vm/compact_memory || true")
            machine.save(folder / "state", STATE)

    return artefacts.cache().get("installer-state", key, make) / "state"


def renew(shell: Shell) -> None:
    """What a machine needs that goes on from a saved state: today's clock, and randomness of its own."""
    shell.run(f"date -s @{time.time():.3f}", STATE)
    # Belt and braces beside the generation id: no two scenarios share randomness.
    shell.run(f"echo {os.urandom(64).hex()} > /dev/urandom")


@contextmanager
def running_installer(
    folder: Path,
    *,
    memory: int = 1536,
    fresh: bool = False,
    code: bool = True,
    limit: float = LIFETIME,
    efi: Optional[Efi] = None,
    from_network: Optional[Sequence[str]] = None,
) -> Iterator[InstallerMachine]:
    """The installer at its shell, for ``limit`` seconds.

    ``fresh`` boots it, as a machine with EFI always does, whose flash memory no saved state can have; else it goes on
    from the saved state.  With ``from_network`` (options of QEMU's user network) the network card's own firmware boots
    it, by :func:`kernel_script`.
    """
    spec = dataclasses.replace(_spec(memory), limit=limit, efi=efi)
    if from_network is not None:
        card = dataclasses.replace(spec, network=tuple(from_network), boots_from_network=True)
        spec = dataclasses.replace(card, kernel=None, initrd=None, append="")
    fresh = fresh or efi is not None or from_network is not None
    if not fresh:
        spec = dataclasses.replace(spec, incoming=saved_state(spec))
    with Machine(spec, folder / "installer") as machine:
        if fresh:
            _await_shell(machine, BOOT if from_network is None else NETWORK_BOOT)
        else:
            machine.go_on(STATE)
        running = InstallerMachine(machine)
        renew(running.shell)
        if code:
            running.load_code()
        yield running

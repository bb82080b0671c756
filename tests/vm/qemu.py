"""One virtual machine: QEMU's command line from a description, its consoles, and its end."""

from __future__ import annotations

import json
import shutil
import subprocess
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Optional

from tests.vm.accel import accelerator
from tests.vm.channel import Channel
from tests.vm.errors import MachineDied, ScenarioFailed, TimedOut
from tests.vm.qmp import Qmp

QEMU = "qemu-system-x86_64"
#: Where the distribution keeps EFI firmware for machines.
OVMF = Path("/usr/share/OVMF")
#: Seconds that a machine lives at most, whatever becomes of its scenario, which has a limit of its own.
LIFETIME = 3600.0
#: Seconds that QEMU may take to open its sockets.
START = 30.0
#: Seconds that a killed QEMU may take to go.
KILL = 10.0
#: Seconds that a guest may take to give a hot-plugged device back.
UNPLUG = 60.0
#: What a guest's kernel says when nothing more will come.
FATAL = r"Kernel panic - not syncing"


@dataclass(frozen=True)
class Disk:
    """A disk of a machine.  The guest finds it by its serial number; the order of disks says nothing."""

    file: Path
    serial: str
    #: virtio, scsi, cdrom or nvme.
    bus: str = "virtio"
    format: str = "raw"
    readonly: bool = False
    #: The SCSI controller of a disk on that bus: 0 or 1.
    controller: int = 0
    #: For a file that several disks share, as the paths to one disk do: what tells this one from the others.
    path: str = ""
    #: Further properties of the device, e.g. {"logical_block_size": 4096}.
    properties: dict[str, Any] = field(default_factory=dict)
    #: QEMU block nodes to put on top of the file: each gets "node-name", and "file" naming the one below.
    filters: tuple[dict[str, Any], ...] = ()

    @property
    def node(self) -> str:
        return f"node-{self.key}"

    @property
    def key(self) -> str:
        """What tells it from all other disks of its machine."""
        return self.serial + self.path

    def blockdevs(self) -> list[dict[str, Any]]:
        """The block nodes, bottom first; the last one is ``self.node``."""
        nodes: list[dict[str, Any]] = [
            # The host's page cache survives the guest: flushes to the host's disk would only cost time.
            {
                "driver": "file",
                "filename": str(self.file),
                "cache": {"direct": False, "no-flush": True},
                **({"locking": "off"} if self.path else {}),
            },
            {"driver": self.format},
            *(dict(one) for one in self.filters),
        ]
        for number, node in enumerate(nodes):
            last = number == len(nodes) - 1
            node["node-name"] = self.node if last else f"{self.node}-{number}"
            node["read-only"] = self.readonly
            if not self.readonly:
                node["discard"] = "unmap"
            if number:
                node["file"] = nodes[number - 1]["node-name"]
        return nodes

    def device(self) -> dict[str, Any]:
        """The device that the guest sees."""
        drivers = {"virtio": "virtio-blk-pci", "scsi": "scsi-hd", "cdrom": "scsi-cd", "nvme": "nvme"}
        device: dict[str, Any] = {
            "driver": drivers[self.bus],
            "id": f"dev-{self.key}",
            "drive": self.node,
            "serial": self.serial,
        }
        if self.bus in ("scsi", "cdrom"):
            device["bus"] = f"scsi{self.controller}.0"
        if self.path:
            device["share-rw"] = True
        device.update(self.properties)
        return device


@dataclass(frozen=True)
class Efi:
    """EFI firmware: ``variables`` is the file with this machine's own variables, which it writes.

    ``secure_boot``: the firmware starts only what the keys in ``variables`` allow.
    """

    variables: Path
    secure_boot: bool = False

    def arguments(self) -> list[str]:
        """QEMU's arguments (QEMU manual, "pflash"; OVMF README)."""
        code = OVMF / ("OVMF_CODE_4M.secboot.fd" if self.secure_boot else "OVMF_CODE_4M.fd")
        argv = ["-drive", f"if=pflash,unit=0,format=raw,readonly=on,file={code}"]
        argv += ["-drive", f"if=pflash,unit=1,format=raw,file={self.variables}"]
        if self.secure_boot:
            argv += ["-global", "driver=cfi.pflash01,property=secure,value=on"]
        return argv


@dataclass(frozen=True)
class Spec:
    """What a machine is made of."""

    name: str
    #: MiB.
    memory: int = 1536
    cpus: int = 1
    disks: tuple[Disk, ...] = ()
    #: Boot this kernel instead of what the firmware finds.
    kernel: Optional[Path] = None
    initrd: Optional[Path] = None
    append: str = ""
    #: EFI instead of BIOS.
    efi: Optional[Efi] = None
    #: False: the machine's reboot is its end.
    reboots: bool = False
    #: Options of QEMU's user network, e.g. ("hostfwd=tcp:127.0.0.1:2222-:22",); None: no network card.
    network: Optional[tuple[str, ...]] = ()
    #: The network card's own firmware (iPXE) is there, and boots where no disk does.
    boots_from_network: bool = False
    #: It boots before any disk.
    network_first: bool = False
    #: A saved machine to go on with.
    incoming: Optional[Path] = None
    #: Seconds after which the machine is ended, whatever it does.
    limit: float = LIFETIME
    extra: tuple[str, ...] = ()


@dataclass(frozen=True)
class HostShare:
    """Seconds that a machine ran on the host's processors, and that it waited for one of them."""

    ran: float
    waited: float

    def since(self, before: HostShare) -> float:
        """The share, 0 to 1, of the time that the machine wanted to run since ``before``, and could."""
        ran, waited = self.ran - before.ran, self.waited - before.waited
        return ran / (ran + waited) if ran + waited > 0 else 1.0


def command_line(spec: Spec, sockets: Path, logs: Path) -> list[str]:
    """QEMU's arguments for ``spec``, with the folders for its sockets and for what its consoles say."""
    # Secure boot needs SMM, and that a chipset of its own.
    secure = spec.efi is not None and spec.efi.secure_boot
    machine = "q35,smm=on,graphics=off" if secure else "pc,graphics=off"
    argv = [QEMU, "-name", spec.name, *accelerator(), "-machine", machine, "-nodefaults"]
    if spec.efi is not None:
        argv += spec.efi.arguments()
    argv += ["-smp", str(spec.cpus), "-m", str(spec.memory), "-display", "none", "-vga", "none"]
    if not spec.reboots:
        argv.append("-no-reboot")
    argv += ["-qmp", f"unix:{sockets / 'qmp'},server=on,wait=off"]
    for name in ("serial", "shell"):
        socket = f"socket,id={name},path={sockets / name},server=on,wait=off"
        argv += ["-chardev", f"{socket},logfile={logs / (name + '.log')},logappend=on"]
    argv += ["-serial", "chardev:serial", "-device", "virtio-serial-pci", "-device", "virtconsole,chardev=shell"]
    # A changed generation id makes the kernel of a resumed machine reseed its randomness at once.
    argv += ["-device", "virtio-rng-pci", "-device", "vmgenid,guid=auto", "-device", "virtio-scsi-pci,id=scsi0"]
    argv += ["-device", "virtio-scsi-pci,id=scsi1"]
    if spec.network is not None:
        argv += ["-netdev", ",".join(("user,id=net0", *spec.network))]
        first = ",bootindex=0" if spec.network_first else ""
        argv += ["-device", "virtio-net-pci,netdev=net0" + ("" if spec.boots_from_network else ",romfile=") + first]
    for disk in spec.disks:
        for node in disk.blockdevs():
            argv += ["-blockdev", json.dumps(node)]
        argv += ["-device", json.dumps(disk.device())]
    if spec.kernel is not None:
        argv += ["-kernel", str(spec.kernel), "-append", spec.append]
    if spec.initrd is not None:
        argv += ["-initrd", str(spec.initrd)]
    if spec.incoming is not None:
        argv += ["-incoming", f"exec:cat {spec.incoming}"]
    return [*argv, *spec.extra]


class Machine:
    """A running machine, as a context manager that leaves nothing behind.

    ``serial`` is its first serial line, ``shell`` its virtio console.  All that both say is logged in ``folder``.
    """

    def __init__(self, spec: Spec, folder: Path) -> None:
        self.spec = spec
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        # A socket's path has room for 107 characters: the scenario's own folder may be too deep for that.
        self.sockets = Path(tempfile.mkdtemp(prefix="ovirt-node-vm-"))
        self.started = time.monotonic()
        self.log = (folder / "qemu.log").open("ab")
        # Whatever ends this program, even SIGKILL, ends its machines too.
        argv = ["setpriv", "--pdeathsig", "KILL", *command_line(spec, self.sockets, folder)]
        if shutil.which(QEMU) is None:
            raise ScenarioFailed(f"{QEMU} is not installed: run 'make deps'")
        self.log.write((" ".join(argv) + "\n").encode())
        self.log.flush()
        self.process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=self.log, stderr=self.log)
        try:
            self._wait_sockets()
            self.qmp = Qmp(self.sockets / "qmp")
            self.serial = Channel(f"{spec.name}.serial", self.sockets / "serial", fatal=FATAL)
            self.shell = Channel(f"{spec.name}.shell", self.sockets / "shell", peer=self.serial)
            self.serial.deadline = self.shell.deadline = self.started + spec.limit
        except BaseException:
            self._end()
            raise

    def _wait_sockets(self) -> None:
        deadline = time.monotonic() + START
        while not all((self.sockets / name).exists() for name in ("qmp", "serial", "shell")):
            if self.process.poll() is not None:
                last = (self.folder / "qemu.log").read_text(errors="replace").splitlines()[-5:]
                raise MachineDied(f"{self.spec.name}: QEMU did not start: " + " / ".join(last))
            if time.monotonic() > deadline:
                raise TimedOut(f"{self.spec.name}: QEMU did not open its sockets within {START:g} s")
            time.sleep(0.01)

    def __enter__(self) -> Machine:
        return self

    def __exit__(
        self, kind: Optional[type[BaseException]], exc: Optional[BaseException], trace: Optional[TracebackType]
    ) -> None:
        self._end()

    def _end(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait(KILL)
        for name in ("qmp", "serial", "shell"):
            channel = getattr(self, name, None)
            if channel is not None:
                channel.close()
        shutil.rmtree(self.sockets, ignore_errors=True)
        self.log.close()

    def go_on(self, timeout: float) -> None:
        """Wait until a saved state (``Spec.incoming``) is read, and let the machine run: it was saved at a halt."""
        deadline = time.monotonic() + timeout
        while self.qmp.command("query-status")["status"] == "inmigrate":
            if time.monotonic() > deadline:
                raise TimedOut(f"{self.spec.name}: its saved state was not read within {timeout:g} s")
            time.sleep(0.02)
        self.qmp.command("cont")

    @property
    def seconds(self) -> float:
        """Since power-on."""
        return time.monotonic() - self.started

    def host_share(self) -> HostShare:
        """What the host gave this machine so far; the difference of two tells how busy the host was in between."""
        ran = waited = 0
        for file in Path(f"/proc/{self.process.pid}/task").glob("*/schedstat"):
            # Kernel: Documentation/scheduler/sched-stats.rst; both in nanoseconds.
            fields = file.read_text().split()
            ran, waited = ran + int(fields[0]), waited + int(fields[1])
        return HostShare(ran / 1e9, waited / 1e9)

    def attach(self, disk: Disk) -> None:
        """Plug ``disk`` in while the machine runs."""
        for node in disk.blockdevs():
            self.qmp.command("blockdev-add", **node)
        self.qmp.command("device_add", **disk.device())

    def detach(self, disk: Disk) -> None:
        """Pull ``disk`` out, wait until the guest has let it go, and close its file."""
        device = f"dev-{disk.key}"
        self.qmp.command("device_del", id=device)
        self.qmp.wait_event("DEVICE_DELETED", UNPLUG, device)
        for node in reversed(disk.blockdevs()):
            self.qmp.command("blockdev-del", **{"node-name": node["node-name"]})

    def wait_off(self, timeout: float) -> None:
        """Wait until the machine has switched itself off.  A crash of QEMU or of the guest's kernel is a failure."""
        try:
            status = self.process.wait(timeout)
        except subprocess.TimeoutExpired:
            raise TimedOut(f"{self.spec.name} is still on after {timeout:g} s\n{self.serial.tail()}") from None
        if status != 0:
            raise MachineDied(f"{self.spec.name}: QEMU ended with {status}\n{self.serial.tail()}")
        if self.serial.seen(FATAL):
            raise MachineDied(f"{self.spec.name}: the guest's kernel panicked\n{self.serial.tail()}")

    def save(self, file: Path, timeout: float) -> None:
        """Write the machine's state to ``file`` and stop it; it can go on with ``Spec.incoming``."""
        self.qmp.command("stop")
        self.qmp.command("migrate-set-parameters", **{"max-bandwidth": 1 << 40})
        self.qmp.command("migrate", uri=f"exec:cat > {file}")
        deadline = time.monotonic() + timeout
        while True:
            state = self.qmp.command("query-migrate").get("status")
            if state == "completed":
                return
            if state in ("failed", "cancelled"):
                raise ScenarioFailed(f"{self.spec.name}: its state could not be saved: {state}")
            if time.monotonic() > deadline:
                raise TimedOut(f"{self.spec.name}: its state was not saved within {timeout:g} s")
            time.sleep(0.05)

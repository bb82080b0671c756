"""What an installation costs when the payload is large."""

from __future__ import annotations

from pathlib import Path

from org_ovirt_node.run import run
from tests.vm import artefacts
from tests.vm.console import Shell
from tests.vm.errors import check
from tests.vm.installer import running_installer
from tests.vm.qemu import Disk
from tests.vm.scenario import Context, scenario
from tests.vm.steps import GIB, KICKSTART, check_released, kickstart, parse_events, target_disk

PAYLOAD = 4 * GIB
#: The requirement: bytes of memory above what blivet itself takes.
ALLOWED = 150 << 20
#: Seconds to write and to read back 4 GiB, at the 35 MiB/s that hashing does under emulation, on a busy host.
TIMEOUT = 1800.0
#: Runs a program and prints the largest memory (KiB) of it and its children, last.
MEASURE = "import resource, subprocess, sys; status = subprocess.call(sys.argv[1:]); \
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss); sys.exit(status)"
SCAN = "import blivet; blivet.Blivet().reset()"


def large_payload(folder: Path) -> Path:
    """The demo image with zeros behind it that make it as large as PAYLOAD; sparse on this host.

    All of a payload is transferred, hashed and read back, whatever its squashfs needs of it.
    """
    payload = folder / "large" / "image.squashfs"
    payload.parent.mkdir(parents=True)
    run(["cp", artefacts.node_image().path, payload])
    run(["truncate", "--size", str(PAYLOAD), payload])
    return payload


def peak(shell: Shell, command: str, timeout: float) -> int:
    """Bytes of memory that ``command`` took at most."""
    printed = shell.text(f"python3 -c '{MEASURE}' {command}", timeout)
    return int(printed.splitlines()[-1]) * 1024


@scenario("install-large-payload", issues=(2,), limit=3000)
def install_large_payload(context: Context) -> None:
    """The installer's memory does not grow with the payload: measured with 4 GiB."""
    payload = large_payload(context.folder)
    check(payload.stat().st_size >= PAYLOAD, f"the payload has {payload.stat().st_size} bytes only")
    medium = artefacts.blank_disk(context.folder / "medium.raw", PAYLOAD + GIB)
    run(["mke2fs", "-q", "-F", "-t", "ext4", "-L", "OVIRTNODE", "-d", payload.parent, medium])
    with running_installer(context.folder, memory=1536) as installer:
        installer.attach(Disk(medium, "medium"))
        installer.attach(target_disk(context, size=60 * GIB))
        shell = installer.shell
        blivet = peak(shell, f"python3 -W ignore -c '{SCAN}' 2>/dev/null", 300)
        shell.put(KICKSTART, kickstart("hd:LABEL=OVIRTNODE:/image.squashfs").encode())
        command = f"ovirt-node-install --kickstart {KICKSTART} --json-progress --no-reboot 2>/tmp/install.err"
        printed = shell.text(f"python3 -c '{MEASURE}' {command}", TIMEOUT)
        *events, last = printed.splitlines()
        check(parse_events("\n".join(events))[-1]["event"] == "done", "the installation did not say that it is done")
        used = int(last) * 1024
        context.figures["blivet_mib"] = blivet >> 20
        context.figures["installer_mib"] = used >> 20
        check(used - blivet < ALLOWED, f"the installer took {(used - blivet) >> 20} MiB more than blivet alone")
        check_released(installer)
        installer.power_off()

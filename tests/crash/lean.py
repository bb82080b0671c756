"""A node that is booted from the disk of a power cut, without what has nothing to do with its disk.

Firmware, boot loader, kernel, initramfs, LVM, file systems, health checks and what marks a boot as good are those of
the disk.  By credentials that the firmware hands to systemd (systemd.system-credentials(7): systemd.unit-dropin.*,
systemd.extra-unit.*; SMBIOS, type 11) the services of network and logins stay out, only disks and consoles are looked
for, and a shell is there without a login: nothing on the disk is changed for it.  Most of a boot's time under
emulation goes to these.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.vm.accel import accelerator
from tests.vm.console import Shell
from tests.vm.errors import ScenarioFailed
from tests.vm.qemu import Disk, Machine, Spec
from tests.vm.steps import SETTLE, Node

READY = "shell-is-ready"
SHELL_UNIT = "crash-shell.service"
#: A shell on the second console as soon as the file systems are there.
SHELL = f"""[Unit]
DefaultDependencies=no
ConditionPathExists=!/etc/initrd-release
After=local-fs.target systemd-tmpfiles-setup.service
[Service]
Type=exec
Environment=HOME=/root LC_ALL=C.UTF-8
StandardInput=file:/dev/hvc0
StandardOutput=file:/dev/hvc0
StandardError=file:/dev/hvc0
ExecStartPre=/usr/bin/stty -F /dev/hvc0 raw -echo
ExecStart=/usr/bin/bash --noprofile --norc -c "echo {READY}; exec /usr/bin/bash --noprofile --norc"
"""
#: What a node without network and logins does not need; nothing of it reads or writes what an operation changes.
LEFT_OUT = (
    "NetworkManager.service",
    "NetworkManager-dispatcher.service",
    "NetworkManager-wait-online.service",
    "ssh.service",
    "getty@tty1.service",
    "serial-getty@hvc0.service",
    "serial-getty@ttyS0.service",
    "systemd-logind.service",
    "systemd-hostnamed.service",
    "systemd-networkd.service",
    "systemd-networkd.socket",
    "systemd-network-generator.service",
    "iscsid.socket",
    "nvmf-autoconnect.service",
    "multipathd.service",
    "systemd-random-seed.service",
    "systemd-journal-flush.service",
    "selinux-autorelabel-mark.service",
    "fstrim.timer",
    "systemd-tmpfiles-clean.timer",
    *(f"modprobe@{name}.service" for name in ("drm", "configfs", "efi_pstore", "fuse", "nvme_fabrics")),
)
NEVER = "[Unit]\nConditionPathExists=/nonexistent\n"
#: Subsystems of the devices that are asked for; a kernel of a cloud has some hundred others.
SUBSYSTEMS = ("block", "bdi", "tty", "virtio", "pci", "misc")
TRIGGER = "[Service]\nExecStart=\nExecStart=-/usr/bin/udevadm trigger --type=all --action=add " + " ".join(
    f"--subsystem-match={one}" for one in SUBSYSTEMS
)
#: Runs several commands of nodectl in one Python, whose start is what takes the time; the first that fails ends it.
CALLS = """
import contextlib, io, json, sys
from org_ovirt_node.cli import nodectl
said = []
for words in json.loads(sys.argv[1]):
    out = io.StringIO()
    status = 0
    with contextlib.redirect_stdout(out):
        try:
            status = nodectl.main(words)
        except SystemExit as exc:
            status = exc.code
    said.append([status or 0, out.getvalue()])
print(json.dumps(said))
"""


def credentials() -> list[str]:
    """QEMU's arguments that hand all this to systemd."""
    found = {f"systemd.unit-dropin.{unit}": NEVER for unit in LEFT_OUT}
    found["systemd.unit-dropin.systemd-udev-trigger.service"] = TRIGGER
    found[f"systemd.extra-unit.{SHELL_UNIT}"] = SHELL
    found["systemd.unit-dropin.local-fs.target"] = f"[Unit]\nWants={SHELL_UNIT}\n"
    argv = []
    for name, text in found.items():
        coded = base64.b64encode(text.encode()).decode()
        argv += ["-smbios", f"type=11,value=io.systemd.credential.binary:{name}={coded}"]
    return argv


def plain_processor() -> tuple[str, ...]:
    """QEMU's arguments for a processor without what its emulation is slow at; none where it is not emulated."""
    found = accelerator()
    if "tcg" not in found[1]:
        return ()
    return ("-cpu", f"{found[-1]},-la57,-avx,-avx2,-f16c,-fma,-vaes,-vpclmulqdq")


class LeanNode(Node):
    """A node of :func:`booted`."""

    def calls(self, *words: Sequence[str], timeout: float = SETTLE) -> list[str]:
        """What each of these commands of nodectl prints.  Raises ScenarioFailed when one does not succeed."""
        argument = json.dumps(list(words))
        done = self.shell.run(f"python3 -I /run/calls.py '{argument}'", timeout)
        said: list[tuple[int, str]] = json.loads(done.text.splitlines()[-1])
        for one, (status, text) in zip(words, said):
            if status:
                raise ScenarioFailed(f"nodectl {' '.join(one)} ended with {status}:\n{text}{done.text}")
        return [text for _, text in said]

    def facts(self) -> tuple[dict[str, Any], dict[str, Any]]:
        """``nodectl info`` and ``nodectl check``."""
        info, check = self.calls(("info", "--machine-readable"), ("check", "--machine-readable"))
        return json.loads(info), json.loads(check)


@contextmanager
def booted(disk: Disk, folder: Path, limit: float) -> Iterator[LeanNode]:
    """A machine that boots from ``disk``, as soon as its shell is there; switched off hard at the end of the block."""
    extra = (*credentials(), *plain_processor())
    spec = Spec("node", memory=1024, disks=(disk,), network=None, limit=limit, reboots=True, extra=extra)
    with Machine(spec, folder / "node") as machine:
        machine.shell.wait_for(READY, limit)
        node = LeanNode(machine)
        node.shell = Shell(machine.shell)
        node.shell.put("/run/calls.py", CALLS.encode())
        yield node

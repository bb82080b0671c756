"""A virtual machine that runs Anaconda from a root tree, as a boot.iso would: the tree read-only, a tmpfs above."""

from __future__ import annotations

import dataclasses
import inspect
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Optional

from org_ovirt_node.image import delivery
from org_ovirt_node.image.cache import key_of
from org_ovirt_node.image.debian import stage_key, stage_root
from org_ovirt_node.image.installer import MASKED_UNITS, data
from org_ovirt_node.image.mirror import host_mirrors
from org_ovirt_node.image.profile import load
from org_ovirt_node.progress import TextProgress
from org_ovirt_node.run import run
from tests.vm import artefacts
from tests.vm.errors import ScenarioFailed
from tests.vm.installer import BOOT, READY, STATE, InstallerMachine, saved_state
from tests.vm.qemu import Disk, Efi, Machine, Spec

#: MiB: what CentOS Stream 10 asks for its installer.
MEMORY = 3072
#: Seconds for an installation under emulation: 300 alone, several times that on a busy host.
INSTALL = 2400.0
#: Seconds that one machine may run.
LIMIT = 4800.0
#: Seconds to bring the logs out.
LOGS = 300.0
KICKSTART = "/root/test.ks"
OUTPUT = "/tmp/anaconda.out"
STATUS = "/run/anaconda.status"
#: What Anaconda says before it waits three minutes in command line mode, and the status that stands for it here.
TERMINATES = "The installer will now terminate"
STOPPED = 99
#: Anaconda's own end would take the machine with it before the test has looked at it.
ENDINGS = ("systemd-reboot.service", "systemd-poweroff.service", "systemd-halt.service", "systemd-kexec.service")
#: A root tree without rhsm: the module of Fedora's Anaconda that wants it gives up, and where that takes longer than a
#: minute, as under emulation, Anaconda waits ten minutes for it (start-module, service_start_timeout).
CONFIG = """\
[Anaconda]
forbidden_modules = org.fedoraproject.Anaconda.Modules.Subscription

[Installation System]
type = BOOT_ISO
"""
APPEND = (
    "console=ttyS0 quiet panic=1 oops=panic audit=0 net.ifnames=0 systemd.unit=ovirt-node-installer.target "
    "ovirt_node.lower=control:anaconda"
)
#: What every start of Anaconda reads.
WARM = (
    "export LANG=en_US.UTF-8; lvm version; python3 -c 'import blivet, pyanaconda.modules.storage.storage, "
    "pyanaconda.modules.payloads.payloads, pyanaconda.modules.network.network, pyanaconda.modules.boss.boss, "
    "pyanaconda.ui.tui.hubs.summary'"
)


@dataclass(frozen=True)
class Ended:
    """How Anaconda ended: its exit status and what it printed."""

    status: int
    text: str

    @property
    def words(self) -> str:
        """The text with all white space as single blanks: Anaconda breaks its lines."""
        return " ".join(self.text.split())


def _tree_key(tree: Path) -> str:
    """Stands for a tree's content: names, sizes and times."""
    newest, count = 0, 0
    for folder, _folders, names in os.walk(tree):
        count += len(names)
        newest = max(newest, os.lstat(folder).st_mtime_ns)
    return key_of(str(tree.resolve()), str(count), str(newest))


def tree_layer(tree: Path) -> Path:
    """The tree as a squashfs."""
    return artefacts.cache().get("anaconda-tree", _tree_key(tree), lambda file: _squash_tree(tree, file))


def _squash_tree(tree: Path, file: Path) -> None:
    options = ["-noappend", "-quiet", "-no-progress", "-comp", "lz4", "-wildcards", "-e", "proc/*", "sys/*", "dev/*"]
    run(["mksquashfs", tree, file, *options])


def control_layer() -> Path:
    """What makes the tree's systemd start a shell for the test and nothing more; and the kernel's modules."""
    files = sorted(path for path in data().iterdir() if path.suffix in (".service", ".target"))
    profile = load(artefacts.PROFILE)
    made_by = (inspect.getsource(control_layer), CONFIG, *MASKED_UNITS, *ENDINGS, stage_key(profile, host_mirrors()))
    key = key_of(*made_by, *(file.read_bytes() for file in files))

    def make(file: Path) -> None:
        folder = file.with_name(file.name + ".d")
        units = folder / "etc/systemd/system"
        (units / "ovirt-node-installer.target.wants").mkdir(parents=True)
        for unit in files:
            shutil.copyfile(unit, units / unit.name)
        (units / "ovirt-node-installer.target.wants/NetworkManager.service").symlink_to(
            "/usr/lib/systemd/system/NetworkManager.service"
        )
        for name in (*MASKED_UNITS, *ENDINGS):
            (units / name).symlink_to("/dev/null")
        conf = folder / "etc/anaconda/conf.d/90-machine.conf"
        conf.parent.mkdir(parents=True)
        conf.write_text(CONFIG, encoding="ascii")
        modules = stage_root(profile, artefacts.cache(), TextProgress()) / "usr/lib/modules"
        shutil.copytree(modules, folder / "usr/lib/modules", symlinks=True)
        run(["mksquashfs", folder, file, "-noappend", "-quiet", "-no-progress", "-comp", "lz4", "-all-root"])
        shutil.rmtree(folder)

    return artefacts.cache().get("anaconda-control", key, make)


@contextmanager
def anaconda_machine(
    tree: Path,
    folder: Path,
    *,
    addon: bool = True,
    interactive: bool = False,
    name: str = "anaconda",
    efi: Optional[Efi] = None,
) -> Iterator[InstallerMachine]:
    """The tree at a root shell, with the add-on in it as product.img brings it (updates.img without ``interactive``).

    A machine with EFI is booted, others go on from a saved state.
    """
    layers = (
        Disk(control_layer(), "control", readonly=True),
        Disk(tree_layer(tree), "anaconda", readonly=True),
    )
    parts = artefacts.installer()
    spec = Spec(
        "anaconda",
        memory=MEMORY,
        disks=layers,
        kernel=parts.kernel,
        initrd=parts.initramfs,
        append=APPEND,
        limit=LIMIT,
        efi=efi,
    )
    if efi is None:
        spec = dataclasses.replace(spec, incoming=saved_state(spec, WARM))
    with Machine(spec, folder / name) as machine:
        if efi is not None:
            machine.shell.wait_for(READY, BOOT)
        else:
            machine.go_on(STATE)
        running = InstallerMachine(machine)
        running.shell.run(f"date -s @{time.time():.3f}; echo {os.urandom(64).hex()} > /dev/urandom", STATE)
        if addon:
            files = machine.folder / "delivery"
            delivery.install(artefacts.PROJECT, files, interactive=interactive)
            link = running.attach(
                Disk(artefacts.squash(files.with_suffix(".squashfs"), [files]), "addon", readonly=True)
            )
            running.shell.run(f"mkdir /mnt/addon && mount -o ro {link} /mnt/addon && cp -a /mnt/addon/delivery/. /")
        yield running


ENVIRONMENT = (
    "mkdir -p /run/user/0 /run/install; "
    "export LANG=en_US.UTF-8 XDG_RUNTIME_DIR=/run/user/0 PYTHONUNBUFFERED=1 TERM=vt100; "
)


def start_anaconda(installer: InstallerMachine, kickstart: str, *, options: str = "") -> None:
    """Start Anaconda with the kickstart, in the background.  The serial console shows what it prints."""
    installer.shell.put(KICKSTART, kickstart.encode())
    installer.shell.run(
        f"{ENVIRONMENT} : > {OUTPUT}; rm -f {STATUS}; "
        f"({{ anaconda --cmdline {options} --kickstart {KICKSTART}; echo $? > {STATUS}; }} 2>&1 | tee {OUTPUT} "
        "> /dev/ttyS0) > /dev/null 2>&1 &"
    )


def run_anaconda(installer: InstallerMachine, kickstart: str, *, options: str = "", limit: float = INSTALL) -> Ended:
    """Run Anaconda with the kickstart to its end, or to the words by which it says that it will end."""
    start_anaconda(installer, kickstart, options=options)
    status = installer.shell.text(
        f"until [ -s {STATUS} ]; do if grep -q '{TERMINATES}' {OUTPUT}; then echo {STOPPED}; exit; fi; sleep 1; done; "
        f"cat {STATUS}",
        limit,
    )
    ended = Ended(int(status), installer.shell.run(f"cat {OUTPUT}").output)
    if ended.status == STOPPED:
        # It would wait for three minutes.
        installer.shell.run(f"kill $(pgrep -f /usr/sbin/anaconda); until [ -s {STATUS} ]; do sleep 1; done")
    return ended


def keep_logs(installer: InstallerMachine, file: Path) -> None:
    """Bring Anaconda's logs to the host, as a tar file."""
    pack = "tar -czf /run/logs.tar.gz --ignore-failed-read -C /tmp $(cd /tmp; ls -d *.log anaconda-tb-* 2>/dev/null)"
    installer.shell.run(f"journalctl -b --no-pager -o short-monotonic > /tmp/journal.log; {pack}", check=False)
    file.write_bytes(installer.shell.get("/run/logs.tar.gz", LOGS))


def must_succeed(installer: InstallerMachine, ended: Ended) -> None:
    """Raises ScenarioFailed with what Anaconda and its modules said, unless it installed."""
    if ended.status == 0 and "Complete!" in ended.text:
        return
    keep_logs(installer, installer.machine.folder / "logs.tar.gz")
    errors = installer.shell.run("grep -hE 'ERR|Traceback|ovirt_node' /tmp/*.log | tail -n 40", check=False).text
    raise ScenarioFailed(f"anaconda ended with {ended.status}:\n{ended.text[-3000:]}\n{errors}")

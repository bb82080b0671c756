"""Steps that scenarios share: a kickstart, an installation, a booted node, and what must hold of both."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Optional, Union

from tests.vm import artefacts
from tests.vm.artefacts import NodeImage
from tests.vm.console import Result, Shell
from tests.vm.errors import ScenarioFailed, check, check_equal
from tests.vm.installer import InstallerMachine, running_installer
from tests.vm.qemu import Disk, Efi, Machine, Spec
from tests.vm.scenario import Context

GIB = 1 << 30
PASSWORD = "correct-horse"
HOSTNAME = "node1.example.org"
VG = "onn"
#: Seconds for an installation of the demo image; about 60 under emulation on an idle host.
INSTALL = 600.0
#: Seconds from power-on to the login prompt; about 30 under emulation on an idle host, 260 on one with four machines.
BOOT = 600.0
#: Seconds for what a node does after its login prompt until it counts as started.
SETTLE = 480.0
#: What has failed and why, and what is not through.
FAILED = (
    'systemctl --failed --no-legend --plain | while read -r unit _; do echo "$unit"; '
    'journalctl -b --no-pager -o cat -n 10 -u "$unit"; done; systemctl list-jobs'
)
#: Seconds for a command that reads a whole image under emulation.
READ_IMAGE = 300.0
PAYLOAD_MOUNT = "/mnt/payload"
PAYLOAD_FILE = "image.squashfs"
KICKSTART = "/root/test.ks"
#: systemd gives up on a device after 90 s (systemd-system.conf(5)): too early where a machine gets a fifth of a CPU.
PATIENT = "systemd.default_device_timeout_sec=600"
AUTOMATIC = "clearpart --all --initlabel\nzerombr\nautopart --type=thinp\n"
#: Steps whose time is the disks' and the transfer's (the requirement's own list).
DEVICE_STEPS = ("disks", "partition", "transfer", "verify")


def kickstart(
    source: str,
    *,
    check_line: str = "--nosignature",
    disks: str = AUTOMATIC,
    more: str = "",
    node_options: str = "",
    node_lines: str = "",
    arguments: str = "",
) -> str:
    """A kickstart for an unattended installation from ``source``; ``check_line`` says how the image is checked.

    ``arguments`` are the node's kernel's, beside what every test wants.
    """
    return (
        f"lang en_US.UTF-8\nkeyboard us\ntimezone --utc Etc/UTC\nrootpw --plaintext {PASSWORD}\n"
        f"network --bootproto=dhcp --hostname={HOSTNAME}\n"
        f'bootloader --append="console=ttyS0 panic=30 {PATIENT} {arguments}" --timeout=1\n{disks}{more}'
        f"%addon org_ovirt_node --image={source} {check_line} {node_options}\n{node_lines}%end\n"
    )


@dataclass
class Installed:
    """What an installation said: exit status, JSON events, the last event, standard error."""

    status: int
    events: list[dict[str, Any]]
    stderr: str
    figures: dict[str, Any] = field(default_factory=dict)

    @property
    def done(self) -> dict[str, Any]:
        """The closing event.  Raises ScenarioFailed when there is none."""
        if self.status != 0 or not self.events or self.events[-1].get("event") != "done":
            raise ScenarioFailed(f"the installation ended with {self.status}:\n{self.stderr}")
        return self.events[-1]

    @property
    def steps(self) -> list[str]:
        """Names of the steps that began."""
        return [event["name"] for event in self.events if event["event"] == "step"]


def parse_events(text: str) -> list[dict[str, Any]]:
    """The JSON lines that ``--json-progress`` prints; anything else on standard output is a failure."""
    try:
        events = [json.loads(line) for line in text.splitlines()]
    except ValueError as exc:
        raise ScenarioFailed(f"--json-progress printed something that is not JSON ({exc}):\n{text}") from exc
    return events


def provide_payload(installer: InstallerMachine, image: Path, folder: Path) -> str:
    """Give the installer a disk with ``image`` on it, mounted; returns the image's URL."""
    return f"file:{provide_files(installer, {PAYLOAD_FILE: image}, folder)}/{PAYLOAD_FILE}"


def provide_files(installer: InstallerMachine, files: Mapping[str, Union[bytes, Path]], folder: Path) -> str:
    """Give the installer a disk with ``files`` on it; returns the folder where it is mounted."""
    folder.mkdir(parents=True, exist_ok=True)
    medium = artefacts.files_disk(folder, "payload", files)
    link = installer.attach(Disk(medium, "payload", readonly=True))
    installer.shell.run(f"mkdir -p {PAYLOAD_MOUNT} && mount -o ro {link} {PAYLOAD_MOUNT}")
    return PAYLOAD_MOUNT


def run_install(
    installer: InstallerMachine, text: str, *, options: str = "", timeout: float = INSTALL, url: str = ""
) -> Installed:
    """Run ``ovirt-node-install`` with the kickstart ``text`` (or at ``url``) to its end, however it ends."""
    start_install(installer, text, options=options, url=url)
    return end_install(installer, timeout)


def start_install(installer: InstallerMachine, text: str, *, options: str = "", url: str = "") -> None:
    """Start ``ovirt-node-install`` with the kickstart ``text`` (or at ``url``), and leave it running."""
    shell = installer.shell
    if not url:
        shell.put(KICKSTART, text.encode())
    shell.run(
        # Emptied here: await_step() must not see what the installation before said.
        "rm -f /tmp/install.status; : > /tmp/install.out; "
        f"( ovirt-node-install --kickstart {url or KICKSTART} --json-progress --no-reboot {options} "
        ">/tmp/install.out 2>/tmp/install.err; echo $? >/tmp/install.status ) &"
    )


def await_step(installer: InstallerMachine, step: str, timeout: float = INSTALL) -> None:
    """Wait until the installation that runs begins with ``step``.  Raises ScenarioFailed when it ends before."""
    installer.shell.run(
        f'until grep -q \'"name": "{step}"\' /tmp/install.out; do '
        "test ! -e /tmp/install.status || { cat /tmp/install.err; exit 1; }; sleep 0.1; done",
        timeout,
    )


def end_install(installer: InstallerMachine, timeout: float = INSTALL) -> Installed:
    """Wait for the end of the installation that runs."""
    shell = installer.shell
    status = int(shell.text("until test -s /tmp/install.status; do sleep 0.5; done; cat /tmp/install.status", timeout))
    stderr = shell.run("cat /tmp/install.err").text
    check("Traceback" not in stderr and status != 70, f"the installation ended with a traceback:\n{stderr}")
    return Installed(status, parse_events(shell.run("cat /tmp/install.out").output.strip()), stderr)


def install_node(
    installer: InstallerMachine, context: Context, text: str, *, options: str = "", timeout: float = INSTALL
) -> Installed:
    """Install, require success and that nothing is left mounted or active; notes the times as figures."""
    before = installer.machine.host_share()
    result = run_install(installer, text, options=options, timeout=timeout)
    share = installer.machine.host_share().since(before)
    seconds: dict[str, float] = result.done["seconds"]
    context.figures["install_seconds"] = round(sum(seconds.values()), 1)
    own = sum(value for name, value in seconds.items() if name not in DEVICE_STEPS)
    # A machine that had to wait for the host's processors is not slower for it: the waiting is taken out.
    context.figures["host_share"] = round(share, 2)
    context.figures["own_seconds"] = round(own * share, 1)
    context.say(f"installed {result.done['layer']}: {seconds}, host share {share:.2f}")
    check_released(installer)
    return result


@contextmanager
def installed(
    context: Context,
    image: NodeImage,
    *targets: Disk,
    efi: Optional[Efi] = None,
    memory: int = 1536,
    options: str = "",
    disks: str = AUTOMATIC,
    arguments: str = "",
) -> Iterator[tuple[InstallerMachine, Installed]]:
    """Install ``image`` to ``targets``; the block sees installer and result, then the machine is powered off."""
    with running_installer(context.folder, efi=efi, memory=memory) as installer:
        url = provide_payload(installer, image.path, context.folder)
        for target in targets:
            installer.attach(target)
        text = kickstart(url, check_line=f"--sha256={image.sha256}", disks=disks, arguments=arguments)
        yield installer, install_node(installer, context, text, options=options)
        installer.power_off()


def check_released(installer: InstallerMachine) -> None:
    """Nothing of an installation is mounted or active any more."""
    shell = installer.shell
    mounts = shell.text("findmnt -rno TARGET | grep -E '^/mnt/(sysroot|ovirt-node)' || true")
    check_equal(mounts, "", "what is still mounted")
    # But for the maps of disks with several paths, which are as good as disks.
    active = shell.text("dmsetup info -c --noheadings -o uuid,name | grep -v -e 'No devices found' -e mpath- || true")
    check_equal(active, "", "what is still active")
    check_equal(shell.text("losetup -nO NAME"), "", "loop devices that are still attached")


class Node:
    """A booted node with a root shell in it."""

    def __init__(self, machine: Machine) -> None:
        self.machine = machine
        self.shell: Shell = Shell(machine.shell)

    def await_login(self, timeout: float = BOOT, *, password: str = PASSWORD) -> None:
        """Wait for the prompt on the serial console, and log in on the second one, which only we write to."""
        self.machine.serial.wait_for(r"login: ", timeout)
        self.login(self.machine.shell, "root", password)

    def login(self, channel: Any, user: str, password: str) -> None:
        """Log in as a person would, then make the shell one that is easy to drive."""
        channel.wait_for(r"login: ", BOOT)
        channel.send(f"{user}\n")
        channel.wait_for(r"Password: ", BOOT)
        channel.send(f"{password}\n")
        # The prompt of a shell, and not a refusal.
        answer = channel.wait_for(r"(Login incorrect)|[#$] \Z", BOOT)
        if answer.group(1):
            raise ScenarioFailed(f"the login as {user} is refused")
        channel.send("stty raw -echo; echo shell-''ready; exec /bin/bash --noprofile --norc /dev/stdin\n")
        channel.wait_for(r"shell-ready", BOOT)
        self.shell = Shell(channel)

    def check_running(self) -> None:
        """systemd has started everything, and nothing failed."""
        state = self.shell.run("systemctl is-system-running --wait", SETTLE, check=False).text
        if state != "running":
            failed = self.shell.run(FAILED, check=False).text
            raise ScenarioFailed(f"systemctl is-system-running: expected 'running', found {state!r}: {failed}")

    def reboot(self) -> None:
        """Reboot as an administrator does, and log in again."""
        self.machine.shell.send("systemctl reboot\n")
        self.await_login()

    def power_off(self, timeout: float = SETTLE) -> None:
        self.machine.shell.send("systemctl poweroff\n")
        self.machine.wait_off(timeout)


def target_disk(context: Context, name: str = "target", size: int = 20 * GIB, bus: str = "virtio") -> Disk:
    """A blank disk to install to."""
    return Disk(artefacts.blank_disk(context.folder / f"{name}.raw", size), name, bus)


@contextmanager
def booted_node(
    context: Context, *disks: Disk, name: str = "node", memory: int = 1024, login: bool = True, **spec: Any
) -> Iterator[Node]:
    """A machine that boots from ``disks`` by its own firmware and boot loader, logged in."""
    described = Spec(name, memory=memory, disks=disks, reboots=True, **spec)
    with Machine(described, context.folder / name) as machine:
        node = Node(machine)
        if login:
            node.await_login()
            context.figures.setdefault("boot_seconds", round(machine.seconds, 1))
        yield node


def stuttering(text: str) -> str:
    """A pattern for what a kernel says: under emulation its console repeats a character now and then."""
    return "".join(f"{re.escape(character)}+" for character in text)


def check_root(node: Node, image: NodeImage, *, liveos: bool = False) -> None:
    """Root is a writable overlay whose lower side is the image LV, and that LV is the payload, bit for bit."""
    shell = node.shell
    volume = f"/dev/{VG}/{image.nvr}"
    root = shell.json("findmnt -J -o FSTYPE,OPTIONS /")["filesystems"][0]
    check_equal(root["fstype"], "overlay", "the type of /")
    options = dict(option.partition("=")[::2] for option in root["options"].split(","))
    check("rw" in options, f"/ is not writable: {root['options']}")
    # The option is a path of the initramfs below /run, which the running system has kept.
    lower = shell.text(f"realpath -e {options.get('lowerdir', '')}")
    source = shell.json(f"findmnt -J -T {lower} -o SOURCE,FSTYPE")["filesystems"][0]
    if liveos:
        inner = shell.text(f"losetup -nO BACK-FILE {source['source']}")
        check(inner.endswith("LiveOS/rootfs.img"), f"the lower side is {inner}, not the inner image")
        source = shell.json("findmnt -J -T /run/ovirt-node/image -o SOURCE,FSTYPE")["filesystems"][0]
    check_equal(source["fstype"], "squashfs", "the type of the lower side")
    device = shell.text(f"realpath -e {source['source']}")
    if image.roothash:
        device = check_verity(node, image, device)
    check_equal(device, shell.text(f"realpath -e {volume}"), "the lower side's device")
    layer = shell.json("findmnt -J -o SOURCE,OPTIONS /run/ovirt-node/layer")["filesystems"][0]
    check_equal(
        shell.text(f"realpath {layer['source']}"), shell.text(f"realpath /dev/{VG}/{image.nvr}+1"), "the layer's device"
    )
    attributes = shell.text(f"lvs --noheadings -o lv_permissions,segtype {VG}/{image.nvr}").split()
    check_equal(attributes, ["read-only", "linear"], "permissions and kind of the image LV")
    check_equal(
        shell.text(f"head -c {image.size} {volume} | sha256sum", READ_IMAGE).split()[0],
        image.sha256,
        "SHA-256 of the image LV",
    )


def check_verity(node: Node, image: NodeImage, device: str) -> str:
    """``device`` shows the image through dm-verity with the image's root hash; returns the device below."""
    shell = node.shell
    # Kernel: admin-guide/device-mapper/verity.rst; status V: no block was found corrupt.
    table = shell.text(f"dmsetup table {device}").split()
    check_equal(table[2], "verity", "the kind of device that the image is read from")
    check(image.roothash in table, f"the image is not read with its root hash: {table}")
    check_equal(shell.text(f"dmsetup status {device}").split()[-1], "V", "the state of the verified image")
    told = shell.json("nodectl info --machine-readable")["verity"]
    check_equal(told[f"{image.nvr}+1"], image.roothash, "the root hash that nodectl info tells")
    return shell.text(f"realpath -e /dev/block/{table[4]}")


def check_fstab(node: Node) -> None:
    """fstab has no line for / (an overlay refuses the remount), and lines for the separate volumes."""
    lines = [line.split() for line in node.shell.text("cat /etc/fstab").splitlines() if line and line[0] != "#"]
    points = {fields[1] for fields in lines}
    check("/" not in points, "fstab has a line for /")
    for wanted in ("/boot", "/var"):
        check(wanted in points, f"fstab has no line for {wanted}: {sorted(points)}")


def check_packages(node: Node) -> None:
    """The package database describes what runs: dpkg finds nothing changed."""
    done: Result = node.shell.run("dpkg -V", READ_IMAGE * 2, check=False)
    check(done.ok and not done.text, f"dpkg -V is not clean (status {done.status}):\n{done.text[:2000]}")


def lvs(shell: Shell, vg: str = VG) -> Mapping[str, Mapping[str, str]]:
    """The volumes of a VG by name: kind, size in bytes, tags."""
    report = shell.json(f"lvs --reportformat json --units b --nosuffix -o lv_name,segtype,lv_size,lv_tags {vg}")
    return {volume["lv_name"]: volume for volume in report["report"][0]["lv"]}


def expect_refusal(result: Installed, *words: str, status: Optional[int] = None) -> None:
    """The installation was refused in a sentence that has all of ``words`` (any case)."""
    check(result.status != 0, "the installation was not refused")
    if status is not None:
        check_equal(result.status, status, "the exit status")
    for word in words:
        check(word.lower() in result.stderr.lower(), f"the refusal does not say {word!r}: {result.stderr}")

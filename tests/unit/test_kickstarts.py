"""The kickstarts that we ship: every installer that we serve reads them, and none installs something else instead."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from pykickstart.parser import KickstartParser
from pykickstart.sections import PostScriptSection, PreScriptSection, Section
from pykickstart.version import makeVersion, stringToVersion

from org_ovirt_node.image import profile
from org_ovirt_node.kickstart.model import NodeSection
from org_ovirt_node.kickstart.section import ADDON, parse_section
from org_ovirt_node.kickstart.standard import load

PROJECT = Path(__file__).parents[2]
KICKSTARTS = PROJECT / "kickstarts"
ALL = sorted(path.name for path in KICKSTARTS.glob("*.ks"))
VERSIONS = ("F40", "F41", "F42", "F43", "RHEL9", "RHEL10")
#: Composes a tree, for an image; installs no node.
COMPOSE = tuple(name for name in ALL if name.startswith("image-"))
#: Comes into Anaconda by the same archive as the add-on, and writes nothing before somebody says so.
INTERACTIVE = ("interactive-defaults.ks",)
INSTALLING = tuple(name for name in ALL if name not in (*COMPOSE, *INTERACTIVE))
ANACONDA = tuple(name for name in INSTALLING if "\nliveimg " in (KICKSTARTS / name).read_text())
STAND_ALONE = tuple(name for name in INSTALLING if name not in ANACONDA)
ADDON_FILES = (
    "usr/share/anaconda/addons/org_ovirt_node/service/__main__.py",
    "usr/share/anaconda/dbus/services/org.fedoraproject.Anaconda.Addons.OvirtNode.service",
)


class _Addon(Section):  # type: ignore[misc]
    """%addon as Anaconda reads it, but by our own parser."""

    allLines = True  # noqa: N815
    sectionOpen = "%addon"  # noqa: N815

    def __init__(self, handler: Any, found: list[NodeSection]) -> None:
        super().__init__(handler)
        self.found, self.args, self.lines = found, [""], list[tuple[int, str]]()

    def handleHeader(self, lineno: int, args: list[str]) -> None:  # noqa: N802
        self.args, self.lines = args, []

    def handleLine(self, line: str) -> None:  # noqa: N802
        self.lines.append((0, line))

    def finalize(self) -> None:
        assert self.args[1] == ADDON
        self.found.append(parse_section(self.args[2:], self.lines))


def read(text: str, version: str) -> tuple[Any, list[NodeSection]]:
    """A kickstart in pykickstart's syntax of ``version``: what it says, and our sections.  Raises KickstartError."""
    handler = makeVersion(stringToVersion(version))
    # As Anaconda: an unknown section is an error; %include of what %pre makes is none here, where no %pre has run.
    parser = KickstartParser(handler, missingIncludeIsFatal=False, unknownSectionIsFatal=True)
    found: list[NodeSection] = []
    parser.registerSection(_Addon(handler, found))
    parser.readKickstartFromString(text)
    return handler, found


def test_the_kickstarts_that_are_promised_are_there() -> None:
    assert {
        "interactive-defaults.ks",
        "pxe-unattended.ks",
        "oem-preinstall.ks",
        "iscsi.ks",
        "multipath.ks",
        "auto-partition.ks",
        "custom-partition.ks",
        "anaconda-pxe.ks",
    } <= set(ALL)
    assert COMPOSE and ANACONDA and STAND_ALONE


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("name", ALL)
def test_every_installer_reads_every_kickstart(name: str, version: str, recwarn: pytest.WarningsRecorder) -> None:
    handler, sections = read((KICKSTARTS / name).read_text(), version)
    assert len(sections) == (1 if name in INSTALLING else 0)
    assert not [str(said.message) for said in recwarn if "deprecat" in str(said.message).lower()]
    if name in COMPOSE:
        assert "kernel" in handler.packages.packageList


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("liveimg --url=file:///x --nonsense\n", "nonsense"),
        ("%addon org_ovirt_node --image=http://a/b\n%end\n", "how the image is verified"),
        ("%nonsense\n%end\n", "nonsense"),
    ],
)
def test_the_reading_can_fail(text: str, said: str) -> None:
    with pytest.raises(Exception, match=said):
        read(text, "RHEL10")


@pytest.mark.parametrize("name", STAND_ALONE)
def test_our_own_installer_reads_its_kickstarts(name: str, tmp_path: Path) -> None:
    copy = tmp_path / name
    copy.write_text((KICKSTARTS / name).read_text().replace("%include /run/ovirt-node-disk.ks\n", ""))
    assert load(str(copy), run_pre=False).node.images


def guard(name: str) -> str:
    """The first %pre of a kickstart; it has to come before everything that does something."""
    text = (KICKSTARTS / name).read_text()
    found = re.search(r"(?ms)^%pre( [^\n]*)?\n(.*?)^%end$", text)
    assert found is not None, f"{name} has no %pre"
    assert found[1] == " --erroronfail"
    before = [line for line in text[: found.start()].splitlines() if line and not line.startswith("#")]
    assert not before
    return found[2]


def run_guard(script: str, root: Path, caller: str = "anaconda") -> subprocess.CompletedProcess[str]:
    """Run a guard where the installer's files are those below ``root``, called by a program named ``caller``."""
    for place in ("/usr/share/anaconda", "/run/anaconda"):
        script = script.replace(place, f"{root}{place}")
    said = root / "console"
    said.touch()
    script = script.replace("/proc/$PPID/fd/1 /dev/console /dev/stderr", str(said))
    command = root / "caller"
    command.write_bytes(f"python3\0/usr/bin/{caller}\0--kickstart\0x.ks\0".encode())
    script = script.replace("/proc/$PPID/cmdline", str(command))
    assert "$PPID" not in script
    return subprocess.run(["sh", "-c", script], capture_output=True, text=True, check=False)


@pytest.mark.parametrize("name", ANACONDA)
def test_anaconda_stops_without_the_add_on(name: str, tmp_path: Path) -> None:
    script = guard(name)
    assert run_guard(script, tmp_path).returncode == 1
    said = (tmp_path / "console").read_text()
    assert "add-on is missing" in said and "inst.updates=" in said
    for missing in ADDON_FILES:
        for file in ADDON_FILES:
            path = tmp_path / file
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
        assert run_guard(script, tmp_path).returncode == 0
        (tmp_path / missing).unlink()
        assert run_guard(script, tmp_path).returncode == 1, missing


@pytest.mark.parametrize("name", STAND_ALONE)
def test_anaconda_stops_at_what_is_for_our_own_installer(name: str, tmp_path: Path) -> None:
    script = guard(name)
    assert run_guard(script, tmp_path, "ovirt-node-install").returncode == 0
    assert run_guard(script, tmp_path).returncode == 0, "no Anaconda here"
    (tmp_path / "run/anaconda").mkdir(parents=True)
    stopped = run_guard(script, tmp_path)
    assert stopped.returncode == 1 and not stopped.stderr
    assert "for ovirt-node-install" in (tmp_path / "console").read_text()
    assert run_guard(script, tmp_path, "ovirt-node-install").returncode == 0


@pytest.mark.parametrize("name", COMPOSE)
def test_a_composed_tree_has_a_profile(name: str) -> None:
    text = (KICKSTARTS / name).read_text()
    named = re.findall(r"--profile (\S+)", text)
    assert len(named) == 1
    assert not profile.load(PROJECT / "data/profiles" / f"{named[0]}.conf").packages


@pytest.mark.parametrize("name", COMPOSE)
def test_a_composed_tree_has_what_nodectl_needs(name: str) -> None:
    spec = (PROJECT / "packaging/ovirt-node.spec").read_text()
    run_time = spec.partition("%package runtime")[2].partition("%description")[0]
    needed = set(re.findall(r"(?m)^Requires:\s+([\w-]+)$", run_time))
    assert {"lvm2", "python3-requests"} <= needed
    handler, _ = read((KICKSTARTS / name).read_text(), "RHEL10")
    assert needed <= set(handler.packages.packageList)


@pytest.mark.parametrize("name", COMPOSE)
def test_the_signed_boot_loader_of_a_composed_tree_is_kept(name: str, tmp_path: Path) -> None:
    from org_ovirt_node.boot.efi import find_efi

    found = re.search(r"(?ms)^%post[^\n]*\n(.*?)^%end$", (KICKSTARTS / name).read_text())
    assert found is not None
    for file in ("BOOT/BOOTX64.EFI", "centos/shimx64.efi", "centos/grubx64.efi", "centos/mmx64.efi"):
        path = tmp_path / "boot/efi/EFI" / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    script = re.sub(r"(?<![\w*])/(boot|usr|etc)/", rf"{tmp_path}/\1/", found[1])
    subprocess.run(["sh", "-c", script], check=True)
    subprocess.run(["rm", "-r", tmp_path / "boot"], check=True)
    assert find_efi(tmp_path, "grub2").vendor == "centos"


@pytest.mark.parametrize("name", ALL)
def test_scripts_are_what_a_shell_reads(name: str) -> None:
    """shellcheck, on every script."""
    handler = makeVersion(stringToVersion("RHEL10"))
    parser = KickstartParser(handler, missingIncludeIsFatal=False)
    scripts: list[str] = []
    for kind in (PreScriptSection, PostScriptSection):
        parser.registerSection(kind(handler, dataObj=lambda body, **_: scripts.append("".join(body))))
    parser.readKickstartFromString((KICKSTARTS / name).read_text())
    for script in scripts:
        checker = ["shellcheck", "--shell=sh", "-"]
        done = subprocess.run(checker, input=script, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout


#: What a machine may have beside a disk of its own: name, place below /sys/devices, and attributes that differ.
NO_DISKS_OF_ITS_OWN: tuple[tuple[str, str, dict[str, str]], ...] = (
    ("fd0", "platform/floppy.0", {"removable": "1"}),
    ("loop0", "virtual", {}),
    ("mmcblk0boot0", "pci0000:00/mmc0", {}),
    ("nvme0c0n1", "pci0000:00/nvme/nvme0", {"hidden": "1"}),
    ("nvme1n1", "virtual/nvme-fabrics/ctl/nvme1", {"device/transport": "tcp"}),
    ("nvme2n1", "virtual/nvme-subsystem/nvme-subsys2", {"device/nvme3/transport": "fc"}),
    ("sda", "pci0000:00/usb1/1-1/host0/target0:0:0/0:0:0:0", {"removable": "0"}),
    ("sdb", "pci0000:00/host1/target1:0:0/1:0:0:0", {"removable": "1"}),
    ("sdc", "platform/host2/session1/target2:0:0/2:0:0:0", {}),
    ("sdd", "pci0000:00/host3/rport-3:0-1/target3:0:0/3:0:0:0", {}),
    ("sde", "pci0000:00/host4/target4:0:0/4:0:0:0", {"ro": "1"}),
    ("sdf", "pci0000:00/host5/target5:0:0/5:0:0:0", {"size": "0"}),
    ("sr0", "pci0000:00/host6/target6:0:0/6:0:0:0", {"removable": "1"}),
    ("zram0", "virtual", {}),
)
OWN: tuple[str, str, dict[str, str]] = ("vda", "pci0000:00/virtio0", {})


def chosen(folder: Path, disks: Sequence[tuple[str, str, dict[str, str]]], san: str = "no") -> str:
    """The disk that the script of pxe-unattended.ks takes in a machine with ``disks``; what it says when none."""
    text = (KICKSTARTS / "pxe-unattended.ks").read_text()
    script = re.findall(r"(?ms)^%pre[^\n]*\n(.*?)^%end$", text)[1]
    script = script.replace("/sys/", f"{folder}/sys/").replace("/run/", f"{folder}/run/")
    script = script.replace("san=no", f"san={san}")
    (folder / "run").mkdir()
    (folder / "sys/block").mkdir(parents=True)
    for name, place, attributes in disks:
        device = folder / "sys/devices" / place / "block" / name
        device.mkdir(parents=True)
        (folder / "sys/block" / name).symlink_to(device)
        for key, value in {"removable": "0", "ro": "0", "hidden": "0", "size": "41943040", **attributes}.items():
            (device / key).parent.mkdir(parents=True, exist_ok=True)
            (device / key).write_text(f"{value}\n")
    done = subprocess.run(["sh", "-c", script], capture_output=True, text=True, check=False)
    made = folder / "run/ovirt-node-disk.ks"
    assert (done.returncode == 0) == made.exists(), done.stderr
    return made.read_text() if made.exists() else done.stderr


def test_an_unattended_installation_takes_the_machines_own_disk(tmp_path: Path) -> None:
    assert chosen(tmp_path, [*NO_DISKS_OF_ITS_OWN, OWN]) == "ignoredisk --only-use=vda\n"


@pytest.mark.parametrize("disk", NO_DISKS_OF_ITS_OWN, ids=[disk[0] for disk in NO_DISKS_OF_ITS_OWN])
def test_an_unattended_installation_takes_nothing_else(tmp_path: Path, disk: tuple[str, str, dict[str, str]]) -> None:
    assert "no disk of its own" in chosen(tmp_path, [disk])


@pytest.mark.parametrize("name", ["nvme1n1", "nvme2n1", "sdc", "sdd"])
def test_an_unattended_installation_takes_a_lun_when_it_is_told_to(tmp_path: Path, name: str) -> None:
    lun = next(disk for disk in NO_DISKS_OF_ITS_OWN if disk[0] == name)
    assert chosen(tmp_path, [lun], "yes") == f"ignoredisk --only-use={name}\n"


@pytest.mark.parametrize("transport", ["device/transport", "device/nvme0/transport"])
def test_nvme_in_the_machine_is_its_own(tmp_path: Path, transport: str) -> None:
    disk = ("nvme0n1", "pci0000:00/nvme/nvme0", {transport: "pcie"})
    assert chosen(tmp_path, [disk]) == "ignoredisk --only-use=nvme0n1\n"

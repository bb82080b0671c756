"""Whole kickstarts: what is read from them."""

from __future__ import annotations

from pathlib import Path

import pytest

from org_ovirt_node.errors import KickstartProblem
from org_ovirt_node.kickstart.model import (
    BootloaderRequest,
    DiskSelection,
    GroupRequest,
    LogicalVolumeRequest,
    NetworkRequest,
    PartitionRequest,
    SshKeyRequest,
    StorageRequest,
    SystemRequest,
    UserRequest,
    VolumeGroupRequest,
)
from org_ovirt_node.kickstart.place import Place
from org_ovirt_node.kickstart.standard import load

MIB = 1 << 20
KICKSTARTS = Path(__file__).parents[2] / "kickstarts"
ADDON = "%addon org_ovirt_node --image=file:/a.squashfs --nosignature\n%end\n"
LEAST = "autopart --type=thinp\n" + ADDON
KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIIhb0sP8mNyJo2jQbRTxHhjXMYFg1H3r2xk1mQwBqIjK admin@example.org"

STORAGE = """\
ignoredisk --only-use=sda,disk/by-id/x-*
clearpart --linux --initlabel --drives=sda
zerombr
part biosboot --fstype=biosboot --size=1 --ondisk=/dev/sda
part /boot --fstype=ext4 --size=1024 --label=boot --fsoptions=nodev --asprimary
part pv.01 --size=1 --grow --maxsize=9000 --encrypted --passphrase=secret --luks-version=luks2
volgroup onn pv.01 --pesize=8192 --reserved-space=100 --reserved-percent=5
logvol none --vgname=onn --name=pool00 --thinpool --percent=80 --metadatasize=64 --chunksize=128
logvol / --vgname=onn --name=root --thin --poolname=pool00 --size=2000 --grow --maxsize=9000 --fstype=xfs
logvol swap --vgname=onn --name=swap --recommended
bootloader --append="quiet splash" --timeout=7 --location=partition --boot-drive=sda
"""

SYSTEM = f"""\
autopart
rootpw --iscrypted $6$salt$hash
user --name=admin --password=pw --uid=1100 --gid=1200 --groups=wheel,adm --homedir=/srv/a --shell=/bin/zsh --gecos="A B"
user --name=locked --lock --iscrypted --password=$6$x$y
group --name=ops --gid=4000
sshkey --username=admin "{KEY}"
lang de_AT.UTF-8
keyboard --vckeymap=de --xlayouts='de (nodeadkeys)',us
timezone Europe/Vienna --utc
timesource --ntp-server=a.example.org
timesource --ntp-server=192.0.2.1
network --device=eth0 --bootproto=static --ip=192.0.2.2 --netmask=255.255.255.0 --gateway=192.0.2.1 \
--nameserver=192.0.2.3,2001:db8::3 --mtu=9000 --onboot=no --ipv6=2001:db8::2/64 --ipv6gateway=fe80::1
network --device=AA:BB:CC:DD:EE:FF --noipv4 --ipv6=auto --activate
network --device=link --noipv6
network --hostname=node.example.org
services --enabled=sshd,chronyd --disabled=kdump
selinux --permissive
firewall --disabled
shutdown
text
skipx
eula --agreed
firstboot --disabled
{ADDON}"""


def write(folder: Path, text: str, name: str = "ks.cfg") -> str:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return str(path)


def test_storage_commands_become_a_request(tmp_path: Path) -> None:
    request = load(write(tmp_path, STORAGE + ADDON))
    assert request.storage == StorageRequest(
        selection=DiskSelection(
            only_use=("sda", "disk/by-id/x-*"),
            clear="linux",
            clear_drives=("sda",),
            initlabel=True,
            zerombr=True,
            ignore_place=Place(f"{tmp_path}/ks.cfg", 1),
            clear_place=Place(f"{tmp_path}/ks.cfg", 2),
            boot_place=Place(f"{tmp_path}/ks.cfg", 11),
        ),
        partitions=(
            PartitionRequest("biosboot", MIB, fstype="biosboot", disk="sda", line=4),
            PartitionRequest("/boot", 1024 * MIB, fstype="ext4", label="boot", options="nodev", line=5),
            PartitionRequest(
                "pv.01",
                MIB,
                grow=True,
                max_size=9000 * MIB,
                encrypted=True,
                passphrase="secret",
                luks_version="luks2",
                line=6,
            ),
        ),
        vgs=(VolumeGroupRequest("onn", ("pv.01",), 8 * MIB, 100 * MIB, 5, line=7),),
        volumes=(
            LogicalVolumeRequest(
                "pool00", "onn", percent=80, thinpool=True, metadata_size=64 * MIB, chunk_size=128 << 10, line=8
            ),
            LogicalVolumeRequest(
                "root",
                "onn",
                "/",
                2000 * MIB,
                grow=True,
                max_size=9000 * MIB,
                fstype="xfs",
                thin=True,
                pool="pool00",
                line=9,
            ),
            LogicalVolumeRequest("swap", "onn", "swap", recommended=True, line=10),
        ),
    )
    assert request.bootloader == BootloaderRequest("quiet splash", 7, "partition", "sda", 11)
    assert "secret" not in repr(request)


def test_system_commands_become_a_request(tmp_path: Path) -> None:
    request = load(write(tmp_path, SYSTEM))
    assert request.system == SystemRequest(
        root=UserRequest("root", "$6$salt$hash", encrypted=True, line=2),
        users=(
            UserRequest("admin", "pw", False, False, 1100, 1200, ("wheel", "adm"), "/srv/a", "/bin/zsh", "A B", line=3),
            UserRequest("locked", "$6$x$y", encrypted=True, locked=True, line=4),
        ),
        groups=(GroupRequest("ops", 4000, 5),),
        sshkeys=(SshKeyRequest("admin", KEY, 6),),
        lang="de_AT.UTF-8",
        keymap="de",
        xlayouts=("de (nodeadkeys)", "us"),
        timezone="Europe/Vienna",
        utc=True,
        ntp_servers=("a.example.org", "192.0.2.1"),
        hostname="node.example.org",
        networks=(
            NetworkRequest(
                device="eth0",
                ip="static",
                address="192.0.2.2",
                netmask="255.255.255.0",
                gateway="192.0.2.1",
                nameservers=("192.0.2.3", "2001:db8::3"),
                ipv6="2001:db8::2/64",
                ipv6_gateway="fe80::1",
                mtu=9000,
                onboot=False,
                line=12,
            ),
            NetworkRequest(device="aa:bb:cc:dd:ee:ff", ip="none", line=13),
            NetworkRequest(ipv6="ignore", line=14),
        ),
        services_enabled=("sshd", "chronyd"),
        services_disabled=("kdump",),
        selinux="permissive",
        firewall=False,
    )
    assert request.ending == "poweroff"
    assert request.storage.autopart


@pytest.mark.parametrize(("command", "ending"), [("reboot", "reboot"), ("halt", "halt"), ("poweroff", "poweroff")])
def test_the_ending(tmp_path: Path, command: str, ending: str) -> None:
    assert load(write(tmp_path, f"{command}\n{LEAST}")).ending == ending


@pytest.mark.parametrize(
    "options",
    [
        "--bootproto=static --ip=192.0.2.10 --netmask=255.255.255.255 --gateway=198.51.100.1",
        "--bootproto=static --ip=192.0.2.10 --netmask=255.255.255.254 --gateway=192.0.2.11",
        "--ipv6=2001:db8::10/64 --ipv6gateway=fe80::1 --noipv4 --ipv6-dns-search=example.com",
        "--noipv4 --nameserver=2001:db8::53",
    ],
)
def test_networks_that_are_unusual_and_right(tmp_path: Path, options: str) -> None:
    assert len(load(write(tmp_path, f"network --device=eth0 {options}\n{LEAST}")).system.networks) == 1


def test_autopart_options(tmp_path: Path) -> None:
    text = "autopart --type=thinp --fstype=xfs --nohome --noswap --encrypted --passphrase=geheim --luks-version=luks1\n"
    found = load(write(tmp_path, text + ADDON)).storage
    assert (found.fstype, found.nohome, found.noswap, found.encrypted) == ("xfs", True, True, True)
    assert (found.passphrase, found.luks_version) == ("geheim", "luks1")


def test_scripts_are_collected_with_their_options(tmp_path: Path) -> None:
    text = LEAST + (
        "%pre-install --log=/tmp/l\necho 1\n%end\n"
        "%post --nochroot --interpreter=/usr/bin/python3 --erroronfail\nprint('%unknown')\n\n# comment\n%end\n"
        "%post\necho 3\n%end\n"
    )
    scripts = load(write(tmp_path, text)).scripts
    assert [(s.stage, s.line, s.chroot, s.erroronfail) for s in scripts] == [
        ("pre-install", 4, False, False),
        ("post", 7, False, True),
        ("post", 12, True, False),
    ]
    assert scripts[0].log == "/tmp/l"
    assert scripts[1].interpreter == "/usr/bin/python3"
    assert scripts[1].body == "print('%unknown')\n\n# comment\n"


@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_lines_are_counted_as_an_editor_counts_them(tmp_path: Path, newline: str) -> None:
    path = tmp_path / "ks.cfg"
    path.write_bytes(newline.join(["# a\x0cb\x0b", "# \u2028", "", "autopart", ADDON, "foo"]).encode())
    with pytest.raises(KickstartProblem, match=r"ks\.cfg:8: the command 'foo'"):
        load(str(path))


@pytest.mark.parametrize("version", ["F33", "RHEL8", "F34", "DEVEL", ""])
def test_the_syntax_version_is_honoured(tmp_path: Path, version: str) -> None:
    text = f"timesource --ntp-server=ntp.example.org\n{LEAST}"  # new in F33 and RHEL 9
    header = f"#version={version}\n" if version else ""
    if version == "RHEL8":
        with pytest.raises(KickstartProblem, match=r"ks\.cfg:2: timesource: Unknown command"):
            load(write(tmp_path, header + text))
    else:
        assert load(write(tmp_path, header + text)).system.ntp_servers == ("ntp.example.org",)
    assert load(write(tmp_path, header + text), version="F33").system.ntp_servers == ("ntp.example.org",)


@pytest.mark.parametrize("version", ["RHEL99", "FC3", "x"])
def test_an_unknown_syntax_version_is_refused_with_its_line(tmp_path: Path, version: str) -> None:
    with pytest.raises(KickstartProblem, match=rf":2: the syntax version '{version}'.*Known are .*RHEL8"):
        load(write(tmp_path, f"\n#version={version}\n{LEAST}"))


@pytest.mark.parametrize("name", ["oem-preinstall", "auto-partition", "custom-partition"])
def test_our_kickstarts_load(name: str) -> None:
    request = load(str(KICKSTARTS / f"{name}.ks"), run_pre=False)
    assert request.node.images
    assert request.ending


def test_our_pxe_kickstart_loads_with_what_its_script_makes(tmp_path: Path) -> None:
    text = (KICKSTARTS / "pxe-unattended.ks").read_text()
    assert text.count("/run/ovirt-node-disk.ks") == 2
    made = write(tmp_path, "ignoredisk --only-use=vda\n", "disk.ks")
    request = load(write(tmp_path, text.replace("/run/ovirt-node-disk.ks", made)), run_pre=False)
    assert request.storage.selection.only_use == ("vda",)
    assert request.scripts[0].erroronfail


def test_the_oem_kickstart_is_what_the_demo_needs() -> None:
    request = load(str(KICKSTARTS / "oem-preinstall.ks"), run_pre=False)
    assert request.storage.autopart and request.storage.selection.clear == "all"
    assert "console=ttyS0" in request.bootloader.append
    assert request.node.images == ("hd:LABEL=OVIRTNODE:/ovirt-node-demo.squashfs",)
    assert request.ending == "poweroff"

"""iSCSI: records, arguments of the initramfs, and what is said when a login fails."""

from __future__ import annotations

import re
import shlex
import socket
import subprocess
from contextlib import ExitStack, suppress
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest

from org_ovirt_node.boot import cpio, hostfiles, netroot, network
from org_ovirt_node.boot.hostinitrd import HostFile
from org_ovirt_node.boot.network import Card
from org_ovirt_node.errors import NodeError, StorageError
from org_ovirt_node.install import engine, system, texts
from org_ovirt_node.install.handover import Handover
from org_ovirt_node.install.root import NodeRoot
from org_ovirt_node.kickstart.model import InstallRequest, IscsiRequest, IscsiTarget, NetworkRequest, Script
from org_ovirt_node.node.rootfacts import Below
from org_ovirt_node.progress import Silent
from org_ovirt_node.storage import ibft, iscsi, iscsirecords

PROJECT = Path(__file__).resolve().parents[2]

IQN = "iqn.2024-01.org.example:storage"
TARGET = IscsiTarget("192.0.2.20", 3261, IQN, "me", "hush-hush", "it", "hush-back", line=7)
RECORD = """\
# BEGIN RECORD 2.1.11
node.name = iqn.2024-01.org.example:storage
node.startup = manual
node.session.auth.authmethod = None
node.session.timeo.replacement_timeout = 120
node.conn[0].address = 192.0.2.20
# END RECORD
"""
CARD = Card("ens3", "52:54:00:12:34:56")


def values(record: str) -> dict[str, str]:
    lines = [line.partition(" = ") for line in record.splitlines() if not line.startswith("#")]
    assert len({name for name, _, _ in lines}) == len(lines), "a name is there twice"
    return {name: value for name, _, value in lines}


def test_a_record_with_mutual_chap() -> None:
    found = values(iscsirecords.with_settings(RECORD, iscsirecords.settings(TARGET)))
    assert found["node.name"] == IQN
    assert found["node.session.auth.authmethod"] == "CHAP"
    assert found["node.session.auth.username"] == "me" and found["node.session.auth.password"] == "hush-hush"
    assert found["node.session.auth.username_in"] == "it" and found["node.session.auth.password_in"] == "hush-back"
    assert found["node.session.initial_login_retry_max"] == "1"


def test_a_record_without_chap() -> None:
    plain = replace(TARGET, user="", password="", reverse_user="", reverse_password="")
    found = values(iscsirecords.with_settings(RECORD, iscsirecords.settings(plain)))
    assert found["node.session.auth.authmethod"] == "None"
    assert not [name for name in found if "password" in name or "username" in name]


@pytest.mark.parametrize("text", ["", "node.name = x\n", "# BEGIN RECORD 2\nnode.name = x\n"])
def test_what_is_no_record_is_not_written(text: str) -> None:
    with pytest.raises(StorageError, match="form that is not known"):
        iscsirecords.with_settings(text, {"a": "b"})


@pytest.mark.parametrize(
    ("root", "multipath", "startup", "seconds"),
    [(True, False, "onboot", "86400"), (True, True, "onboot", "5"), (False, False, "automatic", "86400")],
)
def test_the_node_s_record(root: bool, multipath: bool, startup: str, seconds: str) -> None:
    made = iscsirecords.with_settings(RECORD, iscsirecords.settings(TARGET))
    found = values(iscsirecords.with_settings(made, iscsirecords.node_settings(root=root, multipath=multipath)))
    assert found["node.startup"] == found["node.conn[0].startup"] == startup
    assert found["node.session.timeo.replacement_timeout"] == seconds
    assert found["node.session.auth.password"] == "hush-hush"


def test_the_defaults_for_sessions_that_firmware_names(tmp_path: Path) -> None:
    timeout = "node.session.timeo.replacement_timeout"
    config = tmp_path / "etc/iscsi/iscsid.conf"
    config.parent.mkdir(parents=True)
    config.write_text(f"# {timeout} = 7\n{timeout} = 120\n{timeout}=9\nnode.startup = manual\n")
    iscsi.set_defaults(tmp_path, iscsirecords.node_defaults(multipath=False))
    assert config.read_text() == f"# {timeout} = 7\nnode.startup = manual\n{timeout} = 86400\n"
    iscsi.set_defaults(tmp_path, iscsirecords.node_defaults(multipath=True))
    assert config.read_text().endswith(f"{timeout} = 5\n")
    config.unlink()
    iscsi.set_defaults(tmp_path, {timeout: "1"})
    assert config.read_text() == f"{timeout} = 1\n"


def test_failures_row_35_records_go_to_the_node_and_its_host_img_for_root_alone(tmp_path: Path) -> None:
    installer, root = tmp_path / "installer", tmp_path / "root"
    name = f"/var/lib/iscsi/nodes/{IQN}/192.0.2.20,3261"
    for path, text in ((name, RECORD), ("/var/lib/iscsi/ifaces/ens3", "iface.net_ifacename = ens3\n")):
        (installer / path.lstrip("/")).parent.mkdir(parents=True, exist_ok=True)
        (installer / path.lstrip("/")).write_text(text)
    connected = iscsi.Connected("iqn.2024-01.org.example:node1", records=(name,))
    iscsi.copy_records(connected, root, {"node.startup": "onboot"}, installer)
    assert values((root / name.lstrip("/")).read_text())["node.startup"] == "onboot"
    found = hostfiles.collect(root, {}, {"iscsi"})
    assert {path: file.mode for path, file in found.items()} == {name: 0o600, "/var/lib/iscsi/ifaces/ens3": 0o600}
    assert hostfiles.collect(root, {}, ()) == {}


def test_a_new_layer_gets_the_password_that_the_running_node_has_and_no_record_of_its_data(tmp_path: Path) -> None:
    root, live = tmp_path / "root", tmp_path / "live"
    name, data = (f"/var/lib/iscsi/nodes/{IQN}{suffix}/192.0.2.20,3261" for suffix in ("", "-data"))
    old, changed = (
        iscsirecords.with_settings(RECORD, iscsirecords.settings(replace(TARGET, password=word)))
        for word in ("before", "changed")
    )
    for path in (name, data):
        (live / path.lstrip("/")).parent.mkdir(parents=True)
        (live / path.lstrip("/")).write_text(changed)
    root.mkdir()
    before = {name: HostFile(old.encode(), 0o600)}
    found = hostfiles.collect(root, before, {"iscsi"}, live=live)
    assert {path: file.content for path, file in found.items()} == {name: changed.encode()}
    assert hostfiles.collect(root, before, {"iscsi"}, live=tmp_path / "none") == before


def test_no_link_of_an_image_leads_a_record_out_of_the_new_system(tmp_path: Path) -> None:
    name = f"/var/lib/iscsi/nodes/{IQN}/192.0.2.20,3261"
    source, root, outside = tmp_path / "source", tmp_path / "root", tmp_path / "outside"
    for folder in (source / f"var/lib/iscsi/nodes/{IQN}", root / "var/lib", outside):
        folder.mkdir(parents=True)
    (source / name.lstrip("/")).write_text(RECORD)
    (root / "var/lib/iscsi").symlink_to(outside)
    with suppress(NodeError):
        iscsi.copy_records(iscsi.Connected("iqn.x", records=(name,)), root, {}, source)
    assert not list(outside.iterdir())


def test_without_sessions_nothing_is_copied(tmp_path: Path) -> None:
    (tmp_path / "a/var/lib/iscsi/ifaces").mkdir(parents=True)
    (tmp_path / "a/var/lib/iscsi/ifaces/ens3").write_text("x")
    iscsi.copy_records(iscsi.Connected(), tmp_path / "b", {}, tmp_path / "a")
    assert not (tmp_path / "b").exists()


def test_failures_row_23_names_of_initiators_differ() -> None:
    assert iscsi.new_initiator() != iscsi.new_initiator()
    assert iscsi.initiator_file("iqn.x").endswith("=iqn.x\n")


def test_targets_that_are_gone_are_known(tmp_path: Path) -> None:
    for number, (name, state) in enumerate([("iqn.a", "LOGGED_IN"), ("iqn.b", "FAILED"), ("iqn.b", "FREE")]):
        (tmp_path / f"session{number}").mkdir()
        (tmp_path / f"session{number}/targetname").write_text(name + "\n")
        (tmp_path / f"session{number}/state").write_text(state + "\n")
    assert iscsi.lost(tmp_path) == ("iqn.b",)
    assert iscsi.lost(tmp_path / "none") == ()


def test_for_a_disk_image_there_is_a_name_and_no_target() -> None:
    assert iscsi.without_sessions(IscsiRequest("iqn.x")) == iscsi.Connected("iqn.x")
    with pytest.raises(StorageError, match=r"192\.0\.2\.20:3261.*line 7"):
        iscsi.without_sessions(IscsiRequest("iqn.x", (TARGET,)))


def test_portals_and_discovery() -> None:
    assert iscsi.portal(TARGET) == "192.0.2.20:3261"
    assert iscsi.portal(replace(TARGET, address="2001:db8::1")) == "[2001:db8::1]:3261"
    said = f"192.0.2.20:3260,1 {IQN}\n[2001:db8::1]:3261,2 iqn.b\niscsiadm: nonsense\n"
    assert iscsirecords.parse_discovery(said) == [("192.0.2.20", 3260, IQN), ("2001:db8::1", 3261, "iqn.b")]


PLAIN = replace(TARGET, user="", password="", reverse_user="", reverse_password="")
ONE_WAY = replace(TARGET, reverse_user="", reverse_password="")


@pytest.mark.parametrize(
    ("target", "status", "words", "hint"),
    [
        (TARGET, 24, "refuses the user me or its password", "--password in line 7"),
        (PLAIN, 24, "lets nobody in without a user and a password", "Give --user and --password in line 7"),
        (TARGET, 19, "does not show the reverse user it", "--reverse-password"),
        (ONE_WAY, 19, "is not there, or is not for this initiator", "--target in line 7"),
        (ONE_WAY, 8, "failed (iscsiadm: 8): iscsiadm: the last line", "line 7"),
    ],
)
def test_a_refused_login_is_one_sentence(target: IscsiTarget, status: int, words: str, hint: str) -> None:
    found = iscsi.login_failure(target, status, "first\niscsiadm: the last line\n\n")
    assert words in found.message and hint in found.hint
    assert f"{IQN} at 192.0.2.20:3261" in found.message
    assert "hush" not in str(found)


def test_a_portal_where_nobody_listens_is_refused_at_once() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        dead = replace(TARGET, address="127.0.0.1", port=free.getsockname()[1])
        with pytest.raises(StorageError, match=r"127\.0\.0\.1:\d+ cannot be reached: Connection refused"):
            iscsi._probe(dead)


STATIC = NetworkRequest(
    "ens3", "static", "192.0.2.7", "255.255.255.0", "192.0.2.1", ipv6="2001:db8::7/64", ipv6_gateway="fe80::1", line=3
)


@pytest.mark.parametrize(
    ("networks", "portal", "expected"),
    [
        ((), "192.0.2.20", "ip=ens3:dhcp"),
        ((), "2001:db8::1", "ip=ens3:auto6"),
        ((STATIC,), "192.0.2.20", "ip=192.0.2.7::192.0.2.1:24::ens3:none"),
        ((STATIC,), "2001:db8::1", "ip=[2001:db8::7]::[fe80::1]:64::ens3:none"),
        ((replace(STATIC, gateway="", mtu=9000),), "192.0.2.20", "ip=192.0.2.7:::24::ens3:none:9000"),
        ((replace(STATIC, device="ens4"),), "192.0.2.20", "ip=ens3:dhcp"),
        ((NetworkRequest(mtu=1400), STATIC), "192.0.2.20", "ip=192.0.2.7::192.0.2.1:24::ens3:none"),
        ((NetworkRequest(mtu=1400),), "192.0.2.20", "ip=ens3:dhcp:1400"),
        ((NetworkRequest(CARD.mac, ipv6="dhcp"),), "2001:db8::1", "ip=ens3:dhcp6"),
    ],
)
def test_the_network_of_the_initramfs(networks: tuple[NetworkRequest, ...], portal: str, expected: str) -> None:
    assert network.arguments([(CARD, portal)], networks) == ("rd.neednet=1", expected)


def test_two_portals_by_one_card_need_it_once() -> None:
    assert network.arguments([(CARD, "192.0.2.20"), (CARD, "192.0.2.21")], ()) == ("rd.neednet=1", "ip=ens3:dhcp")
    assert network.arguments([], ()) == ()


def test_the_node_has_a_profile_for_each_card_of_its_root() -> None:
    other = Card("ens4", "52:54:00:12:34:57")
    ways = [(CARD, "192.0.2.20"), (other, "192.0.2.20"), (CARD, "2001:db8::1")]
    found = network.profiles(ways, (NetworkRequest(mtu=1400, line=3), replace(STATIC, device=other.mac)))
    assert found == (NetworkRequest("ens3", mtu=1400, line=3), replace(STATIC, device="ens4"))
    assert network.profiles(ways[:1], ()) == (NetworkRequest("ens3"),)


def test_network_manager_goes_on_with_what_the_initramfs_made(tmp_path: Path) -> None:
    system.keep_network(tmp_path, [NetworkRequest("ens3")])
    assert not list(tmp_path.iterdir()), "an image without NetworkManager"
    unit = tmp_path / "usr/lib/systemd/system/NetworkManager.service"
    unit.parent.mkdir(parents=True)
    unit.touch()
    system.keep_network(tmp_path, [])
    assert not (tmp_path / "etc").exists(), "a root on local disks"
    system.keep_network(tmp_path, [NetworkRequest("ens3"), NetworkRequest("ens4")])
    config = (tmp_path / "etc/NetworkManager/conf.d/90-ovirt-node-root.conf").read_text()
    assert "match-device=interface-name:=ens3,interface-name:=ens4\nkeep-configuration=no\n" in config
    drop_in = (tmp_path / "etc/systemd/system/NetworkManager.service.d/ovirt-node-root.conf").read_text()
    for name in ("ens3", "ens4"):
        profile = tmp_path / f"etc/NetworkManager/system-connections/{name}.nmconnection"
        uuid = re.search(r"^uuid=(.+)$", profile.read_text(), re.MULTILINE)
        assert uuid and f"connection-uuid={uuid[1]}\\n" in drop_in


def test_the_state_of_a_card_is_written_once(tmp_path: Path) -> None:
    """As systemd reads the unit: backslashes count, and a doubled dollar sign is one (systemd.service(5))."""
    net, state = tmp_path / "net/ens3", tmp_path / "state"
    net.mkdir(parents=True)
    state.mkdir()
    (net / "ifindex").write_text("7\n")
    line = next(line for line in texts.root_profiles([NetworkRequest("ens3")]).splitlines() if "ExecStartPre" in line)
    script = shlex.split(line.partition("=-")[2])[2].replace("$$", "$")
    script = script.replace("/sys/class/net", str(net.parent)).replace("/run/NetworkManager/devices", str(state))
    subprocess.run(["sh", "-c", script], check=True)
    uuid = texts.connection_uuid(NetworkRequest("ens3"))
    assert (state / "7").read_text() == f"[device]\nmanaged=true\nconnection-uuid={uuid}\n"
    (state / "7").write_text("what NetworkManager wrote\n")
    subprocess.run(["sh", "-c", script], check=True)
    assert (state / "7").read_text() == "what NetworkManager wrote\n"


@pytest.mark.parametrize(
    ("request_", "portal", "words"),
    [
        (NetworkRequest(ip="none", line=4), "192.0.2.20", r"ens3 \(line 4\) has no IPv4"),
        (NetworkRequest(ipv6="ignore", line=4), "2001:db8::1", r"ens3 \(line 4\) has no IPv6"),
    ],
)
def test_a_network_without_the_portal_s_addresses_is_refused(request_: NetworkRequest, portal: str, words: str) -> None:
    with pytest.raises(StorageError, match=words):
        network.arguments([(CARD, portal)], [request_])


def test_a_portal_of_the_firmware_that_answers_nothing_does_not_end_an_installation(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "iscsiadm"
    program.write_text("#!/bin/sh\nexec sleep 60\n")
    program.chmod(0o755)
    for name in ("PATH", "OVIRT_NODE_PATH"):
        monkeypatch.setenv(name, f"{tmp_path}:/usr/bin:/bin")
    monkeypatch.setattr(iscsi, "COMMAND", 0.2)
    monkeypatch.setattr(iscsi, "_start", lambda initiator: None)
    monkeypatch.setattr(ibft, "is_there", lambda: True)
    with ExitStack() as stack:
        found = iscsi.connect(IscsiRequest(), stack, Silent())
    assert not found.firmware


def fake_ip(folder: Path, answer: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """An ip(8) that answers every question about a route with ``answer``."""
    (folder / "bin").mkdir()
    program = folder / "bin/ip"
    program.write_text(f"#!/bin/sh\necho '{answer}'\n")
    program.chmod(0o755)
    monkeypatch.setenv("OVIRT_NODE_PATH", f"{folder / 'bin'}:/usr/bin:/bin")
    monkeypatch.setattr(iscsi, "SYS_NET", folder / "net")


def test_the_card_by_which_a_portal_is_reached(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake_ip(tmp_path, '[{"dst": "192.0.2.20", "dev": "ens3"}]', monkeypatch)
    (tmp_path / "net/ens3/device").mkdir(parents=True)
    (tmp_path / "net/ens3/address").write_text("52:54:00:12:34:56\n")
    assert iscsi.cards([("192.0.2.20", "")]) == ((CARD, "192.0.2.20"),)
    assert iscsi.cards([]) == ()


def test_a_session_that_is_bound_to_a_card_needs_that_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two cards in one subnet: the route leads through the first whichever a session goes through."""
    fake_ip(tmp_path, '[{"dst": "192.0.2.20", "dev": "ens3"}]', monkeypatch)
    for number, (name, mac) in enumerate([("ens3", CARD.mac), ("ens4", "52:54:00:12:34:57"), ("default", "")]):
        if mac:
            (tmp_path / "net" / name / "device").mkdir(parents=True)
            (tmp_path / "net" / name / "address").write_text(f"{mac}\n")
        session = tmp_path / f"sessions/session{number}"
        connection = session / f"device/connection{number}:0/iscsi_connection/connection{number}:0"
        connection.mkdir(parents=True)
        (session / "ifacename").write_text(f"{name}\n")
        (connection / "persistent_address").write_text("192.0.2.20\n")
    found = iscsi.portals(tmp_path / "sessions")
    assert found == (("192.0.2.20", "ens3"), ("192.0.2.20", "ens4"), ("192.0.2.20", ""))
    arguments = network.arguments(iscsi.cards(found), ())
    assert arguments == ("rd.neednet=1", "ip=ens3:dhcp", "ip=ens4:dhcp")


FIXED = {"mac": CARD.mac, "ip-addr": "192.0.2.7", "prefix-len": "24", "gateway": "192.0.2.1"}
FIXED6 = {"mac": CARD.mac, "ip-addr": "2001:db8::7", "prefix-len": "64", "gateway": "fe80::1", "origin": "1"}


@pytest.mark.parametrize(
    ("told", "lines", "portal", "expected"),
    [
        (FIXED, (), "192.0.2.20", "ip=192.0.2.7::192.0.2.1:24::ens3:none"),
        ({**FIXED, "gateway": "0.0.0.0"}, (), "192.0.2.20", "ip=192.0.2.7:::24::ens3:none"),
        (FIXED6, (), "2001:db8::1", "ip=[2001:db8::7]::[fe80::1]:64::ens3:none"),
        ({**FIXED, "dhcp": "192.0.2.1"}, (), "192.0.2.20", "ip=ens3:dhcp"),
        ({**FIXED, "dhcp": "0.0.0.0"}, (), "192.0.2.20", "ip=192.0.2.7::192.0.2.1:24::ens3:none"),
        ({**FIXED, "origin": "3"}, (), "192.0.2.20", "ip=ens3:dhcp"),
        ({**FIXED6, "origin": "4"}, (), "2001:db8::1", "ip=ens3:auto6"),
        ({"mac": CARD.mac}, (), "192.0.2.20", "ip=ens3:dhcp"),
        ({**FIXED, "ip-addr": "0.0.0.0"}, (), "192.0.2.20", "ip=ens3:dhcp"),
        # A line for any card says nothing of this one; one that names it does.
        (FIXED, (NetworkRequest(line=3),), "192.0.2.20", "ip=192.0.2.7::192.0.2.1:24::ens3:none"),
        (FIXED, (NetworkRequest("ens3", line=3),), "192.0.2.20", "ip=ens3:dhcp"),
        (FIXED, (NetworkRequest(CARD.mac, line=3),), "192.0.2.20", "ip=ens3:dhcp"),
    ],
)
def test_an_address_that_the_firmware_has_fixed(
    tmp_path: Path, told: dict[str, str], lines: tuple[NetworkRequest, ...], portal: str, expected: str
) -> None:
    card = tmp_path / "ethernet0"
    card.mkdir()
    for name, value in told.items():
        (card / name).write_text(f"{value}\n")
    networks = (*lines, *ibft.networks(tmp_path))
    assert network.arguments([(CARD, portal)], networks) == ("rd.neednet=1", expected)


def test_what_post_changes_of_iscsi_reaches_host_img(tmp_path: Path) -> None:
    config, boot = tmp_path / "etc/iscsi/iscsid.conf", tmp_path / "boot/node-1.0-1+1"
    for folder in (config.parent, boot):
        folder.mkdir(parents=True)
    config.write_text("node.startup = manual\n")
    installation = object.__new__(engine.Installation)
    body = "echo changed > $ANA_INSTALL_PATH/etc/iscsi/iscsid.conf\n"
    scripts = (Script("post", body, chroot=False),)
    installation.request = cast("InstallRequest", SimpleNamespace(scripts=scripts))
    installation.node = NodeRoot(tmp_path, tmp_path, tmp_path)
    installation.below = Below({}, frozenset(("iscsi",)), (), ())
    installation.layer, installation.progress = boot.name, Silent()
    installation.post()
    found = cpio.read_host_initrd((boot / "host.img").read_bytes())
    assert found == {"/etc/iscsi/iscsid.conf": HostFile(b"changed\n", 0o600)}


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        ('[{"dst": "192.0.2.20", "dev": "bond0"}]', "is reached through bond0, which is no network card"),
        ("[]", "the way to 192.0.2.20 is not known"),
        ("nonsense", "the way to 192.0.2.20 is not known"),
    ],
)
def test_a_way_that_the_initramfs_would_not_have_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, answer: str, words: str
) -> None:
    fake_ip(tmp_path, answer, monkeypatch)
    (tmp_path / "net/bond0").mkdir(parents=True)
    with pytest.raises(StorageError, match=words):
        iscsi.cards([("192.0.2.20", "")])


#: The lines of dracut 106 (95iscsi/iscsiroot.sh) that ask what the firmware tells, and log in.
ISCSIROOT = """\
#!/bin/sh
# In these cases 'iscsiadm -m fw' will fail, but
if ! iscsiadm -m fw; then
    echo none
else
    iscsiadm -m fw -l -W 2> /dev/null
fi
"""


def test_the_initramfs_does_not_tell_the_journal_the_secrets_of_the_firmware(tmp_path: Path) -> None:
    for name in ("90ovirt-node", "95iscsi", "initdir", "tmp", "bin"):
        (tmp_path / name).mkdir()
    (tmp_path / "95iscsi/iscsiroot.sh").write_text(ISCSIROOT)
    program = tmp_path / "bin/iscsiadm"
    program.write_text("#!/bin/sh\ncase $* in '-m fw') echo password = secret ;; *) echo logged in ;; esac\n")
    program.chmod(0o755)
    module = PROJECT / "data/dracut/90ovirt-node/module-setup.sh"
    script = (
        f". {module}; moddir={tmp_path}/90ovirt-node DRACUT_TMPDIR={tmp_path}/tmp\n"
        f'inst_simple() {{ echo "$2"; cp -p "$1" {tmp_path}/initdir/; }}\nquiet_iscsiroot\n'
    )
    placed = subprocess.run(["bash", "-euc", script], capture_output=True, text=True, check=True).stdout
    assert placed == "/sbin/iscsiroot\n"
    env = {"PATH": f"{tmp_path}/bin:/usr/bin:/bin"}
    (made,) = (tmp_path / "initdir").iterdir()
    said = subprocess.run([str(made)], env=env, capture_output=True, text=True, check=True).stdout
    assert said == "logged in\n"
    plain = subprocess.run(["sh", "-c", ISCSIROOT], env=env, capture_output=True, text=True, check=True).stdout
    assert "secret" in plain


BLIVET = RECORD.replace(
    "# END",
    """\
node.conn[0].port = 3261
node.session.auth.username = me
node.session.auth.password = hu:sh@hush
node.session.auth.username_in = it
node.session.auth.password_in = hush-back
# END""",
)
SHOWN = "me:hu:sh@hush:it:hush-back"


@pytest.mark.parametrize(
    ("word", "kept"),
    [
        (f"netroot=iscsi:{SHOWN}@192.0.2.20::3261::{IQN}", False),
        (f"netroot=iscsi:{SHOWN}@192.0.2.20::3261:default:ens3::{IQN}", False),
        # Another portal, target or password is in no record: without this word nobody would log in.
        (f"netroot=iscsi:{SHOWN}@192.0.2.21::3261::{IQN}", True),
        (f"netroot=iscsi:{SHOWN}@192.0.2.20::3260::{IQN}", True),
        (f"netroot=iscsi:{SHOWN}@192.0.2.20::3261::{IQN}-two", True),
        (f"netroot=iscsi:me:other@192.0.2.20::3261::{IQN}", True),
        # No secret.
        (f"netroot=iscsi:@192.0.2.20::3261::{IQN}", True),
        ("netroot=dhcp", True),
    ],
)
def test_secrets_of_chap_do_not_stay_on_the_command_line(word: str, kept: bool) -> None:
    made = netroot.without_secrets(f"ip=ens3:dhcp {word} quiet", ["no record", BLIVET])
    assert made == (f"ip=ens3:dhcp {word} quiet" if kept else "ip=ens3:dhcp quiet rd.neednet=1")


def test_the_secrets_of_a_portal_with_an_ipv6_address() -> None:
    record = BLIVET.replace("192.0.2.20", "2001:db8::1")
    word = f"netroot=iscsi:{SHOWN}@[2001:db8::1]::3261::{IQN}"
    assert netroot.without_secrets(f"rd.neednet=1 {word}", [record]) == "rd.neednet=1"


def test_records_that_an_installer_left_are_those_of_a_node(tmp_path: Path) -> None:
    session = tmp_path / "sessions/session1"
    ours, others = (
        tmp_path / f"var/lib/iscsi/nodes/{name}/192.0.2.20,3261,1/default" for name in (IQN, f"{IQN}-other")
    )
    for folder in (session, ours.parent, others.parent):
        folder.mkdir(parents=True)
    (session / "targetname").write_text(f"{IQN}\n")
    ours.write_text(RECORD)
    others.write_text(RECORD)
    iscsi.change_records(tmp_path, {"node.startup": "onboot"}, iscsi.targets(tmp_path / "sessions"))
    assert values(ours.read_text())["node.startup"] == "onboot" and others.read_text() == RECORD


def test_what_anaconda_puts_on_the_command_line_is_looked_at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    record = tmp_path / f"var/lib/iscsi/nodes/{IQN}/192.0.2.20,3261,1/default"
    record.parent.mkdir(parents=True)
    record.write_text(BLIVET)
    word = f"netroot=iscsi:{SHOWN}@192.0.2.20::3261::{IQN}"
    monkeypatch.setattr(engine.Installation, "_arguments", lambda _self: word)
    installation = object.__new__(Handover)
    installation.node = NodeRoot(tmp_path, tmp_path, tmp_path)
    assert installation._arguments() == "rd.neednet=1"

"""nodectl as a program: what it prints is what docs/nodectl.schema.json says, and it never shows a traceback."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from org_ovirt_node.boot import bls, cpio, hostinitrd, reachable
from org_ovirt_node.boot.hostinitrd import HostFile
from org_ovirt_node.cli import nodectl
from org_ovirt_node.mounts import mounted
from org_ovirt_node.node import motd
from org_ovirt_node.node.health import FOLDER
from org_ovirt_node.payload.verity import append_tree
from tests.support.fakenode import NEW, OLD, FakeNode, make_node, path_with_fakes
from tests.support.packages import write

SCHEMA = json.loads((Path(__file__).resolve().parents[2] / "docs/nodectl.schema.json").read_text())["$defs"]
TYPES: dict[str, Any] = {"string": str, "integer": int, "number": (int, float), "array": list, "object": dict}


def conforms(value: Any, schema: dict[str, Any], place: str = "$") -> None:
    """The part of JSON Schema that ours uses; raises AssertionError with the place."""
    if "$ref" in schema:
        conforms(value, SCHEMA[schema["$ref"].rpartition("/")[2]], place)
        return
    kind = schema["type"]
    if isinstance(kind, list):
        assert value is None or isinstance(value, bool), place
        return
    if kind == "boolean":
        assert isinstance(value, bool), place
        return
    assert isinstance(value, TYPES[kind]) and not isinstance(value, bool), f"{place} is no {kind}: {value!r}"
    assert value in schema.get("enum", [value]), f"{place}: {value!r}"
    if kind == "array":
        for number, item in enumerate(value):
            conforms(item, schema["items"], f"{place}[{number}]")
    if kind == "object":
        missing = set(schema.get("required", ())) - value.keys()
        assert not missing, f"{place} lacks {missing}"
        more = schema.get("additionalProperties", True)
        unknown = value.keys() - schema.get("properties", {}).keys()
        assert not unknown or isinstance(more, dict), f"{place} has keys that are not described: {unknown}"
        for name, item in value.items():
            conforms(item, schema.get("properties", {}).get(name, more), f"{place}.{name}")


@pytest.fixture
def node(memory: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeNode]:
    made = make_node(memory / "node")
    monkeypatch.setenv("OVIRT_NODE_PATH", path_with_fakes(made.home))
    monkeypatch.setattr(nodectl, "PLACES", made.places)
    yield made


def call(node: FakeNode, capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    status = nodectl.main(["--log", str(node.home / "log"), *arguments])
    shown = capsys.readouterr()
    assert "Traceback" not in shown.err
    return status, shown.out, shown.err


def update_arguments(node: FakeNode, *more: str) -> list[str]:
    image = node.home / "new.squashfs"
    return ["update", str(image), "--sha256", hashlib.sha256(image.read_bytes()).hexdigest(), "--no-inhibit", *more]


def test_every_command_prints_what_the_schema_says(
    node: FakeNode, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(motd, "own_addresses", lambda: ["192.0.2.1"])
    monkeypatch.setattr(nodectl, "ISSUE", node.home / "issue")
    check = node.places.live / FOLDER / "required.d/10-yes"
    check.parent.mkdir(parents=True)
    check.write_text("#!/bin/sh\necho yes\n")
    check.chmod(0o755)
    steps: list[tuple[str, list[str]]] = [
        ("info", ["info"]),
        ("list", ["list"]),
        ("check", ["check"]),
        ("diff", ["diff"]),
        ("motd", ["motd"]),
        ("health", ["health"]),
        ("health-good", ["health", "good"]),
        ("health-bad", ["health", "bad"]),
        ("generate-banner", ["generate-banner"]),
        ("generate-banner", ["generate-banner", "--update-issue"]),
        ("plan", update_arguments(node, "--plan")),
        ("update", update_arguments(node)),
        ("list", ["list"]),
        ("check", ["check"]),
        ("verify", ["verify"]),
        ("cancel", ["update", "--cancel"]),
    ]
    for name, arguments in steps:
        status, out, err = call(node, capsys, *arguments, "--machine-readable")
        assert status == 0, f"{name}: {err}"
        conforms(json.loads(out.splitlines()[-1]), SCHEMA[name], name)
    node.add_layer("node-0.9-1", 50, [])
    (node.places.dev / "onn/node-0.9-1").unlink()
    for name, arguments in (("remove", ["remove", "node-0.9-1"]),):
        (node.places.dev / "onn/node-0.9-1").write_bytes(b"")
        status, out, err = call(node, capsys, "--machine-readable", *arguments)
        assert status == 0, err
        conforms(json.loads(out), SCHEMA[name], name)


def test_what_is_said_at_login_follows_every_change(node: FakeNode, capsys: pytest.CaptureFixture[str]) -> None:
    awaits = f"an update to {NEW}+1 awaits its reboot"
    assert call(node, capsys, *update_arguments(node))[0] == 0
    assert awaits in node.places.motd.read_text()
    assert call(node, capsys, "update", "--cancel")[0] == 0
    assert "awaits" not in node.places.motd.read_text()
    assert call(node, capsys, *update_arguments(node))[0] == 0
    assert call(node, capsys, "rollback", "--to", OLD)[0] == 0
    assert "awaits" not in node.places.motd.read_text()
    assert call(node, capsys, "rollback", "--to", NEW)[0] == 0
    assert awaits in node.places.motd.read_text()
    node.places.motd.unlink()
    node.places.motd.mkdir()
    assert call(node, capsys, "rollback", "--to", OLD)[0] == 0


def test_info_has_imgbaseds_keys(node: FakeNode, capsys: pytest.CaptureFixture[str]) -> None:
    data = json.loads(call(node, capsys, "info", "--machine-readable")[1])
    assert data["layers"] == {OLD: [f"{OLD}+1"]}
    assert data["current_layer"] == f"{OLD}+1"
    assert data["bootloader"]["default"] == f"{OLD}+1"
    assert data["bootloader"]["entries"][f"{OLD}+1"]["kernel"] == f"/boot/{OLD}+1/vmlinuz"


def test_info_says_which_layers_are_verified_while_they_run(node: FakeNode, capsys: pytest.CaptureFixture[str]) -> None:
    tree = append_tree(node.home / "new.squashfs")
    assert call(node, capsys, *update_arguments(node))[0] == 0
    data = json.loads(call(node, capsys, "info", "--machine-readable")[1])
    assert data["verity"] == {f"{OLD}+1": "", f"{NEW}+1": tree.roothash}
    text = call(node, capsys, "info")[1]
    assert f"  {OLD}+1: off\n" in text
    assert f"  {NEW}+1: every block that is read is checked, root hash {tree.roothash}" in text
    # What the kernel was started with counts for the running layer, not what its entry says now.
    running = node.places.cmdline.read_text()
    node.places.cmdline.write_text(f"{running.rstrip()} ovirt_node.roothash={'a' * 64}\n")
    data = json.loads(call(node, capsys, "info", "--machine-readable")[1])
    assert data["verity"][f"{OLD}+1"] == "a" * 64


@pytest.mark.parametrize("along", [True, False])
def test_a_rollback_shows_and_can_take_along_what_changed_in_etc(
    node: FakeNode, capsys: pytest.CaptureFixture[str], along: bool
) -> None:
    assert call(node, capsys, *update_arguments(node))[0] == 0
    (node.places.live / "etc/later").write_text("later\n")
    device = str(node.places.dev / "onn" / f"{NEW}+1")
    with mounted(device, node.home / "peek", fstype="ext4") as base:
        # Deleted on the running layer since.
        (base / "upper/etc/stale.d/sub").mkdir(parents=True)
        (base / "upper/etc/stale.d/sub/file").write_text("stale\n")
    arguments = ["rollback", "--to", NEW, *(["--with-etc"] if along else [])]
    before = {path: path.read_bytes() for path in node.places.boot.rglob("*") if path.is_file()}
    content = (node.places.dev / "onn" / f"{NEW}+1").read_bytes()
    status, out, err = call(node, capsys, *arguments, "--plan", "--machine-readable")
    assert status == 0, err
    planned = json.loads(out)
    conforms(planned, SCHEMA["rollback-plan"], "rollback-plan")
    status, out, err = call(node, capsys, *arguments, "--plan")
    assert status == 0 and f"from {OLD}+1 to {NEW}+1; nothing was changed" in out and "  /etc/later\n" in out
    assert {path: path.read_bytes() for path in node.places.boot.rglob("*") if path.is_file()} == before
    assert (node.places.dev / "onn" / f"{NEW}+1").read_bytes() == content
    status, out, err = call(node, capsys, *arguments, "--machine-readable")
    assert status == 0, err
    data = json.loads(out)
    conforms(data, SCHEMA["rollback"], "rollback")
    assert data == planned
    assert {"later", "stale.d", "stale.d/sub"} <= set(data["etc_differs"])
    assert {"later", "stale.d/sub/file"} <= set(data["etc_differs"]) and data["on_trial"]
    # Read-write: the kernel may not be through with the earlier mount, and refuses another kind beside it.
    with mounted(device, node.home / "peek", fstype="ext4") as base:
        assert (base / "upper/etc/later").exists() is along
        assert (base / "upper/etc/stale.d").exists() is not along
        assert (base / "upper/etc/motd").read_text() == "mine\n"


def test_failures_row_1_a_layer_that_is_gone_back_to_finds_the_disks_that_there_are_now(
    node: FakeNode, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call(node, capsys, *update_arguments(node))[0] == 0
    uuid = "ZzZzZz-9999-8888-7777-6666-5555-ZzZzZz"
    node.set(pv_uuid=uuid)
    path = node.places.boot / f"{NEW}+1" / bls.HOST_INITRD
    before, grubenv = path.read_bytes(), node.grubenv
    status, _, err = call(node, capsys, "rollback", "--to", NEW)
    assert status == 1 and "would not reach its root" in err and "does not name /dev/vda3" in err
    assert (path.read_bytes(), node.grubenv) == (before, grubenv)
    devices = node.places.live / "etc/lvm/devices/system.devices"
    devices.write_text(f"IDTYPE=sys_wwid IDNAME=y DEVNAME=/dev/vdb PVID={uuid.replace('-', '')}\n")
    assert call(node, capsys, "rollback", "--to", NEW, "--plan")[0] == 0
    assert path.read_bytes() == before
    assert call(node, capsys, "rollback", "--to", NEW)[0] == 0
    # Beside the old one, which goes when GRUB's menu names the new one.
    renewed = bls.host_image(node.places.boot, f"{NEW}+1")
    assert renewed != path and not path.exists() and renewed.stat().st_mode & 0o777 == 0o600
    host = cpio.read_host_initrd(renewed.read_bytes())
    assert host["/etc/lvm/devices/system.devices"].content == devices.read_bytes()
    with mounted(str(node.places.dev / "onn" / f"{NEW}+1"), node.home / "peek", fstype="ext4") as base:
        kept = base / "upper/etc/lvm/devices/system.devices"
        assert kept.read_bytes() == devices.read_bytes()
        assert [one.name for one in kept.parent.iterdir()] == [kept.name]


def test_a_rollback_opens_no_other_targets_than_the_layer_had(
    node: FakeNode, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """All layers share the records of iSCSI; those of data are not for the initramfs."""
    assert call(node, capsys, *update_arguments(node))[0] == 0
    record, data = "/var/lib/iscsi/nodes/iqn.root/10.0.0.1", "/var/lib/iscsi/nodes/iqn.data/10.0.0.2"
    path = node.places.boot / f"{NEW}+1" / bls.HOST_INITRD
    host = cpio.read_host_initrd(path.read_bytes())
    path.write_bytes(hostinitrd.build({**host, record: HostFile(b"password = old", 0o600)}))
    files = {record: "password = new", data: "password = data", "/etc/iscsi/initiatorname.iscsi": "InitiatorName=mine"}
    for name, text in files.items():
        (node.places.live / name[1:]).parent.mkdir(parents=True, exist_ok=True)
        (node.places.live / name[1:]).write_text(text)
    node.set(disks=[{"kname": "sda", "type": "disk", "tran": "iscsi"}])
    # This image is not made for iSCSI, which is another matter.
    monkeypatch.setattr(reachable, "check", lambda *_: None)
    status, _, err = call(node, capsys, "rollback", "--to", NEW)
    assert status == 0, err
    found = cpio.read_host_initrd(bls.host_image(node.places.boot, f"{NEW}+1").read_bytes())
    assert found[record].content == b"password = new" and data not in found
    assert found["/etc/iscsi/initiatorname.iscsi"].content == b"InitiatorName=mine"


@pytest.mark.parametrize("trouble", ["no disks", "own kernel"])
def test_a_rollback_is_possible_where_its_root_cannot_be_checked_and_says_so(
    node: FakeNode, capsys: pytest.CaptureFixture[str], trouble: str
) -> None:
    assert call(node, capsys, *update_arguments(node))[0] == 0
    if trouble == "no disks":
        node.set(failing=["lsblk"])
    else:
        path = bls.entry_path(node.places.boot, f"{NEW}+1")
        path.write_text(path.read_text().replace("version ", "version 6.99-own-"))
    status, out, err = call(node, capsys, "rollback", "--to", NEW)
    assert status == 0, err
    assert f"Whether {NEW}+1 reaches its root was not checked: " in out


@pytest.mark.parametrize("command", ["info", "list", "rollback", "verify", "update --cancel", "remove x"])
def test_failures_row_14_a_host_that_is_no_node_is_told_so(
    node: FakeNode, capsys: pytest.CaptureFixture[str], command: str
) -> None:
    node.places.config.unlink()
    status, _, err = call(node, capsys, *command.split())
    assert status == 1 and "this host is no oVirt Node" in err


@pytest.mark.parametrize("command", ["motd", "check"])
def test_failures_row_14_login_shows_a_reason_and_no_traceback(
    node: FakeNode, capsys: pytest.CaptureFixture[str], command: str
) -> None:
    (node.places.boot / "grub/grub.cfg").unlink()
    _, out, _ = call(node, capsys, command)
    assert "BAD" in out and "holds no grub.cfg" in out


def test_check_ends_with_1_for_people_and_0_for_programs(node: FakeNode, capsys: pytest.CaptureFixture[str]) -> None:
    assert call(node, capsys, "check")[0] == 0
    node.set(metadata_percent=99.0)
    assert call(node, capsys, "check")[0] == 1
    assert call(node, capsys, "check", "--machine-readable")[0] == 0
    assert "Node Status: BAD" in call(node, capsys, "check", "--oneline")[1]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["update"], "no image is named"),
        (["update", "/no/such"], "there is no image /no/such"),
        (["update", "{image}", "--no-inhibit"], "comes without a digest or a signature"),
        (["update", "{image}", "--sha256", "0" * 64, "--no-inhibit"], "has the SHA-256 digest"),
        (["update", "{image}", "--nosignature", "--boot-tries", "10"], "--boot-tries takes 1 to 9"),
        (["rollback"], "is the oldest layer"),
        (["rollback", "--to", "none"], "there is no layer none"),
        (["remove", OLD], "runs now"),
        (["verify", "none"], "there is no image none"),
    ],
)
def test_what_makes_no_sense_is_refused_in_a_sentence(
    node: FakeNode, capsys: pytest.CaptureFixture[str], arguments: list[str], said: str
) -> None:
    words = [word.format(image=node.home / "new.squashfs") for word in arguments]
    status, _, err = call(node, capsys, *words)
    assert status == 1 and said in err
    assert NEW not in node.volumes


def test_verify_finds_a_flipped_bit(node: FakeNode, capsys: pytest.CaptureFixture[str]) -> None:
    assert call(node, capsys, *update_arguments(node))[0] == 0
    assert call(node, capsys, "verify")[0] == 0
    device = node.places.dev / "onn" / NEW
    data = bytearray(device.read_bytes())
    data[100] ^= 1
    device.write_bytes(data)
    status, out, _ = call(node, capsys, "verify")
    assert status == 1 and f"{NEW} ... FAILED" in out and f"{OLD} ... UNKNOWN" in out


def test_failures_row_12_without_logind_an_update_is_not_started(
    node: FakeNode, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "dbus", None)
    arguments = [word for word in update_arguments(node) if word != "--no-inhibit"]
    status, _, err = call(node, capsys, *arguments)
    assert status == 1 and "a shutdown cannot be held off" in err and "--no-inhibit" in err
    assert NEW not in node.volumes


def test_failures_row_12_a_plan_says_that_a_shutdown_cannot_be_held_off(
    node: FakeNode, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "dbus", None)
    for word, status in (("--no-inhibit", 0), ("--plan", 1)):
        arguments = [*(one for one in update_arguments(node) if one != "--no-inhibit"), "--plan", word]
        found, out, _ = call(node, capsys, *arguments)
        assert found == status and ("a shutdown cannot be held off" in out) == bool(status)


def test_a_plan_names_packages_that_were_installed_on_the_node(
    node: FakeNode, capsys: pytest.CaptureFixture[str]
) -> None:
    status = "Package: tool\nStatus: install ok installed\nArchitecture: all\nVersion: 2\n\n"
    write(node.places.live, {"usr/lib/sysimage/dpkg/status": status})
    out = call(node, capsys, *update_arguments(node), "--plan")[1]
    assert "  package  tool.all 2 was installed here: it stays in the old layer alone" in out
    out = call(node, capsys, *update_arguments(node), "--plan", "--machine-readable")[1]
    (found,) = json.loads(out)["packages_changed"]
    assert (found["name"], found["here"], found["image"], found["new"]) == ("tool.all", "2", "", "")


def test_failures_row_11_nothing_deactivates_a_volume(node: FakeNode, capsys: pytest.CaptureFixture[str]) -> None:
    assert call(node, capsys, *update_arguments(node))[0] == 0
    assert not [line for line in node.calls if "--activate" in line or " -an" in line or "vgchange" in line]


def test_failures_row_21_with_many_volumes_lvm_is_asked_once_for_this_group(
    node: FakeNode, capsys: pytest.CaptureFixture[str]
) -> None:
    state = node.lvm
    volume = {**state["lvs"][f"{OLD}+1"], "tags": []}
    node.set(lvs={**state["lvs"], **{f"disk-{number}": volume for number in range(500)}})
    before = len(node.calls)
    shown = call(node, capsys, "list")
    assert "disk-1" not in str(shown)
    asked = node.calls[before:]
    assert [line.split()[0] for line in asked] == ["lvs"]
    assert asked[0].endswith(" onn")


def test_no_other_program_sees_the_users_environment(node: FakeNode) -> None:
    assert os.environ["OVIRT_NODE_PATH"].startswith(str(node.home))


def test_an_update_from_a_file_does_not_load_the_http_library(tmp_path: Path) -> None:
    (tmp_path / "image").write_bytes(b"x")
    program = (
        "import sys\n"
        "from org_ovirt_node.node import update_run\n"
        "from org_ovirt_node.payload.sources import open_source\n"
        "with open_source(sys.argv[1]):\n"
        "    assert not {'requests', 'urllib3', 'blivet'} & sys.modules.keys()\n"
    )
    subprocess.run([sys.executable, "-c", program, str(tmp_path / "image")], check=True)

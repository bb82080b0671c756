"""What is written into the new root, on real directories and mounts."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from org_ovirt_node.errors import NodeError, PayloadError
from org_ovirt_node.install import accounts, engine, root, system
from org_ovirt_node.install.engine import DEVICE_BOUND, STEPS
from org_ovirt_node.install.options import Options
from org_ovirt_node.kickstart.model import GroupRequest, NodeSection, SshKeyRequest, SystemRequest, UserRequest
from org_ovirt_node.payload.facts import LIVEOS, TREE, ImageFacts
from org_ovirt_node.progress import Silent
from org_ovirt_node.storage.execute import MadeFileSystem


@pytest.fixture
def new_root(tmp_path: Path) -> Path:
    made = tmp_path / "root"
    for folder in ("etc/iscsi", "etc/nvme", "usr/share/zoneinfo/Europe", "home/ann", "tmp"):
        (made / folder).mkdir(parents=True)
    (made / "usr/share/zoneinfo/Europe/Prague").write_bytes(b"TZif")
    (made / "etc/passwd").write_text("root:x:0:0:root:/root:/bin/bash\nann:x:1001:1002::/home/ann:/bin/sh\n")
    return made


def squashfs(folder: Path, file: Path) -> Path:
    subprocess.run(["mksquashfs", str(folder), str(file), "-quiet", "-no-progress"], check=True, capture_output=True)
    return file


def test_failures_row_23_two_hosts_differ_in_every_id(tmp_path: Path) -> None:
    found = []
    for name in ("one", "two"):
        host = tmp_path / name
        for folder in ("etc/iscsi", "etc/nvme"):
            (host / folder).mkdir(parents=True)
        system.identity(host)
        paths = ("machine-id", "iscsi/initiatorname.iscsi", "nvme/hostid", "nvme/hostnqn")
        found.append([(host / "etc" / path).read_text() for path in paths])
    assert all(first != second for first, second in zip(*found))
    assert found[0][1].startswith("InitiatorName=iqn.")
    assert len(found[0][0].strip()) == 32


def test_a_link_in_etc_is_replaced_and_never_followed(new_root: Path, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.write_text("untouched")
    (new_root / "etc/hostname").symlink_to(outside)
    system.configure(new_root, SystemRequest(hostname="node1.example.com"))
    assert outside.read_text() == "untouched"
    assert (new_root / "etc/hostname").read_text() == "node1.example.com\n"


def test_an_unknown_time_zone_is_named(new_root: Path) -> None:
    with pytest.raises(NodeError, match="Mars/Olympus"):
        system.configure(new_root, SystemRequest(timezone="Mars/Olympus"))


def test_time_zone_language_and_clock(new_root: Path) -> None:
    system.configure(new_root, SystemRequest(timezone="Europe/Prague", utc=False, lang="cs_CZ.UTF-8"))
    assert str((new_root / "etc/localtime").readlink()) == "../usr/share/zoneinfo/Europe/Prague"
    assert (new_root / "etc/locale.conf").read_text() == "LANG=cs_CZ.UTF-8\n"
    assert (new_root / "etc/adjtime").read_text().endswith("LOCAL\n")


@pytest.mark.parametrize("zone", ["", "Europe/Prague"])
def test_time_servers_with_and_without_a_time_zone(new_root: Path, zone: str) -> None:
    system.configure(new_root, SystemRequest(timezone=zone, ntp_servers=("a.example", "192.0.2.1")))
    written = new_root / "etc/systemd/timesyncd.conf.d/ovirt-node.conf"
    assert written.read_text() == "[Time]\nNTP=a.example 192.0.2.1\n"
    (new_root / "etc/chrony.conf").write_text("pool x iburst\nserver y\ndriftfile /z\n")
    system.configure(new_root, SystemRequest(timezone=zone, ntp_servers=("a.example",)))
    assert (new_root / "etc/chrony.conf").read_text() == "driftfile /z\nserver a.example iburst\n"


def test_selinux_enforcing_without_a_policy_is_refused(new_root: Path) -> None:
    with pytest.raises(NodeError, match="no SELinux policy"):
        system.configure(new_root, SystemRequest(selinux="enforcing"))


def test_firewall_without_a_firewall_is_refused(new_root: Path) -> None:
    with pytest.raises(NodeError, match="neither firewalld nor nftables"):
        system.configure(new_root, SystemRequest(firewall=True))


def test_node_config_has_what_the_run_time_needs_and_no_secret(new_root: Path) -> None:
    node = NodeSection(images=("http://user:secret@host/x",), boot_tries=5)
    system.node_config(new_root, node, "onn", "n-1-1")
    text = (new_root / "etc/ovirt-node/node.json").read_text()
    assert json.loads(text)["vg"] == "onn"
    assert json.loads(text)["boot_tries"] == 5
    assert "secret" not in text


def test_an_ssh_key_goes_to_its_user_alone(new_root: Path) -> None:
    request = SystemRequest(sshkeys=(SshKeyRequest("ann", "ssh-ed25519 AAAA ann@home"),))
    accounts.configure(new_root, request)
    file = new_root / "home/ann/.ssh/authorized_keys"
    assert file.read_text() == "ssh-ed25519 AAAA ann@home\n"
    assert (file.stat().st_uid, file.stat().st_gid, file.stat().st_mode & 0o777) == (1001, 1002, 0o600)
    assert file.parent.stat().st_mode & 0o777 == 0o700


def test_an_ssh_key_for_nobody_is_an_error(new_root: Path) -> None:
    with pytest.raises(NodeError, match="names the user bob"):
        accounts.configure(new_root, SystemRequest(sshkeys=(SshKeyRequest("bob", "ssh-ed25519 A"),)))


def test_what_a_first_boot_did_before_it_was_cut_short_is_not_done_twice(
    new_root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (new_root / "etc/group").write_text("root:x:0:\nops:x:1000:\n")
    request = SystemRequest(
        groups=(GroupRequest("ops"), GroupRequest("new")),
        users=(UserRequest("ann", groups=("ops",)),),
        sshkeys=(SshKeyRequest("ann", "ssh-ed25519 AAAA ann@home"),),
    )
    ran: list[list[str]] = []
    monkeypatch.setattr(accounts, "run", lambda argv, **_more: ran.append(argv))
    for _time in range(2):
        accounts.configure(new_root, request, again=True)
    assert ran == 2 * [["groupadd", "new"], ["usermod", "--append", "--groups", "ops", "ann"]]
    assert (new_root / "home/ann/.ssh/authorized_keys").read_text() == "ssh-ed25519 AAAA ann@home\n"


def test_a_user_that_the_image_has_is_an_error(new_root: Path) -> None:
    (new_root / "etc/group").write_text("root:x:0:\n")
    with pytest.raises(NodeError, match="user ann exists"):
        accounts.configure(new_root, SystemRequest(users=(UserRequest("ann"),)))


def test_seeding_keeps_owner_mode_attributes_and_leaves_nested_volumes_alone(tmp_path: Path) -> None:
    tree, target = tmp_path / "tree", tmp_path / "target"
    (tree / "var/log/journal").mkdir(parents=True)
    (tree / "var/lib").mkdir()
    (tree / "var/lib/state").write_text("state")
    os.link(tree / "var/lib/state", tree / "var/lib/same")
    os.chown(tree / "var/lib/state", 12, 34)
    (tree / "var/lib/state").chmod(0o2750)
    os.setxattr(tree / "var/lib/state", "user.kept", b"yes")
    (tree / "var").chmod(0o711)
    (tree / "var/crash").mkdir(mode=0o700)
    (tree / "var/lib/deep/volume").mkdir(parents=True)
    (tree / "var/lib/deep/volume/content").write_text("in a volume of its own")
    (tree / "var/lib/link").symlink_to("/etc/passwd")
    target.mkdir()
    root.seed(tree, "/var", target, ["/var/log", "/var/crash", "/var/lib/deep/volume"])
    found = (target / "lib/state").stat()
    assert (found.st_uid, found.st_gid, found.st_mode & 0o7777, found.st_nlink) == (12, 34, 0o2750, 2)
    assert os.getxattr(target / "lib/state", "user.kept") == b"yes"
    assert target.stat().st_mode & 0o777 == 0o711
    assert (target / "log").is_dir()
    assert not (target / "log/journal").exists()
    assert (target / "crash").stat().st_mode & 0o777 == 0o700
    assert (target / "lib/deep/volume").is_dir()
    assert not (target / "lib/deep/volume/content").exists()
    assert str((target / "lib/link").readlink()) == "/etc/passwd"


def test_seeding_never_overwrites(tmp_path: Path) -> None:
    tree, target = tmp_path / "tree", tmp_path / "target"
    (tree / "home").mkdir(parents=True)
    (tree / "home/file").write_text("the image's")
    target.mkdir()
    (target / "file").write_text("the user's")
    root.seed(tree, "/home", target, [])
    assert (target / "file").read_text() == "the user's"


@pytest.mark.parametrize("form", ["tree", "liveos"])
def test_both_payload_forms_give_the_root_tree(tmp_path: Path, form: str) -> None:
    tree = tmp_path / "tree"
    (tree / "usr").mkdir(parents=True)
    (tree / "usr/marker").write_text(form)
    source = tree
    if form == "liveos":
        source = tmp_path / "outer"
        (source / "LiveOS").mkdir(parents=True)
        squashfs(tree, source / "LiveOS/rootfs.img")
    image = squashfs(source, tmp_path / "image.squashfs")
    with root.image_tree(str(image), tmp_path / "mnt") as found:
        assert (found / "usr/marker").read_text() == form
        assert root.form_of(found) == form
    assert str(tmp_path) not in Path("/proc/self/mountinfo").read_text()


def test_a_squashfs_that_is_no_image_is_refused_and_released(tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    image = squashfs(empty, tmp_path / "image.squashfs")
    with pytest.raises(PayloadError, match="neither a root tree"), root.image_tree(str(image), tmp_path / "mnt"):
        pass
    assert str(tmp_path) not in Path("/proc/self/mountinfo").read_text()


def test_boot_loader_and_entry_come_after_the_image_was_read_back() -> None:
    names = [step.name for step in STEPS]
    assert names.index("verify") < names.index("boot-loader") < names.index("entry") < names.index("start")
    assert names.index("image") < names.index("plan") < names.index("partition")
    assert names.index("assemble") < names.index("pre-install") < names.index("configure") < names.index("post")
    assert len(set(names)) == len(names)
    assert set(DEVICE_BOUND) <= set(names)


@contextmanager
def assembled(folder: Path, *options: str) -> Iterator[root.NodeRoot]:
    """A small node with one volume, /var, mounted with ``options``."""
    tree = folder / "tree"
    for name in ("usr/bin", "var/lib"):
        (tree / name).mkdir(parents=True)
    image = squashfs(tree, folder / "image.squashfs")
    devices = []
    for name in ("layer", "var"):
        with (folder / name).open("wb") as file:
            file.truncate(8 << 20)
        subprocess.run(["mke2fs", "-q", "-F", "-t", "ext4", str(folder / name)], check=True)
        devices.append(str(folder / name))
    with root.node_root(
        str(image),
        root.Mount(devices[0], "/", "ext4"),
        [root.Mount(devices[1], "/var", "ext4", options)],
        work=folder / "work",
        root=folder / "root",
    ) as node:
        yield node


def test_volumes_are_mounted_as_fstab_will_have_them(tmp_path: Path) -> None:
    with assembled(tmp_path, "ro", "nodev", "nofail", "x-systemd.device-timeout=9") as node:
        assert (node.root / "var/lib").is_dir()
        (line,) = (line for line in Path("/proc/self/mounts").read_text().splitlines() if f"{node.root}/var " in line)
        options = line.split()[3].split(",")
        assert "nodev" in options and "rw" in options


def test_an_installation_mounts_with_the_options_of_fstab(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    seen: list[root.Mount] = []

    def stop(_image: str, _layer: root.Mount, mounts: list[root.Mount], **_places: Path) -> None:
        seen.extend(mounts)
        raise NodeError("far enough")

    made = [
        MadeFileSystem("/dev/a", "1", "/var", "ext4", ("discard", "nodev")),
        MadeFileSystem("/dev/b", "2", "", "swap", ()),
    ]
    layout = SimpleNamespace(vg=SimpleNamespace(name="onn"), layer=SimpleNamespace(fstype="ext4"))
    doing = SimpleNamespace(
        _check_name=lambda: None,
        layout=layout,
        options=SimpleNamespace(work=tmp_path, root=tmp_path),
        created=SimpleNamespace(file_systems=made),
        facts=SimpleNamespace(nvr="n-1-1"),
        layer="n-1-1+1",
        stack=ExitStack(),
    )
    monkeypatch.setattr(engine, "node_root", stop)
    with pytest.raises(NodeError, match="far enough"):
        engine.Installation.assemble(cast("Any", doing))
    assert seen == [root.Mount("/dev/a", "/var", "ext4", ("discard", "nodev"))]


def test_a_mount_option_that_means_nothing_is_an_error_of_the_installation(tmp_path: Path) -> None:
    with pytest.raises(NodeError, match="mount failed") as caught, assembled(tmp_path, "nodev", "bogus=1"):
        pass
    assert caught.value.hint == "Its mount options are nodev,bogus=1: see --fsoptions in the kickstart."
    assert str(tmp_path) not in Path("/proc/self/mountinfo").read_text()


@pytest.mark.parametrize("tree, form", [(root.INNER_TREE, LIVEOS), (root.OUTER_TREE, TREE)])
def test_an_image_without_a_manifest_tells_its_name_and_form(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, tree: str, form: str
) -> None:
    inside = tmp_path / tree / "usr/lib/ovirt-node"
    inside.mkdir(parents=True)
    (inside / "image.json").write_text(json.dumps({"format": 1, "nvr": "own-2.0-1"}))
    ran: list[list[object]] = []
    monkeypatch.setattr(engine, "image_tree", lambda _device, _work: nullcontext(tmp_path / tree))
    monkeypatch.setattr(engine, "run", ran.append)
    monkeypatch.setattr(engine, "settle", lambda: None)
    doing = engine.Installation(cast("Any", None), Options(), Silent(), ExitStack())
    doing.facts, doing.layer = ImageFacts("file-1.0-1", 0), "file-1.0-1+1"
    doing.layout = cast("Any", SimpleNamespace(vg=SimpleNamespace(name="onn")))
    doing._check_name()
    assert (doing.facts.nvr, doing.facts.form, doing.layer) == ("own-2.0-1", form, "own-2.0-1+1")
    renamed = [command[1:] for command in ran]
    assert renamed == [["onn", "file-1.0-1", "own-2.0-1"], ["onn", "file-1.0-1+1", "own-2.0-1+1"]]

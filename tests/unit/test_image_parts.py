"""The pure parts of the image builder."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest

from org_ovirt_node.errors import ImageError
from org_ovirt_node.image import build, debian, initramfs, mirror, perhost, policy, runtime, summary
from org_ovirt_node.image.profile import Profile
from org_ovirt_node.install.labels import policy_type

ARCHIVE = "http://a.example/debian/"
SECURITY = "http://s.example/debian-security/"


@pytest.mark.parametrize(
    ("text", "archive", "security"),
    [
        (f"{SECURITY}|Debian-Security|main\n{ARCHIVE}|Debian|main\n", ARCHIVE, SECURITY),
        (f"{ARCHIVE}||main\n{SECURITY}||main\n", ARCHIVE, SECURITY),
        (f"http://x.example/ubuntu/|Ubuntu|main\n{ARCHIVE}|Debian|main\n", ARCHIVE, ""),
        (f"{ARCHIVE}|Debian|contrib\nhttp://b.example/debian/|Debian|main\n", "http://b.example/debian/", ""),
    ],
)
def test_the_host_decides_the_mirror(text: str, archive: str, security: str) -> None:
    assert mirror.parse_targets(text) == mirror.Mirrors(archive, security)


@pytest.mark.parametrize("text", ["http://x.example/apt||main\n", ""])
def test_a_host_without_a_debian_mirror_is_told(text: str) -> None:
    with pytest.raises(ImageError, match="knows no Debian mirror"):
        mirror.parse_targets(text)


def test_security_updates_need_a_mirror_and_the_wish() -> None:
    both = mirror.Mirrors(ARCHIVE, SECURITY)
    assert len(both.sources("trixie", ("main",), security=True)) == 2
    assert len(both.sources("trixie", ("main",), security=False)) == 1
    assert len(mirror.Mirrors(ARCHIVE).sources("trixie", ("main",), security=True)) == 1
    assert f"{SECURITY} trixie-security main" in both.sources("trixie", ("main",), security=True)[1]


def test_the_stage_key_follows_what_goes_in() -> None:
    mirrors = mirror.Mirrors(ARCHIVE)
    base = Profile(name="n", suite="trixie", packages=("a", "b"))
    key = debian.stage_key(base, mirrors)
    assert key == debian.stage_key(replace(base, packages=("b", "a", "a"), name="other", boot_args="x"), mirrors)
    for other in (
        replace(base, suite="sid"),
        replace(base, packages=("a",)),
        replace(base, exclude=("/x",)),
        replace(base, components=("main", "contrib")),
    ):
        assert key != debian.stage_key(other, mirrors)
    assert key != debian.stage_key(base, mirror.Mirrors("http://b.example/debian/"))


@pytest.mark.parametrize(
    ("path", "filtered"),
    [
        ("/usr/share/doc/bash/README", True),
        ("/usr/share/doc/bash/examples/x/y", True),
        ("/usr/share/doc/bash/copyright", False),
        ("/usr/share/doc", False),
        ("/usr/share/docs/x", False),
    ],
)
def test_path_filters(path: str, filtered: bool) -> None:
    assert debian.is_filtered(path, ("/usr/share/doc/*",), ("/usr/share/doc/*/copyright",)) is filtered


def test_only_filtered_paths_are_forgotten(tmp_path: Path) -> None:
    info = tmp_path / debian.DPKG_INFO
    info.mkdir(parents=True)
    (tmp_path / "usr/share/doc").mkdir(parents=True)
    (tmp_path / "usr/share/doc/kept").write_text("x", encoding="utf-8")
    (info / "p.list").write_text("/.\n/usr/share/doc/gone\n/usr/share/doc/kept\n/usr/bin/lost\n", encoding="utf-8")
    (info / "p.md5sums").write_text("0  usr/share/doc/gone\n1  usr/share/doc/kept\n2  usr/bin/lost\n", encoding="utf-8")
    assert debian.forget_filtered(tmp_path, ("/usr/share/doc/*",), ()) == 1
    assert (info / "p.list").read_text(encoding="utf-8") == "/.\n/usr/share/doc/kept\n/usr/bin/lost\n"
    assert (info / "p.md5sums").read_text(encoding="utf-8") == "1  usr/share/doc/kept\n2  usr/bin/lost\n"


@pytest.mark.parametrize(
    "text",
    [
        'devices {\n\t# use_devicesfile = 0\n\tdir = "/dev"\n}\nglobal {\n\t# thin_check_options = [ "-q" ]\n}\n',
        "devices {\n    use_devicesfile=0\n}\n",
        "global {\n\t# Configuration option global/thin_check_options.\n}\n",
    ],
)
def test_lvm_has_the_settings_of_a_node_once(text: str) -> None:
    changed = runtime.with_lvm_settings(text)
    lines = [line.strip() for line in changed.splitlines() if " = " in line and "dir" not in line]
    assert sorted(lines) == [
        'thin_check_options = [ "-q", "--clear-needs-check-flag" ]',
        "use_devicesfile = 1",
    ]
    assert changed.count("{") == changed.count("}")
    assert runtime.with_lvm_settings(changed) == changed


def test_nothing_of_the_building_host_is_removed_through_a_link_of_the_tree(tmp_path: Path) -> None:
    host, tree = tmp_path / "host", tmp_path / "tree"
    for folder in (host, tree / "etc", tree / "var", tree / "data"):
        folder.mkdir(parents=True)
    (host / "precious").write_text("kept")
    (host / "wtmp").write_text("kept")
    for name in ("tmp", "log"):
        (tree / "var" / name).symlink_to(host)
    (tree / "etc/iscsi").symlink_to("/data")
    (tree / "data/initiatorname.iscsi").write_text("InitiatorName=x")
    assert perhost.clear(tree) == ["/data/initiatorname.iscsi"]
    assert sorted(path.read_text() for path in host.iterdir()) == ["kept", "kept"]


def test_what_is_per_host_goes(tmp_path: Path) -> None:
    files = {
        "etc/machine-id": "0123\n",
        "etc/ssh/ssh_host_rsa_key": "secret",
        "etc/ssh/sshd_config": "kept",
        "etc/iscsi/initiatorname.iscsi": "InitiatorName=x",
        "etc/nvme/hostnqn": "x",
        "etc/hostname": "builder",
        "etc/NetworkManager/system-connections/eth0.nmconnection": "x",
        "etc/lvm/devices/system.devices": "x",
        "var/lib/systemd/random-seed": "x",
        "var/log/journal/abc/system.journal": "x",
        "var/log/wtmp": "x",
        "boot/initrd.img": "x",
        "etc/mdadm/mdadm.conf": "HOMEHOST\n# This configuration was auto-generated on Mon, 1 Jan by mkconf\n",
    }
    for name, text in files.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    perhost.clear(tmp_path)
    left = {
        str(path.relative_to(tmp_path)): path.read_text(encoding="utf-8")
        for path in tmp_path.rglob("*")
        if path.is_file()
    }
    assert left == {
        "etc/machine-id": "",
        "etc/mdadm/mdadm.conf": "HOMEHOST\n",
        "etc/ssh/sshd_config": "kept",
        "var/log/wtmp": "",
    }


def test_only_accounts_without_a_password_get_the_day_of_the_image(tmp_path: Path) -> None:
    (tmp_path / "etc").mkdir()
    shadow = tmp_path / "etc/shadow"
    shadow.write_text(
        "root:*:20000:0:99999:7:::\nme:$6$x$y:20000:0:99999:7:::\nx:!:0:0:99999:7:::\nodd\n", encoding="utf-8"
    )
    perhost.settle_password_days(tmp_path, 86400 * 19000 + 5)
    assert shadow.read_text(encoding="utf-8") == (
        "root:*:19000:0:99999:7:::\nme:$6$x$y:20000:0:99999:7:::\nx:!:0:0:99999:7:::\nodd\n"
    )


def test_one_kernel_and_only_one(tmp_path: Path) -> None:
    for version in ("6.1", "6.2"):
        folder = tmp_path / "usr/lib/modules" / version
        with pytest.raises(ImageError, match=r"none|6\.1"):
            initramfs.kernel_version(tmp_path / "empty")
        folder.mkdir(parents=True)
        (folder / "modules.dep").write_text("", encoding="utf-8")
        if version == "6.1":
            assert initramfs.kernel_version(tmp_path) == "6.1"
    with pytest.raises(ImageError, match=r"6\.1, 6\.2"):
        initramfs.kernel_version(tmp_path)


def test_drivers_that_the_kernel_has_not_are_not_asked_for(tmp_path: Path) -> None:
    folder = tmp_path / "usr/lib/modules/6.1"
    folder.mkdir(parents=True)
    (folder / "modules.dep").write_text("kernel/fs/ext4/ext4.ko.xz: kernel/lib/crc.ko.xz\n", encoding="utf-8")
    (folder / "modules.builtin").write_text("kernel/drivers/nvme/nvme-core.ko\n", encoding="utf-8")
    known = initramfs.known_modules(tmp_path, "6.1")
    assert known == {"ext4", "nvme_core"}
    wanted = Profile(name="n", initramfs_drivers=("ext4", "usb-storage", "nvme-core"))
    command = initramfs.dracut_command(wanted, "6.1", "/t", known)
    assert command[command.index("--add-drivers") + 1] == "ext4 nvme-core"
    assert command[-1] == "/t"


def request(tmp_path: Path) -> build.BuildRequest:
    return build.BuildRequest(Profile(name="ovirt-node-demo"), "1.0", "1", tmp_path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"version": "1-0"}, "version '1-0'"),
        ({"version": ""}, "version ''"),
        ({"release": "1+2"}, "release '1+2'"),
        ({"form": "tar"}, "unknown form"),
        ({"version": "1" * 100}, "longer than"),
        ({"profile": Profile(name="a/b")}, "a/b"),
        ({"root": Path("/nonexistent")}, "neither an image nor a root tree"),
    ],
)
def test_what_cannot_be_built_is_refused_at_once(tmp_path: Path, change: dict[str, object], message: str) -> None:
    with pytest.raises(ImageError, match=message.replace("+", r"\+")):
        build.check(replace(request(tmp_path), **change))  # type: ignore[arg-type]


def test_the_nvr_has_three_parts(tmp_path: Path) -> None:
    assert request(tmp_path).nvr == "ovirt-node-demo-1.0-1"


def test_the_date_is_that_of_the_newest_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    info = tmp_path / debian.DPKG_INFO
    info.mkdir(parents=True)
    for name, moment in (("a", 100), ("b", 300), ("built", 900)):
        (tmp_path / name).write_text("x", encoding="utf-8")
        os.utime(tmp_path / name, (moment, moment))
    (info / "a.md5sums").write_text("0  a\n", encoding="utf-8")
    (info / "b.md5sums").write_text("0  b\n", encoding="utf-8")
    monkeypatch.delenv("SOURCE_DATE_EPOCH", raising=False)
    assert build.source_date(tmp_path) == 300
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "12345")
    assert build.source_date(tmp_path) == 12345
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "yesterday")
    with pytest.raises(ImageError, match="yesterday"):
        build.source_date(tmp_path)


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("SELINUX=permissive\nSELINUXTYPE=default\n", "default"),
        ("# SELINUXTYPE=old\n SELINUXTYPE = targeted \n", "targeted"),
        ("SELINUX=disabled\n", ""),
    ],
)
def test_the_policy_is_read_from_its_configuration(text: str, kind: str) -> None:
    assert policy_type(text) == kind


def test_the_summary_counts_hard_links_once_and_knows_owners(tmp_path: Path) -> None:
    info = tmp_path / summary.DPKG_INFO
    info.mkdir(parents=True)
    (tmp_path / "usr/bin").mkdir()
    (tmp_path / "usr/bin/one").write_bytes(b"x" * 1000)
    os.link(tmp_path / "usr/bin/one", tmp_path / "usr/bin/two")
    (tmp_path / "stray").write_bytes(b"y" * 10)
    listing = "/.\n/bin/one\n/bin/two\n"
    (info / "p:amd64.list").write_text(listing, encoding="utf-8")
    result = summary.summarize(tmp_path)
    assert result.total == 1010 + len(listing)
    assert dict(result.packages) == {"p": 1000, "(no package)": 10 + len(listing)}
    assert dict(result.folders)["/usr/bin"] == 1000
    assert "1000 B" in summary.as_text(result, 5)


@pytest.mark.parametrize("debian_tree", [True, False])
def test_only_debians_policy_gets_our_module_and_every_tree_the_folders(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, debian_tree: bool
) -> None:
    for name in ("etc/lvm", "var/log", "var/lib/dpkg", "usr/sbin", "etc/selinux/default/contexts/files"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "etc/selinux/config").write_text("SELINUXTYPE=default\n", encoding="utf-8")
    for name in ("etc/selinux/default/contexts/files/file_contexts", "usr/sbin/setfiles", "usr/sbin/semodule"):
        (tmp_path / name).touch()
    if debian_tree:
        (tmp_path / "var/lib/dpkg/status").touch()
    called: list[list[str]] = []
    monkeypatch.setattr(policy, "run_in", lambda _root, argv: called.append(argv))
    policy.make_folders(tmp_path)
    assert policy.install(tmp_path) is debian_tree
    assert (tmp_path / "etc/lvm/backup").stat().st_mode & 0o777 == 0o700
    assert not (tmp_path / "etc/multipath").exists()
    module = tmp_path / "usr/share/selinux/ovirt-node/ovirt-node.cil"
    assert module.exists() is debian_tree
    assert [argv[-1] for argv in called] == (["/usr/share/selinux/ovirt-node/ovirt-node.cil"] if debian_tree else [])


def test_a_change_of_the_policy_makes_another_image() -> None:
    assert policy.MODULE in [path.name for path in runtime.sources()]

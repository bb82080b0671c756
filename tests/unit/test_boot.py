"""Entries, grub.cfg, environment block, kernel command line and host.img."""

from __future__ import annotations

import contextlib
import errno
import os
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from org_ovirt_node.boot import bls, cmdline, files, grubcfg, grubenv, hostinitrd
from org_ovirt_node.errors import BootError

LAYER = "ovirt-node-demo-1.0-1+1"
OPTIONS = "root=ovirt-node ovirt_node.vg=onn console=ttyS0"
ENTRY = bls.layer_entry(LAYER, "ovirt-node-demo-1.0-1", "6.12.1", OPTIONS, "0" * 32)


def script_check(text: str, tmp_path: Path) -> None:
    """GRUB's own parser accepts ``text``."""
    file = tmp_path / "grub.cfg"
    file.write_text(text, encoding="utf-8")
    subprocess.run(["grub-script-check", str(file)], check=True, capture_output=True)


def run_grub_script(text: str, variables: dict[str, str]) -> dict[str, str]:
    """Run our grub.cfg in a shell that knows its few commands; its variables afterwards.

    GRUB's script language is close enough to sh for the part that counts; what is GRUB's own is made a no-op.
    """
    prelude = "set_() { eval \"${1%%=*}='${1#*=}'\"; }\n"
    for command in ("insmod", "serial", "terminal_input", "terminal_output", "load_env", "source"):
        prelude += f"{command}() {{ :; }}\n"
    prelude += 'save_env() { for n in "$@"; do echo "$n=$(eval echo \\$$n)"; done; }\n'
    body = "\n".join(line.replace("set ", "set_ ", 1) if "set " in line else line for line in text.splitlines())
    script = prelude + body + "\necho default=$default\n"
    done = subprocess.run(
        ["bash", "-c", script], env={"prefix": "/nowhere", **variables}, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return dict(line.split("=", 1) for line in done.stdout.splitlines())


def test_entry_is_what_the_boot_loader_specification_says() -> None:
    assert ENTRY.render() == (
        f"title oVirt Node {LAYER}\n"
        "version 6.12.1\n"
        "sort-key ovirt-node\n"
        f"machine-id {'0' * 32}\n"
        f"linux /{LAYER}/vmlinuz\n"
        f"initrd /{LAYER}/initramfs.img\n"
        f"initrd /{LAYER}/host.img\n"
        f"options {OPTIONS}\n"
    )


def test_entry_round_trip() -> None:
    assert bls.parse(ENTRY.render(), LAYER) == ENTRY


def test_an_entry_without_kernel_is_named() -> None:
    with pytest.raises(BootError, match=r"odd\.conf names no kernel"):
        bls.parse("title odd\noptions quiet\n", "odd")


@given(st.text(max_size=400))
def test_no_entry_text_gives_a_traceback(text: str) -> None:
    with contextlib.suppress(BootError):
        bls.parse(text, "x")


def test_grub_accepts_its_configuration(tmp_path: Path) -> None:
    script_check(grubcfg.render_config(5, "console=tty0 console=ttyS0,9600"), tmp_path)
    script_check(grubcfg.render_entries([ENTRY]), tmp_path)


@pytest.mark.parametrize(
    "options",
    ['dyndbg="file a.c +p ; $x" quiet', "it's", "a=$(reboot)", "a={b}", "a=b;c", "x=\\", 'open="quote', "a=`b`"],
)
def test_no_kernel_argument_escapes_into_grub_script(options: str, tmp_path: Path) -> None:
    entry = bls.layer_entry(LAYER, "n", "6", options, "")
    text = grubcfg.render_entries([entry])
    script_check(text, tmp_path)
    assert text.count("menuentry ") == 1
    line = next(line for line in text.splitlines() if line.startswith("  linux "))
    # A shell's word splitting is GRUB's: what GRUB hands to the kernel is what was asked for.
    words = subprocess.run(
        ["bash", "-c", "printf '%s\\n' " + line[len("  linux ") :]], capture_output=True, text=True, check=True
    ).stdout.splitlines()
    assert words[1:] == list(cmdline.split(options))


def test_a_line_break_in_an_entry_is_refused() -> None:
    with pytest.raises(BootError, match="line break"):
        grubcfg.render_entries([bls.layer_entry(LAYER, "n", "6", 'a="b\nreboot"', "")])


def test_serial_console_of_grub_follows_the_kernel() -> None:
    assert "serial --unit=1 --speed=9600\n" in grubcfg.render_config(5, "quiet console=ttyS1,9600n8")
    assert "serial" not in grubcfg.render_config(5, "quiet console=tty0")


@pytest.mark.parametrize(
    ("tries", "default", "left", "failed"),
    [("3", "new", "2", ""), ("1", "new", "0", ""), ("0", "old", "0", "new"), ("", "old", "", "new")],
)
def test_a_layer_on_trial_is_booted_as_long_as_it_has_tries(tries: str, default: str, left: str, failed: str) -> None:
    text = grubcfg.render_config(5, "")
    after = run_grub_script(text, {"saved_entry": "old", "trial_entry": "new", "trial_tries": tries})
    assert after == {"default": default, "trial_tries": left, "trial_failed": failed}


def test_without_a_trial_the_saved_entry_is_booted_and_nothing_is_written() -> None:
    assert run_grub_script(grubcfg.render_config(5, ""), {"saved_entry": "good"}) == {"default": "good"}


def test_environment_block_is_1024_bytes_and_read_by_grub(tmp_path: Path) -> None:
    file = tmp_path / "grubenv"
    file.write_bytes(grubenv.render({"saved_entry": LAYER, "odd": "a\\b"}))
    assert file.stat().st_size == 1024
    shown = subprocess.run(["grub-editenv", str(file), "list"], capture_output=True, text=True, check=True).stdout
    assert f"saved_entry={LAYER}" in shown.splitlines()
    subprocess.run(["grub-editenv", str(file), "set", "trial_tries=2"], check=True)
    assert grubenv.parse(file.read_bytes()) == {"saved_entry": LAYER, "odd": "a\\b", "trial_tries": "2"}


@pytest.mark.parametrize("data", [b"", b"short", b"\0" * 1024, b"GARBAGE" * 400])
def test_failures_row_18_a_lost_or_foreign_environment_block_has_no_variables(data: bytes) -> None:
    assert grubenv.parse(data) == {}


def test_failures_row_3_a_truncated_environment_block_keeps_what_is_whole() -> None:
    assert grubenv.parse(grubenv.render({"a": "1", "b": "2"})[:30]) == {"a": "1"}


def test_a_full_environment_block_is_an_error() -> None:
    with pytest.raises(BootError, match="1024"):
        grubenv.render({"a": "x" * 1024})


NAMES = st.text("abcdefghijklmnop_", min_size=1, max_size=10)
VALUES = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=30)


@given(st.dictionaries(NAMES, VALUES, max_size=5))
def test_environment_round_trip(values: dict[str, str]) -> None:
    assert grubenv.parse(grubenv.render(values)) == values


def test_command_line_keeps_the_users_arguments_in_their_order() -> None:
    ours = cmdline.layer_arguments("onn", "n-1", "n-1+1")
    line = cmdline.command_line(ours, "quiet selinux=1", "b=2 a=1 root=/dev/sda1 rd.lvm.lv=old/root")
    assert line == (
        "root=ovirt-node ovirt_node.vg=onn ovirt_node.image=n-1 ovirt_node.layer=n-1+1 "
        "rd.lvm.lv=onn/n-1 rd.lvm.lv=onn/n-1+1 quiet selinux=1 b=2 a=1 rd.lvm.lv=old/root"
    )


USERS = "hugepagesz=1G hugepages=4 hugepagesz=2M hugepages=4 quiet rd.lvm.lv=onn/swap console=tty0 console=ttyS0"


@pytest.mark.parametrize("image", ["", "quiet", "quiet console=ttyS0 console=tty0", "a quiet b"])
def test_failures_row_20_a_users_argument_is_kept_in_its_place_however_often_it_is_there(image: str) -> None:
    ours = cmdline.layer_arguments("onn", "n-1", "n-1+1", "ab" * 32, 4096)
    line = cmdline.command_line(ours, image, USERS)
    assert cmdline.user_arguments(line, image) == tuple(USERS.split())


def test_an_argument_of_the_image_that_the_user_took_out_of_the_entry_takes_none_of_the_users_along() -> None:
    line = cmdline.command_line(cmdline.layer_arguments("onn", "n-1", "n-1+1"), "a b", "user b2")
    assert cmdline.user_arguments(line, "a x b") == ("user", "b2")


def test_host_initrd_unpacks_to_what_was_put_in(tmp_path: Path) -> None:
    archive = hostinitrd.build(
        {
            "/etc/lvm/devices/system.devices": hostinitrd.HostFile(b"VERSION=1.1.1\n", 0o600),
            "/etc/iscsi/initiatorname.iscsi": hostinitrd.HostFile(b"InitiatorName=iqn.x:1\n"),
        }
    )
    subprocess.run(["cpio", "-idm", "--quiet"], input=archive, cwd=tmp_path, check=True)
    found = tmp_path / "etc/lvm/devices/system.devices"
    assert found.read_bytes() == b"VERSION=1.1.1\n"
    assert found.stat().st_mode & 0o7777 == 0o600
    assert (tmp_path / "etc/iscsi/initiatorname.iscsi").read_bytes() == b"InitiatorName=iqn.x:1\n"


def test_an_empty_host_initrd_is_a_valid_archive() -> None:
    subprocess.run(["cpio", "-it", "--quiet"], input=hostinitrd.build({}), check=True, capture_output=True)


def test_published_menu_has_the_newest_layer_first_and_skips_nothing(tmp_path: Path) -> None:
    for name in ("n-1.0-1+1", "n-2.0-1+1"):
        entry = bls.layer_entry(name, name[:-2], "6", "quiet", "")
        files.write_durably(bls.entry_path(tmp_path, name), entry.render().encode())
    text = files.render_menu(tmp_path)
    assert text.index("n-2.0-1+1") < text.index("n-1.0-1+1")


def test_a_failing_write_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "grub.cfg"
    files.write_durably(file, b"old")

    def no_space(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", no_space)
    with pytest.raises(OSError, match="No space"):
        files.write_durably(file, b"new")
    assert file.read_bytes() == b"old"


def test_a_link_in_the_place_of_a_file_that_is_not_whole_yet_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "victim").write_bytes(b"untouched")
    (tmp_path / ".grub.cfg.new").symlink_to("victim")
    files.write_durably(tmp_path / "grub.cfg", b"new")
    assert (tmp_path / "victim").read_bytes() == b"untouched"
    assert (tmp_path / "grub.cfg").read_bytes() == b"new" and not (tmp_path / "grub.cfg").is_symlink()


def test_a_file_is_for_its_owner_alone_until_it_is_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    left = tmp_path / ".host.img.new"
    left.write_bytes(b"of a run that was cut short")
    left.chmod(0o666)
    reader = left.open("rb")
    modes: list[int] = []
    monkeypatch.setattr(files, "_inherit_label", lambda path: modes.append(path.stat().st_mode & 0o777))
    umask = os.umask(0)
    try:
        for name, mode in (("host.img", 0o600), ("grub.cfg", 0o644)):
            files.write_durably(tmp_path / name, b"secret", mode)
            assert (tmp_path / name).stat().st_mode & 0o777 == mode
    finally:
        os.umask(umask)
    assert modes == [0o600, 0o600]
    with reader:
        # Whoever had the old one open reads nothing of the new one.
        assert reader.read() == b"of a run that was cut short"


@pytest.mark.parametrize(
    ("made", "said"), [((), "no kernel"), (("6.1", "6.2"), "several kernels"), (("6.1",), "lacks /usr/lib/modules")]
)
def test_an_image_without_one_kernel_and_initramfs_is_refused(tmp_path: Path, made: tuple[str, ...], said: str) -> None:
    for version in made:
        folder = tmp_path / "usr/lib/modules" / version
        folder.mkdir(parents=True)
        (folder / "vmlinuz").write_bytes(b"kernel")
    with pytest.raises(BootError, match=said):
        files.find_kernel(tmp_path)


def test_a_disk_that_fails_is_no_foreign_boot_entry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = bls.entry_path(tmp_path, "n-1.0-1+1")
    path.parent.mkdir(parents=True)
    path.write_text("title n\nlinux /n\n")

    def failing(_self: Path, **_options: str) -> str:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(Path, "read_text", failing)
    with pytest.raises(BootError, match=r"n-1\.0-1\+1\.conf cannot be read: Input/output error"):
        bls.read_all(tmp_path)


def test_what_an_installer_without_selinux_writes_has_its_folders_label(tmp_path: Path) -> None:
    label = b"system_u:object_r:boot_t:s0"
    os.setxattr(tmp_path, files.LABEL, label)
    path = tmp_path / "loader/entries/a.conf"
    files.write_durably(path, b"x")
    for place in (path, path.parent, path.parent.parent):
        assert os.getxattr(place, files.LABEL) == label
    plain = tmp_path / "other"
    plain.mkdir()
    files.write_durably(plain / "a", b"x")
    assert os.listxattr(plain / "a") == []

"""ovirt-node-image edit: on a small image with this host's real dpkg and rpm in it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from org_ovirt_node.errors import ImageError
from org_ovirt_node.image import edit, insert, perhost
from org_ovirt_node.image.runtime import ImageRecord
from org_ovirt_node.image.squash import pack_liveos, sha256
from org_ovirt_node.install.root import image_tree
from org_ovirt_node.node.installed import packages
from org_ovirt_node.payload.manifest import Manifest, as_text, parse
from org_ovirt_node.payload.verity import append_tree
from tests.support import smalltree
from tests.support.packages import deb, rpm, squashfs, write

PROJECT = Path(__file__).parents[2]
KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIIhb0sP8mNyJo2jQbRTxHhjXMYFg1H3r2xk1mQwBqIjK admin@example.org"
SECONDS = 60


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("dpkg")
    return squashfs(smalltree.make(folder / "root"), folder / "small-1.0-1.squashfs", "-comp", "lz4")


@pytest.fixture(scope="module")
def rpm_image(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("rpm")
    return squashfs(smalltree.make(folder / "root", rpm=True), folder / "small-1.0-1.squashfs", "-comp", "lz4")


def command(*arguments: object) -> list[str]:
    return [sys.executable, "-m", "org_ovirt_node.cli.image", "edit", *map(str, arguments)]


def run(*arguments: object, **environment: str) -> subprocess.CompletedProcess[str]:
    env = {**os.environ, **environment}
    return subprocess.run(command(*arguments), cwd=PROJECT, capture_output=True, text=True, check=False, env=env)


def edited(*arguments: object, **environment: str) -> Path:
    done = run(*arguments, **environment)
    assert done.returncode == 0, done.stderr
    return Path(done.stdout.strip())


@pytest.fixture
def seen(tmp_path: Path) -> Iterator[list[Path]]:
    """Nothing is left mounted, attached or lying about but the images that are named."""
    made: list[Path] = []
    yield made
    assert str(tmp_path) not in Path("/proc/self/mountinfo").read_text()
    assert str(tmp_path) not in subprocess.run(["losetup", "--list"], capture_output=True, text=True, check=True).stdout
    folder = tmp_path / "out"
    beside = {f"{path.name}.sha256" for path in made} | {f"{path.stem}.json" for path in made}
    left = {path.name for path in folder.iterdir()} if folder.exists() else set()
    assert left <= {path.name for path in made} | beside


def test_everything_at_once(image: Path, tmp_path: Path, seen: list[Path]) -> None:
    before = image.read_bytes()
    base = deb(tmp_path, "base", "1.0", {"usr/share/base": "b", "usr/share/doc/base/README": "left out"})
    script = "echo made > /etc/made; echo id > /etc/hostname"
    tool = deb(tmp_path, "tool", "2.0", {"usr/bin/tool": "t", "etc/tool.conf": "c"}, post=script, depends="base")
    write(tmp_path, {"files/motd": "hello\n", "files/sub/x": "x", "script": "#!/bin/sh\ncat /etc/made > /etc/ran\n"})
    write(tmp_path, {"lan.nmconnection": "[connection]\n", "id.pub": f"# mine\n{KEY}\n"})
    (tmp_path / "files/sub/x").chmod(0o640)
    os.chown(tmp_path / "files/sub/x", 1234, 1234)
    made = edited(
        image,
        *("--output", tmp_path / "out", "--set-nvr", "mine-1.0-7"),
        *("--install-deb", tool, "--install-deb", base),
        *("--copy-in", f"{tmp_path}/files:/opt/files", "--copy-in", f"{tmp_path}/files/motd:/etc/"),
        *("--copy-in", f"{tmp_path}/lan.nmconnection:/etc/NetworkManager/system-connections/"),
        *("--run", tmp_path / "script", "--add-boot-arg", "audit=1", "--add-boot-arg", "quiet"),
        *("--ssh-key", tmp_path / "id.pub"),
    )
    seen.append(made)
    assert made == tmp_path / "out/mine-1.0-7.squashfs"
    assert image.read_bytes() == before, "the image that was edited is as it was"
    with image_tree(str(made), tmp_path / "mnt") as tree:
        record = json.loads((tree / "usr/lib/ovirt-node/image.json").read_text())
        assert (record["nvr"], record["name"], record["release"]) == ("mine-1.0-7", "mine", "7")
        assert record["boot_args"] == "quiet audit=1"
        assert [(one.name, one.version) for one in packages(tree)] == [("base", "1.0"), ("tool", "2.0")]
        assert (tree / "etc/ran").read_text() == "made\n"
        assert (tree / "etc/motd").read_text() == "hello\n"
        copied = (tree / "opt/files/sub/x").stat()
        assert (copied.st_mode & 0o777, copied.st_uid, copied.st_gid) == (0o640, 0, 0)
        assert (tree / "root/.ssh/authorized_keys").read_text() == f"{KEY}\n"
        assert (tree / "root/.ssh").stat().st_mode & 0o777 == 0o700
        assert (tree / "etc/NetworkManager/system-connections/lan.nmconnection").exists(), "it was asked for"
        assert not (tree / "etc/hostname").exists(), "a package made it, and it is a host's own"
        for name in ("tool.conf", "ran", "motd"):
            assert (tree / "usr/lib/ovirt-node/etc" / name).exists(), "the image's own /etc, for later merges"
        assert not list((tree / "var/tmp").iterdir()) and not (tree / "usr/sbin/policy-rc.d").exists()
        listed = (tree / "usr/lib/sysimage/dpkg/info/base.list").read_text()
        assert "README" not in listed, "dpkg --verify would miss what the image's filters leave out"


def test_an_edited_image_is_edited_again(image: Path, tmp_path: Path, seen: list[Path]) -> None:
    write(tmp_path, {"id.pub": f"{KEY}\n", "motd": "m"})
    first = edited(image, "--output", tmp_path / "out", "--ssh-key", tmp_path / "id.pub")
    second = edited(first, "--output", tmp_path / "out", "--copy-in", f"{tmp_path}/motd:/etc/motd")
    seen += [first, second]
    assert [first.name, second.name] == ["small-1.0-1.e1.squashfs", "small-1.0-1.e2.squashfs"]
    with image_tree(str(second), tmp_path / "mnt") as tree:
        assert (tree / "root/.ssh/authorized_keys").read_text() == f"{KEY}\n", "it was put there on purpose"
        assert json.loads((tree / "usr/lib/ovirt-node/image.json").read_text())["boot_args"] == "quiet"


def test_the_same_edit_gives_the_same_bytes(image: Path, tmp_path: Path) -> None:
    package = deb(tmp_path, "tool", "2.0", {"usr/bin/tool": "t"}, post="echo $SOURCE_DATE_EPOCH > /etc/made")
    write(tmp_path, {"motd": "m", "script": "#!/bin/sh\ntouch /etc/ran\n"})
    arguments = ["--install-deb", package, "--copy-in", f"{tmp_path}/motd:/etc/motd", "--run", tmp_path / "script"]
    one = edited(image, "--output", tmp_path / "one", *arguments)
    os.utime(tmp_path / "motd", (5, 5))
    two = edited(image, "--output", tmp_path / "two", *arguments)
    other = edited(image, "--output", tmp_path / "other", *arguments, SOURCE_DATE_EPOCH="1700000000")
    again = edited(image, "--output", tmp_path / "again", *arguments, SOURCE_DATE_EPOCH="1700000000")
    assert one.read_bytes() == two.read_bytes()
    assert other.read_bytes() == again.read_bytes() != one.read_bytes()


def test_rpm_packages(rpm_image: Path, tmp_path: Path, seen: list[Path]) -> None:
    made = [rpm(tmp_path, "one", "1.0", {"usr/share/one": "1"}, post="echo ran > /etc/one")]
    made.append(rpm(tmp_path, "two", "1.0", {"etc/two": "2"}))
    target = edited(rpm_image, "--output", tmp_path / "out", "--install-rpm", made[0], "--install-rpm", made[1])
    seen.append(target)
    with image_tree(str(target), tmp_path / "mnt") as tree:
        assert [one.name for one in packages(tree)] == ["one", "shell", "two"]
        assert (tree / "etc/one").read_text() == "ran\n"


def test_rpm_packages_give_the_same_bytes_too(rpm_image: Path, tmp_path: Path) -> None:
    package = rpm(tmp_path, "one", "1.0", {"usr/share/one": "1"})
    one = edited(rpm_image, "--output", tmp_path / "one", "--install-rpm", package)
    time.sleep(1.1)  # rpm counts in seconds
    two = edited(rpm_image, "--output", tmp_path / "two", "--install-rpm", package)
    assert one.read_bytes() == two.read_bytes()


def test_a_hash_tree_and_what_a_host_must_have_come_along(image: Path, tmp_path: Path) -> None:
    own = tmp_path / "small-1.0-1.squashfs"
    own.write_bytes(image.read_bytes())
    tree = append_tree(own)
    manifest = Manifest("small-1.0-1", own.name, own.stat().st_size, sha256(own), "tree", "6.1", "2024-01-01T00:00:00Z")
    (tmp_path / "small-1.0-1.json").write_text(as_text(replace(manifest, minimum_memory=1 << 30, verity=tree)))
    made = edited(own, "--output", tmp_path / "out", "--add-boot-arg", "audit=1")
    said = parse((tmp_path / "out/small-1.0-1.e1.json").read_bytes(), "m")
    assert (said.nvr, said.boot_args, said.minimum_memory) == ("small-1.0-1.e1", "quiet audit=1", 1 << 30)
    assert said.verity is not None and said.verity.roothash != tree.roothash
    checked = subprocess.run(
        [sys.executable, "-m", "org_ovirt_node.cli.image", "verify", str(made)], cwd=PROJECT, check=False
    )
    assert checked.returncode == 0


@pytest.mark.parametrize("beside", ["", "other-1.0-1"])
def test_without_its_manifest_an_image_is_edited_and_what_is_lost_is_said(
    image: Path, tmp_path: Path, beside: str
) -> None:
    own = tmp_path / "small-1.0-1.squashfs"
    own.symlink_to(image)
    if beside:
        manifest = Manifest(beside, own.name, 4096, 64 * "0", "tree", "6.1", "2024-01-01T00:00:00Z")
        (tmp_path / "small-1.0-1.json").write_text(as_text(replace(manifest, minimum_disk=1 << 40)))
    done = run(own, "--output", tmp_path / "out", "--add-boot-arg", "audit=1")
    assert done.returncode == 0, done.stderr
    said = parse(Path(done.stdout.strip()).with_suffix(".json").read_bytes(), "m")
    assert (said.minimum_disk, said.minimum_memory, said.verity) == (0, 0, None)
    why = f"small-1.0-1.json is that of {beside}" if beside else "there is no small-1.0-1.json beside the image"
    assert f"Warning: {why}, so the new image asks a host for no minimum" in done.stderr


def test_a_manifest_that_cannot_be_read_ends_it(image: Path, tmp_path: Path) -> None:
    (tmp_path / "small-1.0-1.squashfs").symlink_to(image)
    (tmp_path / "small-1.0-1.json").write_text("{")
    done = run(tmp_path / "small-1.0-1.squashfs", "--output", tmp_path / "out", "--add-boot-arg", "audit=1")
    assert done.returncode == 1 and "small-1.0-1.json" in done.stderr and len(done.stderr.splitlines()) <= 2
    assert not (tmp_path / "out").exists()


def test_a_liveos_image_stays_one(image: Path, tmp_path: Path) -> None:
    with image_tree(str(image), tmp_path / "mnt") as tree:
        source = tmp_path / "small-1.0-1.squashfs"
        pack_liveos(tree, source, tmp_path / "l", compression="lz4", level=0, epoch=1800000000)
    write(tmp_path, {"motd": "m"})
    made = edited(source, "--output", tmp_path / "out", "--copy-in", f"{tmp_path}/motd:/etc/motd")
    assert parse(made.with_suffix(".json").read_bytes(), "m").form == "liveos"
    with image_tree(str(made), tmp_path / "mnt") as tree:
        assert (tree / "etc/motd").read_text() == "m"


#: Notes what it is to label: as the real one does, nothing below a folder that is on another device than the folder.
SETFILES = """#!/bin/sh
for last; do :; done
case " $* " in
*" -f - "*) cat >> /var/lib/labelled ;;
esac
"""


def test_files_over_an_image_are_labelled_too(tmp_path: Path, seen: list[Path]) -> None:
    """failures_row_7: setfiles passes over what is on another file system than its folder, as it is over an image."""
    root = smalltree.make(tmp_path / "root")
    contexts = "etc/selinux/default/contexts/files/file_contexts"
    write(root, {"etc/selinux/config": "SELINUXTYPE=default\n", contexts: "", "usr/sbin/setfiles": SETFILES})
    (root / "usr/sbin/setfiles").chmod(0o755)
    image = squashfs(root, tmp_path / "small-1.0-1.squashfs", "-comp", "lz4")
    write(tmp_path, {"motd": "m", "script": "#!/bin/sh\ntouch /opt/mine /run/not\n"})
    into = ["--copy-in", f"{tmp_path}/motd:/opt/folder/", "--run", tmp_path / "script"]
    made = edited(image, "--output", tmp_path / "out", *into)
    seen.append(made)
    with image_tree(str(made), tmp_path / "mnt") as tree:
        labelled = (tree / "var/lib/labelled").read_text().split("\0")
    assert {"/opt/folder/motd", "/opt/mine", "/usr/lib/ovirt-node/image.json", "/usr/bin/sh"} <= set(labelled)
    assert not [path for path in labelled if path.startswith(("/run/", "/proc/", "/dev/"))]


def test_a_script_that_fails_leaves_nothing(image: Path, tmp_path: Path, seen: list[Path]) -> None:
    write(tmp_path, {"script": "#!/bin/sh\necho first\necho the reason >&2\nexit 3\n"})
    done = run(image, "--output", tmp_path / "out", "--run", tmp_path / "script")
    assert done.returncode == 1
    assert f"the script {tmp_path}/script failed: the reason" in done.stderr and "Traceback" not in done.stderr


def test_packages_that_do_not_fit_are_named(image: Path, tmp_path: Path, seen: list[Path]) -> None:
    package = deb(tmp_path, "tool", "2.0", {"usr/bin/tool": "t"}, depends="nowhere")
    done = run(image, "--output", tmp_path / "out", "--install-deb", package)
    assert done.returncode == 1
    assert "the packages cannot be installed" in done.stderr and "what they depend on" in done.stderr
    other = rpm(tmp_path, "one", "1.0", {})
    done = run(image, "--output", tmp_path / "out", "--install-rpm", other)
    assert "the image has no rpm" in done.stderr


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_a_kill_leaves_nothing_mounted(image: Path, tmp_path: Path, number: signal.Signals) -> None:
    write(tmp_path, {"script": "#!/bin/sh\necho running > /etc/running\nsleep 3600\n"})
    own = tmp_path / "own.squashfs"
    own.write_bytes(image.read_bytes())
    with subprocess.Popen(
        command(own, "--output", tmp_path / "out", "--run", tmp_path / "script"),
        cwd=PROJECT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as process:
        wait_for(lambda: bool(list((tmp_path / "out").glob(".edit-*/upper/etc/running"))))
        process.send_signal(number)
        assert str(tmp_path) not in Path("/proc/self/mountinfo").read_text()
        status = process.wait(SECONDS)
    assert status == (-signal.SIGKILL if number == signal.SIGKILL else 128 + number)

    def attached() -> bool:
        listing = subprocess.run(["losetup", "--list"], capture_output=True, text=True, check=True).stdout
        return str(tmp_path) in listing

    # The script dies with its caller, and with it the last of the mounts.
    wait_for(lambda: not attached())
    if number == signal.SIGTERM:
        assert not list((tmp_path / "out").iterdir())


def wait_for(done: object) -> None:
    assert callable(done)
    deadline = time.monotonic() + SECONDS
    while not done():
        assert time.monotonic() < deadline, "it did not come to that"
        time.sleep(0.05)


def test_a_changed_kernel_needs_a_new_initramfs(image: Path, tmp_path: Path, seen: list[Path]) -> None:
    write(tmp_path, {"x.ko": "x"})
    into = f"{tmp_path}/x.ko:/usr/lib/modules/6.1/extra/x.ko"
    done = run(image, "--output", tmp_path / "out", "--copy-in", into)
    assert done.returncode == 1
    assert "the initramfs does not fit" in done.stderr and "--profile" in done.stderr
    assert "usr/lib/modules/6.1/extra" in done.stderr


RECORD = ImageRecord(**smalltree.RECORD)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("release", "expected"), [("1", "1.e1"), ("1.e1", "1.e2"), ("1.e9", "1.e10"), ("1.el10", "1.el10.e1")]
)
def test_the_release_of_an_unnamed_image_goes_on(release: str, expected: str) -> None:
    assert edit.next_nvr(replace(RECORD, release=release)) == f"small-1.0-{expected}"


def test_names_are_split_at_the_last_dashes() -> None:
    assert edit.parts_of("ovirt-node-ng-4.5.5-0.2024") == ("ovirt-node-ng", "4.5.5", "0.2024")


@pytest.mark.parametrize("nvr", ["", "node", "node-1", "node-1-2+3", "a/b-1-1", "-1-1", "n-" + "1" * 100 + "-1"])
def test_a_name_that_cannot_be_is_refused(nvr: str) -> None:
    with pytest.raises(ImageError, match="is no NVR"):
        edit.parts_of(nvr)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "nothing is to be changed"),
        (["--set-nvr", "small-1.0-1"], "would be called small-1.0-1 too"),
        (["--set-nvr", "x"], "'x' is no NVR"),
        (["--install-deb", "none.deb"], "there is no package none.deb"),
        (["--install-deb", "tool"], "tool is no .deb file"),
        (["--install-rpm", "x.deb"], "x.deb is no .rpm file"),
        (["--copy-in", "motd"], "is not SOURCE:TARGET"),
        (["--copy-in", "motd:etc/motd"], "etc/motd is not an absolute path"),
        (["--copy-in", "motd:/etc/../../x"], "is not an absolute path in the image"),
        (["--copy-in", "none:/etc/x"], "there is no none"),
        (["--copy-in", "text:/boot/x"], "/boot/x is not part of an image"),
        (["--copy-in", "text:/"], ""),
        (["--run", "none"], "none cannot be read: No such file"),
        (["--run", "text"], "text is no script"),
        (["--add-boot-arg", "a b"], "is not one argument"),
        (["--add-boot-arg", "root=/dev/sda"], "set that themselves"),
        (["--ssh-key", "none"], "none cannot be read"),
        (["--ssh-key", "text"], "text holds no public key"),
        (["--profile", "none"], "there is no profile none"),
    ],
)
def test_what_cannot_be_done_is_refused_before_anything_is_done(
    arguments: list[str], said: str, image: Path, tmp_path: Path
) -> None:
    write(tmp_path, {"text": "-----BEGIN OPENSSH PRIVATE KEY-----\n", "tool": "", "x.deb": ""})
    command_line = command(image, "--output", "out", *arguments)
    env = {**os.environ, "PYTHONPATH": str(PROJECT)}
    done = subprocess.run(command_line, cwd=tmp_path, capture_output=True, text=True, check=False, env=env)
    if not said:
        assert done.returncode == 0, "a slash is a folder to copy into"
        return
    assert done.returncode == 1 and said in done.stderr, done.stderr
    assert "Traceback" not in done.stderr and "PRIVATE" not in done.stderr
    assert len(done.stderr.splitlines()) <= 2
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("content", "said"),
    [(b"x", "is not a squashfs image"), (None, "there is no image")],
)
def test_what_is_no_image_is_refused(content: bytes, said: str, tmp_path: Path) -> None:
    if content is not None:
        (tmp_path / "i-1-1.squashfs").write_bytes(content)
    done = run(tmp_path / "i-1-1.squashfs", "--set-nvr", "i-1-2", "--output", tmp_path / "out")
    assert done.returncode == 1 and said in done.stderr


def test_an_image_of_another_tool_is_refused(tmp_path: Path) -> None:
    write(tmp_path, {"root/usr/x": "x"})
    other = squashfs(tmp_path / "root", tmp_path / "i-1-1.squashfs")
    done = run(other, "--set-nvr", "i-1-2", "--output", tmp_path / "out")
    assert done.returncode == 1 and "was not made by ovirt-node-image" in done.stderr


def test_an_image_is_never_written_over(image: Path, tmp_path: Path) -> None:
    write(tmp_path, {"out/small-1.0-2.squashfs": "mine"})
    done = run(image, "--set-nvr", "small-1.0-2", "--output", tmp_path / "out")
    assert done.returncode == 1 and "is there already" in done.stderr
    assert (tmp_path / "out/small-1.0-2.squashfs").read_text() == "mine"


def test_what_is_asked_for_stays_though_it_is_per_host(tmp_path: Path) -> None:
    write(tmp_path, {"etc/hostname": "h", "etc/ssh/ssh_host_x": "k", "etc/NetworkManager/system-connections/a": "a"})
    kept = "etc/NetworkManager/system-connections/a"
    assert kept in perhost.found(tmp_path)
    perhost.clear(tmp_path, {kept})
    assert perhost.found(tmp_path) == [kept]


@pytest.mark.parametrize(
    ("text", "place"),
    [("motd:/etc/motd", "/etc/motd"), ("motd:/etc/", "/etc/motd"), ("a:b:/etc/x", "/etc/x")],
)
def test_where_a_copy_goes(text: str, place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write(tmp_path, {"motd": "", "a:b": ""})
    assert insert.parse_copy(text).place == place

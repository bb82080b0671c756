"""What an image, a kickstart or a server must not be able to do to the machine that installs."""

from __future__ import annotations

import ast
import os
import stat
from pathlib import Path

import pytest

from org_ovirt_node.boot import efi, files
from org_ovirt_node.errors import BootError, NodeError, PayloadError
from org_ovirt_node.inside import inside, place_for_file
from org_ovirt_node.install import accounts, system
from org_ovirt_node.kickstart import scripts
from org_ovirt_node.kickstart.model import NodeSection, Script, SshKeyRequest, SystemRequest
from org_ovirt_node.payload import choose, manifest, squashfs
from org_ovirt_node.payload.sources import open_source
from tests.support.webserver import Behaviour, certificate, serving

PROJECT = Path(__file__).resolve().parents[2] / "org_ovirt_node"
NULL = os.makedev(1, 3)


@pytest.fixture
def place(tmp_path: Path) -> tuple[Path, Path]:
    """The new system's root, and a file of the machine that runs us beside it."""
    root, host = tmp_path / "root", tmp_path / "host"
    (root / "etc").mkdir(parents=True)
    host.mkdir()
    (host / "file").write_text("the machine's\n")
    return root, host


@pytest.mark.parametrize(
    ("links", "path", "found"),
    [
        ({}, "/etc/a", "etc/a"),
        ({}, "../../etc/./a", "etc/a"),
        ({"etc": "/"}, "etc/a", "a"),
        ({"etc": "../../../usr/etc"}, "etc/a", "usr/etc/a"),
        ({"one": "two", "two": "/three"}, "one/a", "three/a"),
        ({"var/run": "/run"}, "var/run/a", "run/a"),
        ({"a": "/etc/shadow"}, "a", "etc/shadow"),
    ],
)
def test_paths_stay_inside(tmp_path: Path, links: dict[str, str], path: str, found: str) -> None:
    for name, target in links.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).symlink_to(target)
    assert inside(tmp_path, path) == tmp_path / found


def test_links_in_a_circle_are_an_error(tmp_path: Path) -> None:
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")
    with pytest.raises(NodeError, match="lead nowhere"):
        inside(tmp_path, "a/x")
    assert inside(tmp_path, "a", follow=False) == tmp_path / "a"


def test_a_link_of_the_image_leads_no_file_out_of_the_new_system(place: tuple[Path, Path]) -> None:
    root, host = place
    (root / "etc/fstab").symlink_to(host / "file")
    (root / "etc/ovirt-node").symlink_to(host)
    (root / "etc/systemd").symlink_to("../../host")
    for path in ("etc/fstab", "etc/ovirt-node/file", "etc/systemd/file"):
        system.write(root, path, "the node's\n", 0o600)
    assert (host / "file").read_text() == "the machine's\n"
    assert [one.name for one in host.iterdir()] == ["file"]
    assert (root / "etc/fstab").read_text() == "the node's\n"
    assert not (root / "etc/fstab").is_symlink()
    assert system.read(root, "etc/ovirt-node/file") == "the node's\n"


def test_nothing_of_the_machine_is_read_through_a_link_of_the_image(place: tuple[Path, Path]) -> None:
    root, host = place
    (root / "etc/chrony.conf").symlink_to(host / "file")
    assert system.read(root, "etc/chrony.conf") == ""


def test_kernel_and_boot_loader_are_the_image_s_own_whatever_its_links_say(place: tuple[Path, Path]) -> None:
    root, host = place
    modules, signed = root / files.MODULES / "6.1", [root / path for path in efi.DEBIAN.values()]
    for folder in (modules, signed[0].parent, signed[-1].parent, root / "own"):
        folder.mkdir(parents=True, exist_ok=True)
    (root / "own/file").write_text("the image's\n")
    for path in (modules / "vmlinuz", modules / "initramfs.img", modules / files.FIPS_CHECKSUM, *signed):
        # What is absolute leads to the machine's file, unless it is the image's root that it begins at.
        path.symlink_to(host / "file")
    with pytest.raises(BootError, match=r"the image lacks /usr/lib/modules/6\.1/vmlinuz"):
        files.find_kernel(root)
    assert efi.signed_files(root) == ("", {})
    (root / str(host).lstrip("/")).mkdir(parents=True)
    (root / str(host).lstrip("/") / "file").symlink_to("/own/file")
    kernel = files.find_kernel(root)
    assert (kernel.kernel, kernel.initramfs, kernel.checksum) == (root / "own/file",) * 3
    found = efi.find_efi(root, "grub")
    efi.fill_esp(root, host / "new", found, "stub\n")
    efi.start_esp(root, host / "new", found, "grub")
    assert (host / "new/boot/efi/EFI/BOOT/BOOTX64.EFI").read_text() == "the image's\n"
    assert efi.refresh(root, host / "new/boot/efi", "grub") == ()
    (root / "own/file").write_text("newer\n")
    assert len(efi.refresh(root, host / "new/boot/efi", "grub")) == len((*host.glob("new/boot/efi/EFI/*/*.[eE]*"),))


def test_boot_files_of_fedora_are_found_in_folders_that_are_links_of_the_image(place: tuple[Path, Path]) -> None:
    root, host = place
    (host / "2.12/EFI/fedora").mkdir(parents=True)
    for name in ("shimx64.efi", "grubx64.efi"):
        (host / "2.12/EFI/fedora" / name).write_text("the machine's\n")
    (root / "usr/lib/efi").mkdir(parents=True)
    (root / "usr/lib/efi/grub2").symlink_to(host)
    assert efi.signed_files(root) == ("", {})


@pytest.mark.parametrize("kind", [stat.S_IFCHR, stat.S_IFIFO])
def test_a_device_or_a_pipe_in_etc_of_an_image_is_replaced_and_not_written_to(
    place: tuple[Path, Path], kind: int
) -> None:
    root, _ = place
    os.mknod(root / "etc/machine-id", kind | 0o600, NULL)
    system.identity(root)
    assert len((root / "etc/machine-id").read_text().strip()) == 32
    assert (root / "etc/machine-id").is_file()


def test_a_folder_in_a_files_place_is_named(place: tuple[Path, Path]) -> None:
    root, _ = place
    (root / "etc/fstab").mkdir()
    with pytest.raises(NodeError, match="/etc/fstab of the new system cannot be written"):
        place_for_file(root, "etc/fstab")


@pytest.mark.parametrize("home", ["/root", "/../../host", "/link"])
def test_a_key_lands_in_the_new_system(place: tuple[Path, Path], home: str) -> None:
    root, host = place
    (root / "etc/passwd").write_text(f"root:x:0:0::{home}:/bin/sh\n")
    (root / "link").symlink_to(host)
    (root / "root/.ssh").mkdir(parents=True)
    (root / "root/.ssh/authorized_keys").symlink_to(host / "file")
    accounts.configure(root, SystemRequest(sshkeys=(SshKeyRequest("root", "ssh-ed25519 AAAA"),)))
    assert (host / "file").read_text() == "the machine's\n"
    assert [one.name for one in host.iterdir()] == ["file"]
    (written,) = (
        root.rglob("authorized_keys")
        if home == "/root"
        else [one for one in root.rglob("authorized_keys") if not one.is_symlink()]
    )
    assert written.read_text() == "ssh-ed25519 AAAA\n"
    assert stat.S_IMODE(written.stat().st_mode) == 0o600


def test_the_log_of_a_script_stays_in_the_new_system(place: tuple[Path, Path]) -> None:
    root, host = place
    (root / "log").symlink_to(host)
    script = Script("post", "echo secret\n", interpreter="/bin/sh", log="/log/../host/file")
    with scripts._output(script, root) as out:
        out.write(b"secret")
    assert (host / "file").read_text() == "the machine's\n"
    written = inside(root, script.log)
    assert written.read_bytes() == b"secret"
    assert stat.S_IMODE(written.stat().st_mode) == 0o600


def test_a_script_is_in_a_file_that_only_root_reads_and_nobody_guesses(place: tuple[Path, Path]) -> None:
    root, _ = place
    script = Script("post", "echo secret\n", interpreter="/bin/sh")
    with scripts._file(script, root) as one, scripts._file(script, root) as two:
        assert one.name != two.name
        assert stat.S_IMODE(one.stat().st_mode) == 0o700
    assert not one.exists()


@pytest.mark.parametrize("name", ["../x", "a/b", "/etc/passwd", "-rf", ".", "..", "a;reboot", "$(reboot)", "a\nb", ""])
def test_a_name_of_an_image_is_a_name(name: str) -> None:
    with pytest.raises(PayloadError):
        squashfs.checked_nvr(name, "m")
    with pytest.raises(PayloadError):
        manifest._Fields("m", {"file": name}).text("file", manifest.FILE_NAME)


@pytest.mark.parametrize(
    "url",
    [
        "nfs:host;touch {0}:/a",
        "nfs:$(touch {0}):/a",
        "nfs:-oexec:/a",
        "hd:/dev/x;touch {0}:/a",
        "hd:`touch {0}`:/a",
        "cdrom:$(touch {0})",
        "file:/a|touch {0}",
    ],
)
def test_an_address_runs_no_command(tmp_path: Path, url: str) -> None:
    made = tmp_path / "made"
    with pytest.raises(PayloadError), open_source(url.format(made), workdir=tmp_path / "work"):
        pass
    assert not made.exists()


def test_no_program_is_run_through_a_shell() -> None:
    """Every string that is run is a list of words; the one shell there is gets its words as arguments."""
    shells = []
    for file in PROJECT.rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Call):
                name = ast.unparse(node.func)
                assert name not in ("os.system", "os.popen", "eval", "exec", "pickle.loads", "yaml.load"), file
                for word in node.keywords:
                    told = word.arg == "shell" and name.startswith("subprocess")
                    assert not told, f"{file} runs a shell"
            if isinstance(node, ast.List):
                words = [ast.unparse(one) for one in node.elts]
                if "'-c'" in words and "'sh'" in words:
                    command = node.elts[words.index("'-c'") + 1]
                    assert isinstance(command, (ast.Constant, ast.Name)), f"{file} puts a shell command together"
                    shells.append(file.name)
    assert sorted(shells) == ["chroot.py", "files.py"]


def test_temporary_files_have_names_that_nobody_guesses() -> None:
    """Nothing opens a fixed name in a folder that everybody may write to."""
    for file in PROJECT.rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Call) and ast.unparse(node.func) in ("open", "os.open", "Path"):
                for word in node.args[:1]:
                    fixed = isinstance(word, ast.Constant) and str(word.value).startswith(("/tmp/", "/var/tmp/"))
                    assert not fixed, f"{file}: {ast.unparse(word)}"


def test_a_signature_cannot_be_skipped_by_a_redirect_out_of_tls(tmp_path: Path) -> None:
    tls = certificate(tmp_path, "IP:127.0.0.1")
    with serving(b"x") as plain, serving(b"x", Behaviour(redirect=f"{plain.url}/final"), tls=tls) as server:
        chooser = choose._Chooser(_section(server.url, str(tmp_path / "cert.pem")), tmp_path / "work", None)
        for suffix in (".asc", ".sig"):
            with pytest.raises(PayloadError, match="which is not encrypted"):
                chooser._signature(f"{server.url}/m.json", (suffix,))
        assert plain.requests == []


def _section(url: str, cacert: str) -> NodeSection:
    return NodeSection(images=(f"{url}/m.json",), cacert=cacert)

"""The ESP's files and the firmware's entries."""

from __future__ import annotations

import subprocess
from contextlib import ExitStack
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from org_ovirt_node.boot import efi, files
from org_ovirt_node.errors import BootError
from org_ovirt_node.install import engine
from org_ovirt_node.install.options import Options
from org_ovirt_node.layout.model import Disk, ExistingPartition, Firmware, Layout
from org_ovirt_node.progress import Silent

DEBIAN = (
    "usr/lib/shim/shimx64.efi.signed",
    "usr/lib/shim/mmx64.efi.signed",
    "usr/lib/grub/x86_64-efi-signed/grubx64.efi.signed",
)
#: Since Fedora 44 each package has a folder of its own.
FEDORA = (
    "usr/lib/efi/shim/16.1-2/EFI/BOOT/BOOTX64.EFI",
    "usr/lib/efi/shim/16.1-2/EFI/BOOT/fbx64.efi",
    "usr/lib/efi/shim/16.1-2/EFI/fedora/shimx64.efi",
    "usr/lib/efi/shim/16.1-2/EFI/fedora/mmx64.efi",
    "usr/lib/efi/grub2/2.12-40.fc44/EFI/fedora/grubx64.efi",
)
#: As `efibootmgr --verbose` prints it (efibootmgr 18): label, tab, device path.
LISTING = """\
BootCurrent: 0001
Timeout: 0 seconds
BootOrder: 0004,0001,0000,0003
Boot0000* UiApp\tFvVol(7cb8bdc9-f8eb-4f34-aaea-3ee4af6516a1)/FvFile(462caa21-7614-4503-836e-8ab6f4662331)
Boot0001* oVirt Node\tHD(2,GPT,11111111-aaaa-4bbb-8ccc-222222222222,0x1000,0x12c000)/\\EFI\\debian\\shimx64.efi
Boot0003* Fedora\tHD(1,GPT,33333333-AAAA-4bbb-8ccc-222222222222,0x1000,0x12c000)/\\EFI\\fedora\\shimx64.efi
Boot0004  oVirt Node 4.4\tHD(1,GPT,55555555-aaaa-4bbb-8ccc-222222222222,0x1000,0x12c000)/\\EFI\\x.efi
"""


def place(root: Path, *paths: str) -> None:
    for path in paths:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(path)


@pytest.mark.parametrize(
    ("shipped", "vendor"),
    [
        (DEBIAN, "debian"),
        (tuple(f"boot/efi/EFI/centos/{name}x64.efi" for name in ("shim", "grub", "mm")), "centos"),
        (tuple(f"usr/lib/efi/grub2/2.12/EFI/fedora/{name}x64.efi" for name in ("shim", "grub", "mm")), "fedora"),
        (FEDORA, "fedora"),
    ],
)
def test_shim_is_what_the_firmware_starts_where_it_is_shipped(
    tmp_path: Path, shipped: tuple[str, ...], vendor: str
) -> None:
    tree, root = tmp_path / "tree", tmp_path / "root"
    place(tree, *shipped)
    found = efi.find_efi(tree, "grub")
    efi.fill_esp(tree, root, found, "stub\n")
    esp = root / "boot/efi/EFI"
    # Nothing is started before all that it loads is there.
    assert not list(esp.rglob("BOOTX64.EFI")) and not list(esp.rglob("shimx64.efi"))
    efi.start_esp(tree, root, found, "grub")
    assert found.start == f"EFI/{vendor}/shimx64.efi"
    assert "shim" in (esp / "BOOT/BOOTX64.EFI").read_text()
    assert "grub" in (esp / "BOOT/grubx64.efi").read_text()
    assert "shim" in (esp / vendor / "shimx64.efi").read_text()
    assert (esp / vendor / "grub.cfg").read_text() == "stub\n"


def test_of_several_versions_the_newest_is_taken(tmp_path: Path) -> None:
    place(tmp_path, *FEDORA, *(path.replace("2.12-40", "2.12-9") for path in FEDORA))
    place(tmp_path, *(path.replace("16.1-2", "15.8") for path in FEDORA))
    found = efi.find_efi(tmp_path, "grub2")
    assert found.files["EFI/fedora/grubx64.efi"] == FEDORA[4]
    assert found.files["EFI/BOOT/BOOTX64.EFI"] == FEDORA[2]


@pytest.mark.parametrize("shipped", [DEBIAN[:2], FEDORA[:4], ("boot/efi/EFI/centos/shimx64.efi",)])
def test_an_unsigned_grub_never_comes_where_shim_is(tmp_path: Path, shipped: tuple[str, ...]) -> None:
    place(tmp_path, *shipped, "usr/bin/grub2-mkimage", "usr/lib/grub/x86_64-efi/normal.mod")
    with pytest.raises(BootError, match=r"has shim \(.*shimx64.efi.*\) and no signed GRUB"):
        efi.find_efi(tmp_path, "grub2")


def test_without_shim_a_grub_of_our_own_is_made(tmp_path: Path) -> None:
    place(tmp_path, FEDORA[4], "usr/bin/grub2-mkimage", "usr/lib/grub/x86_64-efi/normal.mod")
    assert efi.find_efi(tmp_path, "grub2").vendor == "ovirt-node"


def filled(tmp_path: Path) -> tuple[Path, Path]:
    """An image's tree, and an ESP that it filled."""
    tree, root = tmp_path / "tree", tmp_path / "root"
    place(tree, *DEBIAN)
    efi.fill_esp(tree, root, efi.find_efi(tree, "grub"), "stub\n")
    efi.start_esp(tree, root, efi.find_efi(tree, "grub"), "grub")
    return tree, root / "boot/efi"


def test_a_newer_boot_loader_is_brought_to_the_esp_fallback_first_and_shim_last(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tree, esp = filled(tmp_path)
    assert efi.refresh(tree, esp, "grub") == ()
    for path in (DEBIAN[0], DEBIAN[2]):
        (tree / path).write_text("newer")
    written: list[str] = []

    def noted(path: Path, content: bytes) -> None:
        written.append(str(path.relative_to(esp)))
        files.write_durably(path, content)

    monkeypatch.setattr(efi, "write_durably", noted)
    done = efi.refresh(tree, esp, "grub")
    assert written == [f"EFI/{name}" for name in (
        "BOOT/grubx64.efi", "BOOT/BOOTX64.EFI", "debian/grubx64.efi", "debian/shimx64.efi",
    )]  # fmt: skip
    assert set(done) == set(written)
    assert (esp / "EFI/BOOT/BOOTX64.EFI").read_text() == (esp / "EFI/debian/shimx64.efi").read_text() == "newer"
    assert (esp / "EFI/debian/grub.cfg").read_text() == "stub\n"
    assert efi.refresh(tree, esp, "grub") == ()


def test_a_boot_loader_of_another_distribution_or_of_our_own_making_is_left_alone(tmp_path: Path) -> None:
    tree, esp = filled(tmp_path)
    (esp / "EFI/debian/grub.cfg").unlink()
    (tree / DEBIAN[0]).write_text("newer")
    assert efi.refresh(tree, esp, "grub") == ()
    assert (esp / "EFI/debian/shimx64.efi").read_text() == DEBIAN[0]


def test_an_image_without_an_efi_boot_loader_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BootError, match="no boot loader for EFI"):
        efi.find_efi(tmp_path, "grub")


def test_the_stub_is_accepted_by_grub(tmp_path: Path) -> None:
    stub = tmp_path / "grub.cfg"
    stub.write_text(efi.render_stub("0b1c-uuid", "grub2"))
    subprocess.run(["grub-script-check", str(stub)], check=True)
    assert "set prefix=($root)/grub2\n" in stub.read_text()


def test_failures_row_34_only_our_own_earlier_entries_are_replaced() -> None:
    assert efi.stale_entries(LISTING, []) == ("0001",)
    assert efi.stale_entries(LISTING, ["33333333-aaaa-4BBB-8ccc-222222222222"]) == ("0001", "0003")


def variables(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine whose firmware has variables, and an installer with efibootmgr."""
    folder, programs = tmp_path / "efivars", tmp_path / "bin"
    place(folder, "BootOrder-8be4df61")
    place(programs, "efibootmgr")
    (programs / "efibootmgr").chmod(0o755)
    monkeypatch.setenv("OVIRT_NODE_PATH", str(programs))
    efi.check_variables(folder)
    return folder


def test_without_efibootmgr_nothing_is_begun(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = variables(tmp_path, monkeypatch)
    (tmp_path / "bin/efibootmgr").unlink()
    with pytest.raises(BootError, match="this installer has no efibootmgr"):
        efi.check_variables(folder)


def test_without_the_firmware_s_variables_nothing_is_begun(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = variables(tmp_path, monkeypatch)
    (folder / "BootOrder-8be4df61").unlink()
    with pytest.raises(BootError, match=r"variables cannot be read.*efi=noruntime"):
        efi.check_variables(folder)


def test_with_variables_that_are_read_only_nothing_is_begun(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = variables(tmp_path, monkeypatch)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "ro", "tmpfs", str(folder)], check=True)
    try:
        with pytest.raises(BootError, match="cannot be read"):
            efi.check_variables(folder)
        subprocess.run(["mount", "-o", "remount,rw", str(folder)], check=True)
        (folder / "BootOrder").touch()
        efi.check_variables(folder)
        subprocess.run(["mount", "-o", "remount,ro", str(folder)], check=True)
        with pytest.raises(BootError, match=r"mounted read-only.*remount,rw"):
            efi.check_variables(folder)
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def test_failures_row_3_an_entry_for_a_partition_that_is_removed_goes_too() -> None:
    old = "33333333-aaaa-4bbb-8ccc-222222222222"
    parts = (ExistingPartition("vda1", 1, links=("by-uuid/1-2", f"by-partuuid/{old}")), ExistingPartition("vda2", 1))
    kept = Disk("vdb", 1, partitions=(ExistingPartition("vdb1", 1, links=("by-partuuid/kept",)),))
    layout = cast("Layout", SimpleNamespace(disks=(Disk("vda", 1, partitions=parts), kept), wiped=("vda",)))
    removed = cast("property", Layout.removed).fget
    assert removed is not None and removed(layout) == (old,)
    assert efi.stale_entries(LISTING, removed(layout)) == ("0001", "0003")


def test_the_firmware_is_looked_at_before_a_disk_is_written(monkeypatch: pytest.MonkeyPatch) -> None:
    doing = engine.Installation(
        cast("Any", SimpleNamespace(bootloader=SimpleNamespace(location=""))), Options(), Silent(), ExitStack()
    )
    doing.layout = cast("Layout", SimpleNamespace(firmware=(Firmware.EFI,)))
    done: list[str] = []

    def refuse() -> None:
        raise BootError("no variables")

    monkeypatch.setattr(engine, "running_firmware", lambda: Firmware.EFI)
    monkeypatch.setattr(efi, "check_variables", refuse)
    monkeypatch.setattr(engine, "create", lambda *_: done.append("written"))
    doing.handle = None
    with pytest.raises(BootError, match="no variables"):
        doing.partition()
    assert done == []

"""The ESP's files and the firmware's entries."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from org_ovirt_node.boot import efi, files
from org_ovirt_node.errors import BootError

DEBIAN = (
    "usr/lib/shim/shimx64.efi.signed",
    "usr/lib/shim/mmx64.efi.signed",
    "usr/lib/grub/x86_64-efi-signed/grubx64.efi.signed",
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
    ],
)
def test_shim_is_what_the_firmware_starts_where_it_is_shipped(
    tmp_path: Path, shipped: tuple[str, ...], vendor: str
) -> None:
    tree, root = tmp_path / "tree", tmp_path / "root"
    place(tree, *shipped)
    found = efi.find_efi(tree, "grub")
    efi.fill_esp(tree, root, found, "grub", "stub\n")
    esp = root / "boot/efi/EFI"
    assert found.start == f"EFI/{vendor}/shimx64.efi"
    assert "shim" in (esp / "BOOT/BOOTX64.EFI").read_text()
    assert "grub" in (esp / "BOOT/grubx64.efi").read_text()
    assert "shim" in (esp / vendor / "shimx64.efi").read_text()
    assert (esp / vendor / "grub.cfg").read_text() == "stub\n"


def filled(tmp_path: Path) -> tuple[Path, Path]:
    """An image's tree, and an ESP that it filled."""
    tree, root = tmp_path / "tree", tmp_path / "root"
    place(tree, *DEBIAN)
    efi.fill_esp(tree, root, efi.find_efi(tree, "grub"), "grub", "stub\n")
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

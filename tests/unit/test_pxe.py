"""The tree for installations over the network: what boot loaders and installer are told."""

from __future__ import annotations

import json
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Optional

import pytest

from org_ovirt_node.boot import cpio, grubcfg
from org_ovirt_node.boot.hostinitrd import HostFile, build
from org_ovirt_node.errors import ImageError, KickstartProblem
from org_ovirt_node.kickstart import carried
from org_ovirt_node.kickstart.standard import load
from org_ovirt_node.media import iso, layers, pxe
from org_ovirt_node.payload.manifest import Manifest, as_dict
from org_ovirt_node.setup.source import from_command_line

URL = "http://192.0.2.1:8080/node"
IMAGE = "n-1.0-1.squashfs"
MANIFEST = Manifest("n-1.0-1", IMAGE, 4096, 64 * "a", "tree", "6.12", "2026-01-01T00:00:00Z")
KICKSTART = (
    "autopart\n%addon org_ovirt_node --image=http://old --nosignature --vg=x\n    novolume /home\n%end\nreboot\n"
)


@pytest.fixture
def request_(tmp_path: Path) -> pxe.Request:
    (tmp_path / IMAGE).touch()
    (tmp_path / "a.ks").write_text(KICKSTART)
    return pxe.Request(tmp_path / IMAGE, tmp_path / "out", URL, tmp_path / "a.ks")


def test_both_boot_loaders_name_the_kickstart_as_the_installer_reads_it() -> None:
    for text in (pxe.ipxe_script(URL), pxe.grub_config(URL, "n-1.0-1")):
        line = next(line for line in text.splitlines() if "inst.ks=" in line)
        found = from_command_line(line)
        assert found is not None and found.path == f"{URL}/install.ks" and found.web


def test_ipxe_s_script_installs() -> None:
    lines = pxe.ipxe_script(URL, always=True).splitlines()
    assert lines[0] == "#!ipxe" and lines[-1] == "boot" and len(lines) == 4
    assert lines[1].startswith(f"kernel {URL}/vmlinuz initrd=initrd.img ")
    assert lines[2] == f"initrd --name initrd.img {URL}/initrd.img"


def test_on_a_bios_ipxe_starts_the_disk_before_it_would_install() -> None:
    lines = pxe.ipxe_script(URL).splitlines()
    assert lines[1] == "iseq ${platform} pcbios || goto install"
    *drives, last = lines[2].split(" || ")
    assert drives == [f"sanboot --no-describe --drive 0x8{number}" for number in range(8)] and last == "goto install"
    assert lines[3] == ":install" and lines[4:] == pxe.ipxe_script(URL, always=True).splitlines()[1:]


def test_on_a_bios_grub_starts_a_node_before_it_would_install() -> None:
    text = pxe.grub_config(URL, "n-1.0-1")
    titles = [line.split("'")[1] for line in text.splitlines() if line.strip().startswith("menuentry")]
    assert titles == ["Start the node on the disk", "Install n-1.0-1", "Start from the first disk"]
    # The entry is there for a BIOS, with a node alone; what it is told by lies on every node's /boot.
    assert text.index('"$grub_platform" = pc') < text.index("search") < text.index('-n "$node"') < text.index(titles[0])
    for folder in ("grub", "grub2"):
        assert f"/{folder}/{grubcfg.ENTRIES_FILE}" in text
    words = set(text.replace("+1", "").split())
    for command, module in (("search", "search_fs_file"), ("regexp", "regexp"), ("chainloader", "chain")):
        assert command in words and module in pxe.BIOS_MODULES


@pytest.mark.parametrize(
    ("shipped", "configs"),
    [
        (
            (
                "usr/lib/shim/shimx64.efi.signed",
                "usr/lib/grub/x86_64-efi-signed/grubx64.efi.signed",
                pxe.DEBIAN_NETWORK_GRUB,
            ),
            (),
        ),
        (("boot/efi/EFI/centos/shimx64.efi", "boot/efi/EFI/centos/grubx64.efi"), ("grub.cfg",)),
        (
            ("usr/lib/efi/shim/16/EFI/fedora/shimx64.efi", "usr/lib/efi/grub2/2.12/EFI/fedora/grubx64.efi"),
            ("grub.cfg",),
        ),
        ((), None),
        (("usr/lib/shim/shimx64.efi.signed", "usr/lib/grub/x86_64-efi-signed/grubx64.efi.signed"), None),
    ],
)
def test_the_loaders_of_an_image_have_the_names_by_which_they_find_each_other(
    tmp_path: Path, shipped: tuple[str, ...], configs: Optional[tuple[str, ...]]
) -> None:
    tree, output = tmp_path / "tree", tmp_path / "out"
    output.mkdir()
    for path in shipped:
        (tree / path).parent.mkdir(parents=True, exist_ok=True)
        (tree / path).write_text(path)
    made = pxe.loaders(tree, output, "the configuration")
    assert sorted(made) == sorted(path.name for path in output.iterdir())
    if configs is None:
        assert made == []
        return
    assert set(made) == {"shimx64.efi", "grubx64.efi", *configs}
    assert "shim" in (output / "shimx64.efi").read_text()
    # The last one that is shipped is the GRUB that knows the network.
    assert (output / "grubx64.efi").read_text() == shipped[-1]
    for name in configs:
        assert (output / name).read_text() == "the configuration"


def test_grub_reads_its_configuration() -> None:
    subprocess.run(["grub-script-check"], input=pxe.grub_config(URL, "n-1.0-1"), text=True, check=True)


def test_the_kickstart_names_the_image_that_is_carried_and_keeps_the_rest() -> None:
    place = iso.on_medium(Path("/x", IMAGE))
    assert place == f"file:/run/install/repo/ovirt-node/{IMAGE}"
    text = carried.with_image(KICKSTART, place, 64 * "a", "a.ks")
    assert f"%addon org_ovirt_node --image={place} --sha256={64 * 'a'} --vg=x\n" in text
    assert "http://old" not in text and "--nosignature" not in text
    assert "    novolume /home\n%end\nreboot\n" in text


@pytest.mark.parametrize(
    "words",
    [
        "--image http://old --sha256 bbb",
        "--image='http://old/a b' --image \"http://old/c\" --nosignature",
        "'--image=http://old/a b' --manifest http://old/m.json --key='/my key' # --image=http://old",
    ],
)
def test_whatever_way_the_old_image_is_written_it_goes(words: str) -> None:
    header = f"  %addon \torg_ovirt_node --vg=x {words}\n"
    text = carried.with_image(f"autopart\n{header}%end\n%post\n{header}%end\n", "file:/new", "0f", "a.ks")
    line = "%addon org_ovirt_node --image=file:/new --sha256=0f --vg=x\n"
    assert text == f"autopart\n{line}%end\n%post\n{header}%end\n"


def test_a_value_with_blanks_is_kept_as_one(tmp_path: Path) -> None:
    text = "autopart\n%addon org_ovirt_node --image=http://old --nosignature '--cacert=/my certificates'\n%end\n"
    (tmp_path / "a.ks").write_text(carried.with_image(text, "https://h/a", 64 * "0", "a.ks"))
    assert load(str(tmp_path / "a.ks")).node.cacert == "/my certificates"


def test_all_layers_are_in_the_one_initramfs(tmp_path: Path) -> None:
    (tmp_path / "top.squashfs").write_bytes(b"top")
    (tmp_path / IMAGE).write_bytes(b"image!!")
    (tmp_path / "early").write_bytes(build({"/init": HostFile(b"#!x", 0o755)}))
    parts = layers.Parts(tmp_path / "kernel", tmp_path / "early", (tmp_path / "top.squashfs", tmp_path / IMAGE))
    pxe.write_initramfs(parts, tmp_path / "out")
    assert cpio.names(tmp_path / "out") >= {
        "init",
        "ovirt-node/layers",
        "ovirt-node/top.squashfs",
        f"ovirt-node/{IMAGE}",
    }
    data = (tmp_path / "out").read_bytes()
    assert (tmp_path / "out").stat().st_size % 4 == 0
    assert b"top.squashfs\nn-1.0-1.squashfs\n" in data and b"image!!" in data


@pytest.mark.parametrize(
    "url", ["https://192.0.2.1/x", "192.0.2.1/x", "ftp://a/b", "http://", "http://u:p@a/", "http://a/?q", "http://a b/"]
)
def test_an_address_that_a_boot_loader_cannot_fetch_from_is_refused(request_: pxe.Request, url: str) -> None:
    with pytest.raises(ImageError, match="is not the address of a folder on a web server"):
        pxe.check(replace(request_, url=url))


def test_what_is_missing_is_named(request_: pxe.Request) -> None:
    pxe.check(request_)
    with pytest.raises(ImageError, match="the image's manifest, is not there"):
        pxe.manifest_of(request_.image)
    other = replace(MANIFEST, file="other.squashfs")
    request_.image.with_suffix(".json").write_text(json.dumps(as_dict(other)))
    with pytest.raises(ImageError, match=r"is the manifest of other\.squashfs"):
        pxe.manifest_of(request_.image)
    request_.kickstart.write_text("autopart\n")
    with pytest.raises(ImageError, match="has no section %addon org_ovirt_node"):
        pxe.check(request_)
    request_.kickstart.write_bytes(b"\xff")
    with pytest.raises(KickstartProblem, match=r"a\.ks:1: this is not UTF-8 text"):
        pxe.check(request_)
    request_.kickstart.unlink()
    with pytest.raises(ImageError, match=r"a\.ks is not there"):
        pxe.check(request_)

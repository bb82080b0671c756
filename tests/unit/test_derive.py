"""An ISO derived from a distribution's boot.iso: on small ISOs of the same structure as lorax makes them."""

from __future__ import annotations

import hashlib
import json
import subprocess
from pathlib import Path

import pytest

from org_ovirt_node.cli import image as program
from org_ovirt_node.errors import ImageError
from org_ovirt_node.image import delivery
from org_ovirt_node.media import checksum, derive
from org_ovirt_node.progress import Silent

PROJECT = Path(__file__).resolve().parents[2]
LABEL = "CentOS-Stream-10-x86_64"
GRUB = f"""set default="1"
search --no-floppy --set=root -l '{LABEL}'
menuentry 'Install CentOS Stream 10' --class fedora {{
\tlinux /images/pxeboot/vmlinuz inst.stage2=hd:LABEL={LABEL} quiet
\tinitrd /images/pxeboot/initrd.img
}}
menuentry 'Test this media & install CentOS Stream 10' {{
\tlinux /images/pxeboot/vmlinuz inst.stage2=hd:LABEL={LABEL} rd.live.check quiet
}}
menuentry 'Boot first drive' {{
\texit
}}
"""
ISOLINUX = f"""label linux
  menu label ^Install CentOS Stream 9
  kernel vmlinuz
  append initrd=initrd.img inst.stage2=hd:LABEL={LABEL} quiet
label local
  menu label Boot from ^local drive
  localboot 0xffff
"""
ARGUMENT = f" inst.ks=hd:LABEL={LABEL}:/ovirt-node.ks"


def run(*argv: object) -> str:
    return subprocess.run([str(word) for word in argv], check=True, capture_output=True, text=True).stdout


def boot_iso(folder: Path, *, grub: bool, product: bytes = b"") -> Path:
    """A boot.iso as lorax makes it: with GRUB and an appended ESP (Fedora, EL 10), or with isolinux (EL 9)."""
    tree = folder / "tree"
    if product:
        (tree / "images").mkdir(parents=True)
        (tree / derive.PRODUCT).write_bytes(product)
    for name in ("EFI/BOOT", "images/pxeboot", "boot/grub2" if grub else "isolinux"):
        (tree / name).mkdir(parents=True, exist_ok=True)
    (tree / "EFI/BOOT/grub.cfg").write_text(GRUB)
    (tree / "images/install.img").write_bytes(b"squashfs" * 4096)
    (tree / "images/pxeboot/vmlinuz").write_bytes(b"kernel" * 999)
    esp = tree / derive.ESP
    run("mkfs.vfat", "-C", esp, 1024)
    for name in ("EFI", "EFI/BOOT"):
        run("mmd", "-i", esp, f"::/{name}")
    run("mcopy", "-i", esp, tree / "EFI/BOOT/grub.cfg", "::/EFI/BOOT/grub.cfg")
    (folder / "mbr.img").write_bytes(b"\x90" * 440 + b"\0" * 72)
    output = folder / "boot.iso"
    argv = ["xorriso", "-as", "mkisofs", "-quiet", "-V", LABEL, "-o", output, "-R", "-J", "-joliet-long"]
    if grub:
        (tree / "boot/grub2/grub.cfg").write_text(GRUB)
        (tree / "images/eltorito.img").write_bytes(b"core" * 4096)
        argv += ["--grub2-mbr", folder / "mbr.img", "-partition_offset", "16", "-appended_part_as_gpt"]
        argv += ["-append_partition", "2", derive.ESP_TYPE, esp, "-iso_mbr_part_type"]
        argv += ["EBD0A0A2-B9E5-4433-87C0-68B6B72699C7", "-b", "images/eltorito.img", "-no-emul-boot"]
        argv += ["-boot-load-size", "4", "-boot-info-table", "--grub2-boot-info", "-eltorito-alt-boot"]
        argv += ["-e", "--interval:appended_partition_2:all::", "-no-emul-boot"]
    else:
        (tree / "isolinux/isolinux.cfg").write_text(ISOLINUX)
        (tree / "isolinux/isolinux.bin").write_bytes(b"linux" * 4096)
        argv += ["-b", "isolinux/isolinux.bin", "-no-emul-boot", "-boot-load-size", "4", "-boot-info-table"]
        argv += ["-eltorito-alt-boot", "-e", derive.ESP, "-no-emul-boot", "-isohybrid-gpt-basdat"]
    run(*argv, tree)
    return output


def extracted(iso: Path, name: str, folder: Path) -> bytes:
    target = folder / name.replace("/", "_")
    target.unlink(missing_ok=True)
    run("xorriso", "-osirrox", "on", "-indev", iso, "-extract", f"/{name}", target)
    return target.read_bytes()


def boot_ways(iso: Path) -> list[str]:
    """What can be started from the ISO: kinds of El Torito images, and kinds of partitions."""
    shown = run("xorriso", "-indev", iso, "-report_el_torito", "plain", "-report_system_area", "plain").splitlines()
    ways = [" ".join(line.split()[:9]) for line in shown if line.startswith("El Torito boot img")]
    # Padding behind the volume counts as one more partition: which kinds there are is what matters.
    kinds = {line.split()[-1] for line in shown if line.startswith("GPT type GUID")}
    return [*ways, *(line for line in shown if line.startswith("System area summary")), *sorted(kinds)]


def esp_partition(iso: Path) -> bytes:
    """The content of the EFI partition behind the volume."""
    table = json.loads(run("sfdisk", "--json", iso))["partitiontable"]["partitions"]
    part = next(one for one in table if one["type"] == derive.ESP_TYPE)
    with iso.open("rb") as stream:
        stream.seek(part["start"] * 512)
        return stream.read(part["size"] * 512)


@pytest.mark.parametrize("grub", [True, False])
def test_a_derived_iso_starts_as_the_distributions_and_installs_a_node(tmp_path: Path, grub: bool) -> None:
    original = boot_iso(tmp_path, grub=grub)
    image = tmp_path / "node-1.0-1.squashfs"
    image.write_bytes(b"hsqs" + bytes(range(256)) * 999)
    (tmp_path / "node-1.0-1.json").write_text("{}")
    output = tmp_path / "out" / "node.iso"
    made = derive.make(derive.Request(original, image, output, PROJECT), Silent())
    assert derive.look(output).label == LABEL
    assert boot_ways(output) == boot_ways(original)
    assert checksum.check(output, lambda done, total: None)
    run("checkisomd5", output)
    assert made.sha256 == hashlib.sha256(output.read_bytes()).hexdigest()
    assert extracted(output, "ovirt-node/node-1.0-1.squashfs", tmp_path) == image.read_bytes()
    assert extracted(output, "ovirt-node/node-1.0-1.json", tmp_path) == b"{}"
    assert extracted(output, "images/install.img", tmp_path) == b"squashfs" * 4096
    assert extracted(output, derive.PRODUCT, tmp_path)[:2] == b"\x1f\x8b"
    kickstart = extracted(output, derive.KICKSTART, tmp_path).decode()
    assert f"--image=hd:LABEL={LABEL}:/ovirt-node/node-1.0-1.squashfs" in kickstart
    assert f"--sha256={hashlib.sha256(image.read_bytes()).hexdigest()}" in kickstart
    menus = ["EFI/BOOT/grub.cfg", "boot/grub2/grub.cfg" if grub else "isolinux/isolinux.cfg"]
    for name in menus:
        assert ARGUMENT in extracted(output, name, tmp_path).decode(), name
    esp = tmp_path / "esp.img"
    esp.write_bytes(extracted(output, derive.ESP, tmp_path))
    assert run("mtype", "-i", esp, "::/EFI/BOOT/grub.cfg") == derive.patched(GRUB, "")
    if grub:
        assert esp_partition(output)[: esp.stat().st_size] == esp.read_bytes()


def test_every_entry_of_the_installer_gets_the_kickstart_and_no_other(tmp_path: Path) -> None:
    text = derive.patched(GRUB, "grub.cfg")
    assert text.count(ARGUMENT) == 2
    assert "menuentry 'Install oVirt Node (CentOS Stream 10)'" in text
    assert f"quiet{ARGUMENT}\n\tinitrd" not in text.replace(ARGUMENT + " quiet", "")
    text = derive.patched(ISOLINUX, "isolinux.cfg")
    assert text.count(ARGUMENT) == 1 and "menu label ^Install oVirt Node (CentOS Stream 9)" in text
    assert "localboot" in text
    with pytest.raises(ImageError, match="names a kickstart already"):
        derive.patched(text, "isolinux.cfg")
    assert derive.patched("menuentry 'Boot' {\n linux /x\n}\n", "") == "menuentry 'Boot' {\n linux /x\n}\n"


def test_what_is_no_boot_iso_is_refused(tmp_path: Path) -> None:
    (tmp_path / "tree").mkdir()
    (tmp_path / "tree/file").write_text("x")
    plain = tmp_path / "plain.iso"
    run("xorriso", "-as", "mkisofs", "-quiet", "-V", "PLAIN", "-o", plain, tmp_path / "tree")
    image = tmp_path / "a.squashfs"
    image.touch()
    for source, why in ((plain, "no menu that is known"), (tmp_path / "missing", "there is no ISO image")):
        with pytest.raises(ImageError, match=why):
            derive.make(derive.Request(source, image, tmp_path / "out.iso", PROJECT), Silent())
    assert not (tmp_path / "out.iso").exists()


def test_the_command_takes_a_kickstart_of_ones_own(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    image, kickstart, output = tmp_path / "a-1-1.squashfs", tmp_path / "own.ks", tmp_path / "own.iso"
    image.write_bytes(b"hsqs" * 512)
    mine = "text\n# mine\nliveimg --url=file:///x\nrootpw geheim\n{}\n%end\n"
    kickstart.write_text(mine.format("%addon org_ovirt_node --image=http://old --nosignature --vg=x"))
    argv = ["--log", str(tmp_path / "log"), "derive", str(boot_iso(tmp_path, grub=False)), str(image)]
    assert program.main([*argv, "--kickstart", str(kickstart), "--output", str(output)]) == 0
    out, err = capsys.readouterr()
    assert out.strip() == str(output)
    assert "Warning: whoever has the medium can read what is in ovirt-node.ks: rootpw (line 4)." in err
    digest = hashlib.sha256(image.read_bytes()).hexdigest()
    header = f"%addon org_ovirt_node --image=hd:LABEL={LABEL}:/ovirt-node/a-1-1.squashfs --sha256={digest} --vg=x"
    assert extracted(output, derive.KICKSTART, tmp_path).decode() == mine.format(header)
    assert program.main([*argv, "--output", str(output)]) == 1
    assert "there already" in capsys.readouterr().err
    kickstart.write_text(kickstart.read_text().replace("liveimg", "url"))
    before = output.read_bytes()
    assert program.main([*argv, "--kickstart", str(kickstart), "--output", str(output), "--replace"]) == 1
    assert output.read_bytes() == before, "what cannot be made takes nothing away"
    assert program.main([*argv, "--output", str(output), "--replace"]) == 0
    assert output.read_bytes() != before
    assert program.main([*argv, "--output", str(tmp_path), "--replace"]) == 1
    assert "is a folder" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("liveimg --url=file:///x\n", "has no section %addon org_ovirt_node"),
        ("%addon org_ovirt_node --image=http://a --nosignature\n%end\n", "has no liveimg line"),
    ],
)
def test_a_kickstart_by_which_anaconda_installs_something_else_is_refused(tmp_path: Path, text: str, why: str) -> None:
    image = tmp_path / "a.squashfs"
    image.touch()
    request = derive.Request(boot_iso(tmp_path, grub=False), image, tmp_path / "out.iso", PROJECT, text)
    with pytest.raises(ImageError, match=why):
        derive.make(request, Silent())
    assert not (tmp_path / "out.iso").exists()


def cpio(folder: Path, program: str) -> bytes:
    """An archive of ``folder`` as lorax makes it."""
    argv = ["sh", "-c", f"find . | cpio --quiet -o -H newc | {program}"]
    return subprocess.run(argv, cwd=folder, check=True, capture_output=True).stdout


@pytest.mark.parametrize("program", ["xz -9", "gzip", "cat"])
def test_what_is_in_a_product_img_already_stays_beneath_ours(tmp_path: Path, program: str) -> None:
    """It is unpacked as Anaconda's initramfs does: by cpio, which stops at the end of the first archive."""
    theirs = tmp_path / "theirs"
    (theirs / "etc/anaconda/profile.d").mkdir(parents=True)
    (theirs / "etc/anaconda/profile.d/site.conf").write_text("theirs")
    (theirs / "etc/anaconda/profile.d/ovirt-node.conf").write_text("old")
    (theirs / "etc/link").symlink_to("anaconda")
    image, output = tmp_path / "node-1.0-1.squashfs", tmp_path / "node.iso"
    image.write_bytes(b"hsqs" * 512)
    source = boot_iso(tmp_path, grub=False, product=cpio(theirs, program))
    derive.make(derive.Request(source, image, output, PROJECT), Silent())
    extracted(output, derive.PRODUCT, tmp_path)
    unpacked = tmp_path / "unpacked"
    unpacked.mkdir()
    archive = tmp_path / derive.PRODUCT.replace("/", "_")
    subprocess.run(["sh", "-c", f"gzip -dc {archive} | cpio --quiet -iumd"], cwd=unpacked, check=True)
    profiles = unpacked / "etc/anaconda/profile.d"
    assert (profiles / "site.conf").read_text() == "theirs"
    assert "profile_id = ovirt-node" in (profiles / "ovirt-node.conf").read_text()
    assert (unpacked / "etc/link").readlink() == Path("anaconda")
    assert (unpacked / delivery.ADDON / "__init__.py").is_file()


@pytest.mark.parametrize("product", [b"hsqs" * 99, b"\x1f\x8b" + b"x" * 99, b"\xfd7zXZ" + b"x" * 99, b"070701"])
def test_a_product_img_that_cannot_be_added_to_is_not_replaced(tmp_path: Path, product: bytes) -> None:
    image = tmp_path / "a.squashfs"
    image.touch()
    request = derive.Request(boot_iso(tmp_path, grub=False, product=product), image, tmp_path / "out.iso", PROJECT)
    with pytest.raises(ImageError, match=r"the product\.img that is there already cannot be added to"):
        derive.make(request, Silent())
    assert not (tmp_path / "out.iso").exists()

"""What the builder leaves: the image, and beside it digest, manifest and signature as the installer takes them."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from org_ovirt_node.errors import CommandError, ImageError, PayloadError
from org_ovirt_node.image import build, publish
from org_ovirt_node.image.profile import Profile, parse
from org_ovirt_node.kickstart.model import NodeSection
from org_ovirt_node.payload import minimum
from org_ovirt_node.payload.choose import open_payload
from org_ovirt_node.payload.manifest import Manifest
from org_ovirt_node.progress import Silent
from tests.support.packages import squashfs

EPOCH = 1_700_000_000
GIB = 1 << 30


def make_tree(root: Path) -> Path:
    """A small root tree, with what a squashfs keeps besides contents."""
    for path, text in (("usr/bin/one", "#!/bin/sh\n"), ("etc/two", "2\n" * 5000), ("usr/lib/three", "3" * 70_000)):
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(text)
    (root / "usr/bin/one").chmod(0o4755)
    os.link(root / "etc/two", root / "etc/twice")
    (root / "etc/link").symlink_to("two")
    os.setxattr(root / "etc/two", "user.note", b"kept")
    return root


def write(root: Path, output: Path, form: str = "tree", verity: bool = True, **signer: object) -> Manifest:
    """The last stage of a build, which makes the file from a tree."""
    output.mkdir(parents=True, exist_ok=True)
    request = build.BuildRequest(
        profile=Profile("node", boot_args="quiet", minimum_memory=GIB),
        version="1.0",
        release="1",
        output=output,
        form=form,
        level=1,
        cache=None,
        verity=verity,
        signer=publish.Signer(**signer),  # type: ignore[arg-type]
    )
    work = output.with_name(output.name + "-work")
    work.mkdir()
    return build._write(root, work, request, "6.1.0", EPOCH, Silent(), build.Stopwatch())


@pytest.mark.parametrize("form", build.FORMS)
def test_the_same_tree_gives_the_same_bytes(form: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two trees that differ in their times, inode numbers and order of creation alone give the same files."""
    first = make_tree(tmp_path / "first")
    second = tmp_path / "second"
    subprocess.run(["cp", "-a", "--reflink=never", str(first), str(second)], check=True)
    for path in sorted(second.rglob("*"), reverse=True):
        os.utime(path, (EPOCH + 5, EPOCH + 5 + path.name.count("o")), follow_symlinks=False)
    for path in sorted(first.rglob("*")):
        os.utime(path, (EPOCH + 9, EPOCH + 7), follow_symlinks=False)
    made = write(first, tmp_path / "a", form)
    monkeypatch.setenv("TZ", "Pacific/Apia")
    assert write(second, tmp_path / "b", form) == made
    names = sorted(path.name for path in (tmp_path / "a").iterdir())
    assert names == ["node-1.0-1.json", "node-1.0-1.squashfs", "node-1.0-1.squashfs.sha256"]
    for name in names:
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes(), name


def test_another_tree_gives_other_bytes(tmp_path: Path) -> None:
    """What the test above compares can differ."""
    root = make_tree(tmp_path / "root")
    made = write(root, tmp_path / "a")
    (root / "etc/two").chmod(0o600)
    changed = write(root, tmp_path / "b")
    assert made.sha256 != changed.sha256
    assert made.verity is not None
    assert changed.verity is not None
    assert made.verity.roothash != changed.verity.roothash


def test_the_installer_takes_what_is_written(tmp_path: Path) -> None:
    made = write(make_tree(tmp_path / "root"), tmp_path / "out")
    image = tmp_path / "out" / made.file
    done = subprocess.run(["sha256sum", "--check", f"{image.name}.sha256"], cwd=image.parent, check=False)
    assert done.returncode == 0
    assert made.sha256 == hashlib.sha256(image.read_bytes()).hexdigest()
    assert made.build_date == "2023-11-14T22:13:20Z"
    manifest = f"file:{image.parent}/node-1.0-1.json"
    with open_payload(NodeSection(images=(manifest,), nosignature=True)) as payload:
        assert payload.manifest == made
        assert payload.sha256 == made.sha256
        assert made.verity is not None
        assert payload.facts.roothash == made.verity.roothash
        assert (payload.facts.boot_args, payload.facts.kernel) == ("quiet", "6.1.0")
    # The image alone says the same of its tree.
    with open_payload(NodeSection(images=(f"file:{image}",), sha256=made.sha256)) as payload:
        assert payload.facts.roothash == made.verity.roothash


def test_an_image_without_a_tree(tmp_path: Path) -> None:
    made = write(make_tree(tmp_path / "root"), tmp_path / "out", verity=False)
    assert made.verity is None
    url = f"file:{tmp_path}/out/node-1.0-1.json"
    with open_payload(NodeSection(images=(url,), nosignature=True)) as payload:
        assert (payload.facts.roothash, payload.facts.hash_offset) == ("", 0)


def test_a_manifest_signed_by_openssl(tmp_path: Path) -> None:
    cert, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    argv = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    argv += ["-keyout", str(key), "-out", str(cert), "-days", "30", "-subj", "/CN=test"]
    subprocess.run(argv, check=True, capture_output=True)
    write(make_tree(tmp_path / "root"), tmp_path / "out", certificate=cert, key=key)
    url = f"file:{tmp_path}/out/node-1.0-1.json"
    with open_payload(NodeSection(images=(url,), key=str(cert))) as payload:
        assert payload.signed


def test_a_manifest_signed_by_gpg(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = tmp_path / "gnupg"
    home.mkdir(mode=0o700)
    monkeypatch.setenv("GNUPGHOME", str(home))
    gpg = ["gpg", "--batch", "--quiet"]
    new = [*gpg, "--passphrase", "", "--quick-gen-key", "builder@example.org", "ed25519", "sign", "never"]
    subprocess.run(new, check=True, capture_output=True)
    ring = tmp_path / "ring.gpg"
    subprocess.run([*gpg, "--output", str(ring), "--export"], check=True)
    with pytest.raises(CommandError, match="Name a key that gpg has the secret of"):
        publish.Signer("nobody@example.org").check()
    publish.Signer("builder@example.org").check()
    write(make_tree(tmp_path / "root"), tmp_path / "out", openpgp="builder@example.org")
    url = f"file:{tmp_path}/out/node-1.0-1.json"
    with open_payload(NodeSection(images=(url,), key=str(ring))) as payload:
        assert payload.signed
    subprocess.run(["gpgconf", "--homedir", str(home), "--kill", "gpg-agent"], check=True)


def test_a_certificate_without_its_key_is_refused(tmp_path: Path) -> None:
    (tmp_path / "cert.pem").touch()
    with pytest.raises(ImageError, match="a certificate signs with its key"):
        publish.Signer(certificate=tmp_path / "cert.pem").check()
    with pytest.raises(ImageError, match=r"key.pem, which is to sign the manifest, cannot be read"):
        publish.Signer(certificate=tmp_path / "cert.pem", key=tmp_path / "key.pem").check()


def test_nothing_of_an_older_build_lies_beside_the_image(tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    for suffix in ("json", "json.asc", "json.p7s", "json.sig", "squashfs.sha256"):
        (out / f"node-1.0-1.{suffix}").write_text("old")
    write(make_tree(tmp_path / "root"), out)
    names = sorted(path.name for path in out.iterdir())
    assert names == ["node-1.0-1.json", "node-1.0-1.squashfs", "node-1.0-1.squashfs.sha256"]
    assert all(path.read_bytes() != b"old" for path in out.iterdir())


def test_a_failed_build_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise ImageError("no tree today")

    monkeypatch.setattr(build, "append_tree", fail)
    with pytest.raises(ImageError, match="no tree today"):
        write(make_tree(tmp_path / "root"), tmp_path / "out")
    assert not list((tmp_path / "out").iterdir())


def test_the_profile_says_what_a_host_must_have() -> None:
    profile = parse("[image]\nname = node\nminimum_disk = 20GiB\nminimum_memory = 2GiB\n")
    assert (profile.minimum_disk, profile.minimum_memory) == (20 * GIB, 2 * GIB)
    assert parse("[image]\nname = node\n").minimum_disk == 0
    with pytest.raises(ImageError, match=r"the size '20' has no unit"):
        parse("[image]\nname = node\nminimum_disk = 20\n")


def test_a_host_below_the_minimum_is_refused(tmp_path: Path) -> None:
    made = write(make_tree(tmp_path / "root"), tmp_path / "out")
    meminfo = tmp_path / "meminfo"
    meminfo.write_text(f"MemTotal:  {GIB * 9 // 10 >> 10} kB\nMemFree: 5 kB\n")
    minimum.check_memory(made, meminfo)
    meminfo.write_text(f"MemTotal:  {GIB >> 11} kB\nMemFree: 5 kB\n")
    with pytest.raises(PayloadError, match=r"needs 1.0 GiB of memory, and this machine has 512.0 MiB"):
        minimum.check_memory(made, meminfo)
    minimum.check_disks(made, [1])
    wanted = replace(made, minimum_disk=20 * GIB)
    minimum.check_disks(wanted, [12 * GIB, 8 * GIB])
    with pytest.raises(PayloadError, match=r"needs disks of 20.0 GiB, and the chosen ones have 19.0 GiB"):
        minimum.check_disks(wanted, [12 * GIB, 7 * GIB])


def test_a_build_without_veritysetup_is_refused_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "usr").mkdir()
    monkeypatch.setattr("shutil.which", lambda _: None)
    request = build.BuildRequest(Profile("node"), "1", "1", tmp_path, root=tmp_path, cache=None)
    with pytest.raises(ImageError, match="veritysetup, which makes the hash tree, is not installed"):
        build.check(request)
    build.check(replace(request, verity=False))


@pytest.mark.parametrize(
    "arguments",
    [
        ["build", "--version", "1", "--release", "1", "--root", "{tree}", "--output", "{file}"],
        ["build", "--version", "1", "--release", "1", "--root", "{tree}", "--output", "{file}/out"],
        ["oci", "{image}", "--output", "{file}"],
        ["iso", "{image}", "--output", "{file}/node.iso"],
        ["derive", "{image}", "{image}", "--output", "{file}/node.iso"],
        ["disk", "{disk}", "--output", "{file}"],
    ],
)
def test_an_output_folder_that_cannot_be_is_told_in_one_sentence(tmp_path: Path, arguments: list[str]) -> None:
    """A file is in its place."""
    (tmp_path / "tree/usr").mkdir(parents=True)
    image = squashfs(tmp_path / "tree", tmp_path / "a-1-1.squashfs")
    (tmp_path / "file").touch()
    disk = tmp_path / "disk.raw"
    subprocess.run(["truncate", "-s", "8M", disk], check=True)
    subprocess.run(["sfdisk", "-q", disk], input="label: gpt\nsize=1M\n", text=True, check=True)
    places = {"tree": tmp_path / "tree", "image": image, "file": tmp_path / "file", "disk": disk}
    argv = [sys.executable, "-m", "org_ovirt_node.cli.image", *(word.format(**places) for word in arguments)]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert done.returncode == 1, done.stderr
    said = [line for line in done.stderr.splitlines() if line.startswith("ovirt-node-image: ")]
    assert "internal error" not in done.stderr
    if arguments[0] != "derive":
        assert said[0].startswith(f"ovirt-node-image: the folder {tmp_path / 'file'}") and "cannot be made" in said[0]
    assert len(said) <= 2

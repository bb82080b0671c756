"""Images as OCI artefacts: through skopeo and a real registry, and what is refused."""

from __future__ import annotations

import hashlib
import io
import json
import random
import socket
import subprocess
import tarfile
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from org_ovirt_node.errors import PayloadError
from org_ovirt_node.image import oci as maker
from org_ovirt_node.kickstart import checks
from org_ovirt_node.kickstart.model import NodeSection
from org_ovirt_node.payload import oci, sources
from org_ovirt_node.payload.choose import open_payload
from org_ovirt_node.payload.transfer import transfer
from org_ovirt_node.progress import Silent

SKOPEO = ["skopeo", "--insecure-policy", "copy", "--quiet"]


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("image")
    (folder / "tree/usr").mkdir(parents=True)
    (folder / "tree/usr/data").write_bytes(random.Random(7).randbytes(3 << 20))
    file = folder / "node-1.0-1.squashfs"
    subprocess.run(["mksquashfs", folder / "tree", file, "-quiet", "-no-progress"], check=True, capture_output=True)
    return file


@pytest.fixture(scope="module")
def archive(image: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return maker.make(image, tmp_path_factory.mktemp("oci"), Silent())


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[str]:
    """Debian's docker-registry, on loopback."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    config = {
        "version": "0.1",
        "storage": {"filesystem": {"rootdirectory": str(tmp_path / "registry")}},
        "http": {"addr": f"127.0.0.1:{port}"},
        "log": {"level": "error"},
    }
    (tmp_path / "config.yml").write_text(json.dumps(config))
    process = subprocess.Popen(["docker-registry", "serve", str(tmp_path / "config.yml")])
    try:
        deadline = time.monotonic() + 30
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
                break
            except OSError:
                assert time.monotonic() < deadline and process.poll() is None
                time.sleep(0.05)
        yield f"127.0.0.1:{port}"
    finally:
        process.kill()
        process.wait()


def content_of(url: str, tmp_path: Path, *, noverifyssl: bool = False) -> bytes:
    """What a transfer from ``url`` writes."""
    target = tmp_path / "target"
    with target.open("wb") as file:
        file.truncate(8 << 20)
    section = NodeSection(images=(url,), nosignature=True, noverifyssl=noverifyssl)
    with open_payload(section, workdir=tmp_path / "work") as payload:
        assert payload.sha256
        done = transfer(
            payload.source,
            target,
            size=payload.facts.size,
            fresh=False,
            expected_sha256=payload.sha256,
            progress=Silent(),
        )
    return target.read_bytes()[: done.size]


def test_an_archive_gives_the_image_back(image: Path, archive: Path, tmp_path: Path) -> None:
    layer = oci.find_layer(archive)
    data = image.read_bytes()
    assert (layer.size, layer.sha256) == (len(data), hashlib.sha256(data).hexdigest())
    assert content_of(f"oci-archive:{archive}", tmp_path) == data
    with sources.open_source(f"oci-archive:{archive}") as source:
        assert source.read_at(len(data) - 10, 100) == data[-10:]
        assert source.file_name == layer.title


def test_the_same_image_gives_the_same_archive(image: Path, archive: Path, tmp_path: Path) -> None:
    assert maker.make(image, tmp_path, Silent()).read_bytes() == archive.read_bytes()


def test_a_registry_gives_the_image_back_by_tag_and_by_digest(
    image: Path, archive: Path, registry: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sources, "SCRATCH", tmp_path)
    name = f"docker://{registry}/node"
    subprocess.run([*SKOPEO, "--dest-tls-verify=false", f"oci-archive:{archive}", f"{name}:1.0"], check=True)
    assert content_of(f"{name}:1.0", tmp_path, noverifyssl=True) == image.read_bytes()
    with tarfile.open(archive) as tar:
        index = json.load(tar.extractfile("index.json"))  # type: ignore[arg-type]
    pinned = f"{name}@{index['manifests'][0]['digest']}"
    section = NodeSection(images=(pinned,), noverifyssl=True)
    with open_payload(section, workdir=tmp_path / "work") as payload:
        assert payload.sha256 == hashlib.sha256(image.read_bytes()).hexdigest()
    assert not list(tmp_path.glob("ovirt-node-oci-*"))
    with pytest.raises(PayloadError, match="cannot be copied"), ExitStack() as stack:
        stack.enter_context(sources.open_source(f"{name}:none", verify=False))
    with pytest.raises(PayloadError, match="without a digest"), ExitStack() as stack:
        stack.enter_context(open_payload(NodeSection(images=(f"{name}:1.0",)), workdir=tmp_path / "work"))


def test_another_digest_than_the_archives_is_refused(archive: Path, tmp_path: Path) -> None:
    section = NodeSection(images=(f"oci-archive:{archive}",), sha256="0" * 64)
    with pytest.raises(PayloadError, match="is asked for"), ExitStack() as stack:
        stack.enter_context(open_payload(section, workdir=tmp_path))


def changed(archive: Path, target: Path, name: str, content: bytes) -> Path:
    """A copy of the archive with other content in the member ``name``."""
    with tarfile.open(archive) as old, tarfile.open(target, "w") as new:
        for member in old:
            data = old.extractfile(member).read()  # type: ignore[union-attr]
            if member.name == name:
                data = content
            member.size = len(data)
            new.addfile(member, io.BytesIO(data))
    return target


def test_what_is_damaged_or_no_image_is_refused(archive: Path, tmp_path: Path) -> None:
    with tarfile.open(archive) as tar:
        index = json.load(tar.extractfile("index.json"))  # type: ignore[arg-type]
    manifest = "blobs/sha256/" + index["manifests"][0]["digest"].partition(":")[2]
    two = json.dumps({**index, "manifests": index["manifests"] * 2}).encode()
    for name, content, why in (
        (manifest, b"{}", "missing or damaged"),
        ("index.json", b"[]", "no JSON object"),
        ("index.json", two, "2 images"),
        ("index.json", b"{", "no JSON"),
    ):
        with pytest.raises(PayloadError, match=why):
            oci.find_layer(changed(archive, tmp_path / "bad.tar", name, content))
    layer = oci.find_layer(archive)
    cut = changed(archive, tmp_path / "cut.tar", f"blobs/sha256/{layer.sha256}", b"short")
    with pytest.raises(PayloadError, match="has not all of it"):
        oci.find_layer(cut)
    (tmp_path / "none").write_bytes(b"x" * 4096)
    with pytest.raises(PayloadError, match="no OCI archive"):
        oci.find_layer(tmp_path / "none")


def test_a_flipped_bit_in_the_layer_is_found(archive: Path, tmp_path: Path) -> None:
    layer = oci.find_layer(archive)
    bad = tmp_path / "bad.tar"
    bad.write_bytes(archive.read_bytes())
    with bad.open("r+b") as stream:
        stream.seek(layer.offset + layer.size // 2)
        byte = stream.read(1)[0]
        stream.seek(layer.offset + layer.size // 2)
        stream.write(bytes([byte ^ 1]))
    with pytest.raises(PayloadError):
        content_of(f"oci-archive:{bad}", tmp_path)


@pytest.mark.parametrize(
    "url", ["docker://h/n", "docker://h:5000/a/b:1.0", f"docker://h/n@sha256:{'a' * 64}", "oci-archive:/a.tar"]
)
def test_addresses(url: str) -> None:
    assert checks.url(url) == url
    assert checks.pinned(url) is ("@sha256" in url)


@pytest.mark.parametrize(
    "url",
    [
        "docker://h",
        "docker:n",
        f"docker://h/n:1@sha256:{'a' * 64}",
        "docker://u:p@h/n",
        "oci-archive:a.tar",
        "docker://h/n@sha256:12",
    ],
)
def test_addresses_that_are_none(url: str) -> None:
    with pytest.raises(ValueError, match="accepted is"):
        checks.url(url)

"""Manifests, their signatures, and the image that they lead to."""

from __future__ import annotations

import hashlib
import json
import random
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, Optional

import pytest
from hypothesis import given
from hypothesis import strategies as st

from org_ovirt_node.errors import PayloadError
from org_ovirt_node.kickstart.model import NodeSection
from org_ovirt_node.payload.access import Patience
from org_ovirt_node.payload.choose import Payload, beside, open_payload, with_suffix
from org_ovirt_node.payload.manifest import Manifest, Verity, as_dict, as_text, parse
from org_ovirt_node.payload.signature import verify
from org_ovirt_node.payload.verity import append_tree
from tests.support.webserver import Behaviour, serving

PATIENCE = Patience(connect=20, read=20, slice=20, pauses=())
TREE = Verity(
    roothash="a" * 64, data_size=4096, hash_offset=4096, salt="00ff", uuid="0c1ea9ad-0000-4000-8000-0000deadbeef"
)
MANIFEST = Manifest(
    nvr="node-1.0-1",
    file="node-1.0-1.squashfs",
    size=12288,
    sha256="b" * 64,
    form="tree",
    kernel="6.12.1-amd64",
    build_date="2026-01-02T03:04:05Z",
    boot_args="quiet",
    minimum_disk=20 << 30,
    minimum_memory=2 << 30,
    verity=TREE,
)


def test_a_manifest_is_read_as_it_was_written() -> None:
    for manifest in (MANIFEST, replace(MANIFEST, verity=None, minimum_disk=0, boot_args="")):
        assert parse(as_text(manifest).encode(), "m") == manifest
    assert MANIFEST.facts.roothash == "a" * 64
    assert replace(MANIFEST, verity=None).facts.roothash == ""


def test_what_may_be_left_out_or_added() -> None:
    fields = {key: value for key, value in as_dict(MANIFEST).items() if key not in ("boot_args", "minimum", "verity")}
    parsed = parse(json.dumps({**fields, "x-note": [1]}).encode(), "m")
    assert parsed == replace(MANIFEST, boot_args="", minimum_disk=0, minimum_memory=0, verity=None)


WRONG = [
    ({"format": 2}, "is a manifest of format 2, not 1"),
    ({"format": True}, "is a manifest of format True"),
    ({"format": None}, "format is missing"),
    ({"nvr": None}, "nvr is missing"),
    ({"nvr": "../x"}, "nvr is no usable name-version-release"),
    ({"file": "../../etc/shadow"}, "file is not as it must be"),
    ({"file": "a/b"}, "file is not as it must be"),
    ({"file": ".hidden"}, "file is not as it must be"),
    ({"size": 0}, "size is not a number of bytes from 1 on"),
    ({"size": -5}, "size is not a number"),
    ({"size": 1.5}, "size is not a number"),
    ({"size": "12"}, "size is not a number"),
    ({"size": True}, "size is not a number"),
    ({"size": 1 << 60}, "size is not a number"),
    ({"sha256": "B" * 64}, "sha256 is not as it must be"),
    ({"sha256": "b" * 63}, "sha256 is not as it must be"),
    ({"sha256": "b" * 64 + "\n"}, "sha256 is not as it must be"),
    ({"form": "raw"}, "form is 'raw'; accepted: tree, liveos"),
    ({"form": ["tree"]}, "form is .*accepted"),
    ({"kernel": "../6.1"}, "kernel is not as it must be"),
    ({"boot_args": "a\nb"}, "boot_args is not as it must be"),
    ({"build_date": "yesterday"}, "build_date is not as it must be"),
    ({"minimum": {"disk": -1}}, "minimum.disk is not a number"),
    ({"minimum": {"tape": 1}}, "minimum.tape is not a field"),
    ({"minimum": 5}, "minimum is not an object"),
    ({"colour": "red"}, "colour is not a field of format 1"),
    ({"verity": "yes"}, "verity is not an object"),
    ({"verity": {**as_dict(MANIFEST)["verity"], "roothash": "zz"}}, "verity.roothash is not as it must be"),
    ({"verity": {**as_dict(MANIFEST)["verity"], "algorithm": "md5"}}, "verity.algorithm is 'md5'; accepted: sha256"),
    ({"verity": {**as_dict(MANIFEST)["verity"], "hash_offset": 8192}}, "verity.hash_offset is not where the data ends"),
    ({"verity": {**as_dict(MANIFEST)["verity"], "data_size": 4097}}, "no multiples of its blocks"),
    (
        {"verity": {**as_dict(MANIFEST)["verity"], "data_block_size": 4096.0}},
        r"verity.data_block_size is .4096[.]0.; accepted",
    ),
    ({"verity": {**as_dict(MANIFEST)["verity"], "salt": "abc"}}, "verity.salt is not as it must be"),
    ({"verity": {**as_dict(MANIFEST)["verity"], "extra": 1}}, "verity.extra is not a field"),
    ({"size": 4096}, "verity.hash_offset is not where the data ends"),
]


@pytest.mark.parametrize(("change", "message"), WRONG, ids=[str(row[0])[:40] for row in WRONG])
def test_a_wrong_field(change: dict[str, Any], message: str) -> None:
    with pytest.raises(PayloadError, match=message):
        parse(json.dumps({**as_dict(MANIFEST), **change}).encode(), "m")


@pytest.mark.parametrize(
    "data",
    [b"", b"{", b"[]", b"null", b"\xff\xfe", b"[" * 60000, b"{" * 200, b'{"format": 1, "format": 1}', b"1" * 5000],
)
def test_what_is_no_manifest(data: bytes) -> None:
    with pytest.raises(PayloadError):
        parse(data, "m")


def test_a_key_that_comes_twice() -> None:
    text = as_text(MANIFEST).replace('"size": 12288', '"size": 12288, "size": 12288')
    with pytest.raises(PayloadError, match="is not sound JSON"):
        parse(text.encode(), "m")


def test_a_manifest_that_is_too_large() -> None:
    with pytest.raises(PayloadError, match="larger than 64 KiB"):
        parse(as_text(MANIFEST).encode() + b" " * (64 << 10), "m")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


@given(st.sampled_from(sorted(as_dict(MANIFEST))), JSON, st.booleans())
def test_any_value_is_read_or_refused(field: str, value: object, deep: bool) -> None:
    fields = dict(as_dict(MANIFEST))
    fields[field] = {**fields[field], "salt": value} if deep and field == "verity" else value
    try:
        parse(json.dumps(fields).encode(), "m")
    except PayloadError as exc:
        assert len(str(exc)) < 500


class OpenPgp:
    """A key pair made with gpg, and what it signs."""

    def __init__(self, folder: Path) -> None:
        self.home = folder
        folder.chmod(0o700)
        self.gpg("--quick-generate-key", "Test <t@example.org>", "ed25519", "sign", "never")
        self.ring = folder / "ring.gpg"
        self.ring.write_bytes(self.gpg("--export"))
        self.armored = folder / "ring.asc"
        self.armored.write_bytes(self.gpg("--armor", "--export"))

    def gpg(self, *argv: str, data: bytes = b"") -> bytes:
        base = ["gpg", "--homedir", str(self.home), "--batch", "--quiet", "--passphrase", ""]
        return subprocess.run([*base, *argv], input=data, check=True, capture_output=True).stdout

    def sign(self, data: bytes, *options: str) -> bytes:
        return self.gpg(*options, "--detach-sign", data=data)

    def close(self) -> None:
        subprocess.run(["gpgconf", "--homedir", str(self.home), "--kill", "all"], check=True)


@pytest.fixture(scope="module")
def pgp(tmp_path_factory: pytest.TempPathFactory) -> Any:
    keys = OpenPgp(tmp_path_factory.mktemp("pgp"))
    yield keys
    keys.close()


@pytest.fixture(scope="module")
def stranger(tmp_path_factory: pytest.TempPathFactory) -> Any:
    keys = OpenPgp(tmp_path_factory.mktemp("stranger"))
    yield keys
    keys.close()


def openssl(*argv: str, data: bytes = b"") -> bytes:
    return subprocess.run(["openssl", *argv], input=data, check=True, capture_output=True).stdout


class X509:
    """A CA, and a signer that it certified."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        curve = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")
        self.ca, self.key, self.cert = folder / "ca.pem", folder / "key.pem", folder / "cert.pem"
        ca_key, request = str(folder / "ca.key"), str(folder / "req")
        openssl(
            "req",
            "-x509",
            *curve,
            "-keyout",
            ca_key,
            "-out",
            str(self.ca),
            "-days",
            "3650",
            "-subj",
            f"/CN=ca-{folder.name}",
        )
        openssl("req", *curve, "-keyout", str(self.key), "-out", request, "-subj", "/CN=signer")
        argv = ("-in", request, "-CA", str(self.ca), "-CAkey", ca_key, "-days", "3650", "-out", str(self.cert))
        openssl("x509", "-req", "-CAcreateserial", *argv)

    def sign(self, data: bytes, form: str = "DER", *options: str) -> bytes:
        argv = ("-signer", str(self.cert), "-inkey", str(self.key), "-outform", form)
        return openssl("cms", "-sign", "-binary", *options, *argv, data=data)


@pytest.fixture(scope="module")
def x509(tmp_path_factory: pytest.TempPathFactory) -> X509:
    return X509(tmp_path_factory.mktemp("x509"))


@pytest.fixture(scope="module")
def other_x509(tmp_path_factory: pytest.TempPathFactory) -> X509:
    return X509(tmp_path_factory.mktemp("other"))


DATA = b"what is signed\n"


def test_openpgp_signatures(pgp: OpenPgp, stranger: OpenPgp) -> None:
    for ring in (pgp.ring, pgp.armored):
        verify(DATA, pgp.sign(DATA), ring.read_bytes(), "m")
        verify(DATA, pgp.sign(DATA, "--armor"), ring.read_bytes(), "m")
    with pytest.raises(PayloadError, match=r"m is not signed by the given key: BAD signature"):
        verify(DATA + b" ", pgp.sign(DATA), pgp.ring.read_bytes(), "m")
    with pytest.raises(PayloadError, match=r"m is not signed by the given key: Can't check signature: No public key"):
        verify(DATA, stranger.sign(DATA), pgp.ring.read_bytes(), "m")
    for garbage in (b"", b"no signature", DATA, pgp.ring.read_bytes()):
        with pytest.raises(PayloadError, match="m is not signed by the given key"):
            verify(DATA, garbage, pgp.ring.read_bytes(), "m")
    # A message that carries its own text is no signature of ours.
    with pytest.raises(PayloadError, match="m is not signed by the given key"):
        verify(DATA, pgp.gpg("--sign", data=b"other text"), pgp.ring.read_bytes(), "m")


def test_an_expired_openpgp_key(tmp_path: Path, pgp: OpenPgp) -> None:
    (tmp_path / "home").mkdir()
    keys = OpenPgp(tmp_path / "home")
    keys.gpg("--faked-system-time", "20200101T000000", "--quick-generate-key", "Old", "ed25519", "sign", "1d")
    signed = keys.gpg("--faked-system-time", "20200101T010000", "-u", "Old", "--detach-sign", data=DATA)
    with pytest.raises(PayloadError, match="is not signed by the given key"):
        verify(DATA, signed, keys.gpg("--export"), "m")
    keys.close()


def test_a_damaged_armour() -> None:
    armor = b"-----BEGIN PGP PUBLIC KEY BLOCK-----\n\n!!!\n-----END PGP PUBLIC KEY BLOCK-----\n"
    with pytest.raises(PayloadError, match="armour is damaged"):
        verify(DATA, b"", armor, "m")


def test_cms_signatures(x509: X509, other_x509: X509) -> None:
    for trusted in (x509.ca, x509.cert):
        for form in ("DER", "PEM"):
            verify(DATA, x509.sign(DATA, form), trusted.read_bytes(), "m")
    # The signer's certificate need not be in the signature when it is the key itself.
    verify(DATA, x509.sign(DATA, "DER", "-nocerts"), x509.cert.read_bytes(), "m")
    refused: list[tuple[bytes, bytes, Path]] = [
        (DATA + b" ", x509.sign(DATA), x509.ca),
        (DATA, other_x509.sign(DATA), x509.ca),
        (DATA, other_x509.sign(DATA), x509.cert),
        (DATA, b"", x509.ca),
        (DATA, b"\x30\x03garbage", x509.ca),
        (DATA, x509.sign(b"other", "DER", "-nodetach"), x509.ca),
    ]
    for data, signature, trusted in refused:
        with pytest.raises(PayloadError, match="m is not signed by the given key"):
            verify(data, signature, trusted.read_bytes(), "m")


def test_a_cms_signer_of_a_system_ca_is_not_trusted(
    x509: X509, other_x509: X509, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only --key counts, whatever the machine trusts besides."""
    store = tmp_path / "certs"
    store.mkdir()
    (store / "ca.pem").write_bytes(other_x509.ca.read_bytes())
    openssl("rehash", str(store))
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/openssl").write_text(f'#!/bin/sh\nSSL_CERT_DIR={store} exec /usr/bin/openssl "$@"\n')
    (tmp_path / "bin/openssl").chmod(0o755)
    monkeypatch.setenv("OVIRT_NODE_PATH", str(tmp_path / "bin"))
    with pytest.raises(PayloadError, match="m is not signed by the given key"):
        verify(DATA, other_x509.sign(DATA), x509.ca.read_bytes(), "m")


def test_a_missing_checker_is_no_acceptance(
    pgp: OpenPgp, x509: X509, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    signatures = ((pgp.sign(DATA), pgp.ring), (x509.sign(DATA), x509.ca))
    monkeypatch.setenv("OVIRT_NODE_PATH", str(tmp_path))
    for signature, key in signatures:
        with pytest.raises(PayloadError, match=r"its signature cannot be checked: .*is not installed"):
            verify(DATA, signature, key.read_bytes(), "m")


# What the kickstart asks for.

Prepared = Callable[..., Path]


@pytest.fixture
def shop(tmp_path: Path) -> Prepared:
    """Puts an image with a tree, its manifest and a signature in a folder; returns the manifest's path."""
    (tmp_path / "tree").mkdir()
    (tmp_path / "tree/file").write_bytes(random.Random(1).randbytes(20_000))
    image = tmp_path / "node-1.0-1.squashfs"
    argv = ["mksquashfs", str(tmp_path / "tree"), str(image), "-quiet", "-no-progress"]
    subprocess.run(argv, check=True, capture_output=True)
    verity = append_tree(image)
    data = image.read_bytes()

    def prepare(sign: Optional[Callable[[bytes], bytes]] = None, suffix: str = ".asc", **changes: Any) -> Path:
        made = replace(MANIFEST, size=len(data), sha256=hashlib.sha256(data).hexdigest(), verity=verity)
        path = tmp_path / "node-1.0-1.json"
        path.write_text(as_text(replace(made, **changes)))
        if sign:
            (tmp_path / f"{path.name}{suffix}").write_bytes(sign(path.read_bytes()))
        return path

    return prepare


def opened(tmp_path: Path, **section: Any) -> Payload:
    with open_payload(NodeSection(**section), workdir=tmp_path / "work", patience=PATIENCE) as payload:
        assert payload.source.read_at(0, 4) == b"hsqs"
        return payload


@pytest.mark.parametrize("kind", [".asc", ".sig", ".p7s"])
def test_an_image_named_by_its_signed_manifest(
    shop: Prepared, tmp_path: Path, pgp: OpenPgp, x509: X509, kind: str
) -> None:
    signer, key = (x509, x509.ca) if kind == ".p7s" else (pgp, pgp.ring)
    manifest = shop(signer.sign, kind)
    payload = opened(tmp_path, images=(f"file:{manifest}",), key=str(key))
    assert payload.signed
    assert payload.manifest is not None
    assert payload.sha256 == payload.manifest.sha256 == payload.facts.sha256
    assert (payload.facts.nvr, payload.facts.kernel, payload.facts.compression) == (
        "node-1.0-1",
        MANIFEST.kernel,
        "gzip",
    )


def test_a_manifest_beside_an_image(shop: Prepared, tmp_path: Path, pgp: OpenPgp) -> None:
    manifest = shop(pgp.sign)
    image = f"file:{tmp_path}/node-1.0-1.squashfs"
    assert opened(tmp_path, images=(image,), manifest=f"file:{manifest}", key=str(pgp.armored)).signed


def test_a_wrong_signature_is_refused(shop: Prepared, tmp_path: Path, pgp: OpenPgp, stranger: OpenPgp) -> None:
    manifest = shop(stranger.sign)
    with pytest.raises(PayloadError, match="json is not signed by the given key"):
        opened(tmp_path, images=(f"file:{manifest}",), key=str(pgp.ring))
    # A key that is given counts also where a digest or --nosignature would do.
    with pytest.raises(PayloadError, match="json is not signed by the given key"):
        opened(tmp_path, images=(f"file:{manifest}",), key=str(pgp.ring), nosignature=True)


def test_a_missing_signature_is_refused(shop: Prepared, tmp_path: Path, pgp: OpenPgp) -> None:
    with pytest.raises(PayloadError, match=r"json has no signature: .*[.]asc .*[.]sig "):
        opened(tmp_path, images=(f"file:{shop()}",), key=str(pgp.ring))


def test_without_a_key_nothing_is_accepted(shop: Prepared, tmp_path: Path, pgp: OpenPgp) -> None:
    images = (f"file:{shop(pgp.sign)}",)
    with pytest.raises(PayloadError, match=r"The key /usr/lib/ovirt-node/keyring[.]gpg .* cannot be read"):
        opened(tmp_path, images=images)
    assert not opened(tmp_path, images=images, nosignature=True).signed


def test_the_images_own_key_ring_is_the_default(
    shop: Prepared, tmp_path: Path, pgp: OpenPgp, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("org_ovirt_node.payload.signature.DEFAULT_KEY", pgp.ring)
    assert opened(tmp_path, images=(f"file:{shop(pgp.sign)}",)).signed


def test_a_digest_stands_for_a_signature(shop: Prepared, tmp_path: Path) -> None:
    manifest = shop()
    digest = hashlib.sha256((tmp_path / "node-1.0-1.squashfs").read_bytes()).hexdigest()
    assert opened(tmp_path, images=(f"file:{manifest}",), sha256=digest.upper()).sha256 == digest
    assert opened(tmp_path, images=(f"file:{tmp_path}/node-1.0-1.squashfs",), sha256=digest).sha256 == digest
    with pytest.raises(PayloadError, match=f"digest is {digest}, and the kickstart {'0' * 64}"):
        opened(tmp_path, images=(f"file:{manifest}",), sha256="0" * 64)


def test_an_image_with_nothing_to_check_it_is_refused(shop: Prepared, tmp_path: Path) -> None:
    shop()
    image = (f"file:{tmp_path}/node-1.0-1.squashfs",)
    with pytest.raises(PayloadError, match="comes without a digest or a signature"):
        opened(tmp_path, images=image)
    payload = opened(tmp_path, images=image, nosignature=True)
    assert (payload.sha256, payload.signed, payload.manifest) == ("", False, None)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"size": 1 << 20}, "bytes where its manifest says 1048576"),
        ({"verity": TREE}, r"squashfs ends at \d+, .* hash tree at 4096"),
        ({"file": "other.squashfs"}, "other.squashfs cannot be read: No such file"),
    ],
)
def test_a_manifest_of_another_image(shop: Prepared, tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(PayloadError, match=message):
        opened(tmp_path, images=(f"file:{shop(**changes)}",), nosignature=True)


def test_manifests_and_images_do_not_mix(tmp_path: Path) -> None:
    for section in (
        {"images": ("http://a/m.json", "http://a/i.img")},
        {"images": ("http://a/m.json",), "manifest": "http://b/m.json"},
    ):
        with pytest.raises(PayloadError, match="there is another image or manifest beside it"):
            opened(tmp_path, nosignature=True, **section)
    with pytest.raises(PayloadError, match="No image is named"):
        opened(tmp_path, nosignature=True)


def test_the_first_manifest_that_can_be_read_counts(tmp_path: Path, shop: Prepared) -> None:
    manifest = shop()
    with serving(b"", Behaviour(statuses=[404] * 9)) as gone:
        urls = (f"{gone.url}/m.json", f"file:{manifest}")
        assert opened(tmp_path, images=urls, nosignature=True).source.name.endswith("squashfs")


def test_a_manifest_without_end_is_given_up(tmp_path: Path) -> None:
    with (
        serving(b" " * (2 << 20), Behaviour(framing="chunked", ranges=False)) as server,
        pytest.raises(PayloadError, match=r"m[.]json is larger than the 64 KiB"),
    ):
        opened(tmp_path, images=(f"{server.url}/m.json",), nosignature=True)


@pytest.mark.parametrize(
    ("url", "neighbour", "signature"),
    [
        ("http://h/a/m.json?t=1", "http://h/a/i.img?t=1", "http://h/a/m.json.asc?t=1"),
        ("https://h/m.json", "https://h/i.img", "https://h/m.json.asc"),
        ("file:///a/m.json", "file:///a/i.img", "file:///a/m.json.asc"),
        ("nfs:h:/m.json", "nfs:h:/i.img", "nfs:h:/m.json.asc"),
        ("hd:LABEL=x:/m.json", "hd:LABEL=x:/i.img", "hd:LABEL=x:/m.json.asc"),
        ("cdrom:/a/m.json", "cdrom:/a/i.img", "cdrom:/a/m.json.asc"),
    ],
)
def test_neighbours(url: str, neighbour: str, signature: str) -> None:
    assert beside(url, "i.img") == neighbour
    assert with_suffix(url, ".asc") == signature

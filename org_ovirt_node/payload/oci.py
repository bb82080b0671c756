"""Images as OCI artefacts: one image file is the one layer of a manifest, in an archive or a registry.

Formats: OCI image-spec 1.1, "image-layout" and "manifest" (guidelines for artifact usage); an archive is a tar of the
layout, as skopeo's ``oci-archive:``.  A layer lies in the tar as it is, so it is read from there without unpacking.
Every digest on the way is checked: the manifest's by whoever names it, the layer's when it is transferred.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import tarfile
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Optional

from org_ovirt_node.errors import CommandError, PayloadError
from org_ovirt_node.i18n import _
from org_ovirt_node.kickstart.checks import registry
from org_ovirt_node.payload.access import Access
from org_ovirt_node.payload.direct import DirectFile
from org_ovirt_node.payload.local import FileSource
from org_ovirt_node.payload.source import Source, Stream, redact_url
from org_ovirt_node.run import run

ARCHIVE, REGISTRY = "oci-archive:", "docker://"
ARTIFACT = "application/vnd.ovirt.node.image.v1"
LAYER = "application/vnd.ovirt.node.image.layer.v1.squashfs"
MANIFEST = "application/vnd.oci.image.manifest.v1+json"
INDEX = "application/vnd.oci.image.index.v1+json"
EMPTY = "application/vnd.oci.empty.v1+json"
TITLE = "org.opencontainers.image.title"
#: A manifest is small; more than this is none.
MAX_JSON = 1 << 20
POLICY = Path("/etc/containers/policy.json")
_DIGEST = re.compile(r"sha256:([0-9a-f]{64})", re.ASCII)


@dataclass(frozen=True)
class Layer:
    """Where the image lies in an archive: ``offset`` and ``size`` in bytes, its SHA-256, and what it was called."""

    offset: int
    size: int
    sha256: str
    title: str = ""


def find_layer(archive: Path) -> Layer:
    """The one layer of the one manifest in ``archive``.  Raises PayloadError."""
    try:
        with tarfile.open(archive, mode="r:") as tar:
            members = {member.name.removeprefix("./"): member for member in tar if member.isfile()}
            return _find(tar, members, str(archive))
    except (tarfile.TarError, OSError) as error:
        raise PayloadError(
            _("{archive} is no OCI archive: {error}").format(archive=archive, error=error),
            hint=_("Is it a tar, not compressed?"),
        ) from error


def _find(tar: tarfile.TarFile, members: dict[str, tarfile.TarInfo], name: str) -> Layer:
    if "oci-layout" not in members:
        raise PayloadError(
            _("{name} is no OCI archive: it has no oci-layout").format(name=name),
            hint=_("Make it with 'ovirt-node-image oci'."),
        )
    found = _json(tar, members, "index.json", name)
    # An index may hold another one.
    for _depth in range(2):
        manifests = [one for one in found.get("manifests", []) if one.get("mediaType") in (MANIFEST, INDEX)]
        if len(manifests) != 1:
            raise PayloadError(
                _("{name} holds {count} images, and not one").format(name=name, count=len(manifests)),
                hint=_("Copy the one that is meant."),
            )
        found = _json(tar, members, _blob(manifests[0], name), name, manifests[0])
        if manifests[0]["mediaType"] == MANIFEST:
            break
    layers = found.get("layers", [])
    if len(layers) != 1 or layers[0].get("mediaType") != LAYER:
        raise PayloadError(
            _("{name} holds no oVirt Node image: it needs one layer of the type {layer}").format(
                name=name, layer=LAYER
            ),
            hint=_("A container image is none; make it with 'ovirt-node-image oci'."),
        )
    member = members.get(_blob(layers[0], name))
    if member is None or member.size != layers[0].get("size"):
        raise PayloadError(
            _("{name} lacks its layer, or has not all of it").format(name=name), hint=_("Copy it again.")
        )
    title = str(layers[0].get("annotations", {}).get(TITLE, ""))
    return Layer(member.offset_data, member.size, _hex(layers[0], name), title)


def _hex(descriptor: dict[str, Any], name: str) -> str:
    found = _DIGEST.fullmatch(str(descriptor.get("digest", "")))
    if not found:
        raise PayloadError(
            _("{name} has a digest in it that is no SHA-256: {digest}").format(
                name=name, digest=repr(descriptor.get("digest"))
            )
        )
    return found.group(1)


def _blob(descriptor: dict[str, Any], name: str) -> str:
    return f"blobs/sha256/{_hex(descriptor, name)}"


def _json(
    tar: tarfile.TarFile,
    members: dict[str, tarfile.TarInfo],
    path: str,
    name: str,
    descriptor: Optional[dict[str, Any]] = None,
) -> dict[str, Any]:
    """A JSON file of the archive; with a ``descriptor`` it has that one's digest."""
    member = members.get(path)
    stream = tar.extractfile(member) if member is not None and member.size <= MAX_JSON else None
    data = stream.read() if stream is not None else b""
    if descriptor is not None and hashlib.sha256(data).hexdigest() != _hex(descriptor, name):
        raise PayloadError(
            _("{name}: {path} is missing or damaged").format(name=name, path=path), hint=_("Copy it again.")
        )
    try:
        found = json.loads(data)
    except ValueError as error:
        raise PayloadError(
            _("{name}: {path} is missing or no JSON").format(name=name, path=path), hint=_("Copy it again.")
        ) from error
    if not isinstance(found, dict):
        raise PayloadError(_("{name}: {path} is no JSON object").format(name=name, path=path), hint=_("Copy it again."))
    return found


class PartStream(Stream):
    """A part of a file in order."""

    def __init__(self, name: str, path: Path, offset: int, end: int) -> None:
        self.name, self.offset, self.end = name, offset, end
        try:
            self.file = DirectFile(path)
        except OSError as error:
            raise PayloadError(_("{name} cannot be read: {error}").format(name=name, error=error.strerror)) from error

    def readinto(self, view: memoryview) -> int:
        try:
            count = self.file.readinto(view[: max(self.end - self.offset, 0)], self.offset)
        except OSError as error:
            raise PayloadError(
                _("{name} cannot be read: {error}").format(name=self.name, error=error.strerror)
            ) from error
        self.offset += count
        return count

    def close(self) -> None:
        self.file.close()


class OciSource(Source):
    """The layer in an archive."""

    def __init__(self, archive: Path, name: str) -> None:
        layer = find_layer(archive)
        self.archive, self.layer, self.name = archive, layer, name
        self.size: int = layer.size
        self.digest = layer.sha256
        self.file_name = layer.title or archive.name

    def read_at(self, offset: int, length: int) -> bytes:
        try:
            with self.archive.open("rb") as file:
                file.seek(self.layer.offset + offset)
                return file.read(min(length, max(self.size - offset, 0)))
        except OSError as error:
            raise PayloadError(
                _("{name} cannot be read: {error}").format(name=self.name, error=error.strerror)
            ) from error

    def stream(self, offset: int = 0) -> PartStream:
        begin = self.layer.offset
        return PartStream(self.name, self.archive, begin + offset, begin + self.size)

    def close(self) -> None:
        """Nothing is held."""


def open_archive(url: str) -> OciSource:
    """``oci-archive:/PATH``.  Raises PayloadError."""
    path = Path(url[len(ARCHIVE) :])
    FileSource(path, name=url)
    return OciSource(path, url)


def open_registry(url: str, access: Access, folder: Path, stack: ExitStack) -> OciSource:
    """``docker://…``: skopeo copies it into ``folder`` first, which goes away with ``stack``.  Raises PayloadError."""
    try:
        registry(url)
        work = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="ovirt-node-oci-", dir=folder)))
    except (ValueError, OSError) as error:
        raise PayloadError(f"{redact_url(url)}: {error}") from error
    archive = work / "image.tar"
    try:
        argv = ["skopeo", *_options(access, work), url, f"{ARCHIVE}{archive}"]
        # It quotes a proxy that it cannot use.
        run(argv, env=_environment(access), secrets=[access.proxy] if "@" in access.proxy else [])
    except CommandError as error:
        raise PayloadError(
            _("{url} cannot be copied: {message}").format(url=redact_url(url), message=error.message),
            hint=_("Check the address; a password is kept by 'skopeo login', and --noverifyssl is for http."),
        ) from error
    return OciSource(archive, redact_url(url))


def _options(access: Access, work: Path) -> Iterator[str]:
    if not POLICY.exists():
        # skopeo needs a policy of whose signatures count; without one nobody's do, and the digests are checked.
        yield "--insecure-policy"
    yield from ("--tmpdir", os.fspath(work), "copy", "--quiet")
    if not access.verify:
        yield "--src-tls-verify=false"
    if access.cacert:
        certificates = work / "certs"
        certificates.mkdir()
        (certificates / "ca.crt").write_bytes(Path(access.cacert).read_bytes())
        yield f"--src-cert-dir={certificates}"


def _environment(access: Access) -> dict[str, str]:
    return {"HTTPS_PROXY": access.proxy, "HTTP_PROXY": access.proxy} if access.proxy else {}

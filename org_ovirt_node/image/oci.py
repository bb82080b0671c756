"""``ovirt-node-image oci``: an image as an OCI archive, to be copied to a registry by skopeo, oras or podman."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from pathlib import Path
from typing import Any

from org_ovirt_node.errors import ImageError
from org_ovirt_node.image import publish, squash
from org_ovirt_node.payload import squashfs
from org_ovirt_node.payload.oci import ARTIFACT, EMPTY, INDEX, LAYER, MANIFEST, TITLE
from org_ovirt_node.payload.sources import open_source
from org_ovirt_node.progress import Progress, human

#: The empty configuration of an artifact (OCI image-spec 1.1, "Guidance for an Empty Descriptor").
EMPTY_CONFIG = b"{}"


def _encoded(data: dict[str, Any]) -> bytes:
    return json.dumps(data, sort_keys=True, separators=(",", ":")).encode()


def _descriptor(media_type: str, content: bytes) -> dict[str, Any]:
    return {"mediaType": media_type, "digest": f"sha256:{hashlib.sha256(content).hexdigest()}", "size": len(content)}


def manifest(image: Path, nvr: str, digest: str) -> bytes:
    """The manifest of the artefact whose one layer is ``image``."""
    layer = {"mediaType": LAYER, "digest": f"sha256:{digest}", "size": image.stat().st_size}
    return _encoded(
        {
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "artifactType": ARTIFACT,
            "config": _descriptor(EMPTY, EMPTY_CONFIG),
            "layers": [{**layer, "annotations": {TITLE: f"{nvr}.squashfs"}}],
        }
    )


def make(image: Path, output: Path, progress: Progress) -> Path:
    """Write ``<nvr>.oci.tar`` into ``output`` and return it; the same image gives the same bytes.

    Raises ImageError and PayloadError.
    """
    with open_source(image.resolve().as_uri()) as source:
        facts = squashfs.inspect(source)
    target = output / f"{facts.nvr}.oci.tar"
    if target.exists():
        raise ImageError(f"{target} is there already", hint="Remove it, or name another --output.")
    publish.make_folder(output)
    progress.step("oci", f"Writing {target.name}")
    digest = squash.sha256(image)
    described = manifest(image, facts.nvr, digest)
    top = {**_descriptor(MANIFEST, described), "artifactType": ARTIFACT}
    top["annotations"] = {"org.opencontainers.image.ref.name": facts.nvr}
    index = _encoded({"schemaVersion": 2, "mediaType": INDEX, "manifests": [top]})
    partial = target.with_name(f".{target.name}.partial")
    try:
        with tarfile.open(partial, "w", format=tarfile.PAX_FORMAT) as tar:
            for name, content in (
                ("oci-layout", _encoded({"imageLayoutVersion": "1.0.0"})),
                ("index.json", index),
                (_blob(described), described),
                (_blob(EMPTY_CONFIG), EMPTY_CONFIG),
            ):
                _add(tar, name, content)
            member = tarfile.TarInfo(f"blobs/sha256/{digest}")
            member.size, member.mode = image.stat().st_size, 0o644
            with image.open("rb") as stream:
                tar.addfile(member, stream)
        partial.rename(target)
    except OSError as error:
        raise ImageError(f"{target} cannot be written: {error.strerror}", hint="Is there enough free space?") from error
    finally:
        partial.unlink(missing_ok=True)
    progress.detail(f"{human(target.stat().st_size)}, sha256:{hashlib.sha256(described).hexdigest()}")
    return target


def _blob(content: bytes) -> str:
    return f"blobs/sha256/{hashlib.sha256(content).hexdigest()}"


def _add(tar: tarfile.TarFile, name: str, content: bytes) -> None:
    member = tarfile.TarInfo(name)
    member.size, member.mode = len(content), 0o644
    tar.addfile(member, io.BytesIO(content))

"""Is an image file what its manifest, or the digest beside it, says?"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Optional

from org_ovirt_node.errors import ImageError, PayloadError
from org_ovirt_node.image import squash
from org_ovirt_node.payload import manifest as manifests
from org_ovirt_node.payload import signature, squashfs
from org_ovirt_node.payload.manifest import Manifest
from org_ovirt_node.payload.sources import open_source
from org_ovirt_node.payload.verity import verify_file
from org_ovirt_node.progress import Progress

MANIFEST_SUFFIX, DIGEST_SUFFIX = ".json", ".sha256"
#: A line of sha256sum(1): digest, a blank, a blank or an asterisk, name.
DIGEST_LINE = re.compile(r"([0-9a-f]{64}) [ *](.+)\n?")
FETCH_AGAIN = "Fetch or build the image again."


@dataclass(frozen=True)
class Checked:
    """One thing that was looked at; ``ok`` is None when nothing can be said of it."""

    name: str
    ok: Optional[bool]
    text: str


@dataclass(frozen=True)
class Files:
    """An image, and what it is compared with: a manifest, or else a file with its digest."""

    image: Path
    manifest: Optional[Path] = None
    digest: Optional[Path] = None


def find(file: Path, manifest: Optional[Path]) -> Files:
    """The files that belong together; ``file`` is an image or a manifest.

    Raises :class:`ImageError` where one is missing, PayloadError for a manifest that is none.
    """
    if file.suffix == MANIFEST_SUFFIX:
        if manifest is not None:
            raise ImageError(f"{file} is a manifest, and --manifest names another", hint="Name the image, or one.")
        return Files(_there(file.with_name(_read(_there(file)).file)), file)
    _there(file)
    if manifest is not None:
        return Files(file, _there(manifest))
    beside = file.with_suffix(MANIFEST_SUFFIX)
    digest = file.with_name(file.name + DIGEST_SUFFIX)
    if beside.is_file():
        return Files(file, beside)
    if digest.is_file():
        return Files(file, digest=digest)
    raise ImageError(
        f"there is nothing to compare {file} with: neither {beside.name} nor {digest.name} lies beside it",
        hint="Name its manifest with --manifest=FILE.",
    )


def _there(path: Path) -> Path:
    if not path.is_file():
        raise ImageError(f"there is no file {path}")
    return path


def _read(manifest: Path) -> Manifest:
    try:
        with manifest.open("rb") as stream:
            return manifests.parse(stream.read(manifests.MAX_SIZE + 1), str(manifest))
    except OSError as exc:
        raise ImageError(f"{manifest} cannot be read: {exc.strerror}") from exc


def verify(files: Files, key: Optional[Path], progress: Progress) -> Iterator[Checked]:
    """Check everything that can be checked, one after the other; ``key`` is what the manifest must be signed by.

    Raises :class:`ImageError`, PayloadError and CommandError where a check cannot be made.
    """
    if files.manifest is None:
        if key is not None:
            raise ImageError("--key checks the signature of a manifest, and there is none", hint="Give --manifest.")
        assert files.digest is not None
        yield from _by_digest(files.image, _digest_in(files.digest, files.image), progress)
        return
    if key is not None:
        yield _signature(files.manifest, key)
    else:
        yield Checked("signature", None, "no --key was given, so it was not checked")
    manifest = _read(files.manifest)
    size = files.image.stat().st_size
    yield Checked("size", size == manifest.size, f"{size} bytes; the manifest says {manifest.size}")
    yield from _by_digest(files.image, manifest.sha256, progress)
    yield _content(files.image, manifest)
    if manifest.verity is None:
        yield Checked("hash tree", None, "the manifest names none")
        return
    progress.step("tree", "Comparing every block with the hash tree")
    ok = verify_file(files.image, manifest.verity.roothash, manifest.verity.hash_offset)
    yield Checked("hash tree", ok, "every block is as the root hash says" if ok else f"a block differs. {FETCH_AGAIN}")


def _digest_in(file: Path, image: Path) -> str:
    found = DIGEST_LINE.fullmatch(file.read_text(encoding="utf-8", errors="replace"))
    if found is None or found[2] != image.name:
        raise ImageError(f"{file} holds no SHA-256 of {image.name}", hint="Write it with sha256sum.")
    return found[1]


def _by_digest(image: Path, wanted: str, progress: Progress) -> Iterator[Checked]:
    progress.step("digest", f"Reading {image.name}")
    found = squash.sha256(image)
    ok = found == wanted
    yield Checked("SHA-256", ok, found if ok else f"{found} where {wanted} is said. {FETCH_AGAIN}")


def _signature(manifest: Path, key: Path) -> Checked:
    content = signature.read_key(key)
    beside = [manifest.with_name(manifest.name + suffix) for suffix in signature.suffixes(content)]
    found = next((path for path in beside if path.is_file()), None)
    if found is None:
        return Checked("signature", False, f"there is no {' or '.join(path.name for path in beside)}")
    try:
        signature.verify(manifest.read_bytes(), found.read_bytes(), content, str(manifest))
    except PayloadError as exc:
        return Checked("signature", False, exc.message)
    return Checked("signature", True, f"{found.name} is by {key.name}")


def _content(image: Path, manifest: Manifest) -> Checked:
    """What the image says of itself against its manifest."""
    try:
        with open_source(image.resolve().as_uri()) as source:
            facts = squashfs.inspect(source)
    except PayloadError as exc:
        return Checked("content", False, str(exc))
    pairs = [("nvr", facts.nvr, manifest.nvr), ("form", facts.form, manifest.form)]
    # What the image tells only once it is mounted (form liveos) is empty here.
    pairs += [("kernel", facts.kernel or manifest.kernel, manifest.kernel)]
    wrong = [f"{name} {has!r} where the manifest says {said!r}" for name, has, said in pairs if has != said]
    return Checked("content", not wrong, "; ".join(wrong) or f"{facts.nvr}, {facts.form}")

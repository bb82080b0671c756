"""From the kickstart section to an image that may be installed: manifest, signature, digest, source."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Optional
from urllib.parse import urlsplit, urlunsplit

from org_ovirt_node.errors import PayloadError
from org_ovirt_node.i18n import _
from org_ovirt_node.kickstart.checks import is_manifest, pinned
from org_ovirt_node.kickstart.model import NodeSection
from org_ovirt_node.payload import manifest as manifests
from org_ovirt_node.payload import signature as signatures
from org_ovirt_node.payload.facts import ImageFacts
from org_ovirt_node.payload.manifest import Manifest, Verity
from org_ovirt_node.payload.mirrors import open_first
from org_ovirt_node.payload.source import Source, redact_url
from org_ovirt_node.payload.sources import WORKDIR, Patience, open_source
from org_ovirt_node.payload.squashfs import SUPERBLOCK, inspect, read_superblock
from org_ovirt_node.payload.verity import with_tree


@dataclass(frozen=True)
class Payload:
    """An image that was found: ``sha256`` is what it must have (empty: any), ``signed`` whether a signature says so."""

    source: Source
    facts: ImageFacts
    sha256: str
    signed: bool = False
    manifest: Optional[Manifest] = None


@contextmanager
def open_payload(
    node: NodeSection, *, workdir: Path = WORKDIR, patience: Optional[Patience] = None
) -> Iterator[Payload]:
    """Find, check and open the image that ``node`` asks for; no disk is touched.

    An image needs a digest, a signed manifest or ``--nosignature``.  Raises PayloadError.
    """
    chooser = _Chooser(node, workdir, patience)
    urls, manifest, signed = chooser.choose()
    sha256 = node.sha256.lower() or (manifest.sha256 if manifest else "")
    if not (sha256 or node.nosignature or all(map(pinned, urls))):
        raise PayloadError(
            _("{url} comes without a digest or a signature").format(url=redact_url(urls[0])),
            hint=_("Give --sha256, or --manifest with --key, or say --nosignature."),
        )
    with open_first(
        urls,
        proxy=node.proxy,
        verify=not node.noverifyssl,
        cacert=node.cacert,
        workdir=workdir,
        patience=patience,
    ) as source:
        facts = inspect(source, manifest.facts if manifest else None)
        if source.digest and sha256 and source.digest != sha256:
            raise PayloadError(
                _("{name} holds an image with the digest {digest}, and {sha256} is asked for").format(
                    name=source.name, digest=source.digest, sha256=sha256
                ),
                hint=_("Take digest and image from the same build."),
            )
        if manifest and manifest.verity:
            _check_tree(source, manifest.verity)
        if source.path:
            facts = with_tree(facts, source.path)
        yield Payload(source, facts, sha256 or source.digest, signed, manifest)


def _check_tree(source: Source, verity: Verity) -> None:
    """The tree is where a booting node will look for it: behind the padded squashfs."""
    end = read_superblock(source.read_at(0, SUPERBLOCK.size), source.name).padded
    if verity.hash_offset != end:
        raise PayloadError(
            _("{name}: its squashfs ends at {end}, and its manifest has the hash tree at {offset}").format(
                name=source.name, end=end, offset=verity.hash_offset
            ),
            hint=_("Image and manifest must come from the same build."),
        )


@dataclass(frozen=True)
class _Chooser:
    node: NodeSection
    workdir: Path
    patience: Optional[Patience]

    def choose(self) -> tuple[list[str], Optional[Manifest], bool]:
        """Where the image is, its manifest, and whether a signature vouches for that."""
        images = list(self.node.images)
        named = [url for url in images if is_manifest(url)]
        if not images:
            raise PayloadError(_("No image is named"), hint=_("Give --image."))
        if named and (len(named) < len(images) or self.node.manifest):
            raise PayloadError(
                _("{url} is a manifest, and there is another image or manifest beside it").format(
                    url=redact_url(named[0])
                ),
                hint=_("Name manifests only, or images and one --manifest."),
            )
        if self.node.manifest:
            manifest, signed = self._first([self.node.manifest])
            return images, manifest, signed
        if named:
            manifest, signed = self._first(named)
            return [beside(url, manifest.file) for url in named], manifest, signed
        return images, None, False

    def _first(self, urls: list[str]) -> tuple[Manifest, bool]:
        """The first manifest that can be read; one whose signature is wrong ends the search."""
        reasons = []
        for url in urls:
            try:
                data = self._small(url, manifests.MAX_SIZE)
            except PayloadError as exc:
                reasons.append(exc)
                continue
            return self._checked(url, data)
        if len(reasons) == 1:
            raise reasons[0]
        raise PayloadError(
            _("The manifest can be read from no place: {reasons}").format(
                reasons="; ".join(exc.message for exc in reasons)
            )
        )

    def _checked(self, url: str, data: bytes) -> tuple[Manifest, bool]:
        """The signature is checked before anything is made of the bytes."""
        name = redact_url(url)
        node = self.node
        signed = bool(node.key) or not (node.nosignature or node.sha256)
        if signed:
            key = signatures.read_key(Path(node.key) if node.key else signatures.DEFAULT_KEY)
            signatures.verify(data, self._signature(url, signatures.suffixes(key)), key, name)
        manifest = manifests.parse(data, name)
        if node.sha256 and node.sha256.lower() != manifest.sha256:
            raise PayloadError(
                _("{name} says that the image's digest is {sha256}, and the kickstart {asked}").format(
                    name=name, sha256=manifest.sha256, asked=node.sha256.lower()
                ),
                hint=_("Take both from the same build."),
            )
        return manifest, signed

    def _signature(self, url: str, suffixes: tuple[str, ...]) -> bytes:
        reasons = []
        for suffix in suffixes:
            try:
                return self._small(with_suffix(url, suffix), signatures.MAX_SIGNATURE)
            except PayloadError as exc:  # noqa: PERF203 - one try per name
                reasons.append(exc.message)
        raise PayloadError(
            _("{url} has no signature: {reasons}").format(url=redact_url(url), reasons="; ".join(reasons)),
            hint=_("Put the signature beside the manifest, or say --nosignature."),
        )

    def _small(self, url: str, limit: int) -> bytes:
        """A whole small file.  Raises PayloadError when it has more than ``limit`` bytes."""
        node = self.node
        buffer = bytearray(limit + 1)
        with (
            open_source(
                url,
                proxy=node.proxy,
                verify=not node.noverifyssl,
                cacert=node.cacert,
                workdir=self.workdir,
                patience=self.patience,
            ) as source,
            source.stream() as stream,
        ):
            count = stream.readinto(memoryview(buffer))
        if count > limit:
            raise PayloadError(
                _("{url} is larger than the {limit} KiB that it may have").format(
                    url=redact_url(url), limit=limit >> 10
                )
            )
        return bytes(buffer[:count])


def with_suffix(url: str, suffix: str) -> str:
    """``url`` with ``suffix`` added to its path; a query stays behind it."""
    if not url.startswith(("http:", "https:")):
        return url + suffix
    parts = urlsplit(url)
    return urlunsplit(parts._replace(path=parts.path + suffix))


def beside(url: str, file: str) -> str:
    """The URL of ``file`` in the same folder as ``url``."""
    if not url.startswith(("http:", "https:")):
        head, slash, _ = url.rpartition("/")
        return head + slash + file
    parts = urlsplit(url)
    return urlunsplit(parts._replace(path=str(PurePosixPath(parts.path).parent / file)))

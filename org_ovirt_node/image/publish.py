"""A finished image under its name, with its digest, manifest and signature beside it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Optional

from org_ovirt_node.errors import ImageError
from org_ovirt_node.image import squash
from org_ovirt_node.payload import manifest as manifests
from org_ovirt_node.payload.manifest import Manifest
from org_ovirt_node.run import Arg, run

IMAGE, MANIFEST, DIGEST = ".squashfs", ".json", ".sha256"
OPENPGP, CMS = ".json.asc", ".json.p7s"
#: By which gpg finds the caller's keys, and asks for what unlocks them (gpg(1), gpg-agent(1)).
GPG_ENVIRONMENT = ("HOME", "GNUPGHOME", "GPG_TTY")


@dataclass(frozen=True)
class Signer:
    """Who signs: an OpenPGP key that gpg knows by ``openpgp`` (empty: none); an X.509 certificate and its key (PEM)."""

    openpgp: str = ""
    certificate: Optional[Path] = None
    key: Optional[Path] = None

    def check(self) -> None:
        """Refuse what could not sign, before an image is built.  Raises :class:`ImageError` and CommandError."""
        if (self.certificate is None) != (self.key is None):
            raise ImageError("a certificate signs with its key", hint="Give --sign-certificate and --sign-key.")
        for file in (self.certificate, self.key):
            if file is not None and not os.access(file, os.R_OK):
                raise ImageError(f"{file}, which is to sign the manifest, cannot be read")
        if self.openpgp:
            argv = ["gpg", "--batch", "--list-secret-keys", self.openpgp]
            run(argv, env=_gpg_environment(), hint="Name a key that gpg has the secret of.")

    def sign(self, manifest: Path, base: Path) -> tuple[Path, ...]:
        """Sign ``manifest``; the signatures are ``base`` with a suffix.  Raises CommandError."""
        made = []
        if self.openpgp:
            made.append(base.with_name(base.name + OPENPGP))
            argv: list[Arg] = ["gpg", "--batch", "--yes", "--armor", "--local-user", self.openpgp]
            run([*argv, "--output", made[-1], "--detach-sign", manifest], env=_gpg_environment())
        if self.certificate is not None and self.key is not None:
            made.append(base.with_name(base.name + CMS))
            argv = ["openssl", "cms", "-sign", "-binary", "-signer", self.certificate, "-inkey", self.key]
            run([*argv, "-outform", "DER", "-in", manifest, "-out", made[-1]])
        return tuple(made)


def _gpg_environment() -> dict[str, str]:
    return {name: os.environ[name] for name in GPG_ENVIRONMENT if name in os.environ}


def make_folder(folder: Path) -> None:
    """Make the folder that something goes into, where it is missing.  Raises ImageError when nothing can go there."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ImageError(
            f"the folder {folder} cannot be made: {error.strerror}", hint="Name another one with --output."
        ) from error
    if not os.access(folder, os.W_OK | os.X_OK):
        raise ImageError(f"nothing can be written to the folder {folder}", hint="Name another one with --output.")


@contextmanager
def unfinished(output: Path) -> Iterator[Path]:
    """A name for ``output`` while it is made; nothing under it is left behind."""
    partial = output.with_name(f".{output.name}.{os.getpid()}.partial")
    partial.unlink(missing_ok=True)
    try:
        yield partial
    finally:
        partial.unlink(missing_ok=True)


def publish(partial: Path, manifest: Manifest, signer: Signer) -> Path:
    """Give the image ``partial`` its name, and write what goes beside it; returns the image's path.

    What lies beside an older image of that name goes first: at no time does a manifest lie beside another image than
    its own.  Raises ImageError and CommandError.
    """
    base = partial.with_name(manifest.nvr)
    for suffix in (MANIFEST, IMAGE + DIGEST, OPENPGP, CMS, ".json.sig"):
        base.with_name(base.name + suffix).unlink(missing_ok=True)
    image = base.with_name(manifest.file)
    partial.rename(image)
    write_digest(image, manifest.sha256)
    text = manifests.as_text(manifest)
    # What the installer would refuse must not leave the builder.
    manifests.parse(text.encode(), f"{base.name}{MANIFEST}")
    written = base.with_name(base.name + MANIFEST)
    written.write_text(text, encoding="utf-8")
    signer.sign(written, base)
    return image


def write_digest(target: Path, sha256: str) -> None:
    """Write the digest of ``target`` beside it, as sha256sum(1) reads it."""
    target.with_name(target.name + DIGEST).write_text(f"{sha256}  {target.name}\n", encoding="utf-8")


def give_name(partial: Path, target: Path) -> str:
    """Give the complete file ``partial`` its name, with its digest beside it; returns the SHA-256."""
    digest = squash.sha256(partial)
    write_digest(target, digest)
    partial.rename(target)
    return digest


def digest_of(image: Path) -> tuple[int, str]:
    """Size in bytes and SHA-256 of ``image``."""
    return image.stat().st_size, squash.sha256(image)

"""Detached signatures of a manifest, checked by gpgv or openssl (no cryptography of our own).

The key decides: a file with an X.509 certificate (PEM) means CMS (RFC 5652) in ``<manifest>.p7s``; an OpenPGP key
ring, armoured or not, means ``<manifest>.asc`` or ``<manifest>.sig`` (RFC 9580).
"""

from __future__ import annotations

import base64
import binascii
import tempfile
from pathlib import Path

from org_ovirt_node.errors import CommandError, PayloadError
from org_ovirt_node.i18n import _
from org_ovirt_node.run import Arg, run

#: The key ring that an image brings, for upgrades and for installers made from it.
DEFAULT_KEY = Path("/usr/lib/ovirt-node/keyring.gpg")
#: Far above what signatures and key rings have.
MAX_SIGNATURE = 64 << 10
MAX_KEY = 4 << 20
OPENPGP_SUFFIXES = (".asc", ".sig")
CMS_SUFFIXES = (".p7s",)
CERTIFICATE = b"-----BEGIN CERTIFICATE-----"
ARMOR = b"-----BEGIN PGP PUBLIC KEY BLOCK-----"
ARMOR_END = b"-----END PGP PUBLIC KEY BLOCK-----"
STATUS = "[GNUPG:] "
#: gpgv says GOODSIG only for a key that is neither expired nor revoked; VALIDSIG for any right signature.
NEEDED = {"GOODSIG", "VALIDSIG"}
REFUSED = {"BADSIG", "ERRSIG", "EXPSIG", "EXPKEYSIG", "REVKEYSIG"}
TIMEOUT = 60.0


def read_key(path: Path) -> bytes:
    """The key file.  Raises PayloadError when it is missing, empty or no key."""
    try:
        size = path.stat().st_size
        key = path.read_bytes() if size <= MAX_KEY else b""
    except OSError as exc:
        raise PayloadError(
            _("The key {path} that is to check the manifest's signature cannot be read: {error}").format(
                path=path, error=exc.strerror
            ),
            hint=_("Give a key ring or certificate with --key, or say --nosignature."),
        ) from exc
    if not key:
        raise PayloadError(
            _("The key {path} has {size} bytes, which no key ring has").format(path=path, size=size),
            hint=_("Check --key."),
        )
    return key


def suffixes(key: bytes) -> tuple[str, ...]:
    """What the signature for this kind of key is called: the manifest's name and one of these."""
    return CMS_SUFFIXES if CERTIFICATE in key else OPENPGP_SUFFIXES


def verify(data: bytes, signature: bytes, key: bytes, name: str) -> None:
    """Check that ``signature`` is one of ``data`` by ``key`` (the files' contents).

    Raises PayloadError when it is not, or cannot be checked.
    """
    with tempfile.TemporaryDirectory(prefix="ovirt-node-signature-") as folder:
        files = [Path(folder) / part for part in ("data", "signature", "key")]
        for file, content in zip(files, (data, signature, _dearmored(key))):
            file.write_bytes(content)
        check = _cms if CERTIFICATE in key else _openpgp
        try:
            reason = check(*files)
        except CommandError as exc:
            raise PayloadError(
                _("{name}: its signature cannot be checked: {error}").format(name=name, error=exc)
            ) from exc
    if reason:
        raise PayloadError(
            _("{name} is not signed by the given key: {reason}").format(name=name, reason=reason),
            hint=_("Give the key of whoever built the image with --key, or fetch manifest and signature again."),
        )


def _dearmored(key: bytes) -> bytes:
    """A key ring as gpgv takes it: binary.  Armour is base64 between two lines, after a blank one (RFC 9580, 6.2)."""
    if not key.lstrip().startswith(ARMOR):
        return key
    blocks = []
    for part in key.split(ARMOR)[1:]:
        lines = part.partition(ARMOR_END)[0].replace(b"\r", b"").split(b"\n")
        try:
            body = lines[lines.index(b"", 1) + 1 :]
            blocks.append(base64.b64decode(b"".join(line for line in body if not line.startswith(b"=")), validate=True))
        except (ValueError, binascii.Error) as exc:
            raise PayloadError(_("The key ring's armour is damaged"), hint=_("Check --key.")) from exc
    return b"".join(blocks)


def _openpgp(data: Path, signature: Path, key: Path) -> str:
    """Why gpgv does not accept the signature; empty when it does."""
    argv: list[Arg] = ["gpgv", "--homedir", data.parent, "--keyring", key, "--status-fd", "1", signature, data]
    done = run(argv, check=False, timeout=TIMEOUT)
    said = {line[len(STATUS) :].split()[0] for line in done.stdout.splitlines() if line.startswith(STATUS)}
    if done.ok and said >= NEEDED and not said & REFUSED:
        return ""
    return _last_line(done.stderr)


def _cms(data: Path, signature: Path, key: Path) -> str:
    """Why openssl does not accept the signature; empty when it does.  Only the given certificate is trusted."""
    form = "PEM" if signature.read_bytes().lstrip().startswith(b"-----BEGIN") else "DER"
    argv: list[Arg] = ["openssl", "cms", "-verify", "-binary", "-inform", form, "-in", signature, "-content", data]
    argv += ["-CAfile", key, "-no-CApath", "-no-CAstore", "-partial_chain", "-certfile", key, "-purpose", "any"]
    done = run([*argv, "-out", "/dev/null"], check=False, timeout=TIMEOUT)
    return "" if done.ok else _last_line(done.stderr)


def _last_line(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1].rpartition("gpgv: ")[2] if lines else _("no reason is given")

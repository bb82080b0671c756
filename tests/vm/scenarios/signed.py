"""Images whose manifest is signed, rightly and wrongly."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from org_ovirt_node.image.publish import Signer
from org_ovirt_node.run import run
from tests.vm import artefacts
from tests.vm.artefacts import NodeImage
from tests.vm.errors import check, check_equal
from tests.vm.installer import InstallerMachine, running_installer
from tests.vm.qemu import Disk
from tests.vm.scenario import Context, scenario
from tests.vm.scenarios.refuse import mark
from tests.vm.servers import serving
from tests.vm.steps import (
    booted_node,
    check_released,
    check_root,
    expect_refusal,
    install_node,
    kickstart,
    run_install,
    target_disk,
)

RING, CERTIFICATE = "/root/ring.gpg", "/root/signer.pem"


@contextmanager
def openpgp(folder: Path) -> Iterator[Callable[[str], tuple[Signer, Path]]]:
    """Keys in a folder of gpg's own: a function that makes one for a name, and gives the ring of its public half."""
    home = folder / "gnupg"
    home.mkdir(parents=True, mode=0o700)

    def make(name: str) -> tuple[Signer, Path]:
        address = f"{name}@example.org"
        gpg = ["gpg", "--batch", "--quiet", "--homedir", str(home)]
        subprocess.run([*gpg, "--passphrase", "", "--quick-gen-key", address, "ed25519", "sign", "never"], check=True)
        ring = folder / f"{name}.gpg"
        subprocess.run([*gpg, "--output", str(ring), "--export", address], check=True)
        return Signer(openpgp=address), ring

    before = os.environ.get("GNUPGHOME")
    # Signer finds its keys as gpg does.
    os.environ["GNUPGHOME"] = str(home)
    try:
        yield make
    finally:
        subprocess.run(["gpgconf", "--homedir", str(home), "--kill", "gpg-agent"], check=True)
        if before is None:
            del os.environ["GNUPGHOME"]
        else:
            os.environ["GNUPGHOME"] = before


def x509_key(folder: Path) -> Signer:
    """A self-signed certificate that may sign, and its key."""
    certificate, key = folder / "signer.pem", folder / "signer.key"
    argv = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "30", "-subj", "/CN=builder"]
    run([*argv, "-keyout", key, "-out", certificate])
    return Signer(certificate=certificate, key=key)


def signed(image: NodeImage, folder: Path, *signers: Signer) -> Path:
    """A folder with image, manifest and the signatures of ``signers``."""
    folder.mkdir(parents=True)
    for file in (image.path, image.manifest):
        run(["cp", "--reflink=auto", file, folder])
    for signer in signers:
        signer.sign(folder / image.manifest.name, folder / image.nvr)
    return folder


@scenario("install-signed", issues=(6,))
def install_signed(context: Context) -> None:
    """An image whose manifest is signed, by OpenPGP or X.509, installs with the key alone, and boots verified."""
    image = artefacts.node_image()
    certified = x509_key(context.folder)
    assert certified.certificate is not None
    with openpgp(context.folder) as new_key:
        builder, ring = new_key("builder")
        folder = signed(image, context.folder / "served", builder, certified)
    target = target_disk(context)
    with serving(folder) as server, running_installer(context.folder) as installer:
        installer.start_network()
        installer.shell.put(RING, ring.read_bytes())
        installer.shell.put(CERTIFICATE, certified.certificate.read_bytes())
        installer.attach(target)
        for key, suffix in ((CERTIFICATE, "p7s"), (RING, "asc")):
            text = kickstart(f"{server.base}/{image.manifest.name}", check_line=f"--key={key}")
            result = install_node(installer, context, text)
            check_equal(result.done["sha256"], image.sha256, "the digest of what was installed")
            check(any(f".{suffix}" in line for line in server.requests), f"the .{suffix} was not asked for")
        installer.power_off()
    with booted_node(context, target) as node:
        node.check_running()
        check_root(node, image)
        node.power_off()


def expect_untouched(installer: InstallerMachine, target: Disk, before: str, text: str, *words: str) -> None:
    """The installation is refused in these words, and before anything is written."""
    result = run_install(installer, text)
    expect_refusal(result, *words)
    check("partition" not in result.steps, "the installation began to write")
    check_released(installer)
    check_equal(artefacts.content(target.file), before, "the disk's content after the refusal")


@scenario("install-wrong-signature", issues=(6,))
def install_wrong_signature(context: Context) -> None:
    """A manifest with another's signature, a changed one, an unsigned one: each is refused before any write."""
    image = artefacts.node_image()
    target = target_disk(context, size=12 << 30)
    before = mark(target)
    root = context.folder / "root"
    with openpgp(context.folder) as new_key:
        builder, ring = new_key("builder")
        stranger, _ = new_key("stranger")
        signed(image, root / "foreign", stranger)
        signed(image, root / "unsigned")
        changed = signed(image, root / "changed", builder)
    # The builder's own signature, of another manifest.
    manifest = changed / image.manifest.name
    manifest.write_text(manifest.read_text().replace('"boot_args": "', '"boot_args": "init=/bin/sh '))
    with serving(root) as server, running_installer(context.folder) as installer:
        installer.start_network()
        installer.shell.put(RING, ring.read_bytes())
        installer.attach(target)
        for name, check_line, words in (
            ("foreign", f"--key={RING}", ("not signed by the given key", "No public key")),
            ("changed", f"--key={RING}", ("not signed by the given key", "BAD signature")),
            ("unsigned", f"--key={RING}", ("has no signature", "404")),
            ("unsigned", "", ("keyring.gpg", "--nosignature")),
        ):
            context.say(f"{name}, {check_line or 'no key'}")
            text = kickstart(f"{server.base}/{name}/{image.manifest.name}", check_line=check_line)
            expect_untouched(installer, target, before, text, *words)
        installer.power_off()
    check_equal(artefacts.content(target.file), before, "the disk's content at the end")

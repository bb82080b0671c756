"""An RPM whose payload is an image, and whose installation on a node updates the node to it."""

from __future__ import annotations

import platform
import tempfile
import time
from calendar import timegm
from dataclasses import dataclass
from pathlib import Path

from org_ovirt_node.errors import ImageError
from org_ovirt_node.image import build, publish, rpms, squash
from org_ovirt_node.image.edit import parts_of
from org_ovirt_node.payload import manifest as manifests
from org_ovirt_node.payload.sources import open_source
from org_ovirt_node.payload.squashfs import inspect
from org_ovirt_node.progress import Progress, human

#: On the node: on /var, which has room for it and is no part of a layer.
FOLDER = "/var/lib/ovirt-node/updates"
SUFFIX = "-update"
#: No Requires: an image may have nodectl without rpm knowing of it, and an update that cannot be resolved is none
#: (failure 22).  So the scripts look for themselves.
SPEC = """\
%global debug_package %{{nil}}
%global __os_install_post %{{nil}}
%global folder {folder}
Name: {name}
Version: {version}
Release: {release}
Summary: The image {nvr} for nodes that run from an image of oVirt Node
License: LicenseRef-oVirt-Node-Image
AutoReqProv: no
{sources}

%description
Installing this on a node puts the image {nvr} beside the running one; the next boot tries it.  It is the same
as "nodectl update" with the image's file.

%prep
%build
%install
mkdir -p %{{buildroot}}%{{folder}}
{copies}

%pre
if [ ! -x /usr/sbin/nodectl ] || [ ! -e /run/ovirt-node/layer ]; then
    echo "{nvr}: this host does not run from an image of oVirt Node, so it cannot be updated to one." >&2
    exit 1
fi

%post
if /usr/sbin/nodectl list | grep '^{pattern} (' | grep -qv ', unfinished)'; then
    echo "{nvr} is on this node already."
elif ! /usr/sbin/nodectl update %{{folder}}/{named} --sha256={sha256}; then
    echo "{nvr} was not installed; when the cause is gone: nodectl update %{{folder}}/{named} --sha256={sha256}" >&2
    exit 1
fi
# It is on a volume of its own now, and here it only takes room.
: > %{{folder}}/{image}

%files
%dir %{{folder}}
%verify(not size mtime filedigest) %{{folder}}/{image}
{others}
"""


@dataclass(frozen=True)
class Payload:
    """An image file, and what lies beside it: its manifest, and that one's signatures; ``date`` in seconds."""

    image: Path
    nvr: str
    sha256: str
    date: int
    beside: tuple[Path, ...] = ()

    @property
    def files(self) -> dict[str, Path]:
        """What goes into the RPM, by the name there."""
        named = {self.nvr + path.name[path.name.index(publish.MANIFEST) :]: path for path in self.beside}
        return {self.nvr + publish.IMAGE: self.image, **named}


def look(image: Path) -> Payload:
    """What is known of ``image``.  Raises :class:`ImageError` and PayloadError when it is not fit to be shipped."""
    if not image.is_file():
        raise ImageError(f"there is no image {image}")
    with open_source(image.resolve().as_uri()) as source:
        facts = inspect(source)
    digest = squash.sha256(image)
    beside = image.with_suffix(publish.MANIFEST)
    if not beside.is_file():
        return Payload(image, facts.nvr, digest, int(image.stat().st_mtime))
    manifest = manifests.parse(beside.read_bytes(), str(beside))
    if manifest.sha256 != digest:
        raise ImageError(f"{image} is not the image of {beside}: its digest is another one", hint="Build it again.")
    if manifest.file != manifest.nvr + publish.IMAGE:
        raise ImageError(f"{beside} names the file {manifest.file}, not {manifest.nvr}{publish.IMAGE}")
    signatures = [beside.with_name(beside.name + suffix) for suffix in (".asc", ".sig", ".p7s")]
    found = tuple(path for path in (beside, *signatures) if path.is_file())
    return Payload(image, manifest.nvr, digest, timegm(time.strptime(manifest.build_date, build.DATE)), found)


def spec(payload: Payload) -> str:
    """The spec file.  Raises :class:`ImageError` when the NVR cannot be an RPM's."""
    name, version, release = parts_of(payload.nvr)
    image, *others = payload.files
    sources = "\n".join(f"Source{number}: {file}" for number, file in enumerate(payload.files))
    copies = [
        f"install -m 0644 %{{SOURCE{number}}} %{{buildroot}}%{{folder}}/{file}"
        for number, file in enumerate(payload.files)
    ]
    return SPEC.format(
        folder=FOLDER,
        name=name + SUFFIX,
        version=version,
        release=release,
        nvr=payload.nvr,
        pattern=payload.nvr.replace(".", "[.]"),
        sources=sources,
        copies="\n".join(copies),
        image=image,
        # The manifest knows more than the image: what a host must have.
        named=others[0] if others else image,
        sha256=payload.sha256,
        others="\n".join(f"%{{folder}}/{file}" for file in others),
    )


def make(image: Path, output: Path, progress: Progress) -> Path:
    """Build the RPM into ``output``; the same image gives the same bytes.  Raises ImageError and CommandError."""
    progress.step("look", f"Reading {image.name}")
    payload = look(image)
    text = spec(payload)
    epoch = rpms.given_epoch()
    publish.make_folder(output)
    with tempfile.TemporaryDirectory(prefix=".rpm-", dir=output) as folder:
        work = Path(folder)
        (work / "SOURCES").mkdir()
        for name, path in payload.files.items():
            (work / "SOURCES" / name).symlink_to(path.resolve())
        file = work / "update.spec"
        file.write_text(text, encoding="utf-8")
        progress.step("rpm", f"Packing {payload.nvr}")
        # The image is compressed as it is.
        options = ["--target", platform.machine(), "--nodeps"]
        defines = {"_binary_payload": "w.ufdio"}
        made = rpms.rpmbuild(file, work, output, payload.date if epoch is None else epoch, defines, *options)
    progress.step("done", f"{made[0]}: {human(made[0].stat().st_size)}")
    return made[0]

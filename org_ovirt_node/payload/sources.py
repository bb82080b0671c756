"""Where an image can come from: the URL schemes of ``--image`` and ``--manifest``.

file:/path  file:///path  http://…  https://…  nfs:HOST:/path/file
hd:DEVICE:/path  hd:LABEL=…:/path  hd:UUID=…:/path  cdrom:/path
oci-archive:/path  docker://HOST/NAME:TAG  docker://HOST/NAME@sha256:…
"""

from __future__ import annotations

import glob
import os
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path, PurePosixPath
from typing import Optional
from urllib.parse import unquote, urlsplit

from org_ovirt_node.errors import CommandError, PayloadError
from org_ovirt_node.i18n import _
from org_ovirt_node.mounts import mounted
from org_ovirt_node.payload import oci
from org_ovirt_node.payload.access import Access, Patience
from org_ovirt_node.payload.local import FileSource
from org_ovirt_node.payload.source import Source, StartOver, Stream, redact_url
from org_ovirt_node.run import run

__all__ = ["Access", "Patience", "Source", "StartOver", "Stream", "open_source", "redact_url"]

SCHEMES = ("file:", "http:", "https:", "nfs:", "hd:", "cdrom:", "oci-archive:", "docker:")
#: An installer has no lock daemon; a server that is away for minutes becomes an error and not a hang (nfs(5)).
NFS_OPTIONS = ("ro", "nolock", "soft")
#: Nothing on a medium is trusted.
LOCAL_OPTIONS = ("ro", "nodev", "nosuid", "noexec")
WORKDIR = Path("/run/ovirt-node-install")
#: Where an image from a registry is kept while it is transferred: on a disk, where the machine has one.
SCRATCH = Path("/var/tmp")


@contextmanager
def open_source(
    url: str,
    *,
    proxy: str = "",
    verify: bool = True,
    cacert: str = "",
    workdir: Path = WORKDIR,
    patience: Optional[Patience] = None,
) -> Iterator[Source]:
    """Open the image at ``url`` and release everything it needed afterwards.

    ``workdir`` is where media and exports are mounted (read-only).  Raises PayloadError.
    """
    with ExitStack() as stack:
        source = _open(url, Access(proxy, verify, cacert), patience or Patience(), workdir, stack)
        stack.callback(source.close)
        yield source


def _open(url: str, access: Access, patience: Patience, workdir: Path, stack: ExitStack) -> Source:
    scheme, colon, rest = url.partition(":")
    if scheme in ("http", "https"):
        # The HTTP library takes its time to load, which a file or a medium need not wait for.
        from org_ovirt_node.payload.http import HttpSource

        return HttpSource(url, access, patience)
    if scheme == "file":
        return FileSource(_file_path(url))
    if scheme == "nfs":
        host, path = _split(url, rest, "nfs:HOST:/path/file")
        return _nfs(url, host, path, workdir, stack)
    if scheme == "hd":
        device, path = _split(url, rest, "hd:DEVICE:/path")
        return _on_device(url, _device(device), path, workdir, stack)
    if scheme == "cdrom" and rest.startswith("/"):
        return _cdrom(url, PurePosixPath(rest), workdir, stack)
    if scheme == "oci-archive":
        return oci.open_archive(url)
    if scheme == "docker":
        return oci.open_registry(url, access, SCRATCH, stack)
    if not colon and url.startswith("/"):
        return FileSource(Path(url))
    raise PayloadError(
        _("{url} is not an address of an image").format(url=redact_url(url)),
        hint=_("Accepted: {names}.").format(names=", ".join(SCHEMES)),
    )


def _file_path(url: str) -> Path:
    parts = urlsplit(url)
    if parts.netloc not in ("", "localhost") or not parts.path.startswith("/"):
        raise PayloadError(
            _("{url} does not name a file of this machine").format(url=url), hint=_("Write file:///path/to/image.")
        )
    return Path(unquote(parts.path))


def _split(url: str, rest: str, form: str) -> tuple[str, PurePosixPath]:
    """The device or host, and the path.  The first ":/" divides them: names of devices may hold other colons."""
    place, divider, path = rest.partition(":/")
    if not place or not divider or not path:
        raise PayloadError(_("{url} is not complete").format(url=url), hint=_("Write {form}.").format(form=form))
    return place, PurePosixPath("/" + path)


def _device(name: str) -> str:
    """What mount(8) calls a device: a path, or a tag such as LABEL=…"""
    if name.startswith("/") or "=" in name:
        return name
    return "/dev/" + name


def _mount(
    what: str, url: str, workdir: Path, stack: ExitStack, fstype: str = "", options: Sequence[str] = LOCAL_OPTIONS
) -> Path:
    """Mount ``what`` on a new folder until ``stack`` unwinds."""
    try:
        workdir.mkdir(parents=True, exist_ok=True)
        folder = Path(tempfile.mkdtemp(prefix="source-", dir=workdir))
    except OSError as exc:
        raise PayloadError(
            _("{folder} cannot hold a mount point: {error}").format(folder=workdir, error=exc.strerror)
        ) from exc
    stack.callback(folder.rmdir)
    try:
        return stack.enter_context(mounted(what, folder, fstype=fstype, options=options))
    except CommandError as exc:
        said = (exc.output.strip().splitlines() or [_("mount said nothing")])[0]
        raise PayloadError(
            _("{url}: {what} cannot be mounted: {said}").format(url=url, what=what, said=said),
            hint=_("Check the address and the device."),
        ) from exc


def _inside(folder: Path, path: PurePosixPath) -> Path:
    """``path`` in what is mounted on ``folder``; ".." leads nowhere outside."""
    return folder / os.path.normpath(path).lstrip("/")


def _on_device(url: str, device: str, path: PurePosixPath, workdir: Path, stack: ExitStack) -> Source:
    folder = _mount(device, url, workdir, stack)
    return FileSource(_inside(folder, path), name=url)


def _nfs(url: str, host: str, path: PurePosixPath, workdir: Path, stack: ExitStack) -> Source:
    """Mount the folder of the file: servers let any folder below an export be mounted."""
    folder = _mount(f"{host}:{path.parent}", url, workdir, stack, "nfs", NFS_OPTIONS)
    return FileSource(folder / path.name, name=url)


def _cdrom(url: str, path: PurePosixPath, workdir: Path, stack: ExitStack) -> Source:
    """The first medium that holds ``path``: optical drives first, then anything with an ISO 9660 file system."""
    tried = []
    for device in _media():
        with ExitStack() as attempt:
            try:
                source = _on_device(url, device, path, workdir, attempt)
            except PayloadError as exc:
                tried.append(f"{device}: {exc.message}")
                continue
            stack.push(attempt.pop_all())
            return source
    reasons = "; ".join(tried) or _("there is no drive and no disk with an ISO 9660 file system")
    raise PayloadError(
        _("{url} is on no medium ({reasons})").format(url=url, reasons=reasons),
        hint=_("Insert the medium that holds the image."),
    )


def _media() -> list[str]:
    drives = sorted(glob.glob(os.environ.get("OVIRT_NODE_DRIVES", "/dev/sr*")))  # noqa: PTH207 - a pattern of paths
    found = run(["blkid", "-t", "TYPE=iso9660", "-o", "device"], check=False).stdout.split()
    return drives + [device for device in found if device not in drives]

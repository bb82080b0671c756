"""Checks of the single values of the section.  Each returns the value or raises ValueError with what is accepted."""

from __future__ import annotations

import re
from collections.abc import Callable
from urllib.parse import urlsplit

from org_ovirt_node.i18n import N_, _, translated
from org_ovirt_node.kickstart.units import human_size, parse_size
from org_ovirt_node.layout.policy import BY_MOUNTPOINT, DEFAULT_FS, FS_TYPES, LAYER, minimum_size

URLS = N_(
    "file:/PATH, http://…, https://…, nfs:HOST:/PATH, hd:DEVICE:/PATH (or hd:LABEL=NAME:/PATH), cdrom:/PATH, "
    "oci-archive:/PATH or docker://HOST/NAME:TAG"
)

#: What is said where a comment cuts a word, and what to do about it.
CUT = N_("a '#' within a word begins a comment and cuts the word short")
QUOTE = N_("Put the word in quotes.")
#: lvm(8): names of VGs and LVs are made of these, do not start with a hyphen, and are neither "." nor "..".
_LVM_NAME = re.compile(r"[a-zA-Z0-9+_.][a-zA-Z0-9+_.-]*", re.ASCII)
#: lvm(8) keeps these for itself, as beginnings and anywhere in a name of an LV.
_LVM_STARTS = ("snapshot", "pvmove")
_LVM_PARTS = re.compile(
    "_(cdata|cmeta|corig|cpool|cvol|iorig|mimage|mlog|pmspare|rimage|rmeta|tdata|tmeta|vdata|vorigin|wcorig)"
)
#: The kernel's name of a mapped device (VG, hyphen, LV, hyphens doubled) has at most 127 bytes.  Half of it for each.
_LVM_LENGTH = 63

#: Names in /dev: of folders, of single devices, and of kinds of devices (Documentation/admin-guide/devices.txt).
_DEV = re.compile(
    "disk|mapper|pts|shm|input|net|block|char|bus|cpu|dri|snd|fd|stdin|stdout|stderr|log|initctl|mqueue|hugepages|"
    "null|zero|full|u?random|console|core|kmsg|mem|port|kvm|fuse|ptmx|tty|cdrom|rtc|hpet|"
    "(sd|vd|hd|xvd)[a-z]{1,2}[0-9]*|(fd|loop|dm-|md|ram|zram|nbd|sr|sg|st|tty|ttyS|vcs[au]?|nvme|mmcblk|hvc)[0-9].*",
    re.ASCII,
)

#: Distribution spec 1.1, "Pulling manifests"; a tag and a digest together are what skopeo refuses.
_REGISTRY = re.compile(
    r"docker://[^\s/@]+/[a-z0-9][a-z0-9._/-]*(:[A-Za-z0-9_][A-Za-z0-9._-]*|@sha256:[0-9a-f]{64})?", re.ASCII
)

#: Mount points that no volume can have, with the reason.
_MOUNT_FIXED = {
    "/": N_("the root is the layer; its size is --layer-size"),
    "/boot": N_("/boot is a partition of its own, for the boot loader"),
}
_MOUNT_IMAGE = ("/usr", "/etc", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32", "/root")
_MOUNT_KERNEL = ("/dev", "/proc", "/sys", "/run", "/boot")
_MOUNT_NAME = re.compile(r"(/[A-Za-z0-9_.+-]+)+", re.ASCII)


def cut_by_comment(line: str) -> bool:
    """True when an unquoted "#" within a word begins a comment, as it does for shlex, and cuts the word short."""
    quote, before = "", " "
    characters = iter(line)
    for character in characters:
        if character == "\\" and quote != "'":
            next(characters, "")
        elif quote:
            quote = "" if character == quote else quote
        elif character in "'\"":
            quote = character
        elif character == "#":
            return not before.isspace()
        before = character
    return False


def url(text: str) -> str:
    """A source of the image."""
    if not text or any(character.isspace() or not character.isprintable() for character in text):
        raise ValueError(_("it is not a URL; accepted is {urls}").format(urls=translated(URLS)))
    scheme, colon, rest = text.partition(":")
    if not colon:
        raise ValueError(_("it has no scheme; accepted is {urls}").format(urls=translated(URLS)))
    if scheme in ("http", "https"):
        return _web(text, "an image")
    if scheme == "file":
        path = rest[2:] if rest.startswith("//") else rest
        if not path.startswith("/") or path.endswith("/"):
            raise ValueError(_("it has no absolute path; accepted is file:/PATH or file:///PATH"))
        for character in "?#":
            if character in path:
                raise ValueError(
                    _("it has a {character} in it, which ends the path; accepted is %{code:X} for it").format(
                        character=character, code=ord(character)
                    )
                )
        return text
    if scheme == "cdrom":
        _absolute(rest, "cdrom:/PATH")
        return text
    if scheme == "nfs":
        return _nfs(text, rest)
    if scheme == "hd":
        return _hd(text, rest)
    if scheme == "oci-archive":
        _absolute(rest, "oci-archive:/PATH")
        return text
    if scheme == "docker":
        return registry(text)
    raise ValueError(
        _("its scheme {scheme} is unknown; accepted is {urls}").format(scheme=repr(scheme), urls=translated(URLS))
    )


def registry(text: str) -> str:
    """An image in a registry, by tag or by the digest of its manifest."""
    if not _REGISTRY.fullmatch(text):
        raise ValueError(_("accepted is docker://HOST/NAME[:TAG] or docker://HOST/NAME@sha256:DIGEST"))
    return text


def pinned(text: str) -> bool:
    """True for an image in a registry that is named by a digest: what comes is what was meant."""
    return text.startswith("docker://") and "@sha256:" in text


def _absolute(path: str, accepted: str) -> None:
    if not path.startswith("/") or path.endswith("/"):
        raise ValueError(_("it has no absolute path of a file; accepted is {accepted}").format(accepted=accepted))


def _web(text: str, of: str) -> str:
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError as error:
        # The error quotes what it takes for the port, which may be a password with a slash in it.
        raise ValueError(
            _("its host or port cannot be read; accepted is {scheme}://HOST[:PORT]/PATH").format(
                scheme=text.partition(":")[0]
            )
        ) from error
    if not parts.hostname or not text.partition(":")[2].startswith("//"):
        raise ValueError(_("it has no host; accepted is {scheme}://HOST/PATH").format(scheme=parts.scheme))
    if port == 0:
        raise ValueError(_("its port is 0"))
    if of == "an image" and (parts.path in ("", "/") or parts.path.endswith("/")):
        raise ValueError(_("it has no path of a file; accepted is {scheme}://HOST/PATH").format(scheme=parts.scheme))
    return text


def _nfs(text: str, rest: str) -> str:
    accepted = "nfs:HOST:/PATH"
    if rest.startswith("["):  # an IPv6 address
        host, bracket, path = rest.partition("]:")
        host = host + "]" if bracket else ""
    else:
        host, _unused, path = rest.partition(":")
    if not host or "/" in host:
        raise ValueError(_("it has no host; accepted is {accepted}").format(accepted=accepted))
    _absolute(path, accepted)
    return text


def _hd(text: str, rest: str) -> str:
    accepted = _("hd:DEVICE:/PATH, hd:LABEL=NAME:/PATH or hd:UUID=ID:/PATH")
    device, _unused, path = rest.partition(":/")
    if not device or (device.startswith(("LABEL=", "UUID=")) and not device.partition("=")[2]):
        raise ValueError(_("it has no device; accepted is {accepted}").format(accepted=accepted))
    _absolute("/" + path if rest.partition(":/")[1] else "", accepted)
    return text


def proxy(text: str) -> str:
    """A proxy for HTTP and HTTPS."""
    if any(character.isspace() or not character.isprintable() for character in text):
        raise ValueError(_("it has blanks in it; accepted is http://[USER:PASSWORD@]HOST:PORT"))
    if text.partition(":")[0] not in ("http", "https"):
        raise ValueError(_("it is not a proxy; accepted is http://[USER:PASSWORD@]HOST:PORT or https://…"))
    return _web(text, "a proxy")


def sha256(text: str) -> str:
    """A digest in hexadecimal, in lower case."""
    if not re.fullmatch(r"[0-9a-fA-F]{64}", text, re.ASCII):
        raise ValueError(
            _("it is not a SHA-256 digest; accepted are 64 hexadecimal digits, and it has {count} letters").format(
                count=len(text)
            )
        )
    return text.lower()


def lvm_name(text: str) -> str:
    """A name of a VG or of an LV, by the rules of lvm(8)."""

    if not _LVM_NAME.fullmatch(text) or text in (".", ".."):
        raise ValueError(
            _("it is not a name for LVM; accepted are letters, digits and + _ . -, and no hyphen at the start")
        )
    if len(text) > _LVM_LENGTH:
        raise ValueError(_("it is longer than {most} letters").format(most=_LVM_LENGTH))
    if text.startswith(_LVM_STARTS) or _LVM_PARTS.search(text):
        raise ValueError(_("LVM keeps this name for itself"))
    return text


def vg_name(text: str) -> str:
    """A name of a VG; /dev/<vg> must not be there already for something else."""
    if _DEV.fullmatch(text):
        raise ValueError(_("/dev/{text} belongs to the kernel or to udev").format(text=text))
    return lvm_name(text)


def between(low: int, high: int) -> Callable[[str], int]:
    """A check for a whole number from ``low`` to ``high``."""

    def check(text: str) -> int:
        if not re.fullmatch(r"[0-9]{1,6}", text, re.ASCII) or not low <= int(text) <= high:
            raise ValueError(_("it is not a number from {low} to {high}").format(low=low, high=high))
        return int(text)

    return check


def size(text: str) -> int:
    """A size in bytes."""
    return parse_size(text)


def layer_size(text: str) -> int:
    """The size of a layer."""
    found = parse_size(text)
    if found < LAYER.minimum:
        raise ValueError(
            _("it is too small; a layer needs at least {minimum}").format(minimum=human_size(LAYER.minimum))
        )
    return found


def fstype(text: str) -> str:
    """A file system for a volume."""
    if text not in FS_TYPES:
        raise ValueError(
            _("it is not supported for a volume; accepted are {names}").format(names=_(" and ").join(FS_TYPES))
        )
    return text


def path(text: str) -> str:
    """An absolute path of a file."""
    if not text.startswith("/") or text.endswith("/") or not text.isprintable():
        raise ValueError(_("it is not an absolute path of a file"))
    return text


def mountpoint(text: str) -> str:
    """A mount point that can be a separate volume."""
    if ".." in text.split("/") or "." in text.split("/") or "//" in text:
        raise ValueError(_("a mount point has neither '.' nor '..' nor an empty part in it"))
    if text in _MOUNT_FIXED:
        raise ValueError(_("it cannot be a volume: {why}").format(why=translated(_MOUNT_FIXED[text])))
    if not _MOUNT_NAME.fullmatch(text):
        raise ValueError(_("it is not a mount point; accepted is an absolute path of letters, digits and _ . + -"))
    top = "/" + text.split("/")[1]
    if top in _MOUNT_IMAGE:
        raise ValueError(_("it cannot be a volume: {top} belongs to the image and its layer").format(top=top))
    if top in _MOUNT_KERNEL:
        raise ValueError(_("it cannot be a volume: {top} belongs to the kernel or to the boot loader").format(top=top))
    return text


def too_small(mount: str, fs: str, bytes_: int) -> str:
    """Why a volume of that size would be too small, or nothing."""
    least = minimum_size(mount, fs or DEFAULT_FS)
    if bytes_ >= least:
        return ""
    return _("it is too small; {mount} needs at least {least}").format(mount=mount, least=human_size(least))


def not_removable(mount: str) -> str:
    """Why ``novolume`` cannot name that mount point, or nothing."""
    default = BY_MOUNTPOINT.get(mount)
    removable = [name for name, found in BY_MOUNTPOINT.items() if found.removable and name != "swap"]
    if default is None:
        return _("it is not one of the default volumes; accepted are {names}").format(names=", ".join(removable))
    return "" if default.removable else _("every layer shares it, so it must be a volume of its own")


def is_manifest(image: str) -> bool:
    """True when an ``--image`` names a manifest (docs/manifest.md) and not the image itself."""
    path = urlsplit(image).path if image.startswith(("http:", "https:")) else image
    return path.endswith(".json")

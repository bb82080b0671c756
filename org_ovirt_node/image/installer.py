"""The installer's environment: a node's root tree plus what only an installer needs, as a delta over it.

The delta is the upper half of an overlay over the node's tree, in a squashfs.  Media carry a node image and this delta
and no second root.  The project's own code is in neither: it is handed in at boot, so that changing it rebuilds
nothing.
"""

from __future__ import annotations

import lzma
import os
import shutil
import sys
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from org_ovirt_node.boot import hostinitrd
from org_ovirt_node.errors import ImageError
from org_ovirt_node.image import runtime
from org_ovirt_node.image.cache import Cache, key_of, key_of_files
from org_ovirt_node.image.mirror import Mirrors, host_mirrors
from org_ovirt_node.image.runtime import data_folder
from org_ovirt_node.mounts import bound, mounted
from org_ovirt_node.progress import Progress
from org_ovirt_node.run import run

SUITE = "trixie"
KIND = "installer"

#: What blivet and its libblockdev plugins need, and what the installer calls itself.
DEBIAN_PACKAGES = (
    "busybox-static",
    "dbus",
    "gir1.2-blockdev-3.0",
    "libblockdev-btrfs3",
    "libblockdev-crypto3",
    "libblockdev-dm3",
    "libblockdev-fs3",
    "libblockdev-loop3",
    "libblockdev-lvm3",
    "libblockdev-mdraid3",
    "libblockdev-mpath3",
    "libblockdev-nvme3",
    "libblockdev-part3",
    "libblockdev-swap3",
    "mdadm",
    "nfs-common",
    "parted",
    "python3-blockdev",
    "python3-bytesize",
    "python3-dasbus",
    "python3-dbus",
    "python3-gi",
    "python3-packaging",
    "python3-parted",
    "python3-pyudev",
    "python3-requests",
    "python3-selinux",
    "python3-six",
    "rsync",
    "squashfs-tools",
    "udev",
)
#: What Debian does not package (blivet) or packages too old; pure Python, installed without their dependencies.
PYPI_PACKAGES = ("blivet==3.14.2", "pykickstart==3.78", "simpleline==1.9.0")
SITE_PACKAGES = "usr/lib/python3/dist-packages"

#: Drivers for the disks that the environment itself comes from; everything else udev loads from the tree.
EARLY_MODULES = ("virtio_blk", "squashfs", "overlay")

#: Units that a node wants and an installer, which lives for minutes in memory, only waits for.
MASKED_UNITS = (
    "apparmor.service",
    "blk-availability.service",
    "dev-hugepages.mount",
    "dev-mqueue.mount",
    "dracut-shutdown.service",
    "e2scrub_reap.service",
    "ldconfig.service",
    "lvm2-monitor.service",
    "mdmonitor.service",
    "modprobe@configfs.service",
    "modprobe@efi_pstore.service",
    "modprobe@fuse.service",
    "nfs-client.target",
    "open-iscsi.service",
    "proc-sys-fs-binfmt_misc.automount",
    "rpcbind.service",
    "rpcbind.socket",
    "sys-fs-fuse-connections.mount",
    "sys-kernel-config.mount",
    "sys-kernel-debug.mount",
    "sys-kernel-tracing.mount",
    "systemd-binfmt.service",
    "systemd-firstboot.service",
    "systemd-hwdb-update.service",
    "systemd-journal-catalog-update.service",
    "systemd-journal-flush.service",
    "systemd-machine-id-commit.service",
    "systemd-random-seed.service",
    "systemd-sysusers.service",
    "systemd-timesyncd.service",
    "systemd-update-done.service",
)
#: Read after lvm.conf (lvm.conf(5)), which may be the image's.  What a killed installation or a power cut has left of a
#: thin pool must not keep the next one from removing it.
LVM_LOCAL_CONF = "etc/lvm/lvmlocal.conf"
#: Left out of the delta: nothing in an installer reads them.
UNREAD = ("usr/share/doc", "usr/share/man", "usr/share/info", "usr/share/locale")
LEFTOVERS = ("var/cache/apt", "var/lib/apt/lists", "var/log", "var/cache/debconf", "usr/sbin/policy-rc.d")


def data() -> Path:
    """Where the installer's own files are.  Raises :class:`ImageError`."""
    return data_folder() / "installer"


@dataclass(frozen=True)
class Installer:
    """What boots the installer: kernel, first initramfs, and the two squashfs layers, the delta over the node."""

    kernel: Path
    initramfs: Path
    node: Path
    delta: Path

    @classmethod
    def within(cls, folder: Path) -> Installer:
        return cls(
            folder / "vmlinuz", folder / "initramfs.img", folder / "node.squashfs", folder / "installer.squashfs"
        )


def build_installer(tree: Path, tree_key: str, cache: Cache, progress: Progress) -> Installer:
    """The installer over the node tree ``tree`` (which stays as it is), from ``cache`` when it is there.

    ``tree_key`` stands for the tree's content.  Raises :class:`ImageError` and CommandError.
    """
    key = key_of(
        tree_key, DEBIAN_PACKAGES, PYPI_PACKAGES, MASKED_UNITS, key_of_files([*data().iterdir(), Path(__file__)])
    )
    mirrors = host_mirrors()

    def make(folder: Path) -> None:
        folder.mkdir()
        parts = Installer.within(folder)
        progress.step("installer", "Installing the installer's packages over the node's tree")
        build_delta(tree, parts, folder / "work", mirrors, progress)
        progress.step("installer-node", "Packing the node's tree for the installer")
        _squash(tree, parts.node)
        shutil.copyfile(kernel_of(tree), parts.kernel)

    return Installer.within(cache.get(KIND, key, make))


def modules_of(tree: Path) -> Path:
    """The folder of the one kernel in ``tree``: usr/lib/modules/<kernel>."""
    found = sorted(path.parent for path in (tree / "usr/lib/modules").glob("*/modules.dep"))
    if len(found) != 1:
        raise ImageError(
            f"{tree} has {len(found)} kernels with modules, and an installer needs exactly one.",
            hint="Build the tree with one linux-image package.",
        )
    return found[0]


def kernel_of(tree: Path) -> Path:
    """The kernel in ``tree``: where Fedora keeps it, or in /boot as Debian does."""
    modules = modules_of(tree)
    for path in (modules / "vmlinuz", tree / "boot" / f"vmlinuz-{modules.name}"):
        if path.is_file():
            return path
    raise ImageError(f"{tree} has the modules of the kernel {modules.name}, but not the kernel itself.")


def build_delta(tree: Path, parts: Installer, work: Path, mirrors: Mirrors, progress: Progress) -> None:
    """Install over ``tree`` and pack what that added, as ``parts`` names it; ``work`` is used and removed again."""
    upper, merged = work / "upper", work / "merged"
    for folder in (upper, work / "overlay", merged, work / "apt"):
        folder.mkdir(parents=True)
    with ExitStack() as stack:
        # Plain whiteouts and opaque folders only: the delta must make sense over another copy of the tree.
        options = [f"lowerdir={tree}", f"upperdir={upper}", f"workdir={work / 'overlay'}"]
        options += ["redirect_dir=nofollow", "metacopy=off", "index=off"]
        stack.enter_context(mounted("overlay", merged, fstype="overlay", options=options))
        with ExitStack() as api:
            api.enter_context(bound(Path("/dev"), merged / "dev"))
            api.enter_context(mounted("proc", merged / "proc", fstype="proc"))
            api.enter_context(mounted("tmpfs", merged / "run", fstype="tmpfs"))
            api.enter_context(mounted("tmpfs", merged / "tmp", fstype="tmpfs"))
            install_packages(merged, work / "apt", mirrors, progress)
            run(["python3", "-m", "compileall", "-q", f"/{SITE_PACKAGES}"], root=merged, check=False)
        install_own_files(merged)
        # The archive is made from the merged tree: busybox comes from the delta, the modules from the node.
        parts.initramfs.write_bytes(early_initramfs(merged))
        for name in LEFTOVERS:
            shutil.rmtree(upper / name, ignore_errors=True)
            (upper / name).unlink(missing_ok=True)
    _squash(upper, parts.delta)
    shutil.rmtree(work)


def install_packages(root: Path, apt: Path, mirrors: Mirrors, progress: Progress) -> None:
    """Install the Debian and PyPI packages into ``root`` with this machine's apt and pip; ``apt`` keeps its lists."""
    (root / "usr/sbin/policy-rc.d").write_text("#!/bin/sh\nexit 101\n")
    (root / "usr/sbin/policy-rc.d").chmod(0o755)
    (apt / "sources.list").write_text("\n".join(mirrors.sources(SUITE, ("main",), security=True)) + "\n")
    for name in ("lists/partial", "etc"):
        (apt / name).mkdir(parents=True)
    database = "usr/lib/sysimage/dpkg" if (root / "usr/lib/sysimage/dpkg/status").exists() else "var/lib/dpkg"
    (root / "var/cache/apt/archives/partial").mkdir(parents=True, exist_ok=True)
    settings = {
        "Dir::Etc": f"{apt}/etc",
        "Dir::Etc::SourceList": f"{apt}/sources.list",
        "Dir::State::Lists": f"{apt}/lists",
        "Dir::State::Status": f"{root}/{database}/status",
        "Dir::State::Extended_States": f"{apt}/extended_states",
        "Dir::Cache": f"{root}/var/cache/apt",
        "Dir::Log": f"{apt}",
        "DPkg::Chroot-Directory": f"{root}",
        "APT::Install-Recommends": "false",
        "APT::Sandbox::User": "root",
        "Acquire::Languages": "none",
    }
    options = [word for name, value in settings.items() for word in ("-o", f"{name}={value}")]
    for pattern in UNREAD:
        options += ["-o", f"DPkg::Options::=--path-exclude=/{pattern}/*"]
    options += ["-o", "DPkg::Options::=--force-unsafe-io"]
    # No initramfs is built here: the environment boots with its own small one.
    environment = {"DEBIAN_FRONTEND": "noninteractive", "INITRD": "No"}
    progress.detail("reading the package lists")
    run(["apt-get", *options, "-q", "update"], env=environment, timeout=300)
    progress.detail(f"installing {len(DEBIAN_PACKAGES)} Debian packages and what they need")
    run(["apt-get", *options, "-qy", "install", *DEBIAN_PACKAGES], env=environment, timeout=900)
    progress.detail("installing " + ", ".join(PYPI_PACKAGES))
    target = root / SITE_PACKAGES
    argv = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--no-compile", "--root-user-action=ignore"]
    run([*argv, "--target", target, *PYPI_PACKAGES], env=pip_environment(), timeout=300)


def pip_environment() -> dict[str, str]:
    """The settings for pip that this machine's owner made in the environment (index, certificates)."""
    return {name: value for name, value in os.environ.items() if name.startswith("PIP_")}


def install_own_files(root: Path) -> None:
    """The units, the entry point, and the place where the project's code is put at boot."""
    units = root / "etc/systemd/system"
    units.mkdir(parents=True, exist_ok=True)
    for unit in sorted(data().glob("*.target")) + sorted(data().glob("*.service")):
        shutil.copyfile(unit, units / unit.name)
    for name in (*MASKED_UNITS, "default.target"):
        (units / name).unlink(missing_ok=True)
    for name in MASKED_UNITS:
        (units / name).symlink_to("/dev/null")
    (units / "default.target").symlink_to("ovirt-node-installer.target")
    program = root / "usr/bin/ovirt-node-install"
    shutil.copyfile(data() / "ovirt-node-install", program)
    program.chmod(0o755)
    (root / SITE_PACKAGES / "org_ovirt_node").mkdir(exist_ok=True)
    (root / "opt/ovirt-node").mkdir(parents=True, exist_ok=True)
    section, name, value = runtime.THIN_CHECK
    local = root / LVM_LOCAL_CONF
    local.parent.mkdir(parents=True, exist_ok=True)
    local.write_text(f"{section} {{\n\t{name} = {value}\n}}\n", encoding="ascii")
    # An installer is no machine of its own: it gets an id at each start.
    (root / "etc/machine-id").write_text("")
    (root / "etc/hostname").write_text("ovirt-node-installer\n")
    (root / "etc/fstab").write_text("")


def early_modules(modules: Path) -> list[Path]:
    """Files of EARLY_MODULES and what they depend on, in the order of loading (modules.dep(5))."""
    depends: dict[str, list[str]] = {}
    for line in (modules / "modules.dep").read_text().splitlines():
        name, _, needed = line.partition(":")
        depends[name] = needed.split()
    by_name = {Path(name).name.split(".")[0].replace("-", "_"): name for name in depends}
    built_in = {Path(line).stem.replace("-", "_") for line in (modules / "modules.builtin").read_text().split()}
    order: list[str] = []
    for name in EARLY_MODULES:
        if name in by_name:
            # modules.dep lists the nearest dependency first.
            order += [*reversed(depends[by_name[name]]), by_name[name]]
        elif name not in built_in:
            raise ImageError(f"the kernel in {modules} has no module {name}.")
    return [modules / name for name in dict.fromkeys(order)]


def early_initramfs(root: Path) -> bytes:
    """The installer's first initramfs: busybox, ``init`` and the early modules, unpacked for busybox's insmod."""
    files = {
        "/init": hostinitrd.HostFile((data() / "init").read_bytes(), 0o755),
        "/bin/busybox": hostinitrd.HostFile((root / "usr/bin/busybox").read_bytes(), 0o755),
    }
    order = []
    for file in early_modules(modules_of(root)):
        name = file.name.split(".")[0] + ".ko"
        content = file.read_bytes()
        files[f"/modules/{name}"] = hostinitrd.HostFile(lzma.decompress(content) if file.suffix == ".xz" else content)
        order.append(name)
    files["/modules/order"] = hostinitrd.HostFile(("\n".join(order) + "\n").encode())
    return hostinitrd.build(files)


def _squash(source: Path, output: Path) -> None:
    """Pack ``source``; level 3 is close to the best that zstd gives here, at a fraction of the time."""
    options = ["-noappend", "-quiet", "-no-progress", "-xattrs"]
    run(["mksquashfs", source, output, *options, "-comp", "zstd", "-Xcompression-level", "3", "-b", "131072"])

"""Unattended installations that succeed, and the nodes that they leave."""

from __future__ import annotations

from tests.vm import artefacts
from tests.vm.errors import check_equal
from tests.vm.installer import InstallerMachine, running_installer
from tests.vm.scenario import Context, scenario
from tests.vm.steps import (
    GIB,
    HOSTNAME,
    VG,
    Node,
    booted_node,
    check_fstab,
    check_packages,
    check_root,
    install_node,
    installed,
    kickstart,
    lvs,
    provide_payload,
    target_disk,
)

#: Files that a user writes, in the layer, in /etc and in a shared volume.
KEPT_FILES = ("/root/kept", "/etc/kept.conf", "/usr/local/kept", "/var/lib/kept", "/home/kept")


def write_files(node: Node) -> None:
    for path in KEPT_FILES:
        node.shell.run(f"echo 'written at {path}' > {path}")


def check_files(node: Node) -> None:
    for path in KEPT_FILES:
        check_equal(node.shell.text(f"cat {path}"), f"written at {path}", f"the content of {path} after a reboot")


@scenario("install-bios", issues=(2,), core=True)
def install_bios(context: Context) -> None:
    """An unattended install boots by itself (BIOS), as the payload says, and keeps what is written."""
    image = artefacts.node_image()
    target = target_disk(context)
    with installed(context, image, target) as (_, result):
        check_equal(result.done["nvr"], image.nvr, "the NVR that was installed")
    with booted_node(context, target) as node:
        node.check_running()
        check_equal(node.shell.text("hostname"), HOSTNAME, "the host name")
        check_root(node, image)
        check_fstab(node)
        volumes = lvs(node.shell)
        check_equal(volumes[image.nvr]["segtype"], "linear", "the kind of the image volume")
        check_equal(volumes[f"{image.nvr}+1"]["segtype"], "thin", "the kind of the layer volume")
        check_equal(node.shell.text(f"lvs --noheadings -o discards {VG}/pool00"), "passdown", "discards of the pool")
        identity = node.shell.text("cat /etc/machine-id")
        check_equal(node.shell.text("test -s /run/ovirt-node/image/etc/machine-id; echo $?"), "1", "an id in the image")
        check_packages(node)
        write_files(node)
        node.reboot()
        node.check_running()
        check_files(node)
        check_equal(node.shell.text("cat /etc/machine-id"), identity, "the machine id after a reboot")
        node.power_off()


def lose_a_disk(installer: InstallerMachine, lost: str, left: str, name: str) -> None:
    """On ``left`` is what remains of a VG of our name with an image of this ``name`` when ``lost`` has gone."""
    installer.shell.run(
        f"vgcreate -qy {VG} {lost} {left} && lvcreate -qy -l 1 -n {name} {VG} {left} && "
        f"lvcreate -qy -l 1 -n gone {VG} {lost} && vgchange -qan {VG} && wipefs -aq {lost} && udevadm settle",
        240,
    )


@scenario("install-two-disks", issues=(2,))
def install_two_disks(context: Context) -> None:
    """A node whose VG spans two disks boots, with both in use; one of them had half of an older VG."""
    image = artefacts.node_image()
    first = target_disk(context, "first", 8 * GIB)
    second = target_disk(context, "second", 12 * GIB)
    other = target_disk(context, "other", 12 * GIB)
    with running_installer(context.folder) as installer:
        url = provide_payload(installer, image.path, context.folder)
        links = [installer.attach(disk) for disk in (other, second, first)]
        lose_a_disk(installer, links[1], links[2], image.nvr)
        only = "ignoredisk --only-use=disk/by-id/virtio-first,disk/by-id/virtio-second\n"
        install_node(installer, context, kickstart(url, check_line=f"--sha256={image.sha256}", more=only))
        installer.power_off()
    check_equal(artefacts.allocated(other.file), 0, "bytes written to the disk that was not chosen")
    with booted_node(context, first, second) as node:
        node.check_running()
        check_root(node, image)
        used = node.shell.text(f"pvs --noheadings -o pv_name -S vg_name={VG}").split()
        check_equal(len(used), 2, "the number of disks in the VG")
        node.power_off()

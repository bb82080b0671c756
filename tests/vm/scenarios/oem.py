"""A ready disk, made once: each machine that gets a copy makes it its own at its first boot."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass

from tests.vm import artefacts
from tests.vm.artefacts import NodeImage
from tests.vm.errors import check, check_equal
from tests.vm.qemu import Disk
from tests.vm.scenario import Context, scenario
from tests.vm.steps import (
    BOOT,
    GIB,
    PASSWORD,
    VG,
    Node,
    booted_node,
    check_fstab,
    check_root,
    lvs,
)
from tests.vm.vendor import larger_copy, vendor_disk

MADE = 8 * GIB
LARGER = 4 * MADE
#: What the vendor's kickstart leaves to the customer.
LEFT_OUT = ("rootpw", "network")
NAMES = ("first.example.org", "second.example.org")
#: What differs from machine to machine, each by the command that shows it.
IDENTITY = {
    "machine-id": "cat /etc/machine-id",
    "machine-id of the boot entry": "awk '/^machine-id/ {print $2}' /boot/loader/entries/*.conf",
    "SSH host key": "cut -d' ' -f2 /etc/ssh/ssh_host_ed25519_key.pub",
    "initiator name": "grep ^InitiatorName= /etc/iscsi/initiatorname.iscsi",
    "NVMe host id": "cat /etc/nvme/hostid",
    "NVMe host NQN": "cat /etc/nvme/hostnqn",
    "disk GUID": "blkid -p -s PTUUID -o value /dev/vda",
    "PV UUID": "pvs --noheadings -o pv_uuid",
    "VG UUID": f"vgs --noheadings -o vg_uuid {VG}",
    "UUID of /boot": "blkid -p -s UUID -o value /dev/vda3",
    "serial number of the ESP": "blkid -p -s UUID -o value /dev/vda1",
    "UUID of the layer": f"blkid -p -s UUID -o value /dev/{VG}/*+1",
    "UUID of /var": f"blkid -p -s UUID -o value /dev/{VG}/var",
    "UUID of the swap": f"blkid -p -s UUID -o value /dev/{VG}/swap",
    **{f"GUID of partition {one}": f"blkid -p -s PART_ENTRY_UUID -o value /dev/vda{one}" for one in (1, 2, 3, 4)},
}


@dataclass(frozen=True)
class Copy:
    """What one machine made of its copy."""

    identity: dict[str, str]
    pool: int


def make(context: Context, image: NodeImage) -> list[Disk]:
    """The image, made once and copied to two larger disks."""
    made = vendor_disk(context, image, MADE, "both", LEFT_OUT)
    names = ("first", "second")
    copies = [larger_copy(made, context.folder / f"{name}.raw", LARGER) for name in names]
    made.unlink()
    return [Disk(file, name, properties={"bootindex": 1}) for file, name in zip(copies, names)]


def medium(context: Context) -> Disk:
    """What the customer says, on a medium of the label that is looked for."""
    folder = context.folder / "oemdrv.d"
    folder.mkdir()
    (folder / "ks.cfg").write_text(
        f"rootpw --plaintext {PASSWORD}\nnetwork --bootproto=dhcp --hostname={NAMES[0]}\n"
        "%post\necho from the medium > /root/said\n%end\n"
    )
    file = artefacts.blank_disk(context.folder / "oemdrv.raw", 8 << 20)
    subprocess.run(["mke2fs", "-q", "-F", "-L", "OEMDRV", "-d", str(folder), str(file)], check=True)
    return Disk(file, "oemdrv", "scsi", readonly=True)


def answer(node: Node) -> None:
    """Say it on the console, as a person would."""
    serial = node.machine.serial
    for prompt, said in (
        ("Host name .*: ", NAMES[1]),
        (r"Network \[1\]: ", ""),
        ("Password for root: ", "wrong"),
        ("The same again: ", "wring"),
        ("(?s)differ.*Password for root: ", PASSWORD),
        ("The same again: ", PASSWORD),
    ):
        serial.wait_for(prompt, BOOT)
        serial.send(f"{said}\n")


def look(node: Node, image: NodeImage) -> Copy:
    """The node runs as it should on its larger disk."""
    node.check_running()
    check_root(node, image)
    check_fstab(node)
    shell = node.shell
    check_equal(shell.text("test -e /etc/ovirt-node/first-boot.json; echo $?"), "1", "a first boot that is not over")
    uuid = shell.text("pvs --noheadings -o pv_uuid").strip().replace("-", "")
    named = shell.text("cat /etc/lvm/devices/system.devices").replace("-", "")
    check(uuid in named, f"LVM's devices file does not name the PV {uuid}: {named}")
    check("IDTYPE=loop" not in named, f"LVM's devices file names the vendor's device: {named}")
    pool = int(lvs(shell)["pool00"]["lv_size"])
    check(pool > LARGER - MADE, f"the pool has {pool} bytes on a disk of {LARGER}")
    size = int(shell.text("findmnt -nbo SIZE /var"))
    check(size > GIB, f"/var has {size} bytes")
    found = {what: shell.text(command) for what, command in IDENTITY.items()}
    check(all(found.values()), f"without an identity: {[what for what, value in found.items() if not value]}")
    return Copy(found, pool)


@scenario("oem-first-boot", issues=(7,), core=True, limit=2400)
def oem_first_boot(context: Context) -> None:
    """Two copies of one disk image become two nodes on disks four times as large, told by a medium and by a person."""
    image = artefacts.node_image()
    first, second = make(context, image)
    with booted_node(context, first, medium(context), name="first") as node:
        one = look(node, image)
        check_equal(node.shell.text("hostname"), NAMES[0], "the host name that the medium says")
        check_equal(node.shell.text("cat /root/said"), "from the medium", "what the medium's %post wrote")
        node.reboot()
        check_equal(look(node, image), one, "what the node is after its second boot")
        node.power_off()
    with booted_node(context, second, name="second", login=False) as node:
        answer(node)
        node.await_login()
        other = look(node, image)
        check_equal(node.shell.text("hostname"), NAMES[1], "the host name that was typed")
        node.power_off()
    same = [what for what, value in one.identity.items() if value == other.identity[what]]
    check_equal(same, [], "what both nodes share")
    context.figures["pool_gib"] = round(one.pool / GIB, 1)

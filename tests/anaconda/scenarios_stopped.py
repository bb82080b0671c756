"""Installations by Anaconda that do not come to their end: refused before a disk is written, or interrupted."""

from __future__ import annotations

from tests.anaconda.machine import KICKSTART, OUTPUT, anaconda_machine, run_anaconda, start_anaconda
from tests.anaconda.steps import (
    AUTOMATIC,
    DISK,
    EXPLICIT,
    LIMIT,
    ONLY,
    booted,
    check_node,
    install,
    kickstart,
    must_refuse,
    section,
    tree,
)
from tests.vm import artefacts
from tests.vm.errors import check_equal
from tests.vm.scenario import Context, scenario
from tests.vm.steps import GIB, provide_payload, target_disk

#: Bytes at the beginning of a disk that hold the firmware's first code (UEFI specification 2.10, table 5.1).
BOOT_CODE = 440
#: Seconds until the transfer begins: Anaconda's start and the partitioning.
BEGIN = 1800.0


@scenario("anaconda-refusals", issues=(3,), limit=LIMIT)
def refusals(context: Context) -> None:
    """What is wrong is said by name, and nothing is written: the partitioning, the image, the section."""
    image = artefacts.node_image()
    target = target_disk(context, size=20 * GIB)
    with anaconda_machine(tree(), context.folder) as installer:
        url = provide_payload(installer, image.path, context.folder)
        installer.attach(target)
        explicit = ONLY + EXPLICIT
        for text, words in (
            (kickstart(f"{section(url, image)} --imgae-slots=3", explicit), ("%addon org_ovirt_node", "--imgae-slots")),
            (
                kickstart(f"--image=file:{KICKSTART} --nosignature", explicit),
                ("%addon org_ovirt_node: --image", "is not a squashfs image"),
            ),
            (
                kickstart(section(url, image), explicit.replace("logvol /var ", "logvol /srv ")),
                # By what the add-on brings for Anaconda's own check.
                ("Your /var must be on a separate partition",),
            ),
            (
                kickstart(
                    section(url, image, "volume /data --size=1GiB"), explicit.replace("logvol /data ", "logvol /srv ")
                ),
                ("volume /data is asked for and the partitioning has none",),
            ),
        ):
            must_refuse(installer, run_anaconda(installer, text), *words)
            check_equal(artefacts.allocated(target.file), 0, "bytes written to the disk")


@scenario("anaconda-interrupted", issues=(3,), limit=2 * LIMIT)
def interrupted(context: Context) -> None:
    """The power fails while the image is written: the disk is not bootable, and a second installation is whole."""
    image = artefacts.node_image()
    target = target_disk(context, size=DISK)
    with anaconda_machine(tree(), context.folder, name="interrupted") as installer:
        url = provide_payload(installer, image.path, context.folder)
        installer.attach(target)
        text = kickstart(section(url, image), ONLY + AUTOMATIC)
        start_anaconda(installer, text)
        installer.shell.run(
            f"until journalctl -b -o cat -t org.fedoraproject.Anaconda.Addons.OvirtNode | grep -q 'step transfer:'; "
            f"do ! grep -q terminate {OUTPUT} || exit 1; sleep 0.5; done",
            BEGIN,
        )
        context.say("the transfer has begun: the power fails")
    with target.file.open("rb") as disk:
        check_equal(disk.read(BOOT_CODE), bytes(BOOT_CODE), "boot code after the interruption")
    with anaconda_machine(tree(), context.folder) as installer:
        provide_payload(installer, image.path, context.folder)
        installer.attach(target)
        install(installer, context, text)
        installer.power_off()
    with booted(context, target) as node:
        node.check_running()
        check_node(node, image)
        node.power_off()

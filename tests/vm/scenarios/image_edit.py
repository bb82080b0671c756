"""A node that goes to an edited image, delivered as an OCI archive."""

from __future__ import annotations

import json

from org_ovirt_node.image import oci
from org_ovirt_node.image.edit import EditRequest, edit
from org_ovirt_node.progress import TextProgress
from tests.support.packages import deb
from tests.vm import artefacts
from tests.vm.artefacts import NodeImage
from tests.vm.errors import check_equal
from tests.vm.scenario import Context, scenario
from tests.vm.upgrades import MEDIUM, UPDATE, check_health, check_runs, node_with, reboot

PACKAGE, CONTENT = "node-probe", "from the package"
ARGUMENT = "node_probe=1"


def edited(context: Context, image: NodeImage) -> NodeImage:
    """The image with the package and a kernel argument added."""
    request = EditRequest(
        image=image.path,
        output=context.folder / "edited",
        nvr="ovirt-node-demo-1.0-1.e1",
        packages=(deb(context.folder, PACKAGE, "1.0", {"usr/share/node-probe/said": f"{CONTENT}\n"}),),
        boot_args=(ARGUMENT,),
    )
    return artefacts.image_at(edit(request, TextProgress()).path, request.nvr)


@scenario("image-edit", issues=(7,), limit=2400)
def image_edit(context: Context) -> None:
    """A node updates from an OCI archive to an edited image, and runs it with the added package and argument."""
    new = edited(context, artefacts.node_image())
    archive = oci.make(new.path, context.folder, TextProgress())
    with node_with(context, limit=2400, more={archive.name: archive}) as node:
        command = f"nodectl --machine-readable update oci-archive:{MEDIUM}/{archive.name} --sha256 {new.sha256}"
        said = json.loads(node.shell.text(f"{command} 2>/dev/null", UPDATE).splitlines()[-1])
        check_equal(said["sha256"], new.sha256, "the digest that was installed")
        reboot(node)
        check_runs(node, f"{new.nvr}+1")
        check_health(node)
        check_equal(node.shell.text("cat /usr/share/node-probe/said"), CONTENT, "the package's file")
        check_equal(
            node.shell.text(f"dpkg-query -W -f '${{Status}}' {PACKAGE}"), "install ok installed", "the package's state"
        )
        check_equal(node.shell.text(f"grep -c '{ARGUMENT}' /proc/cmdline"), "1", "the kernel argument")

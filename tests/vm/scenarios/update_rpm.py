"""A node that is updated by installing an RPM."""

from __future__ import annotations

import shutil
from pathlib import Path

from org_ovirt_node.image import updaterpm
from org_ovirt_node.progress import TextProgress
from tests.support.smalltree import add_programs
from tests.vm import artefacts
from tests.vm.console import Result
from tests.vm.errors import check, check_equal
from tests.vm.scenario import Context, scenario
from tests.vm.steps import Node
from tests.vm.upgrades import MEDIUM, UPDATE, check_health, check_runs, node_with, reboot

TOOLS = "rpm"
#: Below /, as on a node of rpm packages: a layer of its own, a database of its own.
DATABASE = "/opt/rpm"


def tools(folder: Path) -> dict[str, Path]:
    """This host's rpm with all that it is linked with and reads: the demo node has none."""
    tree = folder / TOOLS
    add_programs(tree, "rpm")
    shutil.copytree("/usr/lib/rpm", tree / "usr/lib/rpm")
    return {f"{TOOLS}/{path.relative_to(tree)}": path for path in tree.rglob("*") if path.is_file()}


def install(node: Node, package: Path) -> Result:
    """``rpm --upgrade`` of the RPM on the medium, whose scripts run with the node's own programs and libraries.

    The database knows none of the node's packages: so --nodeps.
    """
    place = f"{MEDIUM}/{TOOLS}"
    libraries = f"{place}/lib/x86_64-linux-gnu:{place}/usr/lib/x86_64-linux-gnu"
    rpm = f"{place}/lib64/ld-linux-x86-64.so.2 --library-path {libraries} {place}/usr/bin/rpm"
    options = f"--force-debian --nodeps --dbpath {DATABASE} --upgrade"
    return node.shell.run(f"RPM_CONFIGDIR={place}/usr/lib/rpm {rpm} {options} {MEDIUM}/{package.name}", UPDATE)


@scenario("update-rpm", issues=(7,), limit=2400)
def update_rpm(context: Context) -> None:
    """Installing an update RPM puts its image on the node, which boots it; the same RPM again does nothing."""
    new = artefacts.node_image("2")
    package = updaterpm.make(new.path, context.folder, TextProgress())
    context.figures["rpm_mib"] = package.stat().st_size >> 20
    with node_with(context, limit=2400, more={package.name: package, **tools(context.folder)}) as node:
        started = node.machine.seconds
        install(node, package)
        context.figures["rpm_seconds"] = round(node.machine.seconds - started, 1)
        size = node.shell.text(f"stat -c %s {updaterpm.FOLDER}/{new.nvr}.squashfs")
        check_equal(size, "0", "the size of the file that the image was in, which has a volume of its own now")
        reboot(node)
        check_runs(node, f"{new.nvr}+1")
        check_health(node)
        layers = node.shell.text("nodectl list")
        said = install(node, package).output
        check(f"{new.nvr} is on this node already" in said, f"installed once more, the RPM says: {said}")
        check_equal(node.shell.text("nodectl list"), layers, "the layers after that")

"""Images that come over a bad network."""

from __future__ import annotations

from org_ovirt_node.run import run
from tests.vm import artefacts
from tests.vm.errors import check, check_equal
from tests.vm.installer import running_installer
from tests.vm.scenario import Context, scenario
from tests.vm.servers import Cut, serving
from tests.vm.steps import booted_node, check_root, install_node, kickstart, target_disk

MIB = 1 << 20
#: Three dropped connections and one that falls silent, none at the end of a buffer.
CUTS = (Cut(20 * MIB + 12345), Cut(3 * MIB + 1), Cut(40 * MIB - 77, silent=True), Cut(MIB + 511))


@scenario("install-http-flaky", issues=(6,))
def install_http_flaky(context: Context) -> None:
    """An image whose server drops the connection and falls silent arrives whole, from where it was, and boots."""
    image = artefacts.node_image()
    target = target_disk(context)
    folder = context.folder / "served"
    folder.mkdir()
    run(["cp", "--reflink=auto", image.path, image.manifest, folder])
    with serving(folder, cuts=CUTS) as server, running_installer(context.folder) as installer:
        installer.start_network()
        installer.attach(target)
        result = install_node(installer, context, kickstart(f"{server.base}/{image.manifest.name}"))
        check_equal(result.done["sha256"], image.sha256, "the digest of what was installed")
        check_equal(server.made, list(CUTS), "the answers that were cut")
        asked = [line.rpartition("=")[2] for line in server.requests if image.path.name in line and "=" in line]
        resumed = [int(begin) for begin, divider, end in (part.partition("-") for part in asked) if divider and not end]
        check_equal(len(resumed), len(CUTS), f"the requests that went on where it stopped: {server.requests}")
        # What came before a connection broke is not asked for again, but for the slice that was under way.
        place = 0
        for begin, cut in zip(resumed, CUTS):
            check(
                place + cut.after - MIB < begin <= place + cut.after,
                f"it went on at {begin}, not at {cut} after {place}",
            )
            place = begin
        installer.power_off()
    with booted_node(context, target) as node:
        node.check_running()
        check_root(node, image)
        node.power_off()

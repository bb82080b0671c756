"""Several upgrades one after the other: how many images stay, and images of both forms."""

from __future__ import annotations

from pathlib import Path

from org_ovirt_node.boot.files import MODULES
from org_ovirt_node.run import run
from tests.vm import artefacts
from tests.vm.artefacts import NodeImage
from tests.vm.errors import check, check_equal
from tests.vm.scenario import Context, scenario
from tests.vm.steps import Node, check_root, lvs
from tests.vm.upgrades import MEDIUM, check_health, check_runs, node_with, reboot, state, update

#: Seconds: a settled node where none is cached, two updates and two boots.
LIMIT = 2400.0
CONTROL = """\
Package: kept-tool
Version: 1.0
Architecture: all
Maintainer: Nobody <nobody@example.org>
Description: stands for what a user adds
"""
SETTINGS = "/etc/ovirt-node/node.json"


def boot_folders(node: Node) -> list[str]:
    """The layers that have a kernel on /boot."""
    return node.shell.text("cd /boot && ls -d */vmlinuz").replace("/vmlinuz", "").split()


def make_package(folder: Path) -> Path:
    """A package that no image has: a program, a configuration file, and something below /var."""
    tree = folder / "package"
    for path, text in (
        ("DEBIAN/control", CONTROL),
        ("DEBIAN/conffiles", "/etc/kept-tool.conf\n"),
        ("etc/kept-tool.conf", "the package's\n"),
        ("usr/lib/kept-tool/file", "tool\n"),
        # Of another SELinux type than its folders are made in.
        ("usr/lib/kept-tool/bin/tool", "tool\n"),
        ("var/lib/kept-tool/state", "new\n"),
    ):
        (tree / path).parent.mkdir(parents=True, exist_ok=True)
        (tree / path).write_text(text)
    made = folder / "kept-tool.deb"
    run(["dpkg-deb", "--build", "--root-owner-group", tree, made])
    return made


def check_package(node: Node) -> None:
    """The kept package is installed in the running layer, and its state is on /var."""
    check_equal(node.shell.text("dpkg-query -W -f '${db:Status-Status} ${Version}' kept-tool"), "installed 1.0", "it")
    check_equal(node.shell.text("cat /usr/lib/kept-tool/file /var/lib/kept-tool/state"), "tool\nnew", "its files")


@scenario("upgrade-twice-and-gc", issues=(5,), limit=LIMIT)
def upgrade_twice_and_gc(context: Context) -> None:
    """With two slots the second upgrade removes the oldest image with its kernel; a kept package is in both layers."""
    first, second, third = (artefacts.node_image(release) for release in ("1", "2", "3"))
    package = make_package(context.folder)
    with node_with(context, second, third, limit=LIMIT, more={package.name: package}) as node:
        node.shell.run(f"install -D -t /var/lib/ovirt-node/packages {MEDIUM}/{package.name}")
        settings = "/etc/ovirt-node/node.json"
        node.shell.run(
            f'sed -i \'s/"image_slots": *[0-9]*/"image_slots": 2/\' {settings} && grep -q \'slots": 2\' {settings}'
        )
        update(node, second)
        check_equal(sorted(state(node)["layers"]), [first.nvr, second.nvr], "the images after the first upgrade")
        reboot(node)
        node.check_running()
        check_package(node)
        used = int(node.shell.text("df -B1 --output=used /boot | tail -n 1"))
        update(node, third)
        check_equal(sorted(state(node)["layers"]), [second.nvr, third.nvr], "the images after the second upgrade")
        check_equal(boot_folders(node), [f"{second.nvr}+1", f"{third.nvr}+1"], "the kernels on /boot")
        now = int(node.shell.text("df -B1 --output=used /boot | tail -n 1"))
        check(now - used < (1 << 20), f"/boot has grown by {now - used} bytes")
        gone = [name for name in lvs(node.shell) if name.startswith(first.nvr)]
        check_equal(gone, [], "volumes of the removed image")
        reboot(node)
        node.check_running()
        check_runs(node, f"{third.nvr}+1")
        check_package(node)
        check_health(node)
        node.shell.run("nodectl rollback")
        reboot(node)
        check_runs(node, f"{second.nvr}+1")
        node.power_off()


@scenario("upgrade-old-image-forms", issues=(5,), limit=LIMIT)
def upgrade_old_image_forms(context: Context) -> None:
    """An image in oVirt Node's form (LiveOS/rootfs.img) follows a flat one, and a flat one follows it."""
    inner, flat = artefacts.node_image("2", "liveos"), artefacts.node_image("3")
    with node_with(context, inner, flat, limit=LIMIT) as node:
        node.shell.run("echo kept > /etc/kept.conf")
        _go_to(node, inner, liveos=True)
        node.shell.run("echo later > /etc/later.conf")
        _go_to(node, flat, liveos=False)
        check_equal(node.shell.text("cat /etc/kept.conf /etc/later.conf"), "kept\nlater", "files of /etc")
        node.power_off()


def _go_to(node: Node, image: NodeImage, *, liveos: bool) -> None:
    update(node, image)
    reboot(node)
    node.check_running()
    check_equal(state(node)["current_layer"], f"{image.nvr}+1", "the running layer")
    check_root(node, image, liveos=liveos)
    check_health(node)
    node.shell.run(f"test -d /{MODULES}/$(uname -r)")

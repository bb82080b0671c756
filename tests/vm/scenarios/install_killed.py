"""Installations that are killed: each can be run again at once, in the same machine, and nothing half done boots."""

from __future__ import annotations

from pathlib import Path

from org_ovirt_node.install.engine import STEPS
from tests.crash import gpt
from tests.support import deadly
from tests.vm import artefacts
from tests.vm.errors import check, check_equal
from tests.vm.installer import InstallerMachine, running_installer
from tests.vm.scenario import Context, scenario
from tests.vm.steps import (
    INSTALL,
    KICKSTART,
    booted_node,
    check_root,
    install_node,
    kickstart,
    provide_payload,
    target_disk,
)

#: Seconds: as many installations as there are steps, cut short, and a whole one.
LIMIT = 5400.0
#: Kills itself before, in or after a step of the list in code; "in" is when the step runs its second program, or its
#: only one.  A step that runs none is killed after it.
KILLER = """
import subprocess, sys
from deadly import at_second, deadly
from org_ovirt_node.cli import install as program
from org_ovirt_node.install import runner
name, where = sys.argv[1:3]
def arm():
    subprocess.run = at_second(subprocess.run)
runner.STEPS = deadly(runner.STEPS, name, where, arm)
program.main(sys.argv[3:])
"""


def kill(installer: InstallerMachine, step: str, where: str) -> None:
    """Run an installation that is killed ``where`` (before, in, after) ``step``."""
    done = installer.shell.run(
        f"python3 /root/killer.py {step} {where} --kickstart {KICKSTART} --no-reboot >/tmp/killed.out 2>&1",
        INSTALL,
        check=False,
    )
    said = installer.shell.run("tail -n 20 /tmp/killed.out", check=False).text
    check_equal(done.status, 137, f"the status of an installation killed {where} {step}:\n{said}\n")


@scenario("install-kill-steps", issues=(8,), limit=LIMIT)
def install_kill_steps(context: Context) -> None:
    """An installation that is killed around each of its steps can be run again to its end, in the same machine."""
    image = artefacts.node_image()
    target = target_disk(context)
    with running_installer(context.folder, limit=LIMIT) as installer:
        url = provide_payload(installer, image.path, context.folder)
        installer.attach(target)
        text = kickstart(url, check_line=f"--sha256={image.sha256}")
        installer.shell.put(KICKSTART, text.encode())
        installer.shell.put("/root/killer.py", KILLER.encode())
        installer.shell.put("/root/deadly.py", Path(deadly.__file__).read_bytes())
        names = [step.name for step in STEPS]
        # Before a step is after the one before it; the first and the last are killed on both sides.
        kills = [(names[0], "before"), *((name, "in") for name in names), (names[-1], "before"), (names[-1], "after")]
        for step, where in kills:
            context.say(f"killed {where} {step}")
            kill(installer, step, where)
            if (step, where) not in (("start", "in"), ("start", "after")):
                with target.file.open("rb") as disk:
                    check(not gpt.boot_code(disk), f"after a kill {where} {step} the firmware finds boot code")
        context.figures["kills"] = len(kills)
        install_node(installer, context, text)
        installer.power_off()
    with booted_node(context, target) as node:
        node.check_running()
        check_root(node, image)
        node.power_off()

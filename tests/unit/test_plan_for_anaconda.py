"""``ovirt-node-install --plan`` in the %pre of a kickstart of Anaconda's, whose %include is what it prints."""

from __future__ import annotations

from pathlib import Path

import pytest
from pykickstart.parser import KickstartParser
from pykickstart.version import makeVersion, stringToVersion

from org_ovirt_node.cli import install as program
from org_ovirt_node.errors import KickstartProblem
from org_ovirt_node.install.options import Options
from org_ovirt_node.kickstart.model import InstallRequest
from org_ovirt_node.kickstart.standard import load
from org_ovirt_node.layout.describe import as_kickstart
from org_ovirt_node.layout.model import GIB, Layout
from org_ovirt_node.layout.plan import plan
from tests.unit import layouts

INCLUDE = "%include /tmp/node-layout.ks\n"
KICKSTART = f"""\
timesource --ntp-disable
liveimg --url=file:///usr/share/ovirt-node/skeleton.tar
%pre --erroronfail
ovirt-node-install --kickstart /run/install/ks.cfg --plan --format kickstart > /tmp/node-layout.ks
%end
zerombr
clearpart --all --initlabel --disklabel=gpt
{INCLUDE}bootloader --append=quiet
firewall --enabled --ssh
rhsm --organization=x --activation-key=y
authselect select minimal
%addon com_redhat_kdump --enable --reserve-mb=auto
nonsense
%end
%packages
@core
%end
%anaconda
%end
{layouts.ADDON}
volume /data --size=2GiB
%end
"""


def load_with(included: str, text: str = KICKSTART, form: str = "kickstart") -> InstallRequest:
    return load("ks.cfg", run_pre=False, plan=form, fetch=lambda source: text if source == "ks.cfg" else included)


def planned(request: InstallRequest) -> Layout:
    return plan([layouts.disk(size=120 * GIB)], request.storage, request.node, layouts.IMAGE, layouts.BOTH)


def test_what_is_anacondas_is_passed_over_and_said() -> None:
    request = load_with("")
    assert request.storage.autopart and request.storage.selection.clear == "all"
    assert request.bootloader.append == "quiet"
    assert request.node.volumes[0].mountpoint == "/data"
    assert request.for_anaconda == (
        "timesource (line 1)",
        "liveimg (line 2)",
        "firewall (line 10)",
        "rhsm (line 11)",
        "authselect (line 12)",
        "%addon com_redhat_kdump (line 13)",
        "%packages (line 16)",
        "%anaconda (line 19)",
    )


def test_the_printed_plan_is_read_and_is_the_same_plan() -> None:
    layout = planned(load_with(""))
    printed = as_kickstart(layout)
    for version in ("RHEL9", "RHEL10", "F42"):
        handler = makeVersion(stringToVersion(version))
        KickstartParser(handler).readKickstartFromString(printed)
        assert [line.name for line in handler.logvol.lvList if line.mountpoint == "/"] == [f"{layouts.IMAGE.nvr}+1"]
    request = load_with(printed, KICKSTART.replace("volume /data --size=2GiB\n", ""), "text")
    assert not request.storage.autopart
    assert as_kickstart(planned(request)) == printed


def test_only_a_kickstart_with_liveimg_is_anacondas() -> None:
    with pytest.raises(KickstartProblem, match=r"ks.cfg:1: timesource: .*--ntp-disable"):
        load_with("", KICKSTART.replace("liveimg", "#"))
    with pytest.raises(KickstartProblem, match=r"the section %packages is not supported"):
        load_with("", f"%packages\n%end\n{layouts.ADDON}\n%end\n")


@pytest.mark.parametrize("form", ["", "text"])
def test_elsewhere_a_layout_has_to_be_said(form: str) -> None:
    with pytest.raises(KickstartProblem, match="nothing says how the disks" if form else "'liveimg' is not supported"):
        load_with("", KICKSTART.replace("timesource --ntp-disable\n", ""), form)


@pytest.mark.parametrize("line", ["fcoe --nic=eth0", "part /boot --onpart=sda1", "bootloader --disabled", "reqpart"])
def test_what_is_about_disks_is_never_passed_over(line: str) -> None:
    with pytest.raises(KickstartProblem, match=f"{line.split()[0]}.* is not supported"):
        load_with(line + "\n", KICKSTART.replace("bootloader --append=quiet\n", ""))


def test_the_program_says_what_it_leaves_to_anaconda(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def layout(request: InstallRequest, _options: Options, _progress: object) -> Layout:
        return planned(request)

    monkeypatch.setattr(program, "only_plan", layout)
    (tmp_path / "node-layout.ks").touch()
    (tmp_path / "a.ks").write_text(KICKSTART.replace(INCLUDE, f"%include {tmp_path}/node-layout.ks\n"))
    arguments = ["--log", str(tmp_path / "log"), "--kickstart", str(tmp_path / "a.ks"), "--plan"]
    assert program.main([*arguments, "--format", "kickstart"]) == 0
    shown = capsys.readouterr()
    assert shown.out == as_kickstart(planned(load_with("")))
    assert "liveimg (line 2)" in shown.err

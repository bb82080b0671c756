"""``iscsiname`` and ``iscsi``: what is read, what is refused, and that no secret shows."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from org_ovirt_node.errors import KickstartProblem
from org_ovirt_node.kickstart.model import IscsiRequest, IscsiTarget
from org_ovirt_node.kickstart.standard import load

REST = "autopart --type=thinp\n%addon org_ovirt_node --image=file:/a.squashfs --nosignature\n%end\n"
TARGET = "iqn.2024-01.org.example:storage"


def read(tmp_path: Path, text: str) -> IscsiRequest:
    file = tmp_path / "a.ks"
    file.write_text(text + REST)
    return load(str(file)).iscsi


def test_nothing_is_asked_for(tmp_path: Path) -> None:
    assert read(tmp_path, "") == IscsiRequest()


def test_everything(tmp_path: Path) -> None:
    found = read(
        tmp_path,
        "iscsiname iqn.2024-01.org.example:node1\n"
        f"iscsi --ipaddr=192.0.2.20 --port=3261 --target={TARGET} --user=node1 --password='a pass#word' "
        "--reverse-user=storage --reverse-password=other-secret --iface=ens3\n"
        "iscsi --ipaddr=[2001:DB8:0::20] --iface=ens4\n",
    )
    assert found == IscsiRequest(
        "iqn.2024-01.org.example:node1",
        (
            IscsiTarget(
                "192.0.2.20", 3261, TARGET, "node1", "a pass#word", "storage", "other-secret", iface="ens3", line=2
            ),
            IscsiTarget("2001:db8::20", iface="ens4", line=3),
        ),
    )


@pytest.mark.parametrize(
    "name",
    [
        "iqn.1994-05.com.redhat:01a2",
        "iqn.2024-01.org",
        "eui.02004567A425678D",
        "naa.52004567BA64678D",
        "naa." + 32 * "0",
    ],
)
def test_names(tmp_path: Path, name: str) -> None:
    assert read(tmp_path, f"iscsiname {name}\n").initiator == name


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("iscsiname node1", "'node1' is not an initiator name"),
        ("iscsiname iqn.2024-01.org.example:a/../b", "is not an initiator name"),
        ("iscsiname iqn.2024-01.org.example:" + 220 * "x", "is not an initiator name"),
        (f"iscsiname {TARGET}\niscsiname {TARGET}", "was given on line 1 already"),
        (f"iscsi --target={TARGET}", "--ipaddr"),
        ("iscsi --ipaddr=storage.example.org", "is not an address"),
        ("iscsi --ipaddr=0.0.0.0", "cannot be the address of a portal"),
        ("iscsi --ipaddr=fe80::1", "cannot be the address of a portal"),
        ("iscsi --ipaddr=192.0.2.1 --port=0", "not a number from 1 to 65535"),
        ("iscsi --ipaddr=192.0.2.1 --port=70000", "not a number from 1 to 65535"),
        ("iscsi --ipaddr=192.0.2.1 --target=../../etc", "is not the name of a target"),
        ("iscsi --ipaddr=192.0.2.1 --target=", "is not the name of a target"),
        ("iscsi --ipaddr=192.0.2.1 --iface=eth0/1", "is no network card"),
        ("iscsi --ipaddr=192.0.2.1 --user=me", "--user needs --password"),
        ("iscsi --ipaddr=192.0.2.1 --password=HUSH", "--password needs --user"),
        ("iscsi --ipaddr=192.0.2.1 --user=me --password=' HUSH'", "--password has something in it"),
        ("iscsi --ipaddr=192.0.2.1 --user=me --password=HUSH€", "--password has something in it"),
        ("iscsi --ipaddr=192.0.2.1 --reverse-user=it --reverse-password=HUSH", "needs --user and --password"),
        ("iscsi --ipaddr=192.0.2.1 --user=a --password=b --reverse-user=it", "--reverse-user needs --reverse-password"),
        ("iscsi --ipaddr=192.0.2.1 --reverse-password=HUSH --no-such", "no-such"),
        ("iscsi --ipaddr=192.0.2.1 --iface=ens3\niscsi --ipaddr=192.0.2.2", "--iface is missing"),
        (f"iscsi --ipaddr=192.0.2.1 --target={TARGET}\niscsi --ipaddr=192.0.2.1", "on line 1 already"),
    ],
)
def test_refused_with_its_place(tmp_path: Path, text: str, words: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    with pytest.raises(KickstartProblem) as caught:
        read(tmp_path, text + "\n")
    assert words in str(caught.value)
    assert f"a.ks:{text.count(chr(10)) + 1}: iscsi" in str(caught.value)
    assert "HUSH" not in str(caught.value) + caplog.text


def test_secrets_do_not_show(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    found = read(
        tmp_path, "iscsi --ipaddr=192.0.2.1 --user=a --password=HUSH --reverse-user=b --reverse-password=HUSH2\n"
    )
    assert found.targets[0].password == "HUSH"
    assert "HUSH" not in repr(found) + caplog.text

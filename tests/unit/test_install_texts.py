"""The files of a new node's /etc."""

from __future__ import annotations

import configparser
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from org_ovirt_node.install import texts
from org_ovirt_node.kickstart.model import NetworkRequest


def profile(request: NetworkRequest) -> configparser.ConfigParser:
    """A keyfile as NetworkManager's (GLib's) parser sees it."""
    parser = configparser.ConfigParser(interpolation=None, delimiters=("=",))
    parser.read_string(texts.keyfile(request))
    return parser


def test_fstab_has_parents_first_and_no_line_for_the_root() -> None:
    text = texts.fstab(
        [
            texts.FstabLine("UUID=2", "/var/log", "ext4", ("defaults", "discard")),
            texts.FstabLine("UUID=1", "/var", "ext4", ("defaults", "discard")),
            texts.FstabLine("UUID=3", "none", "swap", ("defaults",), 0),
        ]
    )
    lines = [line.split() for line in text.splitlines() if not line.startswith("#")]
    assert [line[1] for line in lines] == ["/var", "/var/log", "none"]
    assert lines[0] == ["UUID=1", "/var", "ext4", "defaults,discard", "0", "2"]
    assert lines[2][-1] == "0"


@given(st.text(st.characters(codec="ascii", exclude_categories=["Cc"]), min_size=1, max_size=20))
def test_failures_row_30_fstab_escapes_are_octal_and_reversible(field: str) -> None:
    escaped = texts.escape(field)
    assert " " not in escaped
    assert escaped.encode("ascii").decode("unicode_escape") == field


def test_a_space_is_written_as_040() -> None:
    assert texts.escape("/data disk") == "/data\\040disk"


def test_dhcp_profile() -> None:
    made = profile(NetworkRequest(device="eth0"))
    assert made["connection"]["interface-name"] == "eth0"
    assert made["connection"]["type"] == "ethernet"
    assert made["ipv4"]["method"] == "auto"
    assert made["ipv6"]["method"] == "auto"


def test_static_profile_with_name_servers_of_both_families() -> None:
    made = profile(
        NetworkRequest(
            device="52:54:00:aa:bb:cc",
            ip="static",
            address="192.0.2.10",
            netmask="255.255.255.0",
            gateway="192.0.2.1",
            nameservers=("192.0.2.53", "2001:db8::53"),
            search=("example.com",),
            ipv6="2001:db8::10/56",
            ipv6_gateway="2001:db8::1",
            mtu=9000,
            onboot=False,
        )
    )
    assert "interface-name" not in made["connection"]
    assert made["connection"]["autoconnect"] == "false"
    assert made["ethernet"]["mac-address"] == "52:54:00:AA:BB:CC"
    assert made["ethernet"]["mtu"] == "9000"
    assert made["ipv4"]["method"] == "manual"
    assert made["ipv4"]["address1"] == "192.0.2.10/24,192.0.2.1"
    assert made["ipv4"]["dns"] == "192.0.2.53;"
    assert made["ipv4"]["dns-search"] == "example.com;"
    assert made["ipv6"]["address1"] == "2001:db8::10/56,2001:db8::1"
    assert made["ipv6"]["dns"] == "2001:db8::53;"


def test_a_family_that_is_off_has_neither_servers_nor_domains() -> None:
    request = NetworkRequest(nameservers=("192.0.2.53", "2001:db8::53"), search=("example.com",))
    without4 = profile(replace(request, ip="none"))
    assert dict(without4["ipv4"]) == {"method": "disabled"}
    assert (without4["ipv6"]["dns"], without4["ipv6"]["dns-search"]) == ("2001:db8::53;", "example.com;")
    without6 = profile(replace(request, ipv6="ignore"))
    assert dict(without6["ipv6"]) == {"method": "ignore"}
    assert (without6["ipv4"]["dns"], without6["ipv4"]["dns-search"]) == ("192.0.2.53;", "example.com;")


def test_an_ipv6_address_without_a_prefix_gets_64() -> None:
    assert profile(NetworkRequest(ipv6="2001:db8::1"))["ipv6"]["address1"] == "2001:db8::1/64"


def test_the_same_device_has_the_same_uuid_and_another_one_another() -> None:
    first, again, other = (profile(NetworkRequest(device=name)) for name in ("a", "a", "b"))
    assert first["connection"]["uuid"] == again["connection"]["uuid"] != other["connection"]["uuid"]


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("SELINUX=enforcing\nSELINUXTYPE=targeted\n", "SELINUX=permissive\nSELINUXTYPE=targeted\n"),
        ("# SELINUX= is explained here\nSELINUX=x", "# SELINUX= is explained here\nSELINUX=permissive\n"),
        ("", "SELINUX=permissive\n"),
    ],
)
def test_a_setting_is_replaced_where_it_stands(before: str, after: str) -> None:
    assert texts.with_setting(before, "SELINUX", "permissive") == after

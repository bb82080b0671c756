"""Nothing in a kickstart is ignored: what is not done is refused by file, line and name."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pykickstart.version import makeVersion

from org_ovirt_node.errors import KickstartProblem
from org_ovirt_node.kickstart.commands import COMMANDS
from org_ovirt_node.kickstart.model import InstallRequest
from org_ovirt_node.kickstart.standard import load

ADDON = "%addon org_ovirt_node --image=file:/a.squashfs --nosignature\n%end\n"
LEAST = "autopart --type=thinp\n" + ADDON


def load_text(text: str) -> InstallRequest:
    def fetch(source: str) -> str:
        if source != "ks.cfg":
            raise KickstartProblem(f"{source} is not there")
        return text

    return load("ks.cfg", fetch=fetch, run_pre=False)


def problem(text: str) -> str:
    with pytest.raises(KickstartProblem) as caught:
        load_text(text)
    return str(caught.value)


UNSUPPORTED = sorted(set(makeVersion().commands) - set(COMMANDS))


@pytest.mark.parametrize("command", [*UNSUPPORTED, "multipath", "nonsense"])
def test_row_32_every_other_command_is_refused_by_name_and_line(command: str) -> None:
    assert problem(f"\n# c\n{command} --x=1 y\n{LEAST}").startswith(
        f"ks.cfg:3: the command '{command}' is not supported"
    )


def unsupported_options() -> list[tuple[str, str, bool]]:
    """All options that pykickstart knows of our commands and that we do not take; True for those with a value."""
    handler = makeVersion()
    found = []
    for name, command in sorted(COMMANDS.items()):
        parser = getattr(handler.commands[name], "op", None)
        for action in parser._actions if parser else ():
            first = action.option_strings[0] if action.option_strings else ""
            if first and first not in command.options:
                found.append((name, first, action.nargs is None))
    return found


#: What each command needs so that pykickstart takes the line.
REQUIRED = {
    "part": "/boot --size=1",
    "partition": "/boot --size=1",
    "volgroup": "onn pv.01",
    "logvol": "/ --name=a --vgname=onn --size=1",
    "rootpw": "pw",
    "user": "--name=a",
    "group": "--name=a",
    "sshkey": "--username=a key",
    "lang": "en_US.UTF-8",
    "keyboard": "us",
    "timezone": "Etc/UTC",
    "network": "--device=eth0",
    "timesource": "",
}


@pytest.mark.parametrize(("command", "option", "has_value"), unsupported_options())
def test_row_32_every_other_option_is_refused_by_name_and_line(command: str, option: str, has_value: bool) -> None:
    assert len(unsupported_options()) > 60
    line = f"{command} {REQUIRED.get(command, '')} {option}{'=1' if has_value else ''}"
    said = problem(f"\n{line}\n{ADDON}")
    assert said.startswith(f"ks.cfg:2: {command}: "), said
    assert option in said, said


PARTITIONING = {"autopart", "part", "volgroup", "logvol"}
BAD_LINES = [
    ("autopart --type=lvm", "--type=lvm"),
    ("autopart --type=plain", "--type=plain"),
    ("autopart --type=nonsense", "nonsense"),
    ("autopart --fstype=btrfs", "--fstype=btrfs"),
    ("autopart --encrypted", "--passphrase"),
    ("autopart --passphrase=x", "--encrypted"),
    ("autopart --encrypted --passphrase=x --luks-version=luks9", "luks9"),
    ("autopart --nohome --nohome", "--nohome is given 2 times"),
    ("part /boot", "--size is missing"),
    ("part /boot --size=0", "--size=0"),
    ("part /boot --size=x", "--size"),
    ("part /boot --size=-5", "--size"),
    ("part --size=1", "part"),
    ("part /boot --size=1 --siz=2", "--size is given 2 times"),
    ("part /boot --size=1 extra", "extra"),
    ("volgroup -x pv.01", "volgroup"),
    ("volgroup mapper pv.01", "mapper"),
    ("volgroup onn pv.01 --reserved-percent=101", "percent"),
    ("logvol / --vgname=onn --name=a/b --size=1", "a/b"),
    ("logvol / --vgname=onn --name=a", "No size given"),
    ("logvol / --vgname=onn --name=a --size=1 --percent=5", "percent"),
    ("logvol / --vgname=onn --size=1", "--name"),
    (
        "logvol / --vgname=onn --name=a --thin --poolname=p --size=9 --fsoptions='a b'",
        "--fsoptions='a b' are no mount options",
    ),
    ("logvol / --vgname=onn --name=a --thin --poolname=p --size=9 --fsoptions=a,,b", "no mount options"),
    ("part /boot --size=1 --fsoptions='a\\tb'", "no mount options"),
    ("part /boot --size=1 --label=xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx", "1 to 16 letters"),
    ("part /boot/efi --size=1 --label=xxxxxxxxxxxx", "1 to 11 letters"),
    ("part /boot/efi --size=1 --label=a:b", "1 to 11 letters"),
    ("services --disabled=-x", "'-x' is not the name of a service"),
    ("volgroup null pv.01", "/dev/null belongs"),
    ("volgroup sda pv.01", "/dev/sda belongs"),
    ("volgroup fd pv.01", "/dev/fd belongs"),
    ("volgroup tty0 pv.01", "/dev/tty0 belongs"),
    ("volgroup nvme0n1 pv.01", "/dev/nvme0n1 belongs"),
    ("volgroup log pv.01", "/dev/log belongs"),
    ("clearpart --all --linux", "exclude each other"),
    ("clearpart --disklabel=msdos", "msdos"),
    ("clearpart --drives=a,,b --all", "names no disk"),
    ("ignoredisk --only-use=", "only-use"),
    ("ignoredisk --only-use=a --drives=b", "ignoredisk: --only-use and --drives exclude each other"),
    ("bootloader --disabled", "--disabled"),
    ("bootloader --timeout=-1", "--timeout"),
    ("bootloader --timeout=x", "--timeout"),
    ("bootloader --location=nowhere", "nowhere"),
    ("zerombr yes", "zerombr"),
    ("user --name=root", "rootpw"),
    ("user --name=Ä", "user name"),
    ("user --name=a --uid=-1", "--uid"),
    ("user --name=a --homedir=home", "--homedir"),
    ("user --name=a --shell=/bin/sh:x", "--shell"),
    ("user --name=a --groups=a/b", "a/b"),
    ("user --name=a --gecos=a:b", "--gecos"),
    ("user --name=a --iscrypted --plaintext --password=x", "exclude each other"),
    ("user --name=a\nuser --name=a", "--name=a was given on line 1 already"),
    ("group --name=a\ngroup --name=a", "--name=a was given on line 1 already"),
    ("sshkey --username=a nokey", "public key"),
    ("lang en US", "lang"),
    ("lang 'en US'", "locale"),
    ("keyboard", "keyboard"),
    ("keyboard a/b", "keymap"),
    ("timezone ../../etc/passwd", "time zone"),
    ('timezone ""', "timezone: no zone"),
    ("timezone --utc", "timezone: no zone"),
    ("timesource --ntp-pool=pool.example.org", "--ntp-pool"),
    ("timesource --ntp-disable", "--ntp-disable"),
    ("timesource --ntp-server=a_b", "host name"),
    ("network --bootproto=static --device=eth0", "--ip"),
    ("network --bootproto=static --device=eth0 --ip=192.0.2.1", "--netmask"),
    ("network --bootproto=static --device=eth0 --ip=192.0.2.1 --netmask=255.0.255.0", "netmask"),
    ("network --bootproto=static --device=eth0 --ip=192.0.2.256 --netmask=255.255.255.0", "192.0.2.256"),
    ("network --device=eth0 --ip=192.0.2.1", "static"),
    ("network --bootproto=ibft", "ibft"),
    ("network --device=bootif", "bootif"),
    ("network --device=a-name-that-is-too-long", "a-name-that-is-too-long"),
    ("network --device=eth0 --ipv6=2001:db8::1", "prefix"),
    ("network --device=eth0 --ipv6=x", "--ipv6=x"),
    ("network --device=eth0 --noipv4 --noipv6", "no network"),
    ("network --device=eth0 --nameserver=ns.example.org", "--nameserver"),
    (
        "network --bootproto=static --device=eth0 --ip=192.0.2.1 --netmask=0.0.0.255",
        "--netmask=0.0.0.255 is not a netmask",
    ),
    ("network --bootproto=static --device=eth0 --ip=192.0.2.1 --netmask=0.0.0.0", "--netmask=0.0.0.0 is not a netmask"),
    ("network --bootproto=static --device=eth0 --ip=0.0.0.0 --netmask=255.255.255.0", "--ip=0.0.0.0 cannot be"),
    ("network --bootproto=static --device=eth0 --ip=127.0.0.2 --netmask=255.255.255.0", "--ip=127.0.0.2 cannot be"),
    ("network --bootproto=static --device=eth0 --ip=192.0.2.0 --netmask=255.255.255.0", "first or the last address"),
    ("network --bootproto=static --device=eth0 --ip=192.0.2.255 --netmask=255.255.255.0", "first or the last address"),
    (
        "network --bootproto=static --device=eth0 --ip=192.0.2.10 --netmask=255.255.255.0 --gateway=192.0.3.1",
        "not in the network 192.0.2.0/24",
    ),
    (
        "network --bootproto=static --device=eth0 --ip=192.0.2.10 --netmask=255.255.255.0 --gateway=192.0.2.10",
        "address of this host",
    ),
    (
        "network --bootproto=static --device=eth0 --ip=192.0.2.10 --netmask=255.255.255.0 --nameserver=0.0.0.0",
        "not the address of a host",
    ),
    ("network --device=eth0 --noipv4 --nameserver=192.0.2.1", "--nameserver=192.0.2.1 cannot be reached with --noipv4"),
    ("network --device=eth0 --noipv6 --nameserver=2001:db8::1", "cannot be reached with --noipv6"),
    ("network --device=eth0 --noipv4 --ipv4-dns-search=a.b", "--ipv4-dns-search and --noipv4"),
    ("network --device=eth0 --noipv6 --ipv6-dns-search=a.b", "--ipv6-dns-search and --noipv6"),
    ("network --device=eth0 --noipv6 --ipv6gateway=fe80::1", "--ipv6gateway and --noipv6"),
    ("network --device=eth0 --ipv6gateway=fe80::1", "--ipv6gateway needs --ipv6=ADDRESS/PREFIX"),
    ("network --device=eth0 --ipv6=2001:db8::10/64 --ipv6gateway=2001:db8:1::1", "not in the network 2001:db8::/64"),
    ("network --device=eth0 --ipv6=2001:db8::10/64 --ipv6gateway=2001:db8::10", "address of this host"),
    ("network --device=eth0 --ipv6=ff02::1/64", "cannot be the address"),
    ("network --device=eth0 --mtu=70000", "--mtu"),
    ("network --device=eth0 --onboot=maybe", "onboot"),
    ("network --hostname=-a", "host name"),
    ("network --hostname=192.0.2.1", "address"),
    ("network --hostname=a\nnetwork --hostname=b", "earlier line"),
    ("network --device=eth0\nnetwork --device=eth0", "on line 1 already"),
    ("services --enabled=a,b --disabled=b", "b is both"),
    ("services --enabled=a;b", "'a;b'"),
    ("selinux --enforcing --permissive", "exactly one"),
    ("selinux", "exactly one"),
    ("firewall --enabled --disabled", "exactly one of --enabled, --disabled"),
    ("firewall", "exactly one of --enabled, --disabled"),
    ("lang en_US.UTF-8#x", "'#' within a word"),
    ('bootloader --append="a#b"#c', "'#' within a word"),
    ("bootloader --append='quiet root=/dev/sda1'", "--append=root=/dev/sda1 would name another root"),
    ("%addon org_ovirt_node --image=http://h/x#f --nosignature\n%end", "'#' within a word"),
    ("%addon org_ovirt_node --image=http://h/x --nosignature\nvolume /data#x --size=1GiB\n%end", "'#' within a word"),
    ("firewall --enabled --port=80:tcp", "Supported are --enabled, --disabled"),
    ("firstboot --enable", "--enable"),
    ("reboot\npoweroff", "reboot (line 1) exclude each other"),
    ("lang en_US.UTF-8\nlang de_AT.UTF-8", "given on line 1 already"),
    ("services --enabled=a\nservices --enabled=b", "given on line 1 already"),
    ("autopart\npart /boot --size=1", "at the same time"),
    ("%ksappend /etc/passwd", "%ksappend"),
    ("%packages\n@core\n%end", "%packages"),
    ("%anaconda\n%end", "%anaconda"),
    ("%certificate --filename=a\n%end", "%certificate"),
    ("%traceback\necho\n%end", "%traceback"),
    ("%onerror\necho\n%end", "%onerror"),
    ("%addon com_redhat_kdump --enable\n%end", "'com_redhat_kdump'"),
    ("%addon\n%end", "%addon without a name"),
    ("%nonsense\n%end", "%nonsense"),
    ("%post --nonsense\n%end", "%post: unrecognized arguments: --nonsense"),
    ("%post --interpreter=' '\necho\n%end", "%post --interpreter=' ' names no program"),
    ('%pre-install --interpreter="a\'b"\necho\n%end', "%pre-install --interpreter=a'b: "),
    ("%post\necho", "%end"),
    ("lang 'en", "cannot be read"),
    ("''", "cannot be read"),
    ("%include", "%include"),
]


@pytest.mark.parametrize(("lines", "said"), BAD_LINES, ids=[lines[:50] for lines, _ in BAD_LINES])
def test_row_32_a_line_that_means_nothing_is_refused_with_its_place(lines: str, said: str) -> None:
    message = problem(lines + "\n" + (ADDON if set(lines.split()) & PARTITIONING else LEAST))
    assert message.startswith(("ks.cfg:1: ", "ks.cfg:2: ", "ks.cfg:3: ", "ks.cfg:4: ", "ks.cfg:5: ")), message
    assert said in message, message


def test_the_section_is_required_and_given_once() -> None:
    assert "the section %addon org_ovirt_node is missing" in problem("autopart\n")
    assert "was given on line 2 already" in problem(f"autopart\n{ADDON}{ADDON}")


def test_partitioning_is_required() -> None:
    assert "how the disks are to be laid out" in problem(ADDON)


def test_lines_of_the_section_have_the_numbers_of_the_file() -> None:
    text = "autopart\n\n%addon org_ovirt_node --image=file:/a --nosignature\n\n# c\nvolume /data --size=1\n%end\n"
    assert problem(text).startswith("ks.cfg:6: %addon org_ovirt_node: volume /data --size=1: ")


@pytest.mark.parametrize(
    "line",
    [
        "rootpw geheim geheim2",
        "rootpw --plaintext --nonsense geheim",
        "rootpw --iscrypted geheim",
        "user --name=a --password=geheim --nonsense",
        "user --name=a --iscrypted --password=geheim",
        "user --name=a --password geheim extra",
        "autopart --passphrase=geheim",
        "part pv.01 --size=x --encrypted --passphrase=geheim",
    ],
)
def test_a_password_is_in_no_message(line: str) -> None:
    assert "geheim" not in problem(f"{line}\n{ADDON}")


WORDS = sorted([*COMMANDS, "%addon org_ovirt_node", "%pre", "%post", "%end", "%include x", "%packages", "iscsi"])
OPTIONS = sorted({option for command in COMMANDS.values() for option in command.options})
LINE = st.one_of(
    st.text(max_size=30),
    st.builds(
        lambda word, rest: " ".join([word, *rest]),
        st.sampled_from(WORDS),
        st.lists(
            st.one_of(
                st.sampled_from(OPTIONS),
                st.builds("{}={}".format, st.sampled_from(OPTIONS), st.text(max_size=8)),
                st.text(max_size=8),
            ),
            max_size=4,
        ),
    ),
)


@settings(max_examples=150, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(LINE, max_size=8))
def test_garbage_is_a_request_or_a_kickstart_problem(lines: list[str]) -> None:
    try:
        assert load_text("\n".join(lines) + "\n" + LEAST).node.images
    except KickstartProblem as found:
        assert found.message


def test_a_kickstart_on_disk_is_named_in_full(tmp_path: Path) -> None:
    path = tmp_path / "a b.ks"
    path.write_text("foo\n")
    with pytest.raises(KickstartProblem) as caught:
        load(str(path))
    assert (caught.value.file, caught.value.line) == (str(path), 1)

"""The %addon org_ovirt_node section."""

from __future__ import annotations

import shlex
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from org_ovirt_node.errors import KickstartProblem
from org_ovirt_node.kickstart import checks
from org_ovirt_node.kickstart.model import NodeSection, VolumeRequest
from org_ovirt_node.kickstart.section import format_section, parse_section
from org_ovirt_node.layout.policy import LAYER, VOLUMES, volume_name

GIB = 1 << 30
DIGEST = "0123456789abcdef" * 4
GOOD = ["--image=file:/a.squashfs", "--nosignature"]


def parse_text(text: str) -> NodeSection:
    """As a kickstart parser hands a section over."""
    header, *lines = text.rstrip().splitlines()
    assert lines.pop() == "%end"
    return parse_section(shlex.split(header)[2:], list(enumerate(lines, start=2)), line=1)


def test_every_option_lands_in_its_field() -> None:
    args = [
        *("--image=https://a/b.squashfs", "--image", "http://c/d.squashfs", f"--sha256={DIGEST.upper()}"),
        *("--vg=data", "--pool=thin", "--image-slots=4", "--layer-size=8GiB", "--boot-tries=5"),
        *("--proxy=http://user:secret@proxy:3128", "--noverifyssl", "--cacert=/etc/ca.pem"),
    ]
    lines = [
        (4, "# ours\n"),
        (5, "\n"),
        (6, "volume /data --size=20GiB --fstype=xfs\n"),
        (7, "novolume /var/crash # no"),
    ]
    assert parse_section(args, lines, file="a.ks", line=3) == NodeSection(
        images=("https://a/b.squashfs", "http://c/d.squashfs"),
        sha256=DIGEST,
        vg="data",
        pool="thin",
        image_slots=4,
        layer_size=8 * GIB,
        boot_tries=5,
        proxy="http://user:secret@proxy:3128",
        noverifyssl=True,
        cacert="/etc/ca.pem",
        volumes=(VolumeRequest("/data", 20 * GIB, "xfs", 6),),
        novolumes=("/var/crash",),
        line=3,
    )


@pytest.mark.parametrize(
    "url",
    [
        "file:/a/b.squashfs",
        "file:///a/b.squashfs",
        "http://host/a",
        "https://user:pw@host:8443/a?b=c",
        "http://[2001:db8::1]/a",
        "nfs:host:/export/a",
        "nfs:[2001:db8::1]:/export/a",
        "hd:sda1:/a",
        "hd:/dev/disk/by-id/x-part1:/a",
        "hd:LABEL=OVIRTNODE:/a b".replace(" ", "_"),
        "hd:UUID=1234-ABCD:/a",
        "cdrom:/a",
    ],
)
def test_every_scheme_of_a_url(url: str) -> None:
    assert parse_section([f"--image={url}", "--nosignature"], []).images == (url,)


@pytest.mark.parametrize(
    "url",
    [
        *("", "a", "/a", "ftp://a/b", "http:/a", "http://", "http://host", "http://host/", "http://host:x/a"),
        *(
            "http://host:99999/a",
            "http://[::1/a",
            "file:a",
            "file:",
            "file:/",
            "file:/a/",
            "file:/a?b",
            "file:///a#b",
            "nfs:host",
            "nfs:host:a",
        ),
        *("nfs::/a", "nfs:/a", "hd:sda1", "hd::/a", "hd:LABEL=:/a", "hd:LABEL=x:a", "hd:sda:/", "cdrom:", "cdrom:a"),
        *("cdrom:/", "http://a/b c", "http://a/\x1b", "HTTP://a/b"),
    ],
)
def test_a_bad_url_is_named_with_its_option(url: str) -> None:
    with pytest.raises(KickstartProblem) as caught:
        parse_section([f"--image={url}", "--nosignature"], [], file="a.ks", line=9)
    message = str(caught.value)
    assert message.startswith("a.ks:9: %addon org_ovirt_node: --image=")
    assert url in message
    assert "accepted" in message or "port" in message or "URL" in message


BAD_OPTIONS = [
    (["--foo=1"], "unknown option '--foo'"),
    (["--imag=file:/a"], "unknown option '--imag'"),
    (["text"], "unexpected text 'text'"),
    (["--vg"], "--vg"),
    (["--nosignature=1"], "--nosignature"),
    (["--vg=a", "--vg=b"], "--vg is given 2 times"),
    (["--vg=-a"], "--vg=-a"),
    (["--vg=a/b"], "--vg=a/b"),
    (["--vg=."], "--vg=."),
    (["--vg=mapper"], "--vg=mapper"),
    (["--vg=" + "x" * 64], "longer"),
    (["--pool=snapshot1"], "--pool=snapshot1"),
    (["--pool=x_tdata"], "--pool=x_tdata"),
    (["--vg=same", "--pool=same"], "the same name"),
    (["--image-slots=0"], "--image-slots=0"),
    (["--image-slots=33"], "--image-slots=33"),
    (["--image-slots=two"], "--image-slots=two"),
    (["--boot-tries=10"], "--boot-tries=10"),
    (["--layer-size=20"], "--layer-size=20"),
    (["--layer-size=1MiB"], "too small"),
    (["--proxy=proxy:3128"], "--proxy=proxy:3128"),
    (["--cacert=ca.pem"], "--cacert=ca.pem"),
    (["--image=file:/a.squashfs"], "twice"),
    ([f"--sha256={DIGEST}"], "exclude each other"),
]


@pytest.mark.parametrize(("args", "said"), BAD_OPTIONS, ids=[" ".join(args)[:40] for args, _ in BAD_OPTIONS])
def test_row_32_a_bad_option_is_named_with_section_file_line_and_text(args: list[str], said: str) -> None:
    with pytest.raises(KickstartProblem) as caught:
        parse_section([*GOOD, *args], [], file="a.ks", line=7)
    assert str(caught.value).startswith("a.ks:7: %addon org_ovirt_node: ")
    assert said in str(caught.value)
    assert (caught.value.file, caught.value.line) == ("a.ks", 7)


@pytest.mark.parametrize("digest", ["", "12", "g" * 64, DIGEST + "0", "\u0660" * 64])
def test_a_digest_has_64_hexadecimal_digits(digest: str) -> None:
    with pytest.raises(KickstartProblem, match=r"--sha256=.*64 hexadecimal digits"):
        parse_section(["--image=file:/a", f"--sha256={digest}"], [])


def test_the_image_and_how_it_is_verified_are_required() -> None:
    with pytest.raises(KickstartProblem, match=r"--image is missing.*file:/PATH"):
        parse_section(["--nosignature"], [])
    with pytest.raises(KickstartProblem, match=r"--sha256=HEX .*or --nosignature"):
        parse_section(["--image=file:/a"], [])


@pytest.mark.parametrize(
    "args",
    [
        ["--image=file:/a", "--manifest=https://h/a.json"],
        ["--image=file:/a", "--manifest=https://h/a.json", "--key=/etc/key.gpg"],
        ["--image=https://h/a.json", "--key=/etc/key.gpg"],
        ["--image=https://h/a.json?token=1"],
    ],
)
def test_a_manifest_says_how_the_image_is_verified(args: list[str]) -> None:
    section = parse_section(args, [])
    assert parse_section(shlex.split(format_section(section).splitlines()[0])[2:], []) == section


def test_a_key_without_a_manifest_is_an_error() -> None:
    with pytest.raises(KickstartProblem, match="--key has no manifest"):
        parse_section(["--image=file:/a", "--nosignature", "--key=/etc/key.gpg"], [])


BAD_LINES = [
    ("volum /data --size=1GiB", "unknown line 'volum'"),
    ("volume", "mount point is missing"),
    ("volume --size=1GiB", "mount point is missing"),
    ("volume /data", "--size is missing"),
    ("volume /data --size", "--size"),
    ("volume /data --size=20", "--size=20"),
    ("volume /data --size=1GiB --size=2GiB", "2 times"),
    ("volume /data --size=1GiB --fstype=btrfs", "--fstype=btrfs"),
    ("volume /data --size=1MiB", "too small"),
    ("volume /data --size=100MiB --fstype=xfs", "320 MiB"),
    ("volume /var/log --size=100MiB", "512 MiB"),
    ("volume /data --size=1GiB extra", "unexpected text 'extra'"),
    ("volume /data --grow --size=1GiB", "unknown option '--grow'"),
    ("volume data --size=1GiB", "volume data"),
    ("volume / --size=1GiB", "--layer-size"),
    ("volume /boot --size=1GiB", "boot"),
    ("volume /boot/efi --size=1GiB", "boot"),
    ("volume /usr/local --size=1GiB", "/usr"),
    ("volume /etc --size=1GiB", "/etc"),
    ("volume /proc/x --size=1GiB", "/proc"),
    ("volume /data/../etc --size=1GiB", "'..'"),
    ("volume /data/./x --size=1GiB", "'.'"),
    ("volume //data --size=1GiB", "empty part"),
    ("volume /data/ --size=1GiB", "/data/"),
    ("volume '/da ta' --size=1GiB", "/da ta"),
    ("volume '/data --size=1GiB", "cannot be read"),
    ("novolume", "mount point is missing"),
    ("volume /a@b --size=1GiB", "_ . + -"),
    ("volume /-x --size=1GiB", "the name '-x': it is not a name for LVM"),
    ("volume /x_tmeta --size=1GiB", "LVM keeps this name for itself"),
    ("volume /snapshot --size=1GiB", "LVM keeps this name for itself"),
    ("volume /var_log --size=1GiB", "would have the name var_log, as /var/log has"),
    ("volume /pool00 --size=1GiB", "as the thin pool has. Choose another mount point, or --pool."),
    ("volume /swap --size=1GiB", "as swap has"),
    ("novolume /var", "share"),
    ("novolume /data", "default volumes"),
    ("novolume /home --size=1GiB", "--size"),
]


@pytest.mark.parametrize(("line", "said"), BAD_LINES)
def test_row_32_a_bad_line_is_named_with_section_and_line(line: str, said: str) -> None:
    with pytest.raises(KickstartProblem) as caught:
        parse_section(GOOD, [(11, "volume /good --size=1GiB\n"), (12, line + "\n")], file="a.ks", line=10)
    assert str(caught.value).startswith("a.ks:12: %addon org_ovirt_node: ")
    assert said in str(caught.value)


@pytest.mark.parametrize("second", ["volume /home --size=2GiB", "novolume /home"])
def test_a_mount_point_is_given_once(second: str) -> None:
    with pytest.raises(KickstartProblem, match="/home was given before"):
        parse_section(GOOD, [(1, "volume /home --size=1GiB"), (2, second)])


def test_the_password_of_a_proxy_is_in_no_message_and_no_representation() -> None:
    section = parse_section([*GOOD, "--proxy=http://user:secret@proxy:3128"], [])
    assert "secret" not in repr(section)
    with pytest.raises(KickstartProblem) as caught:
        parse_section([*GOOD, "--proxy=ftp://user:secret@proxy:3128"], [])
    assert "secret" not in str(caught.value)


NAME = st.from_regex(r"[a-z][a-z0-9_.+-]{0,20}", fullmatch=True).filter(lambda name: "_t" not in name)
PATH = st.from_regex(r"(/[A-Za-z0-9_.+'\"$ ~-]*[a-z]){1,3}", fullmatch=True)
MOUNT = st.from_regex(r"/(data|srv|var/lib)(/[a-z0-9_.+-]+[a-z]){1,2}", fullmatch=True).filter(
    lambda name: len(name) < 60
)
URL = st.one_of(
    st.builds("http://{}{}".format, st.just("host:8080"), st.from_regex(r"(/[a-z0-9'$&;]*[a-z]){1,3}", fullmatch=True)),
    st.builds("hd:LABEL={}:{}".format, NAME, st.from_regex(r"(/[a-z'\"$#\\]*[a-z]){1,3}", fullmatch=True)),
)
SECTIONS = st.builds(
    NodeSection,
    images=st.lists(URL, min_size=1, max_size=3, unique=True).map(tuple),
    nosignature=st.just(True),
    vg=NAME.map("vg_".__add__),
    image_slots=st.integers(1, 32),
    layer_size=st.one_of(st.none(), st.integers(LAYER.minimum, 1 << 45)),
    boot_tries=st.integers(1, 9),
    proxy=st.sampled_from(["", "http://proxy:3128", "https://u:p$w'd@proxy"]),
    noverifyssl=st.booleans(),
    cacert=st.one_of(st.just(""), PATH),
    volumes=st.lists(
        st.builds(VolumeRequest, MOUNT, st.integers(1 << 30, 1 << 45), st.sampled_from(["", "ext4", "xfs"])),
        max_size=4,
        unique_by=lambda volume: volume_name(volume.mountpoint),
    ).map(tuple),
    novolumes=st.lists(st.sampled_from([v.mountpoint for v in VOLUMES if v.removable]), unique=True).map(tuple),
)


@given(SECTIONS)
def test_what_is_printed_is_read_back_as_the_same_section(section: NodeSection) -> None:
    found = parse_text(format_section(section))
    volumes = tuple(replace(volume, line=0) for volume in found.volumes)
    assert replace(found, line=0, volumes=volumes) == section


def test_a_digest_is_printed_and_defaults_are_not() -> None:
    text = format_section(NodeSection(images=("file:/a",), sha256=DIGEST))
    assert text == f"%addon org_ovirt_node --image=file:/a --sha256={DIGEST}\n%end\n"


@given(st.lists(st.text(max_size=30), max_size=4), st.lists(st.text(max_size=40), max_size=4))
def test_garbage_is_a_kickstart_problem_and_nothing_else(args: list[str], lines: list[str]) -> None:
    try:
        parse_section([*GOOD, *args], list(enumerate(lines)))
    except KickstartProblem as problem:
        assert problem.message


@pytest.mark.parametrize(
    ("image", "found"),
    [
        ("http://h/a.json", True),
        ("https://h/a.json?x#y", True),
        ("http://h/a.json#y", True),
        ("http://h/a?x=.json", False),
        ("file:/a.json", True),
        ("hd:sda1:/a?b.json", True),
        ("hd:sda1:/a.json?b", False),
        ("nfs:h:/a.squashfs", False),
    ],
)
def test_what_is_the_name_of_a_manifest(image: str, found: bool) -> None:
    assert checks.is_manifest(image) is found

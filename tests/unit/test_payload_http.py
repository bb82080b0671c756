"""Images from web servers, most of which misbehave."""

from __future__ import annotations

import hashlib
import logging
import random
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Optional
from urllib.parse import urlsplit

import pytest

from org_ovirt_node.errors import PayloadError
from org_ovirt_node.payload.access import Access, Patience
from org_ovirt_node.payload.http import SLICE, HttpSource
from org_ovirt_node.payload.mirrors import open_first
from org_ovirt_node.payload.source import redact_url
from org_ovirt_node.payload.sources import open_source
from org_ovirt_node.payload.transfer import transfer
from org_ovirt_node.progress import Silent
from tests.support.proxyserver import tunnelling
from tests.support.webserver import Behaviour, certificate, serving

SIZE = 2_500_123
CONTENT = random.Random(6).randbytes(SIZE)
#: Time-outs that no healthy server on loopback meets, and no pause between tries.
PATIENCE = Patience(connect=20, read=20, slice=20, pauses=(0, 0, 0))
HASTY_READ = replace(PATIENCE, read=0.5, pauses=(0,) * 8)
HASTY_ANSWER = replace(PATIENCE, answer=1, pauses=(0, 0))
HASTY_SLICE = replace(PATIENCE, slice=0.5, pauses=(0,) * 8)


def fetch(url: str, target: Path, patience: Patience = PATIENCE, size: int = SIZE, **access: object) -> bytes:
    with open_source(url, patience=patience, **access) as source:  # type: ignore[arg-type]
        done = transfer(source, target, size=size, fresh=True, progress=Silent())
    data = target.read_bytes()
    assert done.sha256 == hashlib.sha256(data).hexdigest()
    return data


@pytest.fixture(autouse=True)
def no_thread_is_left() -> Iterator[None]:
    yield
    assert not [thread.name for thread in threading.enumerate() if thread.name.startswith("payload")]


GOOD = [
    ("healthy", Behaviour(), PATIENCE, [""]),
    ("drops once", Behaviour(cuts=[700_000]), PATIENCE, ["", "bytes=700000-"]),
    (
        "drops many times, with progress each time",
        Behaviour(cuts=[300_000] * 7),
        PATIENCE,
        ["", *(f"bytes={at}-" for at in range(300_000, 2_400_000, 300_000))],
    ),
    (
        "drops, and has only a date",
        Behaviour(cuts=[700_000], etag="", modified="Mon, 01 Jan 2024 00:00:00 GMT"),
        PATIENCE,
        ["", "bytes=700000-"],
    ),
    ("drops at once", Behaviour(cuts=[0, 0]), PATIENCE, ["", "", ""]),
    ("drops without a validator: from the start", Behaviour(cuts=[700_000], etag=""), PATIENCE, ["", ""]),
    ("drops with a weak tag: from the start", Behaviour(cuts=[700_000], etag='W/"a"'), PATIENCE, ["", ""]),
    ("stalls", Behaviour(cuts=[700_000], cut_by="stall"), HASTY_READ, ["", f"bytes={2 * SLICE}-"]),
    ("ignores ranges", Behaviour(ranges=False), PATIENCE, [""]),
    ("ignores ranges and drops: from the start", Behaviour(ranges=False, cuts=[700_000]), PATIENCE, ["", ""]),
    ("has no length", Behaviour(framing="chunked"), PATIENCE, [""]),
    ("has no length nor ranges", Behaviour(framing="chunked", ranges=False), PATIENCE, [""]),
    ("ends the body with the connection", Behaviour(framing="close", ranges=False), PATIENCE, [""]),
    ("chunked, and drops", Behaviour(framing="chunked", cuts=[700_000]), PATIENCE, ["", f"bytes={2 * SLICE}-"]),
    ("is overloaded at first", Behaviour(statuses=[503, 429, 500]), PATIENCE, None),
    ("redirects", Behaviour(redirect="/final"), PATIENCE, None),
]


@pytest.mark.parametrize(("how", "patience", "ranges"), [row[1:] for row in GOOD], ids=[row[0] for row in GOOD])
def test_arrives_whole(how: Behaviour, patience: Patience, ranges: Optional[list[str]], tmp_path: Path) -> None:
    with serving(CONTENT, how) as server:
        assert fetch(f"{server.url}/node-1.0.squashfs", tmp_path / "out", patience) == CONTENT
    if ranges is not None:
        assert [asked for _, asked in server.requests[1:]] == ranges
        for headers in server.headers:
            if headers.get("Range", "bytes=0-").startswith("bytes=0-"):
                continue
            assert headers["If-Range"] == (how.etag or how.modified)


BAD = [
    ("is not there", Behaviour(statuses=[404]), "answered 404"),
    ("forbids", Behaviour(statuses=[403]), "answered 403"),
    ("is overloaded for good", Behaviour(statuses=[503] * 9), "after 4 tries: the server answered 503"),
    ("redirects in a loop", Behaviour(redirect="/again"), "redirects more than 5 times"),
    ("drops for good", Behaviour(cuts=[700_000], always_cut=0), "cannot be read beyond byte 700000, after 4 tries"),
    ("ignores ranges and always drops", Behaviour(ranges=False, always_cut=700_000), "cannot be read: the connection"),
    ("changes the file", Behaviour(cuts=[700_000], changes_after=2), "changed on the server while it was read"),
    ("changes the file after the probe", Behaviour(changes_after=1), "changed on the server while it was read"),
    ("claims more than it has", Behaviour(claimed=SIZE + 1000), f"has {SIZE} bytes where {SIZE + 1000} were announced"),
    ("compresses", Behaviour(encoding="gzip"), "encoding gzip, which was not asked for"),
    ("sends another range", Behaviour(wrong_range=True), "asked for byte 0 and on, the server sends bytes 1-"),
]


@pytest.mark.parametrize(("how", "message"), [row[1:] for row in BAD], ids=[row[0] for row in BAD])
def test_is_refused(how: Behaviour, message: str, tmp_path: Path) -> None:
    size = how.claimed or SIZE
    with serving(CONTENT, how) as server, pytest.raises(PayloadError, match=message):
        fetch(f"{server.url}/node-1.0.squashfs", tmp_path / "out", size=size)
    out = tmp_path / "out"
    assert not out.exists() or out.read_bytes()[:4096].strip(b"\0") == b""


def test_a_drip_is_given_up_and_the_rest_fetched_anew(tmp_path: Path) -> None:
    with serving(CONTENT, Behaviour(cuts=[700_000], cut_by="drip")) as server:
        assert fetch(f"{server.url}/a", tmp_path / "out", HASTY_SLICE) == CONTENT
    assert len(server.requests) >= 3


def test_arrives_whole_by_a_client_that_hides_its_connection(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """urllib3's own reading is there for versions that keep http.client's answer elsewhere."""
    monkeypatch.setattr("org_ovirt_node.payload.http_session.http.client.HTTPResponse", type("Other", (), {}))
    with serving(CONTENT, Behaviour(cuts=[700_000])) as server:
        assert fetch(f"{server.url}/a", tmp_path / "out") == CONTENT


def test_an_empty_file(tmp_path: Path) -> None:
    with serving(b"") as server, pytest.raises(PayloadError, match="has 0 bytes where some were announced"):
        fetch(f"{server.url}/a", tmp_path / "out")


def test_reads_parts_with_ranges() -> None:
    with serving(CONTENT) as server, open_source(f"{server.url}/a", patience=PATIENCE) as source:
        assert source.size == SIZE
        assert source.read_at(10, 20) == CONTENT[10:30]
        assert source.read_at(SIZE - 5, 100) == CONTENT[-5:]


def test_a_part_from_a_server_without_ranges_is_refused() -> None:
    with serving(CONTENT, Behaviour(ranges=False)) as server, open_source(server.url, patience=PATIENCE) as source:
        assert source.read_at(0, 96) == CONTENT[:96]
        with pytest.raises(PayloadError, match="cannot send a part of a file"):
            source.read_at(100_000, 96)


def test_nobody_listens() -> None:
    with serving(CONTENT) as server:
        pass
    with (
        pytest.raises(PayloadError, match="after 4 tries: Connection refused"),
        open_source(server.url, patience=PATIENCE),
    ):
        pass


def test_tls(tmp_path: Path) -> None:
    right = certificate(tmp_path, "IP:127.0.0.1")
    with serving(CONTENT, tls=right) as server:
        assert fetch(f"{server.url}/a", tmp_path / "out", cacert=str(tmp_path / "cert.pem")) == CONTENT
        assert fetch(f"{server.url}/a", tmp_path / "out", verify=False) == CONTENT
        with pytest.raises(PayloadError, match="certificate is not accepted: self-signed certificate"):
            fetch(f"{server.url}/a", tmp_path / "out")
        with pytest.raises(PayloadError, match="The CA certificate /nowhere is not there"):
            fetch(f"{server.url}/a", tmp_path / "out", cacert="/nowhere")


def test_tls_with_a_drop(tmp_path: Path) -> None:
    with serving(CONTENT, Behaviour(cuts=[700_000]), tls=certificate(tmp_path, "IP:127.0.0.1")) as server:
        assert fetch(f"{server.url}/a", tmp_path / "out", cacert=str(tmp_path / "cert.pem")) == CONTENT


def test_tls_with_the_wrong_name(tmp_path: Path) -> None:
    wrong = certificate(tmp_path, "DNS:elsewhere.example")
    with serving(CONTENT, tls=wrong) as server, pytest.raises(PayloadError, match=r"not accepted: .*127[.]0[.]0[.]1"):
        fetch(f"{server.url}/a", tmp_path / "out", cacert=str(tmp_path / "cert.pem"))


def test_a_redirect_out_of_tls_is_refused(tmp_path: Path) -> None:
    tls = certificate(tmp_path, "IP:127.0.0.1")
    with serving(CONTENT) as plain, serving(CONTENT, Behaviour(redirect=f"{plain.url}/final"), tls=tls) as server:
        with pytest.raises(PayloadError, match="which is not encrypted"):
            fetch(f"{server.url}/a", tmp_path / "out", cacert=str(tmp_path / "cert.pem"))
        assert plain.requests == []


def test_a_redirect_is_followed_once_for_the_whole_file(tmp_path: Path) -> None:
    with serving(CONTENT, Behaviour(redirect="/final", cuts=[700_000])) as server:
        assert fetch(f"{server.url}/a", tmp_path / "out") == CONTENT
    assert [path for path, _ in server.requests] == ["/a", "/final", "/final", "/final"]


def test_through_a_proxy(tmp_path: Path) -> None:
    with serving(CONTENT) as proxy:
        data = fetch("http://mirror.invalid/node-1.0.squashfs", tmp_path / "out", proxy=proxy.url)
    assert data == CONTENT
    assert {path for path, _ in proxy.requests} == {"http://mirror.invalid/node-1.0.squashfs"}


def port_of(url: str) -> int:
    return urlsplit(url).port or 0


def test_tls_through_a_proxy(tmp_path: Path) -> None:
    """A tunnel (CONNECT): the certificate is still that of the server, and checked against its name."""
    tls = certificate(tmp_path, "DNS:mirror.example")
    cacert = str(tmp_path / "cert.pem")
    with serving(CONTENT, Behaviour(cuts=[700_000]), tls=tls) as server, tunnelling(port_of(server.url)) as proxy:
        url = proxy.url.replace("://", "://me:geheim@")
        data = fetch("https://mirror.example/node-1.0.squashfs", tmp_path / "out", proxy=url, cacert=cacert)
        assert data == CONTENT
        assert {line.rpartition(" ")[0] for line in proxy.asked} == {"CONNECT mirror.example:443"}
        assert any(line.startswith("Proxy-Authorization: Basic ") for line in proxy.headers)
        assert not any("Authorization" in headers or "Proxy-Authorization" in headers for headers in server.headers)
        with pytest.raises(PayloadError, match=r"certificate is not accepted: .*elsewhere[.]example"):
            fetch("https://elsewhere.example/a", tmp_path / "out", proxy=url, cacert=cacert)


@pytest.mark.parametrize("refusal", [407, 403])
def test_a_proxy_that_refuses_a_tunnel(refusal: int, tmp_path: Path) -> None:
    with (
        serving(b"", Behaviour(statuses=[refusal] * 9)) as proxy,
        pytest.raises(PayloadError, match="after 4 tries: the proxy cannot be used"),
    ):
        fetch("https://mirror.example/node-1.0.squashfs", tmp_path / "out", proxy=proxy.url)


def test_an_answer_whose_header_drips_is_not_waited_for(tmp_path: Path) -> None:
    """Every byte begins a read time-out anew, so the whole answer has a limit of its own."""
    with serving(CONTENT, Behaviour(header_drips=2)) as server:
        assert fetch(f"{server.url}/a", tmp_path / "out", HASTY_ANSWER) == CONTENT
    assert len(server.requests) == 4
    with (
        serving(CONTENT, Behaviour(header_drips=9)) as server,
        pytest.raises(PayloadError, match=r"after 3 tries: no whole answer came in 1 s"),
    ):
        fetch(f"{server.url}/a", tmp_path / "out", HASTY_ANSWER)


def test_a_tunnel_that_drips_is_not_waited_for(tmp_path: Path) -> None:
    with (
        tunnelling(0, drips=True) as proxy,
        pytest.raises(PayloadError, match=r"after 3 tries: no whole answer came in 1 s"),
    ):
        fetch("https://mirror.example/a", tmp_path / "out", HASTY_ANSWER, proxy=proxy.url)


def test_the_environment_names_no_proxy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    with serving(CONTENT) as server:
        assert fetch(f"{server.url}/a", tmp_path / "out") == CONTENT


def test_a_password_is_sent_and_never_shown(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    with serving(CONTENT, Behaviour(cuts=[700_000], always_cut=0)) as server:
        url = server.url.replace("://", "://me:geheim@") + "/a?token=geheim"
        with pytest.raises(PayloadError) as caught:
            fetch(url, tmp_path / "out")
    assert server.headers[0]["Authorization"].startswith("Basic ")
    assert "geheim" not in caplog.text + str(caught.value)
    assert "token" not in caplog.text + str(caught.value)


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("http://a:b@host:80/x?y=z#f", "http://host:80/x?…"),
        ("https://host/x", "https://host/x"),
        ("nfs:host:/x", "nfs:host:/x"),
        ("http://a:b@[broken", "http:…"),
    ],
)
def test_redacted_urls(url: str, shown: str) -> None:
    assert redact_url(url) == shown


def test_an_abort_ends_a_read_that_waits() -> None:
    with serving(CONTENT, Behaviour(cuts=[100_000], cut_by="stall")) as server:
        source = HttpSource(server.url, Access(), PATIENCE)
        stream = source.stream()
        failures: list[BaseException] = []
        begun = threading.Event()

        def read() -> None:
            begun.set()
            try:
                stream.readinto(memoryview(bytearray(1 << 20)))
            except PayloadError as exc:
                failures.append(exc)

        reader = threading.Thread(target=read)
        reader.start()
        begun.wait()
        stream.abort()
        reader.join(15)
        assert not reader.is_alive()
        assert "stopped" in str(failures[0])
        stream.close()
        source.close()


def test_mirrors_are_tried_in_order(tmp_path: Path) -> None:
    with serving(CONTENT, Behaviour(statuses=[404])) as gone, serving(CONTENT) as good, serving(CONTENT) as spare:
        with open_first([f"{each.url}/a" for each in (gone, good, spare)], patience=PATIENCE) as source:
            transfer(source, tmp_path / "out", size=SIZE, fresh=True, progress=Silent())
        assert (tmp_path / "out").read_bytes() == CONTENT
        assert spare.requests == []


def test_a_mirror_that_fails_in_the_middle_hands_over(tmp_path: Path) -> None:
    other = CONTENT[: 1 << 20] + CONTENT[1 << 20 :][::-1]
    local = tmp_path / "node.squashfs"
    local.write_bytes(CONTENT)
    with (
        serving(other, Behaviour(cuts=[2_000_000], always_cut=0)) as bad,
        open_first([f"{bad.url}/a", f"file:{local}"], patience=PATIENCE) as source,
    ):
        done = transfer(source, tmp_path / "out", size=SIZE, fresh=True, progress=Silent())
        assert source.name == str(local)
    assert (tmp_path / "out").read_bytes() == CONTENT
    assert done.sha256 == hashlib.sha256(CONTENT).hexdigest()


def test_a_mirror_with_the_wrong_digest_hands_over(tmp_path: Path) -> None:
    stale = CONTENT[:-1] + bytes((CONTENT[-1] ^ 1,))
    digest = hashlib.sha256(CONTENT).hexdigest()
    with serving(stale) as bad, serving(CONTENT) as good, open_first([bad.url, good.url], patience=PATIENCE) as source:
        transfer(source, tmp_path / "out", size=SIZE, fresh=True, expected_sha256=digest, progress=Silent())
    assert (tmp_path / "out").read_bytes() == CONTENT


def test_a_mirror_with_another_image_is_not_joined(tmp_path: Path) -> None:
    with (
        serving(CONTENT, Behaviour(always_cut=700_000, ranges=False)) as bad,
        serving(CONTENT[::-1]) as other,
        open_first([bad.url, other.url], patience=PATIENCE) as source,
        pytest.raises(PayloadError, match=r"from no place: .*; .*is not the same image"),
    ):
        transfer(source, tmp_path / "out", size=SIZE, fresh=True, progress=Silent())


def test_all_mirrors_are_named_when_none_works() -> None:
    with (
        serving(b"", Behaviour(statuses=[404])) as one,
        serving(b"", Behaviour(statuses=[403])) as two,
        pytest.raises(PayloadError, match=r"404.*403"),
        open_first([one.url, two.url], patience=PATIENCE),
    ):
        pass

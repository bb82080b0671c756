"""A web server that behaves as badly as it is told to."""

from __future__ import annotations

import ssl
import subprocess
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Optional
from urllib.parse import urlsplit

from tests.support.proxyserver import drip

#: Bytes per write of a body: small, so that a cut connection is noticed in the middle.
STEP = 16 << 10


@dataclass
class Behaviour:
    """How the server answers.  Requests for the first 4096 bytes (the probe) are always answered whole."""

    ranges: bool = True
    etag: str = '"one"'
    modified: str = ""
    #: After so many requests: other contents with another entity tag.
    changes_after: int = 1 << 30
    #: What Content-Length says when it does not say the truth.
    claimed: Optional[int] = None
    #: "length", "chunked", or "close" (the end of the connection is the end of the body).
    framing: str = "length"
    #: Bytes after which the body of each further request is cut; then bodies are whole.
    cuts: Sequence[int] = ()
    #: Every body is cut after so many bytes.
    always_cut: Optional[int] = None
    #: What happens at a cut: "drop", "stall" (nothing more comes) or "drip" (a byte now and then).
    cut_by: str = "drop"
    #: Answers to the first requests.
    statuses: Sequence[int] = ()
    #: Where every request, or one for /moved, is sent.
    redirect: str = ""
    encoding: str = ""
    #: So many of the first answers never come to the end of their header: a byte of it comes now and then.
    header_drips: int = 0
    #: A Content-Range that is not the one that was asked for.
    wrong_range: bool = False


@dataclass
class Served:
    """A running server: its address, and the requests that came (path and Range header)."""

    url: str
    requests: list[tuple[str, str]] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    ended: threading.Event = field(default_factory=threading.Event)


def _handler(content: bytes, how: Behaviour, served: Served) -> type[BaseHTTPRequestHandler]:
    lock = threading.Lock()
    cuts = list(how.cuts)
    statuses = list(how.statuses)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, format: str, *args: Any) -> None:
            """Nothing: the test looks at served.requests."""

        def do_GET(self) -> None:
            asked = self.headers.get("Range", "")
            with lock:
                served.requests.append((self.path, asked))
                served.headers.append(dict(self.headers.items()))
                number = len(served.requests)
                status = statuses.pop(0) if statuses else 0
            if number <= how.header_drips:
                drip(self.connection, b"HTTP/1.1 200 OK\r\nX-Slow: ", served.ended)
                self.close_connection = True
                return
            if status:
                self.send_response(status)
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            if how.redirect and urlsplit(self.path).path != "/final":
                self.send_response(302)
                self.send_header("Location", how.redirect)
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            changed = number > how.changes_after
            self.answer(content[::-1] if changed else content, '"two"' if changed else how.etag, asked)

        def answer(self, data: bytes, etag: str, asked: str) -> None:
            total, first = len(data), 0
            matches = self.headers.get("If-Range", etag or how.modified) in (etag, how.modified)
            ranged = how.ranges and asked.startswith("bytes=") and matches
            if ranged:
                begin, _, end = asked[len("bytes=") :].partition("-")
                first = int(begin)
                last = min(int(end) if end else total - 1, total - 1)
                if first >= total:
                    self.send_response(416)
                    self.send_header("Content-Range", f"bytes */{total}")
                    self.send_header("Content-Length", "0")
                    self.end_headers()
                    return
                data = data[first : last + 1]
                self.send_response(206)
                shown = how.claimed if how.claimed is not None else total
                self.send_header("Content-Range", f"bytes {first + how.wrong_range}-{last}/{shown}")
            else:
                self.send_response(200)
            if etag:
                self.send_header("ETag", etag)
            if how.modified:
                self.send_header("Last-Modified", how.modified)
            if how.encoding:
                self.send_header("Content-Encoding", how.encoding)
            self.frame(len(data) if how.claimed is None or asked.endswith("-4095") else how.claimed - first)
            self.body(data, whole=asked.endswith("-4095") and ranged)

        def frame(self, length: int) -> None:
            if how.framing == "chunked":
                self.send_header("Transfer-Encoding", "chunked")
            elif how.framing == "close":
                self.send_header("Connection", "close")
            else:
                self.send_header("Content-Length", str(length))
            self.end_headers()

        def body(self, data: bytes, whole: bool) -> None:
            cut: Optional[int] = None
            if not whole and self.headers.get("Range") != "bytes=0-4095":
                with lock:
                    cut = cuts.pop(0) if cuts else how.always_cut
            for at in range(0, len(data) if cut is None else min(cut, len(data)), STEP):
                end = at + STEP if cut is None else min(at + STEP, cut)
                self.piece(data[at:end])
            if cut is not None and cut < len(data):
                self.misbehave(data[cut:])
            elif how.framing == "chunked":
                self.wfile.write(b"0\r\n\r\n")
            self.close_connection = cut is not None or how.framing == "close" or how.claimed is not None

        def piece(self, data: bytes) -> None:
            if how.framing == "chunked":
                data = b"%x\r\n%s\r\n" % (len(data), data)
            self.wfile.write(data)

        def misbehave(self, rest: bytes) -> None:
            self.wfile.flush()
            if how.cut_by == "stall":
                self.rfile.read(1)  # until the other side gives up
            elif how.cut_by == "drip":
                for byte in rest:
                    self.wfile.write(bytes((byte,)))
                    self.wfile.flush()
                    if served.ended.wait(0.005):
                        break
            self.close_connection = True

        def handle(self) -> None:
            try:
                super().handle()
            except OSError:
                self.close_connection = True

    return Handler


@contextmanager
def serving(content: bytes, how: Behaviour = Behaviour(), tls: Optional[Path] = None) -> Iterator[Served]:  # noqa: B008
    """Serve ``content`` at every path of a server on loopback; ``tls`` is a file with key and certificate."""
    served = Served("")
    server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(content, how, served))
    server.daemon_threads = True
    # A client that refuses our certificate is no reason to print a traceback.
    server.handle_error = lambda *_: None  # type: ignore[method-assign]
    if tls:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(tls)
        server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    served.url = f"{'https' if tls else 'http'}://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield served
    finally:
        served.ended.set()
        server.shutdown()
        server.server_close()
        thread.join()


def certificate(folder: Path, name: str) -> Path:
    """A new key and self-signed certificate for ``name`` (``IP:…`` or ``DNS:…``), in one file."""
    key, cert, both = folder / "key.pem", folder / "cert.pem", folder / "both.pem"
    argv = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    argv += ["-keyout", str(key), "-out", str(cert), "-days", "3650", "-subj", "/CN=test"]
    subprocess.run([*argv, "-addext", f"subjectAltName={name}"], check=True, capture_output=True)
    both.write_bytes(key.read_bytes() + cert.read_bytes())
    return both

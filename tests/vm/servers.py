"""Servers on loopback that machines reach at 10.0.2.2 (QEMU's user network)."""

from __future__ import annotations

import http.server
import re
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Optional

from org_ovirt_node.run import run
from tests.vm.errors import ScenarioFailed, TimedOut
from tests.vm.installer import HOST_ADDRESS

RANGE = re.compile(r"bytes=(\d+)-(\d*)$")
#: Bytes that are sent at once.
CHUNK = 1 << 18


@dataclass(frozen=True)
class Cut:
    """An answer that ends early."""

    after: int
    silent: bool = False


@dataclass
class Served:
    """A running HTTP server: where machines find it, and what they asked for."""

    base: str
    requests: list[str] = field(default_factory=list)
    #: How the next answers that are longer than a CHUNK end: after so many bytes, by dropping the connection or by
    #: silence; then answers are whole.
    cuts: list[Cut] = field(default_factory=list)
    #: The cuts that happened.
    made: list[Cut] = field(default_factory=list)
    #: Set when the server ends: silence ends too.
    ended: threading.Event = field(default_factory=threading.Event)


def _handler(folder: Path, served: Served) -> type[http.server.BaseHTTPRequestHandler]:
    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_HEAD(self) -> None:
            self._answer(body=False)

        def do_GET(self) -> None:
            self._answer(body=True)

        def log_message(self, format: str, *args: object) -> None:
            """Requests are kept, not printed."""

        def _answer(self, *, body: bool) -> None:
            served.requests.append(f"{self.command} {self.path} {self.headers.get('Range', '')}".strip())
            file = folder / self.path.lstrip("/")
            if not file.is_file() or folder not in file.resolve().parents:
                self.send_error(404)
                return
            size = file.stat().st_size
            first, last = 0, size - 1
            wanted = RANGE.match(self.headers.get("Range", ""))
            if wanted:
                first = int(wanted.group(1))
                last = min(int(wanted.group(2) or last), last)
            if first > last:
                self.send_error(416)
                return
            self.send_response(206 if wanted else 200)
            self.send_header("Content-Length", str(last - first + 1))
            self.send_header("Accept-Ranges", "bytes")
            self.send_header("ETag", f'"{file.stat().st_mtime_ns:x}-{size:x}"')
            if wanted:
                self.send_header("Content-Range", f"bytes {first}-{last}/{size}")
            self.end_headers()
            if body:
                self._send(file, first, last - first + 1)

        def _send(self, file: Path, offset: int, left: int) -> None:
            cut = served.cuts.pop(0) if served.cuts and left > CHUNK else None
            if cut is not None and cut.after < left:
                left = cut.after
                self.close_connection = True
                served.made.append(cut)
            with file.open("rb") as source:
                source.seek(offset)
                while left > 0:
                    data = source.read(min(left, CHUNK))
                    try:
                        self.wfile.write(data)
                    except OSError:
                        # Whoever asked has heard enough.
                        self.close_connection = True
                        return
                    left -= len(data)
            if cut is not None and cut.silent:
                served.ended.wait()

    return Handler


@contextmanager
def serving(
    folder: Path, *, certificate: Optional[tuple[Path, Path]] = None, cuts: Sequence[Cut] = ()
) -> Iterator[Served]:
    """Serve ``folder`` by HTTP, with ranges; by HTTPS with a ``certificate`` (its file, its key)."""
    scheme = "https" if certificate else "http"
    served = Served("", cuts=list(cuts))
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _handler(folder.resolve(), served))
    server.daemon_threads = True
    if certificate:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*certificate)
        server.socket = context.wrap_socket(server.socket, server_side=True)
    served.base = f"{scheme}://{HOST_ADDRESS}:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield served
    finally:
        served.ended.set()
        server.shutdown()
        server.server_close()
        thread.join()


def make_certificate(folder: Path) -> tuple[Path, Path]:
    """A self-signed certificate for the host's address, and its key."""
    certificate, key = folder / "server.crt", folder / "server.key"
    argv = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=test"]
    argv += ["-addext", f"subjectAltName=IP:{HOST_ADDRESS}"]
    run([*argv, "-keyout", key, "-out", certificate])
    return certificate, key


#: A configuration of nfs-ganesha (ganesha-config(8)): NFS 4 only, so that no portmapper is needed.
#: No NFS 4.2: ganesha 4.3 answers its READ_PLUS with an error that Linux hands on as EIO.
GANESHA = """\
NFS_CORE_PARAM {{
    NFS_Port = 2049;
    Protocols = 4;
    Bind_addr = 127.0.0.1;
    Enable_NLM = false;
    Enable_RQUOTA = false;
}}
NFSv4 {{
    Graceless = true;
    Minor_Versions = 0, 1;
    RecoveryRoot = "{state}";
}}
EXPORT {{
    Export_Id = 1;
    Path = "{folder}";
    Pseudo = "{folder}";
    Protocols = 4;
    Transports = TCP;
    Access_Type = RO;
    Squash = No_Root_Squash;
    SecType = sys;
    FSAL {{
        Name = VFS;
    }}
}}
"""
#: Seconds for the NFS server to open its port.
NFS_START = 60.0
NFS_PORT = 2049


@contextmanager
def nfs_server(folder: Path, work: Path) -> Iterator[str]:
    """Export ``folder`` by NFS 4 (nfs-ganesha, in user space) on loopback; yields the server's address in machines."""
    state = work / "ganesha"
    state.mkdir()
    config = state / "ganesha.conf"
    config.write_text(GANESHA.format(folder=folder, state=state))
    argv = ["ganesha.nfsd", "-F", "-N", "EVENT", "-L", str(work / "ganesha.log")]
    argv += ["-f", str(config), "-p", str(state / "pid")]
    process = subprocess.Popen(["setpriv", "--pdeathsig", "KILL", *argv], stdin=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + NFS_START
        while not _answers(NFS_PORT):
            if process.poll() is not None:
                raise ScenarioFailed(f"the NFS server ended with {process.returncode}; see {work / 'ganesha.log'}")
            if time.monotonic() > deadline:
                raise TimedOut(f"the NFS server did not answer within {NFS_START:g} s")
            time.sleep(0.1)
        yield HOST_ADDRESS
    finally:
        process.kill()
        process.wait()


def _answers(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0

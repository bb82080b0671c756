"""An HTTP proxy that opens tunnels (CONNECT, RFC 9110, 9.3.6)."""

from __future__ import annotations

import socket
import socketserver
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field


@dataclass
class Tunnels:
    """A running proxy: its address, and what tunnels to were asked for."""

    url: str = ""
    asked: list[str] = field(default_factory=list)
    headers: list[str] = field(default_factory=list)
    ended: threading.Event = field(default_factory=threading.Event)


def _relay(source: socket.socket, target: socket.socket) -> None:
    try:
        while data := source.recv(1 << 16):
            target.sendall(data)
        target.shutdown(socket.SHUT_WR)
    except OSError:
        # The other direction ended with an error, and took both connections along.
        pass


@contextmanager
def tunnelling(port: int, *, drips: bool = False) -> Iterator[Tunnels]:
    """A proxy on loopback whose every tunnel leads to ``port`` there; one that ``drips`` never ends its answer."""
    seen = Tunnels()

    class Handler(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            seen.asked.append(self.rfile.readline().decode().strip())
            while (line := self.rfile.readline().decode().strip()) != "":
                seen.headers.append(line)
            if drips:
                drip(self.request, b"HTTP/1.1 200 Connection established\r\nX-Slow: ", seen.ended)
                return
            with socket.create_connection(("127.0.0.1", port)) as server:
                self.wfile.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
                back = threading.Thread(target=_relay, args=(server, self.request), daemon=True)
                back.start()
                _relay(self.request, server)
                back.join()

    class Server(socketserver.ThreadingTCPServer):
        daemon_threads = True

    server = Server(("127.0.0.1", 0), Handler)
    server.handle_error = lambda *_: None  # type: ignore[method-assign]
    seen.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield seen
    finally:
        seen.ended.set()
        server.shutdown()
        server.server_close()
        thread.join()


def drip(connection: socket.socket, begin: bytes, ended: threading.Event) -> None:
    """Send ``begin``, and then a byte now and then until the other side goes or the test ends."""
    try:
        connection.sendall(begin)
        while not ended.wait(0.005):
            connection.sendall(b"x")
    except OSError:
        return

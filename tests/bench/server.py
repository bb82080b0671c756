"""A plain web server on loopback with ranges, made so that it is not what limits a transfer.

It reads past the page cache, a buffer ahead of what it sends.  sendfile(2) would have the receiver copy from pages
that the page cache has just got, and in a virtual machine that gives free memory back to its host each of these has
to be fetched from the host again: that copy then takes many times as long as any other.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import count
from pathlib import Path
from typing import Any

from org_ovirt_node.payload.direct import ALIGNMENT, BUFFER_SIZE, DirectFile, aligned_buffers

FOLDER = Path()


class Handler(BaseHTTPRequestHandler):
    """GET of a file, whole or from an offset on."""

    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing."""

    def do_GET(self) -> None:
        """Send the file."""
        path = FOLDER / Path(self.path).name
        size = path.stat().st_size
        begin, _, end = self.headers.get("Range", "bytes=0-").removeprefix("bytes=").partition("-")
        first, last = int(begin), min(int(end) if end else size - 1, size - 1)
        self.send_response(206 if "Range" in self.headers else 200)
        if "Range" in self.headers:
            self.send_header("Content-Range", f"bytes {first}-{last}/{size}")
        self.send_header("Content-Length", str(last - first + 1))
        self.send_header("ETag", f'"{path.stat().st_mtime_ns}"')
        self.end_headers()
        self.wfile.flush()
        for part in parts(path, first, last + 1):
            self.connection.sendall(part)


def parts(path: Path, begin: int, end: int) -> Iterator[memoryview]:
    """The bytes of ``path`` from ``begin`` up to ``end``; the next part is read while one is in use."""
    buffers = [memoryview(buffer) for buffer in aligned_buffers(2)]
    with closing(DirectFile(path)) as file, ThreadPoolExecutor(1) as pool:
        place = begin // ALIGNMENT * ALIGNMENT
        waiting = pool.submit(file.readinto, buffers[0], place)
        for number in count(1):
            got = waiting.result()
            waiting = pool.submit(file.readinto, buffers[number % 2], place + got)
            yield buffers[(number - 1) % 2][max(begin - place, 0) : min(got, end - place)]
            place += got
            if got < BUFFER_SIZE or place >= end:
                return


def end_with_parent() -> None:
    """Whatever ends the program that started this one closes its end of our standard input."""
    sys.stdin.read()
    os._exit(0)


def main() -> None:
    """Serve the folder that is named, and print the port."""
    global FOLDER
    FOLDER = Path(sys.argv[1])
    threading.Thread(target=end_with_parent, daemon=True).start()
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    print(server.server_port, flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main()

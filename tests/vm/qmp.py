"""A client for QEMU's machine protocol (QEMU: docs/interop/qmp-spec)."""

from __future__ import annotations

import json
import socket
import time
from pathlib import Path
from typing import Any, Optional

from tests.vm.errors import MachineDied, ScenarioFailed, TimedOut

#: Seconds within which QEMU answers a command, on a busy host.
ANSWER = 60.0


class Qmp:
    """Commands with their answers; events are kept until somebody asks for them."""

    def __init__(self, path: Path) -> None:
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(ANSWER)
        self.socket.connect(str(path))
        self.buffer = b""
        self.events: list[dict[str, Any]] = []
        self._message(time.monotonic() + ANSWER)
        self.command("qmp_capabilities")

    def _message(self, deadline: float) -> dict[str, Any]:
        while b"\n" not in self.buffer:
            left = deadline - time.monotonic()
            if left <= 0:
                raise TimedOut("QEMU did not answer in time")
            self.socket.settimeout(left)
            try:
                data = self.socket.recv(65536)
            except socket.timeout:
                continue
            except OSError as exc:
                raise MachineDied(f"QEMU is gone: {exc}") from exc
            if not data:
                raise MachineDied("QEMU has ended")
            self.buffer += data
        line, self.buffer = self.buffer.split(b"\n", 1)
        message: dict[str, Any] = json.loads(line)
        return message

    def command(self, name: str, **arguments: Any) -> Any:
        """Run a command; its arguments are named as QEMU names them.  Raises ScenarioFailed with QEMU's reason."""
        request = {"execute": name, "arguments": arguments}
        deadline = time.monotonic() + ANSWER
        try:
            self.socket.sendall(json.dumps(request).encode() + b"\n")
        except OSError as exc:
            raise MachineDied(f"QEMU is gone: {exc}") from exc
        while True:
            message = self._message(deadline)
            if "event" in message:
                self.events.append(message)
            elif "error" in message:
                raise ScenarioFailed(f"QEMU refused {name} {arguments}: {message['error']['desc']}")
            else:
                return message.get("return")

    def wait_event(self, name: str, timeout: float, device: Optional[str] = None) -> dict[str, Any]:
        """Wait for an event (of ``device``, when given) and take it out of the queue."""
        deadline = time.monotonic() + timeout
        while True:
            for event in self.events:
                if event["event"] == name and device in (None, event.get("data", {}).get("device")):
                    self.events.remove(event)
                    return event
            message = self._message(deadline)
            if "event" in message:
                self.events.append(message)

    def close(self) -> None:
        self.socket.close()

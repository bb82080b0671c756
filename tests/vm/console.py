"""A shell in a machine: commands with their exit status and output, files in and out."""

from __future__ import annotations

import base64
import itertools
import json
import secrets
import shlex
from dataclasses import dataclass
from typing import Any

from tests.vm.channel import Channel
from tests.vm.errors import ScenarioFailed

#: Seconds for a command that does next to nothing, on a busy host.
QUICK = 60.0
#: Bytes that go into one line of a shell command.
CHUNK = 3000


@dataclass(frozen=True)
class Result:
    """What a command in a machine left: exit status and output (both streams)."""

    command: str
    status: int
    output: str

    @property
    def ok(self) -> bool:
        return self.status == 0

    @property
    def text(self) -> str:
        return self.output.strip()


class Shell:
    """Drives a root shell at the other end of a channel that nothing else writes to.

    Each command is framed by markers that occur once, and are not in the text that is sent, so that neither an echo
    nor a late line can be taken for a result.
    """

    def __init__(self, channel: Channel) -> None:
        self.channel = channel
        self.counter = itertools.count(1)

    def run(self, command: str, timeout: float = QUICK, *, check: bool = True) -> Result:
        """Run ``command`` (shell syntax) and return status and output.

        Raises ScenarioFailed on another exit status than 0 when ``check``, TimedOut, MachineDied.
        """
        tag = f"{next(self.counter)}-{secrets.token_hex(4)}"
        begin, end = f"@@B:{tag}@@", f"@@E:{tag}:"
        self.channel.send(
            f"printf '\\n@@%s:{tag}@@\\n' B; ( {command}\n) </dev/null 2>&1; printf '\\n@@%s:{tag}:%s@@\\n' E $?\n"
        )
        self.channel.wait_for(f"^{begin}\n", timeout)
        found = self.channel.wait_for(rf"(?s)\A(.*?)\n{end}(\d+)@@$", timeout)
        result = Result(command, int(found.group(2)), found.group(1))
        if check and not result.ok:
            last = "\n".join(result.output.splitlines()[-30:])
            raise ScenarioFailed(f"in the machine, {command!r} ended with {result.status}:\n{last}")
        return result

    def text(self, command: str, timeout: float = QUICK) -> str:
        """What ``command`` prints, without surrounding space; it must succeed."""
        return self.run(command, timeout).text

    def json(self, command: str, timeout: float = QUICK) -> Any:
        """What ``command`` prints, as JSON."""
        printed = self.text(command, timeout)
        try:
            return json.loads(printed)
        except ValueError as exc:
            raise ScenarioFailed(f"{command!r} did not print JSON but: {printed[:500]}") from exc

    def put(self, path: str, content: bytes, mode: int = 0o600) -> None:
        """Write a small file in the machine."""
        place = shlex.quote(path)
        self.run(f"install -m {mode:o} -D /dev/null {place}")
        encoded = base64.b64encode(content).decode()
        for start in range(0, len(encoded), CHUNK):
            self.run(f"echo {encoded[start : start + CHUNK]} | base64 -d >> {place}")

    def get(self, path: str, timeout: float = QUICK) -> bytes:
        """Read a small file of the machine."""
        return base64.b64decode(self.text(f"base64 -w0 {shlex.quote(path)}", timeout))

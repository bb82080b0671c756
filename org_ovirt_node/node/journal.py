"""The journal of an update: what it has done, so that it can be run again, cancelled and reported.

One JSON object in a file that is replaced as a whole (old or new after a power cut).  It helps, but is never needed:
what an unfinished update left is recognised by the tag on its volumes, also when the journal is lost.
"""

from __future__ import annotations

import json
import logging
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, Optional

from org_ovirt_node.boot.files import sync_folder, write_durably

log = logging.getLogger(__name__)

STATE = Path("/var/lib/ovirt-node")
FILE = "update.json"
FORMAT = 1
#: Times are UTC in the form of ISO 8601.
TIME = "%Y-%m-%dT%H:%M:%SZ"


@dataclass
class Journal:
    """One update.  ``done`` are the names of its finished steps.

    ``added`` are the paths it added to shared volumes, parents first, with what tells whether somebody changed them
    since (node/shared.py, marks).
    """

    image: str
    layer: str = ""
    previous: str = ""
    #: Where the image came from, without credentials.
    source: str = ""
    started: str = ""
    finished: str = ""
    sha256: str = ""
    size: int = 0
    done: list[str] = field(default_factory=list)
    added: dict[str, list[int]] = field(default_factory=dict)
    #: What the running layer had in /etc when it was merged (node/etcafter.py, marks).
    etc: dict[str, str] = field(default_factory=dict)
    #: Files of /etc that both sides changed, with what became of them.
    conflicts: list[dict[str, str]] = field(default_factory=list)
    #: When the layer was marked good.
    good: str = ""
    #: Why it ended before its end, or why the layer was given up.
    reason: str = ""

    @property
    def undecided(self) -> bool:
        """True while the new layer has neither been marked good nor given up."""
        return bool(self.finished) and not self.good and not self.reason

    def completed(self, step: str) -> bool:
        return step in self.done


def save(journal: Journal, folder: Path = STATE) -> None:
    """Write the journal, durably.  Raises OSError."""
    data = {"format": FORMAT, **asdict(journal)}
    write_durably(folder / FILE, (json.dumps(data, indent=2) + "\n").encode(), 0o600)


def load(folder: Path = STATE) -> Optional[Journal]:
    """The journal of the last update; None when there is none, or it cannot be understood."""
    try:
        data: Any = json.loads((folder / FILE).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as exc:
        log.warning("the journal of the last update cannot be read: %s", exc)
        return None
    if not isinstance(data, dict) or data.get("format") != FORMAT or not isinstance(data.get("image"), str):
        log.warning("the journal of the last update has an unknown form")
        return None
    known = {field.name: field for field in fields(Journal)}
    values = {name: value for name, value in data.items() if name in known}
    sample = asdict(Journal(""))
    if any(not isinstance(value, type(sample[name])) for name, value in values.items()):
        log.warning("the journal of the last update has values of an unknown form")
        return None
    return Journal(**values)


def remove(folder: Path = STATE) -> None:
    """Forget the last update."""
    if (folder / FILE).exists():
        (folder / FILE).unlink()
        sync_folder(folder)

"""How servers are reached, and for how long they are waited for; apart from the HTTP library, which is slow to load."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Access:
    """How to reach servers: ``proxy`` is a URL, ``verify`` off accepts any certificate, ``cacert`` is a file."""

    proxy: str = ""
    verify: bool = True
    cacert: str = ""


@dataclass(frozen=True)
class Patience:
    """How long to wait, in seconds."""

    connect: float = 15.0
    #: A connection that is silent for so long is dead.
    read: float = 30.0
    #: An answer whose header is not there by then, redirects and all, is not waited for.
    answer: float = 60.0
    #: A slice (256 KiB) that takes longer is too slow to wait for: at this rate a GiB takes three days.
    slice: float = 60.0
    #: Before each further try; their number bounds the tries.
    pauses: tuple[float, ...] = (1.0, 2.0, 4.0, 8.0, 16.0)

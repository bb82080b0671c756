"""Changes to sound input, as a broken disk, a careless editor or an attacker makes them."""

from __future__ import annotations

import random
from collections.abc import Sequence

#: What has a meaning to one reader or another.
TOKENS = (
    *(
        b"\0",
        b"\n",
        b"\r\n",
        b"'",
        b'"',
        b"\\",
        b"$",
        b"`",
        b";",
        b"{",
        b"}",
        b"[",
        b"]",
        b"=",
        b":",
        b",",
        b"/",
        b"..",
        b"+",
    ),
    *(b"-", b" ", b"\t", b"#", b"%", b"\xff", b"\xc2\xb2", b"\xd9\xa1", b"\xed\xa0\x80", b"\xe2\x80\xa8", b"\x1b[2J"),
    *(b"0", b"-1", b"9" * 40, b"1e999", b"0x10", b"_1", b"NaN", b"null", b"true", b"[]", b"{}", b'"', b"00000000"),
    *(b"ffffffff", b"--image=", b"volume", b"%end", b"%include /etc/shadow", b"menuentry", b"linux", b"$(reboot)"),
    *(b"root=", b"ovirt_node.layer=", b"ovirt_node.trial=1", b"trial_tries=", b"070701", b"TRAILER!!!"),
)
#: A text that is much longer than anybody expects.
LONG = 5000


def mutated(source: random.Random, samples: Sequence[bytes], most: int = 1 << 16) -> bytes:
    """One of ``samples`` with a few changes, at most ``most`` bytes."""
    data = bytearray(source.choice(samples) if samples and source.random() < 0.95 else source.randbytes(100))
    for _ in range(source.choice((1, 1, 2, 3, 6, 12))):
        place = source.randint(0, len(data))
        length = source.choice((0, 0, 1, 2, 4, 16))
        kind = source.randrange(8)
        if kind == 0 and data:
            data[source.randrange(len(data))] ^= 1 << source.randrange(8)
        elif kind == 1:
            data[place : place + length] = source.randbytes(max(length, 1))
        elif kind in (2, 3, 4):
            data[place : place + length] = source.choice(TOKENS)
        elif kind == 5:
            del data[place : place + source.choice((1, 4, 32, len(data)))]
        elif kind == 6:
            start = source.randint(0, len(data))
            data[place:place] = data[start : start + source.choice((1, 8, 64, 512))]
        else:
            data[place:place] = source.choice(TOKENS) * source.choice((2, 50, LONG // 8))
    return bytes(data[:most])

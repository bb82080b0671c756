"""A kickstart that goes onto a medium or a server, as text: which image it installs, and what everybody can read in it.

It may be one for Anaconda, of any syntax version; so words are looked at here, and nothing is parsed.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from org_ovirt_node.errors import ImageError
from org_ovirt_node.i18n import _
from org_ovirt_node.kickstart.commands import SECRET_OPTIONS
from org_ovirt_node.kickstart.section import ADDON, SECTION
from org_ovirt_node.progress import Progress

#: Of the section's options those that say which image, and how it is checked; the last one has no value.
OF_IMAGE = ("--image", "--sha256", "--manifest", "--key")
UNCHECKED = "--nosignature"
#: Commands whose plain words are a password, and options (beside passwords) that let a machine into something.
PASSWORD_COMMANDS = ("rootpw", "sshpw")
KEYS = ("--activation-key", "--one-time-password")
#: It names a certificate, which is no secret.
PUBLIC = "--escrowcert"
LETS_IN = tuple(option for option in (*SECRET_OPTIONS, *KEYS) if option != PUBLIC)
#: The password is a hash.
HASHED = ("--iscrypted", "--md5pass")
#: pykickstart takes the beginning of an option for it; what is shorter than this could be another one.
LEAST = len("--pas")
_LOGIN = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://[^\s/@:'\"]*:[^\s/@'\"]+@")


@dataclass(frozen=True)
class Secret:
    """Something that only few should know: what it is called, its line, and whether it is a hash of it."""

    what: str
    line: int
    hashed: bool = False

    def __str__(self) -> str:
        return f"{self.what} (line {self.line})"


def commands(text: str) -> Iterator[tuple[int, list[str]]]:
    """Numbers and words of all lines outside of sections; of a section it is the line that begins it."""
    inside = False
    for number, line in enumerate(text.split("\n"), start=1):
        words = _words(line)
        if inside:
            inside = words[:1] != ["%end"]
        elif words:
            inside = words[0].startswith("%") and words[0] not in ("%include", "%ksappend")
            yield number, words


def _words(line: str) -> list[str]:
    try:
        return shlex.split(line, comments=True)
    except ValueError:
        return line.split()


def with_image(text: str, image: str, sha256: str, name: str) -> str:
    """``text`` with ``image`` (as --image takes it) and its digest in the section; all else stays.

    Raises ImageError, which calls the text ``name``, when it has no section.
    """
    number, words = next(
        ((number, words) for number, words in commands(text) if words[:2] == ["%addon", ADDON]), (0, [])
    )
    if not number:
        raise ImageError(
            _("{name} has no section {section}").format(name=name, section=SECTION),
            hint=_("It would install something else: add the section."),
        )
    mine = [f"--image={image}", f"--sha256={sha256}", *_without_image(words[2:])]
    lines = text.split("\n")
    lines[number - 1] = f"{SECTION} {shlex.join(mine)}"
    return "\n".join(lines)


def _without_image(words: Sequence[str]) -> list[str]:
    kept: list[str] = []
    left = list(words)
    while left:
        word = left.pop(0)
        option, equals, _value = word.partition("=")
        if option in OF_IMAGE and not equals:
            del left[:1]
        elif option not in (*OF_IMAGE, UNCHECKED):
            kept.append(word)
    return kept


def secrets(text: str) -> tuple[Secret, ...]:
    """What of ``text`` only few should know, in the order of lines.

    Not looked at is what scripts do and what an %include brings; an address with a password is found anywhere.
    """
    found = [secret for number, words in commands(text) for secret in _of_command(number, words)]
    for number, line in enumerate(text.split("\n"), start=1):
        if _LOGIN.search(line) and not line.lstrip().startswith("#"):
            found.append(Secret("an address with a password", number))
    return tuple(sorted(found, key=lambda secret: secret.line))


def _of_command(number: int, words: Sequence[str]) -> Iterator[Secret]:
    name, options = words[0], [word.partition("=")[0] for word in words[1:]]
    hashed = any(option in HASHED for option in options)
    if name in PASSWORD_COMMANDS and any(not word.startswith("-") for word in words[1:]):
        yield Secret(name, number, hashed)
    for option in dict.fromkeys(options):
        meant = next((one for one in LETS_IN if len(option) >= LEAST and one.startswith(option)), "")
        if meant:
            yield Secret(f"{name} {meant}", number, hashed)


def warning(text: str, name: str, readers: str) -> str:
    """One sentence about what ``readers`` find in ``text``, which is called ``name``; empty when that is nothing."""
    found = secrets(text)
    clear = ", ".join(str(secret) for secret in found if not secret.hashed)
    hashed = ", ".join(str(secret) for secret in found if secret.hashed)
    parts = [clear, f"hashes of passwords, which can be guessed at: {hashed}" if hashed else ""]
    said = "; and ".join(part for part in parts if part)
    return f"Warning: {readers} can read what is in {name}: {said}." if said else ""


def warn(text: str, name: str, readers: str, progress: Progress) -> None:
    """Say so, where there is something to say."""
    said = warning(text, name, readers)
    if said:
        progress.detail(said)

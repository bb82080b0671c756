"""Translations of what users read."""

from __future__ import annotations

import gettext
import struct
from typing import Any

DOMAIN = "ovirt-node"


class Text(str):
    """A translation that remembers the English text.

    A catalogue is data that nobody has checked here: a translation whose placeholders are not those of the English
    text must not turn a message into a traceback.
    """

    english: str

    def __new__(cls, text: str, english: str = "") -> Text:
        made = super().__new__(cls, text)
        made.english = english or text
        return made

    def format(self, *args: object, **kwargs: object) -> str:
        """The translation with its placeholders filled in; the English text where the translation's are wrong."""
        try:
            return super().format(*args, **kwargs)
        except (LookupError, ValueError, AttributeError, TypeError):
            return self.english.format(*args, **kwargs)

    def __getnewargs__(self) -> Any:
        return str(self), self.english


def _(text: str) -> Text:
    """``text`` in the user's language."""
    if not text:
        return Text("")
    try:
        return Text(gettext.dgettext(DOMAIN, text), text)
    except (OSError, ValueError, LookupError, struct.error):
        # A damaged catalogue, which gettext meets when it is asked for the first text.
        return Text(text)


def N_(text: str) -> str:  # noqa: N802 - gettext's own name
    """Marks ``text`` for translation; it is translated where it is shown."""
    return text


def translated(text: str) -> Text:
    """What :func:`N_` marked elsewhere, in the user's language."""
    return _(text)

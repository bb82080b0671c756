"""Translations of what users read."""

from __future__ import annotations

import gettext

DOMAIN = "ovirt-node"


def _(text: str) -> str:
    """``text`` in the user's language."""
    return gettext.dgettext(DOMAIN, text) if text else ""


def N_(text: str) -> str:  # noqa: N802 - gettext's own name
    """Marks ``text`` for translation; it is translated where it is shown."""
    return text


def translated(text: str) -> str:
    """What :func:`N_` marked elsewhere, in the user's language."""
    return _(text)

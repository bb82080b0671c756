"""What these tests need, or a clear word on what is missing."""

from __future__ import annotations

import unittest


def pyanaconda() -> None:
    """Skip the module that calls this where Anaconda is not importable."""
    try:
        import pyanaconda.core.dbus  # noqa: F401
    except ImportError as exc:
        raise unittest.SkipTest(
            f"pyanaconda is not importable here ({exc}): see python -m tests.anaconda --help"
        ) from exc

"""The compatibility module over the Anaconda that is here."""

from __future__ import annotations

import unittest

from tests.anaconda import need

need.pyanaconda()

from pyanaconda.errors import errorHandler  # noqa: E402
from pyanaconda.modules.common.errors import installation  # noqa: E402

from org_ovirt_node import anaconda_compat  # noqa: E402
from org_ovirt_node.errors import BootError, CommandError, LayoutError, PayloadError, StorageError  # noqa: E402


class Errors(unittest.TestCase):
    """Our errors become the ones for which Anaconda has words."""

    def test_each_error_has_its_own(self) -> None:
        for error, name in (
            (StorageError("a"), "StorageInstallationError"),
            (LayoutError("a"), "StorageInstallationError"),
            (CommandError(["x"], 1, "y"), "StorageInstallationError"),
            (BootError("a"), "BootloaderInstallationError"),
        ):
            made = anaconda_compat.installation_error(error)
            self.assertIs(type(made), getattr(installation, name))
            self.assertIn(name, errorHandler.map)

    def test_payload(self) -> None:
        made = anaconda_compat.installation_error(PayloadError("the image is damaged", hint="Fetch it again."))
        self.assertEqual(str(made), "the image is damaged. Fetch it again")
        expected = getattr(installation, "PayloadInstallationError", installation.InstallationError)
        self.assertIs(type(made), expected)


class _WithSetter:
    def __init__(self) -> None:
        self.given: object = None

    def SetImage(self, value: object) -> None:  # noqa: N802
        self.given = value


class _WithProperty:
    Image: object = None


class Properties(unittest.TestCase):
    """34 has setters, later ones properties."""

    def test_both_forms(self) -> None:
        old, new = _WithSetter(), _WithProperty()
        anaconda_compat.set_property(old, "Image", 1)
        anaconda_compat.set_property(new, "Image", 2)
        self.assertEqual((old.given, new.Image), (1, 2))


if __name__ == "__main__":
    unittest.main()

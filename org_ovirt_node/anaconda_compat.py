"""What differs between the Anacondas that we serve: 34 (CentOS Stream 9), 40 (10), 42 (Fedora 42) and 45 (main).

Everything else of the add-on imports from here and knows of no versions.
"""

from __future__ import annotations

from typing import Any

from pyanaconda.modules.common.errors import installation as _installation

from org_ovirt_node.errors import BootError, NodeError, PayloadError

#: Anaconda looks at the exact type of an error.  34 has none for payloads on the bus; its general one ends the
#: installation with the message as well.
PayloadInstallationError: type[Exception] = getattr(
    _installation, "PayloadInstallationError", _installation.InstallationError
)
StorageInstallationError: type[Exception] = _installation.StorageInstallationError
BootloaderInstallationError: type[Exception] = _installation.BootloaderInstallationError


def installation_error(error: NodeError) -> Exception:
    """``error`` as the one of Anaconda's own classes whose handler shows it as what it is.

    Anaconda puts a full stop after the text.
    """
    text = str(error).rstrip(".")
    if isinstance(error, PayloadError):
        return PayloadInstallationError(text)
    if isinstance(error, BootError):
        return BootloaderInstallationError(text)
    return StorageInstallationError(text)


def set_property(proxy: Any, name: str, value: object) -> None:
    """Set the property ``name`` of a D-Bus object; 34 has a method ``Set<name>`` for it.

    A proxy learns its members by introspection and raises AttributeError for one that is not there.
    """
    try:
        setter = getattr(proxy, f"Set{name}")
    except AttributeError:
        setattr(proxy, name, value)
    else:
        setter(value)

"""Whether Anaconda would install our skeleton and nothing else.

Our media give it to Anaconda as the payload; where no image is chosen, and nobody could choose one (Anaconda's web
interface has no screens of add-ons), the result would be an empty system, reported as complete.
"""

from __future__ import annotations

from dasbus.error import DBusError
from pyanaconda.modules.common.constants.services import PAYLOADS
from pyanaconda.modules.common.structures.live_image import LiveImageConfigurationData
from pyanaconda.modules.common.task import Task
from pyanaconda.modules.common.util import is_module_available

from org_ovirt_node.anaconda_compat import installation_error
from org_ovirt_node.errors import PayloadError
from org_ovirt_node.i18n import _
from org_ovirt_node.install.options import SKELETON

#: What Anaconda calls the source of ``liveimg`` with a tar (34: with anything).
TYPES = ("LIVE_TAR", "LIVE_IMAGE")


def is_payload() -> bool:
    """True when the payload is ``liveimg`` of our skeleton, which is a tar."""
    try:
        if not is_module_available(PAYLOADS):
            return False
    except DBusError:
        return False
    payload = PAYLOADS.get_proxy().ActivePayload
    if not payload:
        return False
    for path in PAYLOADS.get_proxy(payload).Sources:
        source = PAYLOADS.get_proxy(path)
        if source.Type not in TYPES:
            continue
        url = LiveImageConfigurationData.from_structure(source.Configuration).url
        if url.startswith("file:") and url.endswith(f"/{SKELETON}"):
            return True
    return False


class NothingChosenTask(Task):  # type: ignore[misc]
    """Stops an installation that would leave an empty system.

    It looks when it is run and not when it is asked for: Boss, which it has to ask, waits for the service then.
    """

    @property
    def name(self) -> str:
        return _("Check that an image of oVirt Node is chosen")

    def run(self) -> None:
        if not is_payload():
            return
        error = PayloadError(
            _("no image of oVirt Node is chosen, and there is nothing else here to install"),
            hint=_(
                "Choose it on the screen oVirt Node (where this is Anaconda's web interface, which does not have "
                "it, boot the installer with inst.text), or give a kickstart with %addon org_ovirt_node "
                "--image=URL."
            ),
        )
        raise installation_error(error)

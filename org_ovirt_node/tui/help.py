"""The help of the text screen."""

from __future__ import annotations

from typing import Any

from simpleline.render.screen import InputState, UIScreen
from simpleline.render.widgets import TextWidget

from org_ovirt_node.i18n import N_, _

HELP = N_(
    "oVirt Node is installed as one image, which is written to the disk as it is.\n\n"
    "Image (URL): where the image is, such as http://server/node.squashfs, https:, nfs:server:/path/file, "
    "hd:LABEL=name:/file, cdrom:/file or file:/path.\n\n"
    "SHA-256: the digest of the image. What is written is compared with it. Without one, say that the image is to be "
    "taken unverified.\n\n"
    "Images to have room for: an update is put beside the image that runs; three leave one to go back to.\n\n"
    "The disks are partitioned in Installation Destination: automatically, with LVM thin provisioning, or by hand; / "
    "and /var must be thin volumes and /boot a partition.\n\n"
    "Check the image now reads its beginning and says which image it is. The installer does that again before it "
    "writes to a disk."
)


class HelpSpoke(UIScreen):  # type: ignore[misc]
    """A text with a way back."""

    def __init__(self, text: str) -> None:
        super().__init__(title=_("oVirt Node"))
        self._text = text

    def refresh(self, args: object = None) -> None:
        super().refresh(args)
        self.window.add_with_separator(TextWidget(self._text))

    def input(self, args: object, key: str) -> Any:
        """Any key leads back."""
        del args, key
        self.close()
        return InputState.PROCESSED

    def prompt(self, args: object = None) -> str:
        """The prompt."""
        del args
        return str(_("Press ENTER to go back: "))

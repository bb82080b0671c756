"""What Anaconda's boot loader module knows, and keeping it from installing its own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from pyanaconda.modules.common.constants.objects import BOOTLOADER
from pyanaconda.modules.common.constants.services import SECURITY, STORAGE
from pyanaconda.modules.common.task import sync_run_task
from pyanaconda.modules.common.util import is_module_available

from org_ovirt_node.anaconda_compat import set_property
from org_ovirt_node.boot import cmdline
from org_ovirt_node.errors import BootError
from org_ovirt_node.i18n import N_, _, translated
from org_ovirt_node.kickstart.model import BootloaderRequest

#: BootloaderMode of Anaconda's storage module.
DISABLED, ENABLED, SKIPPED = 0, 1, 2
#: Its timeout when nobody has said one, and what a node has then, in seconds.
TIMEOUT_UNSET, DEFAULT_TIMEOUT = -1, 5
#: The task of Anaconda's that finds what the disks, consoles and the network need on the kernel command line.
COLLECT = "Collect kernel arguments"
#: What Anaconda's module keeps of options that a node's boot loader does not have: whether it was given, the option as
#: it is written in a kickstart, and what to do about it.
REFUSED: tuple[tuple[Callable[[Any], bool], str, str], ...] = (
    (
        lambda proxy: int(proxy.BootloaderMode) == DISABLED,
        "--disabled",
        N_("A node needs its boot loader; --location=none leaves out only the boot sectors."),
    ),
    (lambda proxy: bool(proxy.IsPasswordSet), "--password", N_("Remove it from the kickstart.")),
    (lambda proxy: bool(proxy.KeepMBR), "--nombr", N_("Say --location=none, which leaves the boot sectors alone.")),
    (
        lambda proxy: bool(proxy.KeepBootOrder),
        "--leavebootorder",
        N_("The node's own entry is put first; change the order after the installation with efibootmgr."),
    ),
    (lambda proxy: bool(proxy.DriveOrder), "--driveorder", N_("Give --boot-drive=DISK.")),
    (
        lambda proxy: str(proxy.GetDefaultType()) != "DEFAULT",
        "--extlinux or --sdboot",
        N_("A node boots by GRUB, which counts the tries of a new layer."),
    ),
)
#: Anaconda adds them, and the initramfs would wait for what they name: the swap, to wake up from, which a node's
#: initramfs does not activate; and the volumes, of which the layer gets another name than Anaconda's root has.
NOT_FOR_A_NODE = ("resume=", cmdline.VOLUME)
#: SELinux modes of Anaconda's security module (pykickstart.constants).
SELINUX_MODES = {0: "disabled", 1: "enforcing", 2: "permissive"}


@dataclass
class BootLoader:
    """Anaconda's boot loader module, switched off while ours is installed.

    It has to be on until the disks are partitioned, or automatic partitioning would make no partition for it; and
    again at the end, so that the kickstart that Anaconda writes installs the same.
    """

    mode: int = ENABLED

    @property
    def _proxy(self) -> Any:
        return STORAGE.get_proxy(BOOTLOADER)

    @property
    def wanted(self) -> bool:
        """False where the kickstart says that no boot loader is to be installed."""
        return self.mode == ENABLED

    def check(self) -> None:
        """Refuse what a node's boot loader does not have; to be asked before a disk is written.

        Raises BootError, which names the option.
        """
        proxy = self._proxy
        for given, option, hint in REFUSED:
            if given(proxy):
                raise BootError(
                    _("'bootloader {option}' is not supported by oVirt Node").format(option=option),
                    hint=translated(hint),
                )

    def switch_off(self) -> None:
        """Anaconda's own steps do nothing from now on."""
        self.mode = int(self._proxy.BootloaderMode)
        set_property(self._proxy, "BootloaderMode", DISABLED)

    def switch_back(self) -> None:
        """As the user wanted it."""
        set_property(self._proxy, "BootloaderMode", self.mode)

    def request(self) -> BootloaderRequest:
        """What the user asks for; the kernel arguments as they stand now."""
        proxy = self._proxy
        timeout = int(proxy.Timeout)
        return BootloaderRequest(
            append=" ".join(self._arguments()),
            timeout=DEFAULT_TIMEOUT if timeout == TIMEOUT_UNSET else timeout,
            location="mbr" if self.wanted else "none",
            boot_drive=str(proxy.Drive),
        )

    def _arguments(self) -> list[str]:
        """The user's and the other add-ons' arguments, and those that Anaconda finds for disks and consoles.

        It finds them in one of its own boot loader tasks, which is run alone here.
        """
        proxy = self._proxy
        if not self.wanted:
            return [str(argument) for argument in proxy.ExtraArguments]
        set_property(proxy, "BootloaderMode", ENABLED)
        try:
            for path in proxy.InstallBootloaderWithTasks("", []):
                task = STORAGE.get_proxy(path)
                if task.Name == COLLECT:
                    sync_run_task(task)
        finally:
            set_property(proxy, "BootloaderMode", DISABLED)
        asked = list(proxy.ExtraArguments)
        return without_added(list(proxy.GetArguments()), asked)


def without_added(found: Sequence[str], asked: Sequence[str]) -> list[str]:
    """The arguments ``found`` without those of NOT_FOR_A_NODE, unless they are ``asked`` for."""
    return [str(argument) for argument in found if not argument.startswith(NOT_FOR_A_NODE) or argument in asked]


def selinux_mode() -> str:
    """The SELinux mode that is asked for, empty for the image's own."""
    if not is_module_available(SECURITY):
        return ""
    return SELINUX_MODES.get(int(SECURITY.get_proxy().SELinux), "")

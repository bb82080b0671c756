"""The D-Bus interface of the add-on.  Names and annotations are D-Bus', which dasbus reads."""

# ruff: noqa: N802
# mypy: disable-error-code="untyped-decorator"

from dasbus.server.interface import dbus_interface
from dasbus.server.property import emits_properties_changed
from dasbus.typing import Bool, Int, List, ObjPath, Str, UInt64
from pyanaconda.modules.common.base import KickstartModuleInterface
from pyanaconda.modules.common.containers import TaskContainer
from pyanaconda.modules.common.errors.configuration import ConfigurationError

from org_ovirt_node.constants import OVIRT_NODE
from org_ovirt_node.errors import KickstartProblem
from org_ovirt_node.i18n import _
from org_ovirt_node.kickstart.options import BY_NAME
from org_ovirt_node.kickstart.section import SECTION, format_section, parse_section
from org_ovirt_node.kickstart.units import format_size


def _checked(name: str, option: str, text: str) -> object:
    """The value of the property ``name`` from ``text``, by the rules of the section's ``option``."""
    try:
        return BY_NAME[option].check(text)
    except ValueError as error:
        raise ConfigurationError(f"{name}: {error}") from None


@dbus_interface(OVIRT_NODE.interface_name)
class OvirtNodeInterface(KickstartModuleInterface):  # type: ignore[misc]
    """What spokes, and others on Anaconda's bus, can ask and set; a wrong value raises ConfigurationError."""

    def connect_signals(self) -> None:
        super().connect_signals()
        for name in (
            "Images",
            "Digest",
            "NoSignature",
            "Manifest",
            "Key",
            "Problem",
            "VolumeGroup",
            "ThinPool",
            "ImageSlots",
            "LayerSize",
            "BootTries",
            "Volumes",
        ):
            self.watch_property(name, self.implementation.section_changed)
        for name in ("ImageName", "ImageSize", "Signed"):
            self.watch_property(name, self.implementation.image_changed)

    @property
    def Images(self) -> List[Str]:
        """Where the image is: URLs that are tried in order.  Empty: no node is installed."""
        return list(self.implementation.section.images)

    @Images.setter
    @emits_properties_changed
    def Images(self, urls: List[Str]) -> None:
        self.implementation.change(images=tuple(_checked("Images", "--image", url) for url in urls))

    @property
    def Digest(self) -> Str:
        """SHA-256 of the image in hex; empty when it is not given."""
        return self.implementation.section.sha256

    @Digest.setter
    @emits_properties_changed
    def Digest(self, digest: Str) -> None:
        value = _checked("Digest", "--sha256", digest) if digest else ""
        self.implementation.change(sha256=value, nosignature=self.implementation.section.nosignature and not value)

    @property
    def NoSignature(self) -> Bool:
        """Take the image with no check of where it comes from."""
        return self.implementation.section.nosignature

    @NoSignature.setter
    @emits_properties_changed
    def NoSignature(self, value: Bool) -> None:
        self.implementation.change(nosignature=bool(value), sha256="" if value else self.implementation.section.sha256)

    @property
    def Manifest(self) -> Str:
        """URL of the image's manifest, with its signature beside it; empty when there is none."""
        return self.implementation.section.manifest

    @Manifest.setter
    @emits_properties_changed
    def Manifest(self, url: Str) -> None:
        self.implementation.change(manifest=_checked("Manifest", "--manifest", url) if url else "")

    @property
    def Key(self) -> Str:
        """File with the key ring or certificate that the manifest is signed by; empty: the installer's own."""
        return self.implementation.section.key

    @Key.setter
    @emits_properties_changed
    def Key(self, path: Str) -> None:
        self.implementation.change(key=_checked("Key", "--key", path) if path else "")

    @property
    def Problem(self) -> Str:
        """What the section lacks or has too much of, in a sentence; empty when an installation could begin."""
        return self.implementation.problem

    @property
    def VolumeGroup(self) -> Str:
        """The name of the VG that the section asks for."""
        return self.implementation.section.vg

    @VolumeGroup.setter
    @emits_properties_changed
    def VolumeGroup(self, name: Str) -> None:
        self.implementation.change(vg=_checked("VolumeGroup", "--vg", name))

    @property
    def ThinPool(self) -> Str:
        """The name of the thin pool that the section asks for."""
        return self.implementation.section.pool

    @ThinPool.setter
    @emits_properties_changed
    def ThinPool(self, name: Str) -> None:
        self.implementation.change(pool=_checked("ThinPool", "--pool", name))

    @property
    def ImageSlots(self) -> Int:
        """How many images there shall be room for."""
        return self.implementation.section.image_slots

    @ImageSlots.setter
    @emits_properties_changed
    def ImageSlots(self, count: Int) -> None:
        self.implementation.change(image_slots=_checked("ImageSlots", "--image-slots", str(count)))

    @property
    def LayerSize(self) -> UInt64:
        """The least size of the writable layer in bytes; 0 for the default."""
        return self.implementation.section.layer_size or 0

    @LayerSize.setter
    @emits_properties_changed
    def LayerSize(self, size: UInt64) -> None:
        value = _checked("LayerSize", "--layer-size", format_size(size)) if size else None
        self.implementation.change(layer_size=value)

    @property
    def BootTries(self) -> Int:
        """How many boots a new layer gets before GRUB falls back."""
        return self.implementation.section.boot_tries

    @BootTries.setter
    @emits_properties_changed
    def BootTries(self, count: Int) -> None:
        self.implementation.change(boot_tries=_checked("BootTries", "--boot-tries", str(count)))

    @property
    def Volumes(self) -> List[Str]:
        """The volume and novolume lines of the section."""
        text = format_section(self.implementation.section)
        return [line for line in text.splitlines() if line.split(" ", 1)[0] in ("volume", "novolume")]

    @Volumes.setter
    @emits_properties_changed
    def Volumes(self, lines: List[Str]) -> None:
        try:
            parsed = parse_section(["--image=file:/image", "--nosignature"], list(enumerate(lines, start=1)))
        except KickstartProblem as problem:
            text = str(problem).removeprefix(f"{problem.line}: {SECTION}: ")
            place = _("Volumes, line {line}").format(line=problem.line)
            raise ConfigurationError(f"{place}: {text}") from None
        self.implementation.change(volumes=parsed.volumes, novolumes=parsed.novolumes)

    @property
    def ImageName(self) -> Str:
        """The name-version-release of the image that the last check found; empty before."""
        return self.implementation.facts.nvr if self.implementation.facts else ""

    @property
    def ImageSize(self) -> UInt64:
        """Its size in bytes; 0 before."""
        return self.implementation.facts.size if self.implementation.facts else 0

    @property
    def Signed(self) -> Bool:
        """Whether a signature, which was checked, vouches for it; False before."""
        return self.implementation.signed

    def CheckImageWithTask(self) -> ObjPath:
        """Look at the image now; ImageName, ImageSize and Signed say what was found.

        :return: a path of the task
        """
        return TaskContainer.to_object_path(self.implementation.check_image_with_task())

    def LetGo(self) -> None:
        """Unmount and deactivate the node on a disk image, when everything else is done; nothing on a real machine."""
        self.implementation.let_go()

    def GetPlan(self) -> Str:
        """The node on the disks as they are partitioned now, as JSON; sizes are bytes.

        :return: an object with images, image, layer, storage, problem and warnings
        """
        return self.implementation.plan()

"""What an update needs before its first write: facts in, problems out.  Pure; all sizes are bytes.

Every problem is a sentence that says what is missing, and by how much.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from org_ovirt_node.boot.grubcfg import MAX_TRIES
from org_ovirt_node.layout import policy
from org_ovirt_node.node.room import ImageUse
from org_ovirt_node.progress import human
from org_ovirt_node.rounding import round_up

MIB = 1 << 20
#: Room that a layer takes in the pool at once: its file system's own structures, and /etc.
LAYER_ROOM = 96 * MIB
#: A pool whose metadata is fuller than this is refused: LVM extends at 70 to 80 %, and at 100 % the pool breaks.
METADATA_LIMIT = 90.0
#: /boot of the new layer while its image cannot be looked at: that of the running one, and this much more.
BOOT_HEADROOM_PERCENT = 125
#: Entry, menu and environment block, and a file system that should not be filled to its last block.
BOOT_MARGIN = 2 * MIB


@dataclass(frozen=True)
class Pool:
    """The thin pool; ``data`` and ``metadata`` in per cent used, None where LVM does not tell (it is not active)."""

    name: str
    size: int
    metadata_size: int
    data: float
    metadata: float

    @property
    def free(self) -> int:
        return int(self.size * (100 - self.data) / 100)

    @property
    def metadata_free(self) -> int:
        return int(self.metadata_size * (100 - self.metadata) / 100)


@dataclass(frozen=True)
class Need:
    """What the update will take."""

    image: int
    boot: int
    pool: int
    #: True when ``boot`` was read from the image, False when it is an estimate.
    boot_exact: bool = True


@dataclass(frozen=True)
class Facts:
    """The node before an update."""

    need: Need
    extent: int
    vg: str
    vg_free: int
    pool: Pool
    boot_free: int
    mounted: frozenset[str]
    installed: frozenset[str]
    nvr: str
    running: str
    #: A layer on trial that has not been booted yet, or is being tried out now.
    pending: str = ""
    on_trial: bool = False
    #: Images that may be removed, the oldest first, and those that will be to make room.
    removable: tuple[ImageUse, ...] = ()
    room: tuple[ImageUse, ...] = ()
    boot_freed: int = 0
    entry: bool = True
    slots: int = 3
    tries: int = 1
    on_battery: bool = False
    required: tuple[str, ...] = ()


def need(image: int, boot: int, kept: int = 0, *, boot_exact: bool = True) -> Need:
    """What an update takes: an image of ``image`` bytes, boot files of ``boot``, and ``kept`` to carry along."""
    if not boot_exact:
        boot = boot * BOOT_HEADROOM_PERCENT // 100
    return Need(image, boot + BOOT_MARGIN, LAYER_ROOM + kept, boot_exact)


def required_mountpoints() -> tuple[str, ...]:
    """The shared volumes that a node cannot do without."""
    return tuple(
        default.mountpoint for default in policy.VOLUMES if not default.removable and default.mountpoint != "/"
    )


def problems(facts: Facts) -> tuple[str, ...]:
    """Everything that stands in the way, empty when the update can start."""
    return (*_state(facts), *_space(facts), *_volumes(facts))


def _state(facts: Facts) -> list[str]:
    found = []
    if facts.pending:
        found.append(
            f"an update to {facts.pending} awaits its reboot: reboot first, or undo it with 'nodectl update --cancel'"
        )
    elif facts.on_trial:
        found.append(
            f"{facts.running} is on trial and not marked good yet: wait for its health checks ('nodectl check')"
        )
    if facts.nvr in facts.installed:
        found.append(f"the image {facts.nvr} is installed already: see 'nodectl list'")
    if not facts.entry:
        found.append(f"the running layer {facts.running} has no boot entry to fall back to: see 'nodectl check'")
    if facts.slots < 2:
        found.append("node.json allows one image only ('image_slots'), and an update needs room for two")
    if not 1 <= facts.tries <= MAX_TRIES:
        found.append(f"a layer can have 1 to {MAX_TRIES} tries, not {facts.tries}: see 'boot_tries' in node.json")
    if facts.on_battery:
        found.append("the machine runs on battery: connect it, since an update must not be cut short")
    return found


def _lacking(what: str, needed: int, free: int) -> str:
    return f"{what}: {human(needed)} are needed, {human(free)} are free, {human(needed - free)} are missing"


def _space(facts: Facts) -> list[str]:
    found = []
    image = round_up(facts.need.image, facts.extent)
    free = facts.vg_free + sum(one.size for one in facts.room)
    if free < image:
        found.append(_lacking(f"the volume group {facts.vg} has no room for the image", image, free))
    if facts.pool.free < facts.need.pool:
        found.append(
            _lacking(f"the thin pool {facts.pool.name} has no room for the layer", facts.need.pool, facts.pool.free)
        )
    if facts.pool.metadata > METADATA_LIMIT:
        over = int(facts.pool.metadata_size * (facts.pool.metadata - METADATA_LIMIT) / 100)
        found.append(
            f"the metadata of the thin pool {facts.pool.name} is {facts.pool.metadata:.0f} % full, "
            f"{human(over)} more than an update may find: extend it with "
            f"'lvextend --poolmetadatasize +{max(over * 4 // MIB, 16)}M {facts.vg}/{facts.pool.name}'"
        )
    boot_free = facts.boot_free + facts.boot_freed
    if boot_free < facts.need.boot:
        found.append(_lacking("/boot has no room for kernel and initramfs", facts.need.boot, boot_free))
    return found


def _volumes(facts: Facts) -> list[str]:
    return [
        f"{mountpoint} is no separate volume: layers would not share it, and its content would be lost"
        for mountpoint in (facts.required or required_mountpoints())
        if mountpoint not in facts.mounted
    ]


def notes(facts: Facts, removed: Sequence[str] = ()) -> tuple[str, ...]:
    """What a user should know beforehand, and what stops nothing."""
    found = [f"{one.name} is removed first, since there is no room for it beside the new image" for one in facts.room]
    found += [f"{name} is removed at the end: there are {facts.slots} slots for images" for name in removed]
    for default in policy.VOLUMES:
        if default.removable and default.mountpoint not in facts.mounted:
            found.append(
                f"{default.mountpoint} is no separate volume: what is in it belongs to the layer that runs now"
            )
    found.append("/var and the other separate volumes are shared by all layers: a rollback does not change them")
    if not facts.need.boot_exact:
        found.append("the size of the boot files is an estimate until the image is here")
    return tuple(found)

"""``logvol`` lines: the thin pool and its volumes.  All sizes are bytes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Callable, NoReturn, Optional

from org_ovirt_node.i18n import _
from org_ovirt_node.kickstart import checks
from org_ovirt_node.kickstart.model import (
    DEFAULT_POOL,
    LogicalVolumeRequest,
    NodeSection,
    StorageRequest,
)
from org_ovirt_node.kickstart.units import human_size
from org_ovirt_node.layout import budget, policy
from org_ovirt_node.layout.model import MIB, ThinPool, Volume
from org_ovirt_node.payload.facts import ImageFacts
from org_ovirt_node.rounding import round_down, round_up

#: Called with a line and a message (and a hint); does not return.
Fail = Callable[..., NoReturn]
#: LVM's limits and step for a chunk (lvmthin(7)), and for metadata (Red Hat solution 6318131).
CHUNK_STEP = 64 << 10
METADATA_LEAST = 2 * MIB


@dataclass(frozen=True)
class Space:
    """The volume group: bytes in all, the slots, and what the ``volgroup`` line keeps free."""

    total: int
    extent: int
    slots: budget.Slots
    reserved: int
    line: int

    @property
    def for_lvs(self) -> int:
        """What swap and the pool may take when the pool grows."""
        free = policy.free_room(self.total, self.extent)
        return self.total - max(self.slots.total + free, self.slots.image + self.reserved)


def volumes_and_pool(
    request: StorageRequest, node: NodeSection, image: ImageFacts, vg: str, space: Space, fail: Fail
) -> tuple[ThinPool, list[Volume]]:
    """The pool and all volumes, the layer first, swap last.  ``fail`` is called with the line of what is wrong."""
    lines = request.volumes
    for line in lines:
        if line.vg != vg:
            fail(
                line.line,
                _("{what} --vgname={vg}: there is no such volume group").format(what=_what(line), vg=line.vg),
                hint=_("Use {vg}.").format(vg=vg),
            )
    wanted = _pool_line(lines, node, space, fail)
    swaps = [_swap(line, space, fail) for line in lines if line.mountpoint == "swap"]
    thin = [line for line in lines if line is not wanted and line.mountpoint != "swap"]
    for line in thin:
        _check_thin(line, wanted, fail)
    _check_mounts(thin, node, space, fail)
    _check_names(lines, image, fail)
    pool = _pool(wanted, space, sum(swap.size for swap in swaps), fail)
    volumes = _grown([(line, _thin(line, image, space.extent)) for line in thin], pool, space, fail)
    if len(swaps) > 1:
        fail(space.line, _("there is more than one logvol swap"), hint=_("Give one."))
    return pool, volumes + swaps


def _what(line: LogicalVolumeRequest) -> str:
    return f"logvol {line.mountpoint or 'none'}"


def _pool_line(
    lines: Sequence[LogicalVolumeRequest], node: NodeSection, space: Space, fail: Fail
) -> LogicalVolumeRequest:
    pools = [line for line in lines if line.thinpool]
    if not pools:
        fail(
            space.line,
            _("there is no thin pool"),
            hint=_("Add logvol none --thinpool --name={pool} --vgname=… --size=… --grow.").format(pool=node.pool),
        )
    if len(pools) > 1:
        fail(
            pools[1].line,
            _("{what} --name={name}: a second thin pool is not supported").format(
                what=_what(pools[1]), name=pools[1].name
            ),
        )
    pool = pools[0]
    if node.pool not in (DEFAULT_POOL, pool.name):
        fail(
            pool.line,
            _("{what} --name={name}: %addon org_ovirt_node says --pool={pool}").format(
                what=_what(pool), name=pool.name, pool=node.pool
            ),
        )
    for given, option in (
        (pool.thin, "--thin"),
        (pool.pool, "--poolname"),
        (pool.fstype, "--fstype"),
        (pool.options, "--fsoptions"),
        (pool.mountpoint, _("a mount point")),
        (pool.recommended, "--recommended"),
    ):
        if given:
            fail(
                pool.line,
                _("{what} --thinpool: {option} means nothing for a thin pool").format(what=_what(pool), option=option),
            )
    return pool


def _check_thin(line: LogicalVolumeRequest, pool: LogicalVolumeRequest, fail: Fail) -> None:
    what = _what(line)
    if not line.thin:
        fail(
            line.line,
            _("{what} is not a thin volume").format(what=what),
            hint=_("Add --thin --poolname={name}.").format(name=pool.name),
        )
    if line.pool != pool.name:
        fail(
            line.line,
            _("{what} --poolname={pool}: there is no such pool").format(what=what, pool=line.pool),
            hint=_("Use --poolname={name}.").format(name=pool.name),
        )
    if line.metadata_size or line.chunk_size:
        fail(line.line, _("{what}: --metadatasize and --chunksize belong to the thin pool").format(what=what))
    if line.recommended or line.percent:
        fail(
            line.line,
            _("{what} needs --size=MIB").format(what=what),
            hint=_("--recommended is for swap, --percent for the thin pool."),
        )
    if not line.mountpoint:
        fail(line.line, _("{what} --name={name}: a thin volume needs a mount point").format(what=what, name=line.name))
    if line.fstype and line.fstype not in policy.FS_TYPES:
        accepted = _(" and ").join(policy.FS_TYPES)
        fail(
            line.line,
            _("{what} --fstype={fstype} is not supported").format(what=what, fstype=line.fstype),
            hint=_("Accepted are {accepted}.").format(accepted=accepted),
        )
    if "nodiscard" in line.options.split(","):
        fail(
            line.line,
            _("{what} --fsoptions=nodiscard: without discards the pool never gets space back").format(what=what),
        )
    if line.max_size and (not line.grow or line.max_size < line.size):
        fail(line.line, _("{what} --maxsize needs --grow, and must not be less than --size").format(what=what))
    if line.mountpoint != "/":
        try:
            checks.mountpoint(line.mountpoint)
        except ValueError as error:
            fail(line.line, f"{what}: {error}")
    least = policy.minimum_size(line.mountpoint, line.fstype or policy.DEFAULT_FS)
    if line.size < least:
        fail(
            line.line,
            _("{what}: {size} is too small; it needs at least {least}").format(
                what=what, size=human_size(line.size), least=human_size(least)
            ),
        )


def _check_names(lines: Sequence[LogicalVolumeRequest], image: ImageFacts, fail: Fail) -> None:
    seen: dict[str, int] = {}
    for line in lines:
        if line.name in seen:
            fail(
                line.line,
                _("{what} --name={name} was given on line {line} already").format(
                    what=_what(line), name=line.name, line=seen[line.name]
                ),
            )
        seen[line.name] = line.line
        if line.mountpoint != "/" and line.name in (image.nvr, policy.layer_name(image.nvr)):
            fail(
                line.line,
                _("{what} --name={name}: the image or its layer has this name").format(
                    what=_what(line), name=line.name
                ),
            )


def _check_mounts(lines: Sequence[LogicalVolumeRequest], node: NodeSection, space: Space, fail: Fail) -> None:
    seen: dict[str, int] = {}
    for line in lines:
        if line.mountpoint in seen:
            fail(
                line.line,
                _("{what} was given on line {line} already").format(what=_what(line), line=seen[line.mountpoint]),
            )
        seen[line.mountpoint] = line.line
    if "/" not in seen:
        fail(space.line, _("there is no thin volume for /"), hint=_("Add logvol / --thin --poolname=…."))
    if "/var" not in seen:
        fail(
            seen["/"],
            _("/var would be on the root"),
            hint=_("Every layer has its own root and all share /var: add logvol /var --thin --poolname=…."),
        )
    root = next(line for line in lines if line.mountpoint == "/")
    if node.layer_size is not None and node.layer_size != root.size:
        fail(
            root.line,
            _("logvol / has {size}, but %addon org_ovirt_node says --layer-size={layer_size}").format(
                size=human_size(root.size), layer_size=human_size(node.layer_size)
            ),
        )


def _swap(line: LogicalVolumeRequest, space: Space, fail: Fail) -> Volume:
    if line.thin or line.pool or line.thinpool:
        fail(line.line, _("logvol swap cannot be thin: the kernel needs its blocks when memory is short"))
    if line.fstype not in ("", "swap"):
        fail(
            line.line,
            _("logvol swap --fstype={fstype} is not supported").format(fstype=line.fstype),
            hint=_("Accepted is swap."),
        )
    if line.grow or line.percent or line.options:
        fail(line.line, _("logvol swap takes --size or --recommended, and neither --grow, --percent nor --fsoptions"))
    size = line.size
    if line.recommended:  # a tenth of the group, between what a default layout has at least and at most
        size = min(max(space.total // 10, policy.SWAP.minimum), policy.SWAP.usual)
    return Volume(line.name, round_up(size, space.extent), "swap", thin=False)


def _pool(line: LogicalVolumeRequest, space: Space, swap: int, fail: Fail) -> ThinPool:
    chunk, metadata = line.chunk_size, line.metadata_size
    if chunk and (chunk % CHUNK_STEP or chunk > policy.CHUNK_MAXIMUM):
        fail(
            line.line,
            _("{what} --chunksize={chunk} is not a multiple of 64 (KiB) up to 1048576").format(
                what=_what(line), chunk=chunk >> 10
            ),
        )
    if metadata and not METADATA_LEAST <= metadata <= policy.METADATA_MAXIMUM:
        least, most = human_size(METADATA_LEAST), human_size(policy.METADATA_MAXIMUM)
        fail(
            line.line,
            _("{what} --metadatasize: accepted are {least} to {most}").format(what=_what(line), least=least, most=most),
        )
    size = round_up(line.size or space.total * line.percent // 100, space.extent)
    if line.grow:
        room = space.for_lvs - swap
        chosen = chunk or policy.chunk_size(max(room, size))
        meta = round_up(metadata, space.extent) or policy.metadata_size(room, space.extent, chosen)
        size = max(size, round_down(room - 2 * meta, space.extent))
        if line.max_size:
            size = min(size, round_down(line.max_size, space.extent))
    chunk = chunk or policy.chunk_size(size)
    needed = policy.metadata_size(size, space.extent, chunk)
    if metadata and metadata < min(needed, -(-size // chunk) * policy.METADATA_PER_CHUNK // 2):
        fail(
            line.line,
            _("{what} --metadatasize: {metadata} is too small for a pool of {size}").format(
                what=_what(line), metadata=human_size(metadata), size=human_size(size)
            ),
            hint=_("Leave the option out (it would be {needed}), or give larger chunks.").format(
                needed=human_size(needed)
            ),
        )
    return ThinPool(line.name, size, round_up(metadata, space.extent) or needed, chunk)


def _thin(line: LogicalVolumeRequest, image: ImageFacts, extent: int) -> Volume:
    given = policy.mount_options(line.options)
    if given and "discard" not in given:
        given = ("discard", *given)
    root = line.mountpoint == "/"
    return Volume(
        # The first layer has its name from its image, whatever Anaconda or an administrator calls the root.
        name=policy.layer_name(image.nvr) if root else line.name,
        size=round_up(line.size, extent),
        fstype=line.fstype or policy.DEFAULT_FS,
        mountpoint=line.mountpoint,
        options=given or policy.volume_options(line.mountpoint),
    )


def _grown(wanted: list[tuple[LogicalVolumeRequest, Volume]], pool: ThinPool, space: Space, fail: Fail) -> list[Volume]:
    """The volumes with what --grow gives them: each an equal part of what the pool has left, and a layer as often."""
    layers = space.slots.count
    volumes = [volume for _, volume in wanted]
    full = budget.thin_sum(volumes, layers)
    kept = space.reserved - space.slots.further
    if pool.size < full <= pool.size + kept:
        fail(
            space.line,
            _(
                "the volume group keeps {reserved} free, and the thin volumes, which have {full} together with "
                "{layers} layers, do not fit beside that"
            ).format(reserved=human_size(space.reserved), full=human_size(full), layers=layers),
            hint=_("Give a smaller --reserved-space or --reserved-percent."),
        )
    if full > pool.size:
        fail(
            next(line.line for line, volume in wanted if volume.is_layer),
            _("the thin volumes have {full} together, with {layers} layers, and the pool {name} has {size}").format(
                full=human_size(full), layers=layers, name=pool.name, size=human_size(pool.size)
            ),
            hint=_("A full pool stops the node: make the pool larger, volumes smaller, or give fewer --image-slots."),
        )
    shares = sum(layers if volume.is_layer else 1 for line, volume in wanted if line.grow)
    each = round_down((pool.size - full) // shares, space.extent) if shares else 0
    grown = []
    for line, volume in wanted:
        size: Optional[int] = volume.size + each if line.grow else None
        if size is not None and line.max_size:
            size = max(volume.size, min(size, round_down(line.max_size, space.extent)))
        grown.append(volume if size is None else replace(volume, size=size))
    return sorted(grown, key=lambda volume: volume.mountpoint)

"""``nodectl check``: the node's storage, boot and updates, with imgbased's groups and keys, and more of its own.

Judging is pure (:func:`judge` over :class:`Facts`); what cannot be read is a failed check with its reason, never a
check that is left out or an end of the program.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Optional

from org_ovirt_node.node import lvm
from org_ovirt_node.node.journal import Journal
from org_ovirt_node.node.layers import NodeState, image_of, leads_to_a_layer
from org_ovirt_node.node.mounted import Mounted
from org_ovirt_node.node.preflight import MIB, required_mountpoints
from org_ovirt_node.progress import human

#: imgbased's threshold for data and metadata of the pool, in per cent.
POOL_LIMIT = 80.0
#: Room that an update needs on /boot, where no running layer tells (layout/policy.py).
BOOT_USUAL = 120 * MIB
#: Paths that one reason names.
SHOWN = 10
OK, FAILED, WARN, BAD = "ok", "failed", "warn", "bad"


@dataclass(frozen=True)
class Facts:
    """The node; None, and a text in ``errors``, for what could not be read."""

    vg: str = ""
    node: Optional[NodeState] = None
    mounts: Optional[tuple[Mounted, ...]] = None
    boot_free: Optional[int] = None
    boot_need: int = BOOT_USUAL
    autoextend: Optional[bool] = None
    journal: Optional[Journal] = None
    fallback: str = ""
    #: A copy of GRUB's menu is not what the boot entries say.
    menu_stale: bool = False
    #: Paths below /etc that were changed after an update that awaits its reboot.
    etc_later: tuple[str, ...] = ()
    vdsm: Optional[bool] = None
    #: The md arrays of the host, and how many of its members each of them lacks.
    arrays: dict[str, int] = field(default_factory=dict)
    errors: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Result:
    """One check; ``reason`` says what is wrong, and what to do."""

    key: str
    text: str
    ok: bool
    reason: str = ""


@dataclass(frozen=True)
class Group:
    """A group of checks; one that ``warns`` makes the node's state "warn", not "bad"."""

    key: str
    text: str
    results: tuple[Result, ...]
    warns: bool = False

    @property
    def ok(self) -> bool:
        return all(result.ok for result in self.results)


def _result(key: str, text: str, problems: list[str]) -> Result:
    return Result(key, text, not problems, "; ".join(problems))


def judge(facts: Facts) -> tuple[Group, ...]:
    """All groups, in imgbased's order, then ours."""
    return (
        _bootloader(facts),
        _mount_points(facts),
        _basic_storage(facts),
        _thin_storage(facts),
        _images(facts),
        _boot(facts),
        _updates(facts),
        Group(
            "vdsmd",
            "vdsmd",
            (_result("vdsmd", "vdsmd", ["vdsmd was started and does not run"] if facts.vdsm is False else []),),
            True,
        ),
        *_mirrors(facts),
    )


def _mirrors(facts: Facts) -> tuple[Group, ...]:
    """Only where there is one: a node on half a mirror runs, and the next disk that fails ends it."""
    if not facts.arrays:
        return ()
    lacking = [
        f"{name} lacks {count} of its disks: replace it and add its partitions with 'mdadm --manage {name} --add'"
        for name, count in facts.arrays.items()
        if count
    ]
    return (Group("mirrors", "Mirrors", (_result("mirrors_complete", "Mirrors complete", lacking),), True),)


def _unknown(facts: Facts, what: str) -> list[str]:
    return [facts.errors.get(what, f"{what} could not be read")]


def _bootloader(facts: Facts) -> Group:
    node = facts.node
    if node is None:
        missing = _unknown(facts, "node")
        ours, valid = missing, missing
    else:
        known = {volume.name for volume in node.group.volumes}
        layers = [entry for entry in node.entries if entry.name in known]
        ours = [] if layers else ["no boot entry leads to a layer of this node"]
        dead = [entry.name for entry in node.entries if entry.name not in known and leads_to_a_layer(entry)]
        valid = [f"the boot entry {name} leads to a layer that does not exist" for name in dead]
        valid += [
            f"the boot entry {entry.name} cannot be booted: {', '.join(node.lacking[entry.name])} on /boot is gone or "
            "empty"
            for entry in layers
            if entry.name in node.lacking
        ]
        if node.boot.next in dead or not node.boot.next:
            valid.append("the next boot would not find its layer: see 'nodectl rollback --to'")
    return Group(
        "bootloader",
        "Bootloader",
        (
            _result("layer_boot_entries", "Layer boot entries", ours),
            _result("valid_boot_entries", "Valid boot entries", valid),
        ),
    )


def _mount_points(facts: Facts) -> Group:
    if facts.mounts is None:
        separate = discard = _unknown(facts, "mounts")
    else:
        targets = {mount.target: mount for mount in facts.mounts}
        separate = [
            f"{mountpoint} is not mounted, or is no separate volume"
            for mountpoint in required_mountpoints()
            if mountpoint not in targets
        ]
        # /boot and the ESP are no thin volumes: discard is for what the pool gets back.
        thin = _thin_sources(facts)
        discard = [
            f"{mount.target} is mounted without 'discard': the pool never gets space back; add it in /etc/fstab"
            for mount in facts.mounts
            if mount.source in thin and not mount.target.startswith("/mnt/") and "discard" not in mount.options
        ]
    return Group(
        "mount_points",
        "Mount points",
        (_result("separate_var", "Separate /var", separate), _result("discard_is_used", "Discard is used", discard)),
    )


def _thin_sources(facts: Facts) -> frozenset[str]:
    if facts.node is None:
        return frozenset()
    group = facts.node.group
    found = set()
    for volume in group.volumes:
        if volume.pool:
            mapped = f"{group.name.replace('-', '--')}-{volume.name.replace('-', '--')}"
            found |= {f"/dev/mapper/{mapped}", f"/dev/{group.name}/{volume.name}"}
    return frozenset(found)


def _basic_storage(facts: Facts) -> Group:
    node = facts.node
    if node is None:
        # Failure 26 of the list: without a VG everything here fails, whatever the reason is.
        vg = pool = volumes = _unknown(facts, "node")
    else:
        group = node.group
        vg = (
            []
            if lvm.TAG_VG in group.tags
            else [f"the volume group {group.name} is not tagged as a node's ({lvm.TAG_VG})"]
        )
        pool = [] if group.tagged(lvm.TAG_POOL) else [f"{group.name} has no thin pool that is tagged {lvm.TAG_POOL}"]
        volumes = [] if any(node.layers.values()) else [f"{group.name} has no layer"]
    return Group(
        "basic_storage",
        "Basic storage",
        (
            _result("initialized_vg", "Initialized VG", vg),
            _result("initialized_thin_pool", "Initialized Thin Pool", pool),
            _result("initialized_lvs", "Initialized LVs", volumes),
        ),
    )


def _thin_storage(facts: Facts) -> Group:
    node = facts.node
    pools = node.group.tagged(lvm.TAG_POOL) if node else ()
    space = [] if pools else _unknown(facts, "node") if node is None else ["there is no thin pool"]
    for pool in pools:
        for what, percent in (("data", pool.data_percent), ("metadata", pool.metadata_percent)):
            if percent is None:
                space.append(f"LVM does not say how full the {what} of {pool.name} is: the pool is not active")
            elif percent >= POOL_LIMIT:
                space.append(f"the {what} of {pool.name} is {percent:.0f} % full: extend it with lvextend")
        if pool.attr[8:9] not in ("-", ""):
            space.append(f"{pool.name} has a health problem (lv_attr {pool.attr}): see lvs(8), 'Volume Health'")
    # Room in the VG is kept for images, so a pool need not grow by itself before it fills.
    extend = [f"{reason} (it does not grow by itself)" for reason in space if not facts.autoextend]
    return Group(
        "thin_storage",
        "Thin storage",
        (
            _result("checking_available_space_in_thinpool", "Checking available space in thinpool", space),
            _result("checking_thinpool_auto-extend", "Checking thinpool auto-extend", extend),
        ),
    )


def _images(facts: Facts) -> Group:
    node = facts.node
    if node is None:
        missing = _unknown(facts, "node")
    else:
        volumes = {volume.name: volume for volume in node.group.volumes}
        missing = [
            f"the layer {layer} has no image {image_of(layer)} and cannot be booted: see 'nodectl remove {layer}'"
            for layer in node.all_layers
            if image_of(layer) not in volumes
        ]
    return Group(
        "images",
        "Images and layers",
        (_result("image_of_each_layer", "Image of each layer", missing),),
        warns=True,
    )


def _boot(facts: Facts) -> Group:
    node = facts.node
    space = [] if facts.boot_free is not None else _unknown(facts, "boot")
    if facts.boot_free is not None and facts.boot_free < facts.boot_need:
        space = [f"/boot has {human(facts.boot_free)} left, and an update needs some {human(facts.boot_need)}"]
    names = node.foreign if node is not None else ()
    environment = [] if node is not None else _unknown(facts, "node")
    if node is not None and not node.boot.sound:
        environment = ["GRUB's environment block (grubenv) is lost or damaged: 'nodectl health good' writes it anew"]
    elif node is not None and node.boot.saved not in node.boot.names:
        environment = [f"the default {node.boot.saved or '(none)'} has no boot entry: see 'nodectl rollback --to'"]
    foreign = [f"{name} in /boot/loader/entries boots no kernel: GRUB's menu is without it" for name in names]
    return Group(
        "boot",
        "Boot partition",
        (
            _result("space_on_boot", "Space on /boot", space),
            _result("environment_block", "Environment block", environment),
            _result("foreign_entries", "No foreign boot entries", foreign),
        ),
        warns=True,
    )


def _updates(facts: Facts) -> Group:
    node = facts.node
    unfinished = [volume.name for volume in node.group.volumes if volume.incomplete] if node else []
    leftovers = []
    if node and unfinished and not node.boot.pending:
        leftovers = [f"an update came to no end ({', '.join(unfinished)}): run it again, or 'nodectl update --cancel'"]
    if facts.menu_stale:
        leftovers.append(
            "a change of the boot entries was cut short, and GRUB's menu is an older one: the next start of the node "
            "writes it, or 'nodectl rollback --to' a layer"
        )
    fallback = [facts.fallback] if facts.fallback else []
    conflicts = []
    if facts.journal is not None and node is not None and facts.journal.layer == node.current:
        conflicts = [
            f"{one.get('path', '')}: {one.get('text', '')}"
            + (f" (the image's version is {one['beside']})" if one.get("beside") else "")
            for one in facts.journal.conflicts
        ]
    later = []
    if facts.etc_later:
        named = [f"/etc/{path}" for path in facts.etc_later[:SHOWN]]
        more = len(facts.etc_later) - len(named)
        rest = f" and {more} more" if more else ""
        later = [
            f"changed after the update, and not in the new layer: {', '.join(named)}{rest}; "
            "'nodectl update --cancel' and another update take it along"
        ]
    return Group(
        "updates",
        "Updates",
        (
            _result("no_unfinished_update", "No unfinished update", leftovers),
            _result("no_fallback", "No fallback", fallback),
            _result("no_conflicts_in_etc", "No conflicts in /etc", conflicts),
            _result("no_changes_after_update", "No changes in /etc after the update", later),
        ),
        warns=True,
    )


def overall(groups: tuple[Group, ...]) -> str:
    """imgbased's words: "ok", "warn" or "bad"."""
    if any(not group.ok and not group.warns for group in groups):
        return BAD
    return OK if all(group.ok for group in groups) else WARN


def as_dict(groups: tuple[Group, ...]) -> dict[str, Any]:
    """imgbased's keys: ``status``, and each group with ``status`` and its checks; what failed has a ``reason``."""
    data: dict[str, Any] = {"status": overall(groups)}
    for group in groups:
        status = OK if group.ok else FAILED
        if len(group.results) == 1 and group.results[0].key == group.key:
            data[group.key] = {"status": OK if group.ok else BAD}
            continue
        data[group.key] = {"status": status}
        for result in group.results:
            data[group.key][result.key] = {"status": OK if result.ok else FAILED}
            if not result.ok:
                data[group.key][result.key]["reason"] = result.reason
    return data


def as_text(groups: tuple[Group, ...]) -> str:
    """The same for people, in imgbased's form."""
    lines = [f"Status: {overall(groups).upper()}"]
    for group in groups:
        lines.append(f"{group.text} ... {'OK' if group.ok else 'FAILED'}")
        if len(group.results) == 1 and group.results[0].key == group.key and group.ok:
            continue
        lines += [
            f"  {result.text} ... " + ("OK" if result.ok else f"FAILED - {result.reason}") for result in group.results
        ]
    return "\n".join(lines) + "\n"

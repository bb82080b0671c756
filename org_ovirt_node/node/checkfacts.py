"""Gathers what ``nodectl check`` judges; what cannot be read is noted with its reason."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Optional, TypeVar

from org_ovirt_node.boot import files
from org_ovirt_node.errors import CommandError, Interrupted, NodeError
from org_ovirt_node.node import etcafter, health, journal, mounted, preflight, survey
from org_ovirt_node.node.check import BOOT_USUAL, Facts
from org_ovirt_node.node.layers import NodeState, config, state
from org_ovirt_node.node.places import Places
from org_ovirt_node.run import run

T = TypeVar("T")
#: Seconds for systemctl and journalctl on a busy host.
LIMIT = 30.0


def gather(places: Places) -> Facts:
    """Look at everything; raises Interrupted, and nothing for what is wrong with the node."""
    errors: dict[str, str] = {}

    def attempt(what: str, action: Callable[[], T]) -> Optional[T]:
        try:
            return action()
        except Interrupted:
            raise
        except NodeError as exc:
            errors[what] = str(exc)
        except OSError as exc:
            errors[what] = f"{exc.filename or what}: {exc.strerror}"
        return None

    settings: dict[str, Any] = attempt("node", lambda: config(places.config)) or {}
    node: Optional[NodeState] = None
    if settings:
        node = attempt("node", lambda: state(settings["vg"], places.boot, places.cmdline))
    update = journal.load(places.state)
    later: Optional[tuple[str, ...]] = None
    if update is not None:
        later = attempt("etc", lambda: etcafter.of_pending(places, node, update.layer, update.etc))
    running = survey.folder_size(places.boot / node.current) if node is not None and node.current else 0
    return Facts(
        vg=settings.get("vg", ""),
        node=node,
        mounts=attempt("mounts", mounted.mounts),
        boot_free=attempt("boot", lambda: survey.free_bytes(places.boot)),
        boot_need=preflight.need(0, running, boot_exact=False).boot if running else BOOT_USUAL,
        autoextend=attempt("autoextend", autoextend),
        journal=update,
        fallback=fallback_text(places, node),
        menu_stale=bool(node and attempt("menu", lambda: menu_is_stale(places, node))),
        etc_later=later or (),
        vdsm=vdsm(),
        arrays=attempt("arrays", survey.arrays) or {},
        errors=errors,
    )


def menu_is_stale(places: Places, node: Optional[NodeState]) -> bool:
    """True when a copy of GRUB's menu is not made from the boot entries that are there."""
    folder = files.grub_folder(places.boot)
    return node is not None and files.menu_is_stale(places.boot, folder, node.boot.good)


def fallback_text(places: Places, node: Optional[NodeState]) -> str:
    """What is to be said of a layer that was given up; empty when the running layer came from no fallback.

    A layer that runs instead and does not become healthy either has noted nothing: GRUB's variables still tell.
    """
    found = health.last_fallback(places)
    if found is None or not found.running or (node is not None and node.current != found.running):
        found = health.given_up(node.boot, node.current, places) if node is not None and node.current else None
    if found is None:
        return ""
    return f"{found.failed} was given up and {found.running} runs instead: {found.reason}"


def autoextend() -> bool:
    """True when LVM grows a thin pool before it is full (lvm.conf: thin_pool_autoextend_threshold)."""
    asked = run(["lvmconfig", "--type", "full", "activation/thin_pool_autoextend_threshold"]).stdout
    value = asked.strip().partition("=")[2]
    return value.isdigit() and int(value) < 100


def vdsm() -> Optional[bool]:
    """Does vdsmd run?  None where it is not installed or was never started, as right after an installation."""
    try:
        shown = run(
            [
                "systemctl",
                "show",
                "--property",
                "LoadState,ActiveState,NRestarts,ExecMainStartTimestamp",
                "vdsmd.service",
            ],
            check=False,
            timeout=LIMIT,
        ).stdout
    except CommandError:
        return None
    values = dict(line.split("=", 1) for line in shown.splitlines() if "=" in line)
    if values.get("LoadState") != "loaded":
        return None
    if values.get("ActiveState") == "active":
        return True
    return False if values.get("ExecMainStartTimestamp") or values.get("ActiveState") == "failed" else None

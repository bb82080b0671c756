"""Paths for which the three-way rule is not the right one, each with its reason.

A pattern is matched part by part with ``*``; ``**`` at the end stands for everything below.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Optional

from org_ovirt_node.node.merge.model import Source


@dataclass(frozen=True)
class Rule:
    """``source`` NODE: the node's file, or its absence, whatever the image brings.  IMAGE: the image's, because it was
    generated from the image's content; ``remedy`` is what makes it anew where the node's had more in it."""

    pattern: str
    source: Source
    reason: str
    remedy: str = ""


IDENTITY = "the identity of this host"
STORAGE = "the storage of this host"
NETWORK = "the network of this host"
BACKUP = "written by the tools that change accounts"
POLICY = "compiled from the policy modules of the image"

RULES = (
    Rule("machine-id", Source.NODE, IDENTITY),
    Rule("hostname", Source.NODE, IDENTITY),
    Rule("machine-info", Source.NODE, IDENTITY),
    Rule("ssh/ssh_host_*", Source.NODE, IDENTITY),
    Rule("iscsi/initiatorname.iscsi", Source.NODE, IDENTITY),
    Rule("nvme/hostid", Source.NODE, IDENTITY),
    Rule("nvme/hostnqn", Source.NODE, IDENTITY),
    Rule("vdsm/vdsm.id", Source.NODE, IDENTITY),
    Rule("pki/vdsm/**", Source.NODE, "the certificates of this host"),
    Rule("fstab", Source.NODE, STORAGE),
    Rule("crypttab", Source.NODE, STORAGE),
    Rule("lvm/devices/**", Source.NODE, STORAGE),
    Rule("lvm/archive/**", Source.NODE, STORAGE),
    Rule("lvm/backup/**", Source.NODE, STORAGE),
    Rule("lvm/cache/**", Source.NODE, STORAGE),
    Rule("multipath/wwids", Source.NODE, STORAGE),
    Rule("multipath/bindings", Source.NODE, STORAGE),
    Rule("multipath/prkeys", Source.NODE, STORAGE),
    Rule("NetworkManager/system-connections/**", Source.NODE, NETWORK),
    Rule("sysconfig/network-scripts/ifcfg-*", Source.NODE, NETWORK),
    Rule("sysconfig/network-scripts/route-*", Source.NODE, NETWORK),
    Rule("sysconfig/network-scripts/route6-*", Source.NODE, NETWORK),
    Rule("udev/rules.d/70-persistent-*", Source.NODE, NETWORK),
    Rule("resolv.conf", Source.NODE, NETWORK),
    Rule("adjtime", Source.NODE, "the clock of this host"),
    Rule("ovirt-node/node.json", Source.NODE, "what the installation recorded of this host"),
    Rule("passwd-", Source.NODE, BACKUP),
    Rule("group-", Source.NODE, BACKUP),
    Rule("shadow-", Source.NODE, BACKUP),
    Rule("gshadow-", Source.NODE, BACKUP),
    Rule("subuid-", Source.NODE, BACKUP),
    Rule("subgid-", Source.NODE, BACKUP),
    Rule(".pwd.lock", Source.NODE, BACKUP),
    Rule("ld.so.cache", Source.IMAGE, "made from the libraries of the image", "ldconfig"),
    Rule("udev/hwdb.bin", Source.IMAGE, "compiled from the hardware database of the image", "systemd-hwdb update"),
    Rule("selinux/*/policy/policy.*", Source.IMAGE, POLICY, "semodule -B"),
    Rule("selinux/*/contexts/files/file_contexts", Source.IMAGE, POLICY, "semodule -B"),
    Rule("selinux/*/contexts/files/file_contexts.bin", Source.IMAGE, POLICY, "semodule -B"),
    Rule("selinux/*/contexts/files/file_contexts.homedirs", Source.IMAGE, POLICY, "semodule -B"),
    Rule("selinux/*/contexts/files/file_contexts.homedirs.bin", Source.IMAGE, POLICY, "semodule -B"),
)


def _regex(pattern: str) -> str:
    return "/".join(
        ".+" if part == "**" else "[^/]*".join(re.escape(piece) for piece in part.split("*"))
        for part in pattern.split("/")
    )


#: All patterns at once, a group each, since every path is matched.
PATTERNS = re.compile("|".join(f"({_regex(rule.pattern)})" for rule in RULES), re.DOTALL)


def rule_for(path: str) -> Optional[Rule]:
    """The first rule that settles ``path``."""
    found = PATTERNS.fullmatch(path)
    return RULES[found.lastindex - 1] if found is not None and found.lastindex is not None else None

"""The plan of the add-on as JSON."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from typing import Optional

from org_ovirt_node.kickstart.model import NodeSection
from org_ovirt_node.layout.policy import layer_name
from org_ovirt_node.payload.facts import ImageFacts
from org_ovirt_node.payload.signature import DEFAULT_KEY
from org_ovirt_node.service.storage_facts import PlannedStorage


def plan_report(
    section: NodeSection,
    facts: Optional[ImageFacts],
    planned: Optional[PlannedStorage],
    problem: str,
    warnings: Sequence[str] = (),
    signed: bool = False,
) -> str:
    """What will be where, sizes in bytes; what is not known yet is null.

    ``signed``: a signature of the key that is named beside it vouches for the image.
    """
    key = (section.key or str(DEFAULT_KEY)) if signed else ""
    storage = None
    if planned is not None:
        storage = {
            "vg": planned.vg,
            "vg_size": planned.vg_size,
            "free": planned.free,
            "pool": planned.pool,
            "pool_size": planned.pool_size,
            "volumes": [
                {"mountpoint": path, "device": device.name, "type": device.type, "size": device.size}
                for path, device in sorted(planned.mounts.items())
            ],
        }
    return json.dumps(
        {
            "images": list(section.images),
            "image_slots": section.image_slots,
            "image": {**asdict(facts), "signed": signed, "key": key} if facts else None,
            "layer": layer_name(facts.nvr) if facts else None,
            "storage": storage,
            "problem": problem,
            "warnings": list(warnings),
        },
        indent=2,
    )

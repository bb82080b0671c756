"""``python3 -m org_ovirt_node.setup``."""

from __future__ import annotations

from org_ovirt_node.setup.program import program

program()

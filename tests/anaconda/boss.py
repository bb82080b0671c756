"""Anaconda's Boss on a private bus, which starts our service and no other."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Iterator
from configparser import ConfigParser
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.anaconda import bus

#: So that a test does not wait for all of Anaconda.
ONLY_US = "org.fedoraproject.Anaconda.Addons.OvirtNode"
CONFIG = Path("/etc/anaconda/anaconda.conf")


def write_config(file: Path) -> None:
    """Anaconda's configuration with our service as the only one to start."""
    parser = ConfigParser(interpolation=None)
    parser.read(CONFIG)
    parser["Anaconda"]["activatable_modules"] = ONLY_US
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("w", encoding="utf-8") as out:
        parser.write(out)


@dataclass(frozen=True)
class Node:
    """The service as a test asks it."""

    proxy: Any


@contextmanager
def only_our_service() -> Iterator[Node]:
    """Boss and the service, as in Anaconda; the address of the bus is in the environment."""
    from dasbus.connection import AddressedMessageBus
    from pyanaconda.core.constants import ANACONDA_CONFIG_TMP
    from pyanaconda.modules.common.constants.services import BOSS

    from org_ovirt_node.constants import OVIRT_NODE

    with ExitStack() as stack:
        # The modules read this file; the program that starts them all writes it in an installation.
        write_config(Path(ANACONDA_CONFIG_TMP))
        stack.callback(Path(ANACONDA_CONFIG_TMP).unlink)
        log = Path(tempfile.mkstemp(prefix="boss-", suffix=".log")[1])
        stack.enter_context(bus.anaconda_bus(log))
        boss = stack.enter_context(bus.started("pyanaconda.modules.boss", log))
        bus.wait_for(BOSS.service_name, boss)
        connection = AddressedMessageBus(os.environ[bus.VARIABLE])
        stack.callback(connection.disconnect)
        proxy = connection.get_proxy(BOSS.service_name, BOSS.object_path)
        task = connection.get_proxy(BOSS.service_name, proxy.StartModulesWithTask())
        task.Start()
        while task.IsRunning:
            time.sleep(0.05)
        task.Finish()
        if OVIRT_NODE.service_name not in proxy.GetModules():
            raise AssertionError(f"Boss did not start the service:\n{log.read_text(errors='replace')}")
        yield Node(connection.get_proxy(OVIRT_NODE.service_name, OVIRT_NODE.object_path))

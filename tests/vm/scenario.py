"""The register of scenarios: each is a function with a name, the issues it is for, and a place in the checks."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

#: Seconds for a whole scenario, unless it says otherwise.
LIMIT = 1800.0


@dataclass
class Context:
    """What a scenario gets: a folder of its own, and a place for its figures."""

    folder: Path
    figures: dict[str, Any] = field(default_factory=dict)

    def say(self, text: str) -> None:
        """Tell whoever watches what happens now."""
        print(f"  {text}", flush=True)


@dataclass(frozen=True)
class Scenario:
    """A registered scenario."""

    name: str
    about: str
    issues: tuple[int, ...]
    #: True: make check runs it, not only make check-all.
    core: bool
    limit: float
    function: Callable[[Context], None]


REGISTER: dict[str, Scenario] = {}


def scenario(
    name: str, *, issues: tuple[int, ...], core: bool = False, limit: float = LIMIT
) -> Callable[[Callable[[Context], None]], Callable[[Context], None]]:
    """Register the function below as the scenario ``name``; the first line of its docstring says what it shows."""

    def register(function: Callable[[Context], None]) -> Callable[[Context], None]:
        if name in REGISTER:
            raise ValueError(f"two scenarios are called {name}")
        about = (function.__doc__ or "").strip().splitlines()
        if not about:
            raise ValueError(f"the scenario {name} does not say what it shows")
        REGISTER[name] = Scenario(name, about[0], issues, core, limit, function)
        return function

    return register


def load_all() -> dict[str, Scenario]:
    """Import every module of scenarios and return the register."""
    package = importlib.import_module("tests.vm.scenarios")
    for module in pkgutil.iter_modules(package.__path__):
        importlib.import_module(f"tests.vm.scenarios.{module.name}")
    return dict(sorted(REGISTER.items()))

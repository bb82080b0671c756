"""The text spoke alone in simpleline's loop, as Anaconda's hub would show it; run on a terminal by test_tui."""

from __future__ import annotations

from pyanaconda.modules.common import init

init(log_stream=None)

from simpleline import App  # noqa: E402
from simpleline.render.screen_handler import ScreenHandler  # noqa: E402

from org_ovirt_node.tui.spokes.ovirt_node import OvirtNodeSpoke  # noqa: E402


def main() -> None:
    """Until the screen is left; then what the hub would say of it."""
    App.initialize()
    App.get_configuration().width = 80
    spoke = OvirtNodeSpoke(None, None, None)
    spoke.initialize()
    ScreenHandler.schedule_screen(spoke)
    App.run()
    print(f"\nLEFT completed={spoke.completed} mandatory={spoke.mandatory} status={spoke.status}", flush=True)


if __name__ == "__main__":
    main()

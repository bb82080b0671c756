"""The graphical spoke alone, walked through on the display that is there; prints what it found, a line for each.

With a file name as argument, the window is drawn into that file (PNG) at the end.
"""

from __future__ import annotations

import sys
from typing import Any

from pyanaconda.modules.common import init

init(log_stream=None)

import gi  # noqa: E402

gi.require_version("Gtk", "3.0")
gi.require_version("Gdk", "3.0")
gi.require_version("AnacondaWidgets", "3.4")

from gi.repository import Gdk, GLib, Gtk  # noqa: E402

from org_ovirt_node.gui.spokes.ovirt_node import OvirtNodeSpoke  # noqa: E402

#: A small screen of a server's console.
SIZE = (1024, 768)
PATIENCE = 20


def settle(seconds: float = 0.3) -> None:
    """Let GTK work for a while."""
    loop = GLib.MainLoop()
    GLib.timeout_add(int(seconds * 1000), loop.quit)
    loop.run()


def widgets(widget: Any) -> list[Any]:
    """A widget and all below it."""
    found = [widget]
    if isinstance(widget, Gtk.Container):
        widget.forall(lambda child: found.extend(widgets(child)))
    return found


def bar(window: Any) -> str:
    """What the bar with errors and warnings says."""
    bars = [widget for widget in widgets(window) if isinstance(widget, Gtk.InfoBar) and widget.get_visible()]
    labels = [label for found in bars for label in widgets(found) if isinstance(label, Gtk.Label)]
    return " ".join(label.get_text() for label in labels)


def say(name: str, value: object) -> None:
    """A line for the test."""
    print(f"{name}={value}", flush=True)


def walk(spoke: OvirtNodeSpoke) -> None:
    """Type, click, look."""
    builder = spoke.builder
    image, digest = builder.get_object("imageEntry"), builder.get_object("digestEntry")
    for name in (
        "imageTitle",
        "digestTitle",
        "manifestTitle",
        "slotsTitle",
        "triesTitle",
        "volumesTitle",
        "layoutTitle",
    ):
        label = builder.get_object(name)
        say(f"own.{name}", Gdk.keyval_name(label.get_mnemonic_keyval()))
        say(f"target.{name}", label.get_mnemonic_widget() is not None)
    # Anaconda's own buttons of the screen too.
    labels = [found for found in widgets(spoke.window) if isinstance(found, Gtk.Label) and found.get_mapped()]
    for label in labels:
        if label.get_mnemonic_keyval() != Gdk.KEY_VoidSymbol:
            say(f"mnemonic.{label.get_text()}", Gdk.keyval_name(Gdk.keyval_to_lower(label.get_mnemonic_keyval())))
    image.set_text("gopher://server/node")
    settle()
    say("wrong.check", builder.get_object("checkButton").get_sensitive())
    say("wrong.bar", bool(bar(spoke.window)))
    image.set_text("file:/nowhere/node-1.squashfs")
    digest.set_text("5a" * 32)
    settle()
    say("right.check", builder.get_object("checkButton").get_sensitive())
    say("right.bar", bool(bar(spoke.window)))
    builder.get_object("checkButton").clicked()
    for _ in range(PATIENCE):
        settle(0.5)
        if not builder.get_object("checkProgress").get_visible():
            break
    say("checked.bar", bar(spoke.window))
    spoke.clear_info()
    spoke.apply()
    say("completed", spoke.completed)
    say("status", spoke.status)


def main() -> None:
    Gtk.Widget.set_default_direction(Gtk.TextDirection.RTL if "--rtl" in sys.argv else Gtk.TextDirection.LTR)
    spoke = OvirtNodeSpoke(None, None, None)
    spoke.initialize()
    window = Gtk.OffscreenWindow() if "--offscreen" in sys.argv else Gtk.Window()
    window.set_default_size(*SIZE)
    content = spoke.window
    window.add(content)
    window.show_all()
    spoke.refresh()
    settle()
    walk(spoke)
    natural = content.get_preferred_size()[0]
    say("width", natural.width)
    pictures = [name for name in sys.argv[1:] if name.endswith(".png")]
    if pictures:
        spoke.refresh()
        settle(1.0)
        picture = Gdk.pixbuf_get_from_window(window.get_window(), 0, 0, *window.get_size())
        picture.savev(pictures[0], "png", [], [])
    say("end", True)


if __name__ == "__main__":
    main()

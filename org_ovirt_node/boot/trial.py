"""An entry on trial: a new layer that is booted a few times at most until it has shown that it is healthy.

What follows the marker on its kernel command line makes a hopeless boot end by itself, so that GRUB counts the next
try and falls back in the end.  An entry that is marked good has none of it: it stops with its message instead.
"""

from __future__ import annotations

from org_ovirt_node.boot import cmdline

#: Everything behind it belongs to the trial.  Units ask for it with ConditionKernelCommandLine=.
MARKER = "ovirt_node.trial=1"
#: Seconds until a panic reboots: long enough to read its first lines on a console.
PANIC = "panic=10"
#: dracut(7): no shell in the initramfs, but a reboot.
INITRAMFS = ("rd.shell=0", "rd.emergency=reboot")
#: systemd(1): the hardware watchdog resets a machine whose PID 1 does not answer for this many seconds.
WATCHDOG = "systemd.watchdog_sec=120"
ARGUMENTS = (MARKER, PANIC, *INITRAMFS, WATCHDOG)


def on_trial(options: str) -> bool:
    """True when the kernel command line ``options`` is that of an entry on trial."""
    return MARKER in cmdline.split(options)


def with_trial(options: str, *, watchdog: bool) -> str:
    """``options`` of an entry on trial; they come last, because the last one wins."""
    added = [word for word in ARGUMENTS if watchdog or word != WATCHDOG]
    return " ".join([*cmdline.split(without_trial(options)), *added])


def without_trial(options: str) -> str:
    """``options`` of the entry once it is marked good; arguments that somebody added behind ours stay."""
    words = cmdline.split(options)
    if MARKER not in words:
        return " ".join(words)
    place = words.index(MARKER)
    kept = words[:place] + tuple(word for word in words[place:] if word not in ARGUMENTS)
    return " ".join(kept)

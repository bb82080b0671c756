"""Our grub.cfg, and the menu entries that it reads.

grub2-mkconfig does not understand an overlay root, so both files are ours.  The menu entries are generated from the
Boot Loader Specification files whenever those change.  GRUB's scripting has no arithmetic: counting down is a chain
of comparisons.  ``$root`` is the partition that GRUB was started from, never one that was searched by a label.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from org_ovirt_node.boot.bls import Entry
from org_ovirt_node.errors import BootError
from org_ovirt_node.i18n import _

#: Variables in the environment block.
SAVED, TRIAL, TRIES, FELL_BACK = "saved_entry", "trial_entry", "trial_tries", "trial_failed"
MAX_TRIES = 9
#: The menu, and a second copy of it: GRUB replays no journal, so while one of them is replaced a power cut may leave
#: it with a name and no content for GRUB.  The other one is not touched then.
ENTRIES_FILE, SPARE_FILE = "entries.cfg", "entries.spare.cfg"

_HEADER = """\
# Written by oVirt Node: changes here are lost.  What can be booted stands in /loader/entries on this partition,
# the default and the tries that are left stand in the environment block (grubenv) beside this file.
insmod part_gpt
insmod ext2
"""

_LOAD = """\
if [ -s $prefix/grubenv ]; then
  load_env
fi
"""

#: Where /boot is an array: the block lies on a partition of its own on the disk that GRUB was started from.
_LOAD_FROM_DISK = """\
insmod regexp
regexp --set=1:node_disk '^([^,]+),' "$root"
set node_env="(${{node_disk}},gpt{number})/grubenv"
if [ -s "$node_env" ]; then
  load_env --file "$node_env"
fi
"""
_FROM_DISK = '--file "$node_env" '

_FOOTER = """\
if [ -s $prefix/{entries} ]; then
  source $prefix/{entries}
elif [ -s $prefix/{spare} ]; then
  source $prefix/{spare}
fi
"""


def _serial(options: str) -> str:
    """GRUB's own terminal on the serial line, when the kernel is told to use one."""
    found = re.search(r"(?:^|\s)console=ttyS(\d)(?:,(\d+))?", options)
    if not found:
        return ""
    unit, speed = found.group(1), found.group(2) or "115200"
    return f"serial --unit={unit} --speed={speed}\nterminal_input serial console\nterminal_output serial console\n"


def _counting(block: str) -> str:
    """A layer on trial is the default as long as it has tries left; each boot uses one up.

    ``block`` is the option that says where the environment block is, empty where GRUB knows it.
    """
    lines = [f'set default="${{{SAVED}}}"', f'if [ -n "${{{TRIAL}}}" ]; then']
    word = "if"
    for tries in range(MAX_TRIES, 0, -1):
        lines.append(f'  {word} [ "${{{TRIES}}}" = "{tries}" ]; then')
        lines.append(f"    set {TRIES}={tries - 1}")
        lines.append(f'    set default="${{{TRIAL}}}"')
        word = "elif"
    lines += ["  else", f'    set {FELL_BACK}="${{{TRIAL}}}"', "  fi"]
    lines.append(f"  save_env {block}{TRIES} {FELL_BACK}")
    # What is read back must be what was written: with a block that cannot be written the trial would never end.
    lines += [
        f'  set node_tries="${{{TRIES}}}"',
        f"  load_env {block}{TRIES}",
        f'  if [ "${{{TRIES}}}" != "${{node_tries}}" ]; then',
    ]
    lines += [f'    set default="${{{SAVED}}}"', "  fi", "fi"]
    return "\n".join(lines) + "\n"


def render_config(timeout: int, options: str, environment: int = 0) -> str:
    """grub.cfg; ``timeout`` in seconds, ``options`` the kernel arguments that name a serial console.

    ``environment`` is the number of the partition with the environment block, the same on every disk of a mirror;
    0 where the block lies beside grub.cfg.
    """
    footer = _FOOTER.format(entries=ENTRIES_FILE, spare=SPARE_FILE)
    load = _LOAD_FROM_DISK.format(number=environment) if environment else _LOAD
    counting = _counting(_FROM_DISK if environment else "")
    return _HEADER + load + _serial(options) + counting + f"set timeout={timeout}\n" + footer


def _quoted(text: str) -> str:
    """``text`` as one word of GRUB's script language."""
    if "\n" in text or "\0" in text:
        raise BootError(
            _("a boot entry holds a line break: {text}").format(text=repr(text)),
            hint=_("Remove it from the kernel arguments."),
        )
    return "'" + text.replace("'", "'\\''") + "'"


def _bare(options: str) -> str:
    """Kernel arguments for the ``linux`` command: separate words in which nothing is expanded by GRUB.

    Double quotes are the kernel's own way to group words and must arrive there, so they are kept inside the word.
    """
    words = re.findall(r'(?:[^\s"]|"[^"]*"?)+', options)
    return " ".join(word if re.fullmatch(r"[A-Za-z0-9_./:,=+@%-]+", word) else _quoted(word) for word in words)


def render_entries(entries: Sequence[Entry]) -> str:
    """The menu: one entry per BLS entry, in the order given."""
    blocks = []
    for entry in entries:
        lines = [
            f"menuentry {_quoted(entry.title)} --id {_quoted(entry.name)} {{",
            f"  linux {_bare(entry.linux)} {_bare(entry.options)}",
        ]
        if entry.initrds:
            lines.append("  initrd " + " ".join(_bare(path) for path in entry.initrds))
        blocks.append("\n".join([*lines, "}"]) + "\n")
    return "".join(blocks)

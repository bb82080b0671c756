#!/usr/bin/env python3
"""Stands in for LVM's programs (and a few others) on PATH: volumes are files, the metadata is a JSON file.

It is strict where LVM is: what exists cannot be made, what does not exist cannot be changed, a VG or pool that is full
refuses.  Every call is logged with its arguments.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any, Optional

State = dict[str, Any]
Report = Optional[dict[str, Any]]

HOME = Path(os.environ.get("FAKE_LVM") or Path(sys.argv[0]).resolve().parent.parent)
STATE, LOG = HOME / "lvm.json", HOME / "calls.log"


class Refused(Exception):
    """LVM says no."""


def load() -> State:
    found: State = json.loads(STATE.read_text())
    return found


def save(state: State) -> None:
    temporary = STATE.with_suffix(".new")
    temporary.write_text(json.dumps(state, indent=1))
    temporary.replace(STATE)


def split(
    arguments: list[str], flags: tuple[str, ...], values: tuple[str, ...]
) -> tuple[dict[str, list[str]], list[str]]:
    """Options of a program: those of ``values`` take one argument."""
    found: dict[str, list[str]] = {}
    rest: list[str] = []
    words = iter(arguments)
    for word in words:
        if word in values:
            found.setdefault(word, []).append(next(words))
        elif word in flags:
            found[word] = [""]
        elif word.startswith("-"):
            raise Refused(f"unknown option {word}")
        else:
            rest.append(word)
    return found, rest


def device(state: State, name: str) -> Path:
    return Path(str(state["dev"])) / str(state["vg"]) / name


def used(state: State) -> int:
    return sum(int(one["size"]) for one in state["lvs"].values() if not one["pool"])


def rounded(state: State, size: int) -> int:
    extent: int = state["extent"]
    return -(-size // extent) * extent


def vgs(state: State, arguments: list[str]) -> Report:
    options, _ = split(arguments, (), ("--reportformat", "--units", "--options", "--select", "--config"))
    if options.get("--select", ["vg_name=" + state["vg"]])[0] != "vg_name=" + state["vg"]:
        return {"vg": []}
    return {"vg": [{name: group(state)[name] for name in options["--options"][0].split(",")}]}


def group(state: State) -> dict[str, str]:
    """The fields of the VG."""
    return {
        "vg_name": state["vg"],
        "vg_uuid": "u",
        "vg_size": f"{state['size']}B",
        "vg_free": f"{state['size'] - used(state)}B",
        "vg_extent_size": f"{state['extent']}B",
        "vg_tags": ",".join(state["tags"]),
    }


def lvs(state: State, arguments: list[str]) -> Report:
    options, rest = split(arguments, (), ("--reportformat", "--units", "--options", "--select", "--config"))
    if rest != [state["vg"]]:
        raise Refused(f'Volume group "{rest}" not found')
    rows = []
    for name, one in state["lvs"].items():
        pool = one["kind"] == "pool"
        values = {
            **group(state),
            "lv_name": name,
            "lv_size": f"{one['size']}B",
            "lv_attr": ("twi-aotz--" if state.get("zeroes", True) else "twi-aot---")
            if pool
            else "Vwi-aotz--"
            if one["pool"]
            else f"-{'r' if one['readonly'] else 'w'}i-a-----",
            "lv_tags": ",".join(one["tags"]),
            "pool_lv": one["pool"],
            "origin": "",
            "data_percent": f"{state['data_percent']:.2f}" if pool else "",
            "metadata_percent": f"{state['metadata_percent']:.2f}" if pool else "",
            "lv_path": str(device(state, name)),
            "lv_active": "active",
            "lv_time": str(one["created"]),
            "lv_metadata_size": f"{state['metadata_size']}B" if pool else "",
        }
        rows.append({name: values[name] for name in options["--options"][0].split(",")})
    return {"lv": rows}


def pvs(state: State, arguments: list[str]) -> Report:
    split(arguments, (), ("--reportformat", "--options", "--select"))
    return {"pv": [{"pv_name": "/dev/vda3", "pv_uuid": state["pv_uuid"]}]}


def lvcreate(state: State, arguments: list[str]) -> Report:
    options, rest = split(
        arguments, ("--yes",), ("--wipesignatures", "--size", "--name", "--addtag", "--virtualsize", "--thin")
    )
    name = options["--name"][0]
    if name in state["lvs"]:
        raise Refused(f'Logical Volume "{name}" already exists in volume group "{state["vg"]}"')
    thin = "--thin" in options
    size = rounded(state, int(options["--virtualsize" if thin else "--size"][0].rstrip("b")))
    if thin:
        if options["--thin"][0].split("/")[1] not in state["lvs"]:
            raise Refused("no such pool")
    elif rest != [state["vg"]]:
        raise Refused("no such VG")
    elif size > state["size"] - used(state):
        raise Refused(f'Volume group "{state["vg"]}" has insufficient free space')
    state["clock"] += 1
    state["lvs"][name] = {
        "kind": "thin" if thin else "linear",
        "size": size,
        "tags": options.get("--addtag", []),
        "pool": options["--thin"][0].split("/")[1] if thin else "",
        "readonly": False,
        "created": state["clock"],
    }
    path = device(state, name)
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        file.truncate(size)
    return None


def named(state: State, name: str) -> str:
    vg, _, volume = name.partition("/")
    if vg != state["vg"] or volume not in state["lvs"]:
        raise Refused(f"Failed to find logical volume {name}")
    return volume


def lvchange(state: State, arguments: list[str]) -> Report:
    options, rest = split(arguments, (), ("--addtag", "--deltag", "--permission"))
    for one in [state["lvs"][named(state, name)] for name in rest]:
        one["tags"] = [tag for tag in one["tags"] if tag not in options.get("--deltag", [])]
        one["tags"] += [tag for tag in options.get("--addtag", []) if tag not in one["tags"]]
        if "--permission" in options:
            if one["readonly"]:
                raise Refused("Logical volume is already read-only")
            one["readonly"] = True
    return None


def lvremove(state: State, arguments: list[str]) -> Report:
    _, rest = split(arguments, ("--yes",), ())
    name = named(state, rest[0])
    path = device(state, name)
    if str(path) in Path("/proc/self/mountinfo").read_text():
        raise Refused(f"Logical volume {name} in use.")
    del state["lvs"][name]
    path.unlink(missing_ok=True)
    return None


def lvrename(state: State, arguments: list[str]) -> Report:
    _, (vg, name, new) = split(arguments, (), ())
    named(state, f"{vg}/{name}")
    if new in state["lvs"]:
        raise Refused(f'Logical Volume "{new}" already exists')
    state["lvs"][new] = state["lvs"].pop(name)
    device(state, name).rename(device(state, new))
    return None


def findmnt(state: State, arguments: list[str]) -> Report:
    return {"filesystems": state["mounts"]}


def lsblk(state: State, arguments: list[str]) -> Report:
    return {"blockdevices": [{"kname": "vda3", "type": "part", "tran": None, "children": state["disks"]}]}


def lvmconfig(state: State, arguments: list[str]) -> Report:
    setting = arguments[-1].split("/")[1]
    print(f"{setting}={state['lvmconfig'].get(setting, 0)}")
    return None


#: These do nothing but be called.
QUIET = ("udevadm", "fsfreeze")
REPORTS = {"vgs": vgs, "lvs": lvs, "pvs": pvs}
CHANGES = {"lvcreate": lvcreate, "lvchange": lvchange, "lvremove": lvremove, "lvrename": lvrename}
OTHERS = {"findmnt": findmnt, "lsblk": lsblk, "lvmconfig": lvmconfig}
PROGRAMS = (*REPORTS, *CHANGES, *OTHERS, *QUIET)


def main() -> None:
    program, arguments = Path(sys.argv[0]).name, sys.argv[1:]
    with LOG.open("a") as log:
        log.write(" ".join([program, *arguments]) + "\n")
    if program == "chroot":
        program, arguments = arguments[1], arguments[2:]
    state = load()
    if program in state["failing"]:
        sys.exit(f"  {program}: it is told to fail")
    try:
        result = (REPORTS.get(program) or CHANGES.get(program) or OTHERS[program])(state, arguments)
    except Refused as exc:
        print(f"  {exc}", file=sys.stderr)
        sys.exit(5)
    if program in CHANGES:
        save(state)
    elif program in REPORTS:
        print(json.dumps({"report": [result]}))
    elif result is not None:
        print(json.dumps(result))


if __name__ == "__main__":
    main()

"""The hook of the initramfs that gives PVs and VG new UUIDs, with LVM's programs as stand-ins."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

HOOK = Path(__file__).resolve().parents[2] / "data/dracut/90ovirt-node/ovirt-node-ids.sh"
OLD, NEW, OTHER = "old000-0000-0000-0000-0000-0000-000000", "new000-0000-0000-0000-0000-0000-000000", "other0-0"
#: Prints what the files beside it say, and notes what it is asked for.
LVM = """#!/bin/sh
echo "$@" >> "$HOME/calls"
case "$1 $2" in
    "vgs --nohints") [ "$(cat "$HOME/missing")" = none ] || cat "$HOME/missing" ;;
    "vgs --noheadings") echo /dev/sda3 ;;
    "pvs --nohints")
        case "$(cat "$HOME/missing")" in
            0) ;;
            none) echo "  /dev/sda3 $(cat "$HOME/vg")" ;;
            *) echo "  OLD" ;;
        esac
        ;;
    "pvck --dump")
        case "$*" in
            *"--settings metadata_offset=9216 --file "*) cat "$HOME/text" > "$7" ;;
            *metadata_search*)
                echo "  Searching for metadata at offset 4096 size 1044480"
                echo "  metadata at 4608 length 55 crc 1 vg onn seqno 9 id x"
                echo "  metadata at 9216 length 55 crc 1 vg onn seqno 10 id x"
                echo "  metadata at 7168 length 55 crc 1 vg other seqno 99 id x"
                ;;
            *) cat "$HOME/text" > "$5" ;;
        esac
        ;;
    "pvck --repair") echo 0 > "$HOME/missing" ;;
esac
""".replace("OLD", OLD)
BLKID = '#!/bin/sh\n[ "$1" = -t ] && echo /dev/sda3 || cat "$HOME/label"\n'


def run(home: Path, *, missing: object, vg: str, metadata: str, label: str, of: str = "[unknown]") -> list[str]:
    """Run the hook; the command lines of lvm that change something.  ``of``: the VG that LVM takes the PV for."""
    (home / "vg").write_text(of)
    for name, text in (("lvm", LVM), ("blkid", BLKID)):
        (home / name).write_text(text)
        (home / name).chmod(0o755)
    (home / "missing").write_text(f"{missing}\n")
    (home / "text").write_text(f'{vg} {{\npv0 {{\nid = "{metadata}"\n}}\n}}\n')
    (home / "label").write_text(f"{label}\n")
    library = "getarg() { :; }; ovirt_node_stop() { echo stopped; exit 1; }; ovirt_node_is_root() { :; }; "
    library += "ovirt_node_is_first_boot() { :; }; OVIRT_NODE_VG=onn; "
    script = library + HOOK.read_text().replace("/run/", f"{home}/run-").replace("mkdir -p", "true")
    environment = {"PATH": f"{home}:{os.environ['PATH']}", "HOME": str(home)}
    subprocess.run(["sh", "-eu", "-c", script], env=environment, check=True, timeout=30)
    calls = (home / "calls").read_text().splitlines()
    return [call for call in calls if not call.startswith(("vgs", "pvs", "pvck --dump"))]


NEW_IDS = ["vgchange --activate n onn", "pvchange --uuid /dev/sda3", "vgchange --uuid onn"]


def test_a_copied_disk_gets_new_uuids(tmp_path: Path) -> None:
    assert run(tmp_path, missing=0, vg="onn", metadata=OLD, label=OLD) == NEW_IDS


def test_a_pv_whose_new_uuid_the_metadata_does_not_have_gets_its_old_one_first(tmp_path: Path) -> None:
    found = run(tmp_path, missing=1, vg="onn", metadata=OLD, label=NEW)
    repair = f"pvck --repair --yes --file {tmp_path}/run-ovirt-node.pv --settings pv_uuid={OLD} /dev/sda3"
    assert found == [repair, *NEW_IDS]


@pytest.mark.parametrize(
    ("vg", "metadata", "label"), [("onn", OTHER, OTHER), ("other", OLD, NEW), ("onn", OTHER, NEW), ("onn", OLD, OLD)]
)
def test_another_disk_is_left_alone_while_one_is_missing(tmp_path: Path, vg: str, metadata: str, label: str) -> None:
    assert run(tmp_path, missing=1, vg=vg, metadata=metadata, label=label) == []


@pytest.mark.parametrize("label", [OLD, NEW])
def test_a_header_that_has_lost_the_vg_gets_its_newest_text_back(tmp_path: Path, label: str) -> None:
    found = run(tmp_path, missing="none", vg="onn", metadata=OLD, label=label)
    repair = f"pvck --repair --yes --file {tmp_path}/run-ovirt-node.pv --settings pv_uuid={OLD} /dev/sda3"
    assert found == [repair, *NEW_IDS]


def test_a_pv_of_another_vg_is_left_alone(tmp_path: Path) -> None:
    assert run(tmp_path, missing="none", vg="onn", metadata=OLD, label=OLD, of="other") == []

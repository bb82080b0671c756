"""The project's own RPMs: which files are in which, and how packaging/ovirt-node.spec is built."""

from __future__ import annotations

import argparse
import gzip
import io
import os
import re
import sys
import tarfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Optional

from org_ovirt_node.errors import NodeError
from org_ovirt_node.image import delivery, publish, runtime
from org_ovirt_node.image.delivery import Item
from org_ovirt_node.run import Arg, run

SPEC = Path("packaging/ovirt-node.spec")
PRESET = Path("packaging/85-ovirt-node.preset")
ADDON, RUNTIME, DRACUT, TOOLS = (
    f"ovirt-node-{name}" for name in ("anaconda-addon", "runtime", "dracut", "image-tools")
)
SHARE = "usr/share/ovirt-node"
MODULES = "usr/lib/dracut/modules.d"
#: Of the data, what ovirt-node-image puts into images, and reads.
TOOLS_DATA = ("profiles", "dracut", "systemd", "selinux", "media", "installer")
#: Of the code, what no node has.
TOOLS_CODE = ("media", "setup")
TOOLS_PROGRAM = runtime.PROGRAM.format(module="org_ovirt_node.cli.image")
#: Not part of a source archive, where there is no git to ask.
NO_SOURCE = (".git", "build", "dist", "__pycache__")
#: What makes an RPM the same bytes for the same source (rpm's macros file, whose names changed with 4.20).
SAME_BYTES = {
    "_buildhost": "reproducible",
    "use_source_date_epoch_as_buildtime": "1",
    "clamp_mtime_to_source_date_epoch": "1",
    "build_mtime_policy": "clamp_to_source_date_epoch",
}


@dataclass(frozen=True)
class Places:
    """Where a distribution has things, without a leading slash."""

    sitelib: str = "usr/lib/python3.12/site-packages"
    sbindir: str = "usr/sbin"
    unitdir: str = "usr/lib/systemd/system"
    presetdir: str = "usr/lib/systemd/system-preset"


def _copied(folder: Path, target: str) -> Iterator[Item]:
    """The files below ``folder`` as :func:`runtime.copy_tree` copies them."""
    for path in sorted(folder.rglob("*")):
        inside = path.relative_to(folder)
        if path.is_file() and not set(inside.parts) & set(runtime.LEFT_OUT):
            yield Item(f"{target}/{inside}", path.read_bytes(), 0o755 if path.stat().st_mode & 0o100 else 0o644)


def items(source: Path, places: Places) -> dict[str, list[Item]]:
    """The files of each RPM, from a checkout or an unpacked source archive at ``source``."""
    data = source / "data"
    node = list(_copied(source / "org_ovirt_node", f"{places.sitelib}/org_ovirt_node"))
    for name, module in runtime.PROGRAMS.items():
        node.append(Item(f"{places.sbindir}/{name}", runtime.PROGRAM.format(module=module).encode(), 0o755))
    node += _copied(data / "systemd", places.unitdir)
    node.append(Item(f"{places.presetdir}/{PRESET.name}", (source / PRESET).read_bytes()))
    module = f"{MODULES}/{runtime.DRACUT_MODULE}"
    tools = [Item("usr/bin/ovirt-node-image", TOOLS_PROGRAM.encode(), 0o755)]
    # The add-on has the same file: it finds the code at either place.
    tools.append(Item("usr/bin/ovirt-node-install", delivery.COMMAND.encode(), 0o755))
    for name in TOOLS_DATA:
        tools += _copied(data / name, f"{SHARE}/{name}")
    for name in TOOLS_CODE:
        tools += _copied(source / "org_ovirt_node" / name, f"{places.sitelib}/org_ovirt_node/{name}")
    tools += _copied(source / "kickstarts", f"{SHARE}/kickstarts")
    return {
        ADDON: list(delivery.items(source, interactive=False)),
        RUNTIME: node,
        DRACUT: list(_copied(data / "dracut" / runtime.DRACUT_MODULE, module)),
        TOOLS: tools,
    }


def install(source: Path, target: Path, places: Places) -> None:
    """Write the files of all RPMs below ``target``."""
    for found in items(source, places).values():
        for item in found:
            path = target / item.path
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(item.content)
            path.chmod(item.mode)


def source_files(source: Path) -> list[Path]:
    """What belongs to the source, relative: what git knows and has not lost, or all but what is built."""
    if (source / ".git").exists():
        listing = run(["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"], cwd=source).stdout
        found = [Path(name) for name in listing.split("\0") if name]
    else:
        found = [path.relative_to(source) for path in source.rglob("*")]
    return sorted(path for path in found if (source / path).is_file() and not set(path.parts) & set(NO_SOURCE))


def source_archive(source: Path, name: str, epoch: int) -> bytes:
    """A .tar.gz of the source with everything below ``name``, the same bytes for the same files."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.GNU_FORMAT) as archive:
        for path in source_files(source):
            content = (source / path).read_bytes()
            member = tarfile.TarInfo(f"{name}/{path}")
            member.size, member.mtime = len(content), epoch
            member.mode = 0o755 if (source / path).stat().st_mode & 0o100 else 0o644
            archive.addfile(member, io.BytesIO(content))
    return gzip.compress(out.getvalue(), mtime=epoch)


def version_of(spec: Path) -> str:
    """The Version of a spec file."""
    found = re.search(r"^Version:\s+(\S+)$", spec.read_text(encoding="utf-8"), re.MULTILINE)
    if found is None:
        raise NodeError(f"{spec} has no Version")
    return found[1]


def given_epoch() -> Optional[int]:
    """SOURCE_DATE_EPOCH in seconds, or None.  Raises NodeError when it is no number."""
    given = os.environ.get("SOURCE_DATE_EPOCH", "")
    if given and not given.isdigit():
        raise NodeError(f"SOURCE_DATE_EPOCH is {given!r}, which is no number of seconds")
    return int(given) if given else None


def source_epoch(source: Path) -> int:
    """SOURCE_DATE_EPOCH, else the time of the last commit, else of the spec file; in seconds."""
    given = given_epoch()
    if given is not None:
        return given
    if (source / ".git").exists():
        return int(run(["git", "log", "-1", "--format=%ct"], cwd=source).stdout)
    return int((source / SPEC).stat().st_mtime)


def rpmbuild(spec: Path, work: Path, output: Path, epoch: int, defines: dict[str, str], *options: Arg) -> list[Path]:
    """Build the binary RPMs of ``spec`` into ``output``, working in ``work``.  Raises CommandError."""
    settings = {**SAME_BYTES, "_topdir": os.fspath(work.absolute()), **defines}
    argv: list[Arg] = ["rpmbuild", "-bb", *options]
    for name, value in settings.items():
        argv += ["--define", f"{name} {value}"]
    run([*argv, spec], env={"SOURCE_DATE_EPOCH": str(epoch)}, hint="Install rpm-build (Debian: rpm).")
    publish.make_folder(output)
    made = []
    for built in sorted((work / "RPMS").rglob("*.rpm")):
        target = output / built.name
        built.replace(target)
        made.append(target)
    return made


def build(source: Path, output: Path, work: Path, places: Places) -> list[Path]:
    """Build the project's RPMs from ``source`` into ``output``.  Raises NodeError and CommandError."""
    epoch, name = source_epoch(source), f"ovirt-node-{version_of(source / SPEC)}"
    (work / "SOURCES").mkdir(parents=True, exist_ok=True)
    (work / "SOURCES" / f"{name}.tar.gz").write_bytes(source_archive(source, name, epoch))
    python = re.search(r"python(3\.\d+)/", places.sitelib)
    if python is None:
        raise NodeError(f"{places.sitelib} is no folder of Python", hint="Such as /usr/lib/python3.12/site-packages.")
    defines = {"python3_sitelib": f"/{places.sitelib}", "python3_version": python[1]}
    # Where packages are not rpm's, rpm knows of none of them.
    known = run(["rpm", "--query", "rpm"], check=False).ok
    return rpmbuild(source / SPEC, work, output, epoch, defines, *([] if known else ["--nodeps"]))


def main(arguments: Sequence[str] = ()) -> int:
    """``install DESTDIR`` (in the spec file) or ``build OUTPUT`` (make rpm)."""
    parser = argparse.ArgumentParser(prog="rpms", description="The project's RPMs.")
    parser.add_argument("action", choices=("install", "build"))
    parser.add_argument("target", type=Path)
    parser.add_argument("--source", type=Path, default=Path(__file__).resolve().parents[2])
    for name, value in vars(Places()).items():
        parser.add_argument(f"--{name}", default=f"/{value}")
    given = parser.parse_args(arguments or sys.argv[1:])
    places = Places(*(getattr(given, name).strip("/") for name in vars(Places())))
    try:
        if given.action == "install":
            install(given.source, given.target, places)
        else:
            for made in build(given.source, given.target, given.source / "build/rpmbuild", places):
                print(made)
    except NodeError as exc:
        print(f"rpms: {exc}", file=sys.stderr)
        return exc.status
    return 0


if __name__ == "__main__":
    sys.exit(main())

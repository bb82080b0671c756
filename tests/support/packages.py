"""Small packages, images and databases, made by the real tools."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping
from pathlib import Path

SPEC = """\
Name: {name}
Version: {version}
Release: 1
Summary: A test
License: MIT
BuildArch: noarch
{provides}
%description
A test.
%install
cp -r {tree}/. %{{buildroot}}
{post}
%files
{files}
"""


def write(folder: Path, files: Mapping[str, str]) -> None:
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")


def deb(folder: Path, name: str, version: str, files: Mapping[str, str], *, post: str = "", depends: str = "") -> Path:
    """A .deb with ``files``; ``post`` is its script after the installation."""
    tree = folder / f"{name}-{version}-deb"
    write(tree, files)
    fields = f"Package: {name}\nVersion: {version}\nArchitecture: all\nMaintainer: A <a@example.org>\n"
    fields += f"Depends: {depends}\n" if depends else ""
    write(tree, {"DEBIAN/control": fields + "Installed-Size: 7\nDescription: a test\n more of it\n"})
    if post:
        write(tree, {"DEBIAN/postinst": f"#!/bin/sh\n{post}\n"})
        (tree / "DEBIAN/postinst").chmod(0o755)
    made = folder / f"{name}_{version}_all.deb"
    command = ["dpkg-deb", "--build", "--root-owner-group", str(tree), str(made)]
    subprocess.run(command, check=True, capture_output=True)
    return made


def rpm(folder: Path, name: str, version: str, files: Mapping[str, str], *, post: str = "", provides: str = "") -> Path:
    """A noarch .rpm with ``files``."""
    tree = folder / f"{name}-{version}-rpm"
    tree.mkdir()
    write(tree, files)
    listed = "\n".join(f"/{file}" for file in files)
    spec = folder / f"{name}.spec"
    fields = {"name": name, "version": version, "tree": tree, "files": listed}
    fields["provides"] = f"Provides: {provides}" if provides else ""
    fields["post"] = f"%post\n{post}" if post else ""
    spec.write_text(SPEC.format(**fields), encoding="utf-8")
    command = ["rpmbuild", "-bb", "--quiet", "--define", f"_topdir {folder}/rpmbuild", str(spec)]
    subprocess.run(command, check=True, capture_output=True)
    return folder / f"rpmbuild/RPMS/noarch/{name}-{version}-1.noarch.rpm"


def rpm_database(root: Path, *packages: Path, place: str = "/usr/lib/sysimage/rpm") -> None:
    """Install ``packages`` into the tree ``root`` with this host's rpm."""
    (root / place.lstrip("/")).mkdir(parents=True)
    command = ["rpm", "--root", str(root), "--dbpath", place]
    subprocess.run([*command, "--install", "--nodeps", "--noscripts", *packages], check=True, capture_output=True)


def squashfs(tree: Path, target: Path, *options: str) -> Path:
    command = ["mksquashfs", str(tree), str(target), "-quiet", "-no-progress", "-noappend", *options]
    subprocess.run(command, check=True, capture_output=True)
    return target

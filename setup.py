"""Packaging; kept in the classic form because the oldest installer that we serve ships setuptools 53."""

from pathlib import Path

from setuptools import find_packages, setup

VERSION = next(
    line.split('"')[1]
    for line in Path("org_ovirt_node/__init__.py").read_text(encoding="utf-8").splitlines()
    if line.startswith("__version__")
)

setup(
    name="ovirt-node",
    version=VERSION,
    description="Puts an oVirt Node image on hosts and keeps it there",
    long_description=Path("README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="GPL-2.0-or-later",
    python_requires=">=3.9",
    packages=find_packages(include=["org_ovirt_node", "org_ovirt_node.*"]),
    install_requires=["pykickstart", "requests"],
    extras_require={
        "install": ["blivet>=3.8"],
        "tui": ["simpleline"],
        "run-time": ["dbus-python"],
        "dev": ["pytest", "hypothesis", "mypy", "ruff", "types-requests"],
    },
    entry_points={
        "console_scripts": [
            "nodectl = org_ovirt_node.cli.nodectl:main",
            "ovirt-node-install = org_ovirt_node.cli.install:program",
            "ovirt-node-image = org_ovirt_node.cli.image:main",
        ]
    },
)

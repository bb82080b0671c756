"""What the installer's layer over a node's tree has besides packages."""

from __future__ import annotations

from pathlib import Path

from org_ovirt_node.image import installer


def test_a_thin_pool_of_an_installation_that_was_cut_short_is_mended_by_the_next(tmp_path: Path) -> None:
    for folder in ("usr/bin", installer.SITE_PACKAGES):
        (tmp_path / folder).mkdir(parents=True)
    installer.install_own_files(tmp_path)
    # lvm.conf(5) has sections of settings; this file is read after lvm.conf and wins.
    words = (tmp_path / "etc/lvm/lvmlocal.conf").read_text(encoding="ascii").split()
    assert words[:2] == ["global", "{"] and words[-1] == "}"
    assert words[2:-1] == ["thin_check_options", "=", "[", '"-q",', '"--clear-needs-check-flag"', "]"]

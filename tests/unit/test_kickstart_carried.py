"""A kickstart on a medium or a server: what everybody can read in it is said, in one sentence."""

from __future__ import annotations

from pathlib import Path

import pytest

from org_ovirt_node.kickstart import carried

KICKSTARTS = Path(__file__).parents[2] / "kickstarts"


@pytest.mark.parametrize(
    ("line", "what", "hashed"),
    [
        ("rootpw --plaintext geheim", "rootpw", False),
        ("rootpw geheim", "rootpw", False),
        ("rootpw --iscrypted '$6$geheim'", "rootpw", True),
        ("user --name=a --password=geheim --plaintext", "user --password", False),
        ("user --name=a --iscrypted --password=$6$geheim", "user --password", True),
        ("sshpw --username=root geheim", "sshpw", False),
        ("autopart --encrypted --passphrase=geheim", "autopart --passphrase", False),
        ("part pv.1 --size=1 --encrypted --passphrase 'geheim'", "part --passphrase", False),
        ("part pv.1 --passphr=geheim", "part --passphrase", False),
        ("iscsi --ipaddr=192.0.2.1 --user=u --password=geheim", "iscsi --password", False),
        ("iscsi --ipaddr=192.0.2.1 --reverse-user=u --reverse-password=geheim", "iscsi --reverse-password", False),
        ("bootloader --password=grub.pbkdf2.geheim --iscrypted", "bootloader --password", True),
        ("network --device=w --essid=x --wpakey=geheim", "network --wpakey", False),
        ("rhsm --organization=1 --activation-key=geheim", "rhsm --activation-key", False),
        ("liveimg --url=http://u:geheim@h/a", "an address with a password", False),
        ("%addon org_ovirt_node --proxy=http://u:geheim@h:3128", "an address with a password", False),
        ("rootpw 'geheim", "rootpw", False),
    ],
)
def test_a_secret_is_named_with_its_line_and_not_shown(line: str, what: str, hashed: bool) -> None:
    text = f"lang C\n{line}\n%end\n"
    assert carried.secrets(text) == (carried.Secret(what, 2, hashed),)
    said = carried.warning(text, "ks.cfg", "whoever has the medium")
    assert f"{what} (line 2)" in said and "geheim" not in said
    assert ("hash" in said) == hashed and said.count(".") <= said.count("ks.cfg") + 1


@pytest.mark.parametrize(
    "text",
    [
        "rootpw --lock\nuser --name=a --lock\n",
        "# rootpw geheim\n#liveimg --url=http://u:p@h/a\n",
        "%post\nrootpw geheim\n%end\n",
        "part pv.1 --escrowcert=http://h/a.pem\niscsi --ipaddr=192.0.2.1 --port=3260\n",
        "liveimg --url=http://h:80/a@b\n",
        "",
    ],
)
def test_what_is_no_secret_is_not_named(text: str) -> None:
    assert carried.warning(text, "ks.cfg", "whoever") == ""


def test_secrets_and_hashes_are_one_sentence() -> None:
    text = "rootpw --iscrypted x\nautopart --passphrase=y\n%post\ncurl http://u:p@h/\n%end\n"
    assert carried.warning(text, "install.ks", "whoever can reach the server") == (
        "Warning: whoever can reach the server can read what is in install.ks: autopart --passphrase (line 2), "
        "an address with a password (line 4); and hashes of passwords, which can be guessed at: rootpw (line 1)."
    )


@pytest.mark.parametrize("name", ["pxe-unattended.ks", "anaconda-pxe.ks"])
def test_what_we_ship_for_servers_has_no_secret(name: str) -> None:
    assert not carried.secrets((KICKSTARTS / name).read_text())

"""The section, read and written by Anaconda's own parser."""

from __future__ import annotations

import unittest
from typing import Optional

from tests.anaconda import need

need.pyanaconda()

from pyanaconda.core.kickstart.specification import (  # noqa: E402
    KickstartSpecificationHandler,
    KickstartSpecificationParser,
)
from pykickstart.errors import KickstartError  # noqa: E402

from org_ovirt_node.kickstart.model import NodeSection, VolumeRequest  # noqa: E402
from org_ovirt_node.kickstart.options import OPTIONS  # noqa: E402
from org_ovirt_node.service.kickstart import OvirtNodeKickstartSpecification  # noqa: E402

DIGEST = "5a" * 32
#: Every option of the section once, with a value that is not its default.
WHOLE = f"""\
%addon org_ovirt_node --image=http://a/node.squashfs --image=nfs:b:/c.squashfs --sha256={DIGEST} \
--manifest=http://a/node.json --key=/etc/key.asc --vg=nodes --pool=thin \
--image-slots=4 --layer-size=8GiB --boot-tries=5 --proxy=http://proxy:3128 --noverifyssl --cacert=/ca.pem
volume /data --size=20GiB --fstype=xfs
# a word between
novolume /var/crash
%end
"""
#: What is wrong, and what the message must name.
WRONG = (
    ("%addon org_ovirt_node --imgae=http://a/b --nosignature\n%end\n", 1, ("%addon org_ovirt_node", "--imgae")),
    ("%addon org_ovirt_node --image=http://a/b\n%end\n", 1, ("--sha256",)),
    ("%addon org_ovirt_node --nosignature\n%end\n", 1, ("--image",)),
    ("%addon org_ovirt_node --image=gopher://a/b --nosignature\n%end\n", 1, ("--image", "gopher")),
    ("%addon org_ovirt_node --image=http://a/b --sha256=12\n%end\n", 1, ("--sha256", "12")),
    (
        "%addon org_ovirt_node --image=http://a/b --nosignature\nvolume /data --size=20\n%end\n",
        2,
        ("%addon org_ovirt_node", "/data", "--size", "20"),
    ),
    (
        "%addon org_ovirt_node --image=http://a/b --nosignature\nnovolume /home\nvolumes /data\n%end\n",
        3,
        ("unknown line 'volumes'",),
    ),
)


def read(text: str) -> Optional[NodeSection]:
    """The section of a kickstart."""
    handler = KickstartSpecificationHandler(OvirtNodeKickstartSpecification)
    KickstartSpecificationParser(handler, OvirtNodeKickstartSpecification).readKickstartFromString(text)
    section: Optional[NodeSection] = handler.addons.org_ovirt_node.section
    return section


def written(text: str) -> str:
    """What Anaconda would write of it."""
    handler = KickstartSpecificationHandler(OvirtNodeKickstartSpecification)
    KickstartSpecificationParser(handler, OvirtNodeKickstartSpecification).readKickstartFromString(text)
    return str(handler)


class Section(unittest.TestCase):
    """Good, bad, and every option."""

    def test_none(self) -> None:
        self.assertIsNone(read(""))
        self.assertEqual(written(""), "")

    def test_whole(self) -> None:
        section = read(WHOLE)
        assert section is not None
        self.assertEqual(section.images, ("http://a/node.squashfs", "nfs:b:/c.squashfs"))
        self.assertEqual((section.vg, section.pool, section.image_slots), ("nodes", "thin", 4))
        self.assertEqual(section.volumes, (VolumeRequest("/data", 20 << 30, "xfs", 2),))
        self.assertEqual(section.novolumes, ("/var/crash",))
        given = {option.name for option in OPTIONS if option.name + "=" in WHOLE or option.name + " " in WHOLE}
        missing = {option.name for option in OPTIONS} - given - {"--nosignature"}
        self.assertFalse(missing, "the test does not have every option")

    def test_written_reads_back(self) -> None:
        once = written(WHOLE)
        self.assertIn("--image=http://a/node.squashfs --image=nfs:b:/c.squashfs", once)
        self.assertEqual(written(once), once)

    def test_wrong(self) -> None:
        for text, line, words in WRONG:
            with self.subTest(text), self.assertRaises(KickstartError) as caught:
                read(text)
            self.assertEqual(caught.exception.lineno, line)
            message = str(caught.exception)
            for word in words:
                self.assertIn(word, message)

    def test_twice(self) -> None:
        once = "%addon org_ovirt_node --image=http://a/b --nosignature\n%end\n"
        with self.assertRaises(KickstartError):
            read(once + once)


if __name__ == "__main__":
    unittest.main()

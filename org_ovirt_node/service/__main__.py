"""The program that Anaconda starts: ``start-module org_ovirt_node.service``."""

# It must come before every other import: it sets up logging and the locale.
from pyanaconda.modules.common import init

init()

from org_ovirt_node.service.logs import keep_secrets  # noqa: E402

keep_secrets()

from org_ovirt_node.service.node import OvirtNodeService  # noqa: E402

service = OvirtNodeService()
service.run()

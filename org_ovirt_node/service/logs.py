"""What the service logs: Anaconda's journal keeps all of it, and a copy goes into the new system."""

from __future__ import annotations

import logging

from org_ovirt_node.urls import RedactingFormatter

#: It logs the path and query of every request at DEBUG, and a query can be the credential (presigned URLs).
NOISY = ("urllib3",)


def keep_secrets() -> None:
    """Take credentials out of whatever the handlers that are there write.

    To be called once Anaconda has set its logging up, whose level is DEBUG.
    """
    for handler in logging.getLogger().handlers:
        handler.setFormatter(RedactingFormatter(logging.BASIC_FORMAT))
    for name in NOISY:
        logging.getLogger(name).setLevel(logging.INFO)

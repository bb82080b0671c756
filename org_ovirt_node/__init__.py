"""oVirt Node: put a hypervisor image on a host and keep it there."""

__version__ = "5.0.0"

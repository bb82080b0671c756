"""Scenarios that boot real (virtual) machines: ``python -m tests.vm list``."""

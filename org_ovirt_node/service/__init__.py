"""Anaconda's side of an installation: the add-on's D-Bus service."""

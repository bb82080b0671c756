"""Screens that Anaconda finds here."""

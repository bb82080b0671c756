"""Hostile input: whatever comes in, only the project's own errors come out, soon, and with bounded memory."""

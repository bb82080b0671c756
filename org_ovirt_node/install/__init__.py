"""The ordered steps of an installation, the same for every way in."""

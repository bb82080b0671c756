"""Building and changing images and installer media."""

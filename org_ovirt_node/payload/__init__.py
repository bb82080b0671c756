"""The image as it is delivered: where it comes from, what it is, and how it reaches a volume."""

"""The run time of a node: its images, layers, boot entries and checks."""

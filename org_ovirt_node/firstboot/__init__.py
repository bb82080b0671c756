"""The first boot of a node whose disk was made elsewhere: its own ids, the whole disk, and what was left open."""

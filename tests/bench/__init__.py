"""How fast an image gets onto a disk, against dd, rsync and unsquashfs in the same run (docs/transfer.md)."""

"""Makes a layout real with blivet, and reads LVM."""

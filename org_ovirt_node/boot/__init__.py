"""What a node boots from: GRUB, Boot Loader Specification entries, environment block, host initrd."""

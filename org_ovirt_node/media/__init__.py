"""Installer media: an installer's tree as kernel, initramfs and squashfs layers, and ISO images of them."""

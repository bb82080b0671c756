#!/bin/sh
# mount hook: image below, layer above, together at $NEWROOT.  In an initramfs with systemd, sysroot.mount did it.

# shellcheck source=/dev/null
command -v getarg > /dev/null || . /lib/dracut-lib.sh
# shellcheck source=/dev/null
command -v ovirt_node_stop > /dev/null || . /lib/ovirt-node-lib.sh

if ovirt_node_is_root && ! ismounted "$NEWROOT"; then
    mount -t overlay ovirt-node "$NEWROOT" \
        -o "lowerdir=$OVIRT_NODE_RUN/lower,upperdir=$OVIRT_NODE_RUN/layer/upper,workdir=$OVIRT_NODE_RUN/layer/work" \
        || ovirt_node_stop "image and layer cannot be put together (overlayfs); the kernel's log says why."
fi

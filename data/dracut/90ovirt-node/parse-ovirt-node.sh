#!/bin/sh
# cmdline hook: claims root=ovirt-node.

# shellcheck source=/dev/null
command -v getarg > /dev/null || . /lib/dracut-lib.sh
# shellcheck source=/dev/null
command -v ovirt_node_stop > /dev/null || . /lib/ovirt-node-lib.sh

if ovirt_node_is_root; then
    [ -n "$OVIRT_NODE_VG" ] || ovirt_node_stop "the kernel command line has no ovirt_node.vg=, so the node's volume group is not known."
    [ -n "$OVIRT_NODE_IMAGE" ] || ovirt_node_stop "the kernel command line has no ovirt_node.image=, so the node's image is not known."
    if [ -z "$OVIRT_NODE_LAYER" ] && ! ovirt_node_is_volatile; then
        ovirt_node_stop "the kernel command line has no ovirt_node.layer=: the node does not start without its layer, since changes would be lost."
    fi
    # dracut-cmdline.sh reads it: this root is somebody's.
    # shellcheck disable=SC2034
    rootok=1
    # dracut's lvm module waits for every rd.lvm.lv= already; a line without them must not boot a moment too early.
    wait_for_dev -n "$(ovirt_node_device "$OVIRT_NODE_IMAGE")"
    ovirt_node_is_volatile || wait_for_dev -n "$(ovirt_node_device "$OVIRT_NODE_LAYER")"
fi

#!/bin/sh
# pre-pivot hook: on the first boot of a copied disk the node itself, in a chroot, makes it this machine's own.
#
# Here its volumes can be active and none but / is mounted, and systemd has read no fstab yet.

# shellcheck source=/dev/null
command -v getarg > /dev/null || . /lib/dracut-lib.sh
# shellcheck source=/dev/null
command -v ovirt_node_stop > /dev/null || . /lib/ovirt-node-lib.sh

ovirt_node_first_boot() {
    ovirt_node_say "oVirt Node: first boot on this machine: ids and disks ..."
    for _where in dev proc sys run; do
        # A slave: what is unmounted below here stays mounted there.
        mount --rbind "/$_where" "$NEWROOT/$_where" && mount --make-rslave "$NEWROOT/$_where" || return 1
    done
    chroot "$NEWROOT" /usr/sbin/nodectl --log /run/ovirt-node-first-boot.log first-boot disks
    _status=$?
    for _where in run sys proc dev; do
        umount -R "$NEWROOT/$_where" || return 1
    done
    return $_status
}

if ovirt_node_is_root && ovirt_node_is_first_boot && ! ovirt_node_is_volatile; then
    ovirt_node_first_boot > /run/ovirt-node.first-boot 2>&1 \
        || ovirt_node_stop "the first boot could not make this disk the machine's own; it is tried again at the next boot." \
            "$(cat /run/ovirt-node.first-boot)"
fi

#!/bin/sh
# pre-mount hook: makes ready what sysroot.mount (ovirt-node-generator.sh) or the mount hook puts together.
#
#   /run/ovirt-node/image    the image: the squashfs on its LV, read-only
#   /run/ovirt-node/rootfs   the root file system inside it, where it has one (LiveOS/rootfs.img)
#   /run/ovirt-node/lower    a link to the one of these two that is the lower side of /
#   /run/ovirt-node/layer    the layer's file system: upper/ and work/ (or a tmpfs, with ovirt_node.volatile=1)

# shellcheck source=/dev/null
command -v getarg > /dev/null || . /lib/dracut-lib.sh
# shellcheck source=/dev/null
command -v ovirt_node_stop > /dev/null || . /lib/ovirt-node-lib.sh

# Sets _device to what the image is read from: its LV, or the verified view of it (dm-verity).
ovirt_node_open_image() {
    _device=$(ovirt_node_device "$OVIRT_NODE_IMAGE")
    _hash=$(getarg ovirt_node.roothash=)
    [ -n "$_hash" ] || return 0
    _offset=$(getarg ovirt_node.hashoffset=)
    [ -n "$_offset" ] || ovirt_node_stop "ovirt_node.roothash= needs ovirt_node.hashoffset=, where the hash tree begins in the image."
    modprobe -q dm_verity
    veritysetup open --hash-offset="$_offset" "$_device" ovirt-node-image "$_device" "$_hash" > /run/ovirt-node.verity 2>&1 \
        || ovirt_node_stop "the image $OVIRT_NODE_VG/$OVIRT_NODE_IMAGE does not match its root hash: $(cat /run/ovirt-node.verity)"
    _device=/dev/mapper/ovirt-node-image
}

# Sets _lower to the root tree of the image.
ovirt_node_mount_image() {
    _lower=$OVIRT_NODE_RUN/image
    mkdir -p "$_lower"
    modprobe -q squashfs
    mount -t squashfs -o ro "$_device" "$_lower" \
        || ovirt_node_stop "the image $OVIRT_NODE_VG/$OVIRT_NODE_IMAGE cannot be mounted: it is damaged, or was not written to its end."
    [ -f "$_lower/LiveOS/rootfs.img" ] || return 0
    mkdir -p "$OVIRT_NODE_RUN/rootfs"
    modprobe -q loop
    _type=$(blkid -p -s TYPE -o value "$_lower/LiveOS/rootfs.img")
    _options=ro,loop
    # The inner image cannot be written to, so a journal in it cannot be replayed.
    case "$_type" in
        ext?) _options=ro,loop,noload ;;
        xfs) _options=ro,loop,norecovery ;;
    esac
    mount -t "${_type:-auto}" -o "$_options" "$_lower/LiveOS/rootfs.img" "$OVIRT_NODE_RUN/rootfs" \
        || ovirt_node_stop "LiveOS/rootfs.img in the image $OVIRT_NODE_VG/$OVIRT_NODE_IMAGE (${_type:-unknown type}) cannot be mounted."
    _lower=$OVIRT_NODE_RUN/rootfs
}

# Repairs what can be repaired without a question; xfs replays its journal when it is mounted.
ovirt_node_check_layer() {
    [ "$2" != ext4 ] && return 0
    e2fsck -p "$1" > /run/ovirt-node.fsck 2>&1
    # e2fsck(8): 1 repaired, 2 repaired and a reboot is due if it was mounted, 4 and more not repaired.
    [ $? -lt 4 ] && return 0
    ovirt_node_stop \
        "the file system of the layer $OVIRT_NODE_VG/$OVIRT_NODE_LAYER has errors that only a person can decide about (e2fsck -f $1)." \
        "$(cat /run/ovirt-node.fsck)"
}

# A copied disk's layer gets a UUID of its own while it is not mounted; nothing names it.
ovirt_node_new_uuid() {
    _old=$(blkid -p -s UUID -o value "$1")
    case "$2" in
        ext4) { e2fsck -f -p "$1" || [ $? -lt 4 ]; } && tune2fs -U random "$1" ;;
        # A mount replays the journal: with something in it xfs_admin changes nothing, and ends with 0 all the same.
        xfs) mount -t xfs "$1" "$3" && umount "$3" && xfs_admin -U generate "$1" ;;
    esac && [ "$(blkid -p -s UUID -o value "$1")" != "$_old" ]
}

ovirt_node_renew_layer() {
    ovirt_node_new_uuid "$@" > /run/ovirt-node.layer 2>&1 \
        || ovirt_node_stop "the layer $OVIRT_NODE_VG/$OVIRT_NODE_LAYER can be given no UUID of its own." \
            "$(cat /run/ovirt-node.layer)"
}

ovirt_node_mount_layer() {
    _layer=$OVIRT_NODE_RUN/layer
    mkdir -p "$_layer"
    if ovirt_node_is_volatile; then
        ovirt_node_say "oVirt Node: ovirt_node.volatile=1 is set: changes live in memory and are lost at the next boot."
        mount -t tmpfs -o mode=0755,size=50% ovirt-node-volatile "$_layer" || ovirt_node_stop "no memory for a volatile layer."
        return 0
    fi
    _lv=$(ovirt_node_device "$OVIRT_NODE_LAYER")
    _type=$(blkid -p -s TYPE -o value "$_lv")
    case "$_type" in
        ext4 | xfs) ;;
        *) ovirt_node_stop "the layer $OVIRT_NODE_VG/$OVIRT_NODE_LAYER holds no ext4 or xfs file system (found: ${_type:-nothing})." ;;
    esac
    ovirt_node_check_layer "$_lv" "$_type"
    ovirt_node_is_first_boot && ovirt_node_renew_layer "$_lv" "$_type" "$_layer"
    # discard: what is deleted goes back to the thin pool.
    mount -t "$_type" -o rw,discard "$_lv" "$_layer" \
        || ovirt_node_stop "the layer $OVIRT_NODE_VG/$OVIRT_NODE_LAYER ($_type) cannot be mounted."
}

if ovirt_node_is_root && ! [ -e "$OVIRT_NODE_RUN/lower" ]; then
    mkdir -p "$OVIRT_NODE_RUN"
    ovirt_node_open_image
    ovirt_node_mount_image
    ovirt_node_mount_layer
    # The mode of upper/ is the mode of /.
    (umask 022 && mkdir -p "$OVIRT_NODE_RUN/layer/upper" "$OVIRT_NODE_RUN/layer/work")
    modprobe -q overlay
    ln -s "${_lower##*/}" "$OVIRT_NODE_RUN/lower"
fi

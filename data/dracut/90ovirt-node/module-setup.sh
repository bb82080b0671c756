#!/bin/bash
# shellcheck disable=SC2154  # moddir, initdir, systemdutildir and DRACUT_TMPDIR are dracut's
#
# What a node's initramfs has beside the usual: finding, checking and overlaying image and layer.

# called by dracut
check() {
    require_binaries lvm blkid mount || return 1
    require_kernel_modules squashfs overlay loop || return 1
    # Only where it is asked for: an initramfs with it refuses to boot without a layer.
    return 255
}

# called by dracut
depends() {
    echo base dm lvm fs-lib rootfs-block
}

# called by dracut
installkernel() {
    hostonly='' instmods squashfs overlay loop ext4 xfs dm_thin_pool dm_verity
}

# dracut's own program for iSCSI, in its place and before it, but for one thing: it shows all that the firmware tells
# (iscsiadm -m fw), and the journal keeps that, with the secrets of CHAP in it.
quiet_iscsiroot() {
    local _source _quiet="$DRACUT_TMPDIR/ovirt-node-iscsiroot"
    for _source in "${moddir%/*}"/*iscsi/iscsiroot.sh; do
        [[ -f $_source ]] || continue
        sed 's|\(iscsiadm -m fw\);|\1 > /dev/null;|' "$_source" > "$_quiet"
        chmod 0755 "$_quiet"
        inst_simple "$_quiet" /sbin/iscsiroot
    done
}

# called by dracut
install() {
    inst_multiple blkid mount umount lvm cat mkdir ln sleep chroot
    # Which file systems a layer can have is known when it is installed, not when the image is built.
    inst_multiple -o e2fsck fsck.ext4 xfs_repair veritysetup thin_check tune2fs xfs_admin xfs_db
    inst_simple "$moddir/ovirt-node-lib.sh" /lib/ovirt-node-lib.sh
    inst_hook cmdline 90 "$moddir/parse-ovirt-node.sh"
    # Where dracut's iscsi module is in the initramfs too; without its programs the hook does nothing.
    inst_multiple -o iscsiadm iscsid ip
    if dracut_module_included "iscsi"; then
        quiet_iscsiroot
    fi
    inst_hook initqueue/settled 50 "$moddir/ovirt-node-iscsi.sh"
    inst_hook initqueue/settled 99 "$moddir/ovirt-node-wait.sh"
    if dracut_module_included "multipath"; then
        # dracut knows these by Fedora's names only; without them a map has no partitions, and LVM looks at its paths.
        inst_rules 60-multipath.rules 56-dm-mpath.rules 56-dm-parts.rules 60-kpartx.rules 68-del-part-nodes.rules \
            99-z-dm-mpath-late.rules
    fi
    inst_hook initqueue/settled 10 "$moddir/ovirt-node-ids.sh"
    inst_hook pre-mount 90 "$moddir/ovirt-node-prepare.sh"
    inst_hook mount 10 "$moddir/ovirt-node-mount.sh"
    inst_hook pre-pivot 10 "$moddir/ovirt-node-first-boot.sh"
    inst_hook emergency 10 "$moddir/ovirt-node-emergency.sh"
    if dracut_module_included "systemd"; then
        inst_script "$moddir/ovirt-node-generator.sh" "$systemdutildir/system-generators/dracut-ovirt-node-generator"
    fi
    # dracut's own 180 rounds are made for people who watch; the kernel command line can still say rd.retry=.
    mkdir -p "$initdir/etc/cmdline.d"
    echo "rd.retry=60" > "$initdir/etc/cmdline.d/90-ovirt-node.conf"
    dracut_need_initqueue
}

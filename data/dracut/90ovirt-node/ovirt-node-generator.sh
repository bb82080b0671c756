#!/bin/sh
# systemd generator (systemd.generator(7)) of the initramfs: how root=ovirt-node is mounted.
#
# systemd-fstab-generator takes root=ovirt-node for a device and writes a sysroot.mount that fails; a unit in the
# "early" folder wins over it.  The pre-mount hook has made ready what is mounted here.

# shellcheck source=/dev/null
command -v getarg > /dev/null || . /lib/dracut-lib.sh

[ "$(getarg root=)" = "ovirt-node" ] || exit 0

normal=$1
early=$2
cat > "$early/sysroot.mount" << 'EOF'
[Unit]
Description=oVirt Node: image and layer
Before=initrd-root-fs.target
Requires=dracut-pre-mount.service
After=dracut-pre-mount.service

[Mount]
What=ovirt-node
Where=/sysroot
Type=overlay
Options=lowerdir=/run/ovirt-node/lower,upperdir=/run/ovirt-node/layer/upper,workdir=/run/ovirt-node/layer/work
EOF
mkdir -p "$normal/initrd-root-fs.target.requires"
ln -sf ../sysroot.mount "$normal/initrd-root-fs.target.requires/sysroot.mount"

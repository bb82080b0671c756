#!/bin/sh
# initqueue/settled hook, before LVM's own: on the first boot of a copied disk PVs and VG get new UUIDs.
#
# LVM refuses that once a volume of the VG is active, so it is done here, as soon as all PVs are there.

# shellcheck source=/dev/null
command -v getarg > /dev/null || . /lib/dracut-lib.sh
# shellcheck source=/dev/null
command -v ovirt_node_stop > /dev/null || . /lib/ovirt-node-lib.sh

ovirt_node_new_ids() {
    mkdir -p /run/lock/lvm
    lvm vgchange --activate n "$OVIRT_NODE_VG" || return 1
    for _pv in $(lvm vgs --noheadings -o pv_name "$OVIRT_NODE_VG"); do
        lvm pvchange --uuid "$_pv" || return 1
    done
    lvm vgchange --uuid "$OVIRT_NODE_VG"
}

# pvchange writes the PV's label with the new UUID, and then the metadata of the VG, which has it too. Where the power was
# cut in between, LVM misses the PV for ever: it gets the UUID back that the metadata has (pvck(8)).
ovirt_node_old_ids() {
    # shellcheck disable=SC2046  # a UUID each
    set -- $(lvm pvs --nohints --nolocking --noheadings -o pv_uuid -S "vg_name=$OVIRT_NODE_VG && pv_missing=1" 2> /dev/null)
    [ $# = 1 ] || return 0
    for _pv in $(blkid -t TYPE=LVM2_member -o device); do
        rm -f /run/ovirt-node.pv
        lvm pvck --dump metadata --file /run/ovirt-node.pv "$_pv" > /dev/null 2>&1 || continue
        read -r _vg _ < /run/ovirt-node.pv
        [ "$_vg" = "$OVIRT_NODE_VG" ] || continue
        case "$(cat /run/ovirt-node.pv)" in
            # It is a PV of this VG as it should be.
            *"\"$(blkid -p -s UUID -o value "$_pv")\""*) ;;
            *"\"$1\""*)
                mkdir -p /run/lock/lvm
                lvm pvck --repair --yes --file /run/ovirt-node.pv --settings "pv_uuid=$1" "$_pv" \
                    >> /run/ovirt-node.pvck 2>&1
                return 0
                ;;
        esac
    done
}

if ovirt_node_is_root && ovirt_node_is_first_boot && ! [ -e /run/ovirt-node.ids ]; then
    _lost=$(lvm vgs --nohints --nolocking --noheadings -o vg_missing_pv_count "$OVIRT_NODE_VG" 2> /dev/null)
    if [ "${_lost##* }" = 1 ]; then
        ovirt_node_old_ids
        _lost=$(lvm vgs --nohints --nolocking --noheadings -o vg_missing_pv_count "$OVIRT_NODE_VG" 2> /dev/null)
    fi
    if [ "${_lost##* }" = 0 ]; then
        ovirt_node_new_ids > /run/ovirt-node.ids 2>&1 \
            || ovirt_node_stop \
                "this is the first boot of the disk, and the volume group $OVIRT_NODE_VG gets no new ids; is another disk of the same image in this machine?" \
                "$(cat /run/ovirt-node.ids)"
    fi
fi

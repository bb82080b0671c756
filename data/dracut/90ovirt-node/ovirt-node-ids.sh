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

# pvchange takes the metadata of the VG out of the PV's header, writes the label with the new UUID, and then the metadata
# with it; where the power was cut in between, LVM misses the VG, or the PV, for ever. The text of the metadata is still
# there: header and label get back what the newest one says (pvck(8)).

# Sets _at to where the newest text of the VG lies on the PV $1.
ovirt_node_newest_text() {
    _newest=0
    _at=
    lvm pvck --dump metadata_search "$1" > /run/ovirt-node.texts 2> /dev/null
    # metadata at PLACE length N crc SUM vg NAME seqno NUMBER id UUID
    while read -r _what _ _place _ _ _ _ _ _name _ _number _; do
        if [ "$_what $_name" = "metadata $OVIRT_NODE_VG" ] && [ "$_number" -gt "$_newest" ]; then
            _newest=$_number
            _at=$_place
        fi
    done < /run/ovirt-node.texts
}

# Gives the PV $1 the label and the metadata that the text in /run/ovirt-node.pv says; $2 is the UUID that LVM misses.
ovirt_node_repair_pv() {
    mkdir -p /run/lock/lvm
    lvm pvck --repair --yes --file /run/ovirt-node.pv --settings "pv_uuid=$2" "$1" >> /run/ovirt-node.pvck 2>&1
}

# The VG is there, and misses a PV.
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
                ovirt_node_repair_pv "$_pv" "$1"
                return 0
                ;;
        esac
    done
}

# No PV has the VG in its header: a PV that is marked as in use, and whose VG is not known, may have had it.
ovirt_node_old_text() {
    lvm pvs --nohints --nolocking --noheadings -o pv_name,vg_name -S pv_in_use=1 > /run/ovirt-node.pvs 2> /dev/null
    while read -r _pv _name; do
        [ "$_name" = "[unknown]" ] || continue
        ovirt_node_newest_text "$_pv"
        [ -n "$_at" ] || continue
        rm -f /run/ovirt-node.pv
        lvm pvck --dump metadata_search --settings "metadata_offset=$_at" --file /run/ovirt-node.pv "$_pv" > /dev/null 2>&1
        [ -s /run/ovirt-node.pv ] || continue
        _uuid=$(blkid -p -s UUID -o value "$_pv")
        # Where the label has another UUID than the text, the text's, of which there must be one.
        grep -q "\"$_uuid\"" /run/ovirt-node.pv \
            || _uuid=$(sed -n '/^pv[0-9]* {/,/^device/s/^id = "\(.*\)"/\1/p' /run/ovirt-node.pv)
        case "$_uuid" in
            "" | *[!0-9A-Za-z-]*) ;;
            *) ovirt_node_repair_pv "$_pv" "$_uuid" ;;
        esac
    done < /run/ovirt-node.pvs
}

if ovirt_node_is_root && ovirt_node_is_first_boot && ! [ -e /run/ovirt-node.ids ]; then
    _lost=$(lvm vgs --nohints --nolocking --noheadings -o vg_missing_pv_count "$OVIRT_NODE_VG" 2> /dev/null)
    if [ "${_lost##* }" != 0 ]; then
        if [ -n "$_lost" ]; then ovirt_node_old_ids; else ovirt_node_old_text; fi
        _lost=$(lvm vgs --nohints --nolocking --noheadings -o vg_missing_pv_count "$OVIRT_NODE_VG" 2> /dev/null)
    fi
    if [ "${_lost##* }" = 0 ]; then
        ovirt_node_new_ids > /run/ovirt-node.ids 2>&1 \
            || ovirt_node_stop \
                "this is the first boot of the disk, and the volume group $OVIRT_NODE_VG gets no new ids; is another disk of the same image in this machine?" \
                "$(cat /run/ovirt-node.ids)"
    fi
fi

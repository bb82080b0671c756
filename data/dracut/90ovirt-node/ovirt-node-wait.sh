#!/bin/sh
# initqueue/settled hook: the wait for image and layer has an end, and says what it waited for.
#
# dracut counts the rounds of its loop in main_loop, and after RDRETRY of them (two a second, rd.retry= seconds) gives
# a shell.  This comes first.  Its own clock counts too: rounds with udev events in them are not counted by dracut.

# shellcheck source=/dev/null
command -v getarg > /dev/null || . /lib/dracut-lib.sh
# shellcheck source=/dev/null
command -v ovirt_node_stop > /dev/null || . /lib/ovirt-node-lib.sh

ovirt_node_uptime() {
    read -r _seconds _ < /proc/uptime
    echo "${_seconds%%.*}"
}

ovirt_node_missing() {
    _waited=$1
    _hint=""
    if ! lvm vgs --nohints --nolocking "$OVIRT_NODE_VG" > /dev/null 2>&1; then
        _hint="no disk of this machine has the volume group $OVIRT_NODE_VG."
        [ -e /etc/lvm/devices/system.devices ] \
            && _hint="the volume group $OVIRT_NODE_VG is on no disk that /etc/lvm/devices/system.devices (in host.img) names."
        [ -s "$OVIRT_NODE_ISCSI_SAID" ] && _hint=$(cat "$OVIRT_NODE_ISCSI_SAID")
    fi
    for _what in "image $OVIRT_NODE_IMAGE" "layer $OVIRT_NODE_LAYER"; do
        _lv=${_what#* }
        [ -z "$_lv" ] && continue
        [ -e "$(ovirt_node_device "$_lv")" ] && continue
        ovirt_node_stop \
            "the ${_what%% *} $OVIRT_NODE_VG/$_lv was not found within $_waited s: the node does not start without it, since changes would be lost." \
            ${_hint:+"$_hint"}
    done
}

if ovirt_node_is_root; then
    _start=$(cat /run/ovirt-node.start 2> /dev/null)
    if [ -z "$_start" ]; then
        _start=$(ovirt_node_uptime)
        echo "$_start" > /run/ovirt-node.start
    fi
    _elapsed=$(($(ovirt_node_uptime) - _start))
    _rounds=${RDRETRY:-120}
    # Twice the time that the rounds should take: a busy machine gets its rounds, a hopeless one does not wait for ever.
    if [ "${main_loop:-0}" -ge "$_rounds" ] || [ "$_elapsed" -ge "$_rounds" ]; then
        ovirt_node_missing "$_elapsed"
    fi
fi

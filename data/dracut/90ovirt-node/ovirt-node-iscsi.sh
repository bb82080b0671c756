#!/bin/sh
# initqueue/settled hook: logs in to the iSCSI targets of which host.img brings records.
#
# dracut's own iscsi module takes them from netroot=: with a discovery that a portal may refuse or answer with other
# addresses, and with the secrets on command lines and in its log.  open-iscsi's records (/var/lib/iscsi/nodes) name
# every portal, and only root reads them.

# shellcheck source=/dev/null
command -v getarg > /dev/null || . /lib/dracut-lib.sh
# shellcheck source=/dev/null
command -v ovirt_node_stop > /dev/null || . /lib/ovirt-node-lib.sh

# ovirt_node_iscsi_login TARGET ADDRESS,PORT[,GROUP]
ovirt_node_iscsi_login() {
    _address=${2%%,*}
    _port=${2#*,}
    _port=${_port%%,*}
    # Before the network is up a login would only use up its time.
    if ! ip route get "$_address" > /dev/null 2>&1; then
        echo "there is no way to the iSCSI portal $_address port $_port: the network did not come up." > "$OVIRT_NODE_ISCSI_SAID"
        return 0
    fi
    case $_address in *:*) _address="[$_address]" ;; esac
    _said=$(iscsiadm -m node -T "$1" -p "$_address:$_port" --login 2>&1)
    _status=$?
    # iscsiadm(8): 15 means that there is a session already.
    if [ $_status -eq 0 ] || [ $_status -eq 15 ]; then
        echo "$1 $2" >> /run/ovirt-node.iscsi-done
        rm -f "$OVIRT_NODE_ISCSI_SAID"
        return 0
    fi
    _said=$(printf '%s\n' "$_said" | sed -n '/^iscsiadm: .*initiator reported/{s/^iscsiadm: //p;q}')
    echo "the login to the iSCSI target $1 at $_address:$_port failed${_said:+: $_said} (iscsiadm: $_status)." \
        > "$OVIRT_NODE_ISCSI_SAID"
}

if ovirt_node_is_root && command -v iscsiadm > /dev/null; then
    for _record in /var/lib/iscsi/nodes/*/*; do
        [ -e "$_record" ] || continue
        _target=${_record%/*}
        _target=${_target##*/}
        grep -qxF "$_target ${_record##*/}" /run/ovirt-node.iscsi-done 2> /dev/null && continue
        ovirt_node_iscsi_login "$_target" "${_record##*/}"
    done
fi

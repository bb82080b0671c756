#!/bin/sh
# shellcheck disable=SC2034  # the hooks use the variables
#
# Functions of the ovirt-node hooks.  Sourced; needs dracut-lib.sh.

OVIRT_NODE_RUN=/run/ovirt-node
# What the last login to a target said that failed.
OVIRT_NODE_ISCSI_SAID=/run/ovirt-node.iscsi
OVIRT_NODE_VG=$(getarg ovirt_node.vg=)
OVIRT_NODE_IMAGE=$(getarg ovirt_node.image=)
OVIRT_NODE_LAYER=$(getarg ovirt_node.layer=)

ovirt_node_is_root() {
    [ "$(getarg root=)" = "ovirt-node" ]
}

ovirt_node_is_volatile() {
    getargbool 0 ovirt_node.volatile
}

# True on the first boot of a disk that was made elsewhere (ovirt-node-install --grow-on-first-boot); host.img says so.
ovirt_node_is_first_boot() {
    [ -e /etc/ovirt-node/first-boot.json ]
}

# Say it where somebody can see it: on every console of the kernel, and in its log.
ovirt_node_say() {
    while read -r _tty _; do
        # A console may be gone (a pulled serial adapter); the others still count.
        printf '\r\n%s\r\n' "$1" > "/dev/$_tty" 2> /dev/null || :
    done < /proc/consoles
    # <7> is "debug": in the log, but not on the consoles a second time.
    printf '<7>%s\n' "$1" > /dev/kmsg
}

# ovirt_node_stop SENTENCE…: the end of this boot.  Each argument is a line.
#
# There is no way past it: a node without its layer would look healthy and lose every change.  rd.emergency= says what
# comes next (an entry on trial has rd.emergency=reboot, so that GRUB can fall back); rd.shell, when it is on the
# command line, gives a shell; otherwise the message stays on the screen.
ovirt_node_stop() {
    # systemd's status lines would scroll the message away (systemd(1), SIGRTMIN+21).
    [ -n "$DRACUT_SYSTEMD" ] && kill -s RTMIN+21 1 2> /dev/null
    for _line in "$@"; do
        ovirt_node_say "oVirt Node: $_line"
    done
    if getargbool 0 rd.shell; then
        emergency_shell -n ovirt-node "oVirt Node: $1"
    fi
    case "$(getarg rd.emergency=)" in
        reboot | poweroff | halt)
            _action=$(getarg rd.emergency=)
            ovirt_node_say "oVirt Node: $_action in 10 s, as rd.emergency=$_action asks for."
            sleep 10
            "$_action" -f
            ;;
        *)
            ovirt_node_say "oVirt Node: the boot ends here.  Choose another entry after a restart, or add rd.shell for a shell."
            ;;
    esac
    while :; do
        sleep 3600
    done
}

# The device of LV $1 in the node's VG.
ovirt_node_device() {
    echo "/dev/$OVIRT_NODE_VG/$1"
}

#!/bin/sh
# emergency hook: whatever else went wrong on the way to the root, there is no way past it, and the reason is said.

# shellcheck source=/dev/null
command -v getarg > /dev/null || . /lib/dracut-lib.sh
# shellcheck source=/dev/null
command -v ovirt_node_stop > /dev/null || . /lib/ovirt-node-lib.sh

# With rd.shell or rd.break on the command line a person asked for the shell that comes after this hook.
if ovirt_node_is_root && ! getargbool 0 rd.shell && ! getarg rd.break > /dev/null; then
    if [ -e "$OVIRT_NODE_RUN/layer/upper" ]; then
        ovirt_node_stop "image and layer cannot be put together (overlayfs), or the boot failed after it; the log says why." \
            "$(systemctl --no-pager --lines=0 --failed --plain --no-legend 2> /dev/null)"
    fi
    ovirt_node_stop "the boot failed before the root was there; the log says why." \
        "$(systemctl --no-pager --lines=0 --failed --plain --no-legend 2> /dev/null)"
fi

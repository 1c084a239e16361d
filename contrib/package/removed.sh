#!/bin/sh
# After the files have gone. Images are the user's: no package removes them.
set -e
[ ! -d /run/systemd/system ] || systemctl daemon-reload
[ "$1" != purge ] || rm -f /var/lib/systemd/timers/stamp-veneer-*.timer

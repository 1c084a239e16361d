#!/bin/sh
# Before the files go. An upgrade (dpkg: "upgrade", rpm: 1) keeps the timer as it is.
set -e
case $1 in
remove | 0) [ ! -d /run/systemd/system ] || systemctl disable --now veneer-prune.timer >/dev/null 2>&1 || true ;;
esac

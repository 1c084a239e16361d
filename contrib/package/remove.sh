#!/bin/sh
# Before the files go. An upgrade (dpkg: "upgrade", rpm: 1) keeps the units as they are. Services from images end in order, since
# nothing could unmount their files afterwards.
set -e
case $1 in
remove | 0)
  [ ! -d /run/systemd/system ] || {
    systemctl disable --now veneer-prune.timer
    systemctl stop 'veneer@*.service' 'veneer-mount@*.service' 'veneer-watch@*.service' 'veneer-build@*'
  } >/dev/null 2>&1 || true
  ;;
esac

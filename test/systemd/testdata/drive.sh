#!/bin/bash
# drive.sh: what is done in the machine, in two boots. Between them the power is cut. Each step writes a line, and a failure ends it.
set -Eeuo pipefail
export VENEER_ENGINE=embedded VENEER_PROGRESS=quiet PATH=$PATH:/opt/veneer/bin
trap 'echo "FAILED at line $LINENO"; systemctl --no-pager status veneer@app veneer-mount@app veneer-prune veneer-build@data-app veneer-watch@data-app || true; journalctl --no-pager -n 60 || true; touch /data/done; sync' ERR

step() { echo "== $* ($(cut -d" " -f1 /proc/uptime))"; }
until_() { for _ in $(seq 600); do ! "$@" 2>/dev/null || return 0; sleep 0.1; done; echo "in vain: $*"; return 1; }
says() { [ "$(cat /var/lib/veneer-app/data/version)" = "$1" ]; }
one_mount() { mounts; [ "$(mounts | grep -o '"dir"' | wc -l)" = 1 ]; }
mounts() { veneer mount --format json | tr -d ' \n'; }
release() { systemd-sysusers /etc/sysusers.d/*.conf; systemctl daemon-reload; rm -f /var/lib/veneer-app/data/version; systemctl restart veneer@app; until_ says "$1"; }
# pushed TEXT: the image in the registry has a file with it.
pushed() { DOCKER_CONFIG=/data/registry veneer --root /data/other pull 127.0.0.1:5000/built && veneer --root /data/other export 127.0.0.1:5000/built | grep -aF "$1" >/dev/null; }
# by_timer NAME: the unit's timer starts it, if it is due now.
by_timer() {
  local before
  mkdir -p "/run/systemd/system/$1.timer.d"
  printf '[Timer]\nOnCalendar=\nOnActiveSec=1s\nRandomizedDelaySec=0\nAccuracySec=50ms\n' >"/run/systemd/system/$1.timer.d/now.conf"
  systemctl daemon-reload
  before=$(systemctl show -p ExecMainStartTimestampMonotonic --value "$1")
  systemctl start "$1.timer"
  started() { [ "$(systemctl show -p ExecMainStartTimestampMonotonic --value "$1")" != "$2" ] && systemctl show -p Result,ActiveState "$1" | grep -qx ActiveState=inactive; }
  until_ started "$1" "$before"
  [ "$(systemctl show -p Result --value "$1")" = success ]
}

first() {
  step service of a mounted image
  veneer unit app:1 2>&1
  release 1
  mount | grep -F 'on /run/veneer/app/' | grep -F nosuid
  root=$(systemctl show -p RootDirectory --value veneer@app)
  [ "$(stat -c %u "/proc/$(systemctl show -p MainPID --value veneer@app)")" = 1234 ]

  step it stays while it runs
  ! veneer unmount "$root" 2>/data/busy
  grep -F 'it is in use' /data/busy
  veneer rmi app:1
  ! veneer rmi "$(veneer images --format '{{.Name}}' unit.veneer.localhost/app)" 2>/data/rmi
  grep -F "it is mounted on $root" /data/rmi
  systemctl start veneer-prune.service
  systemctl is-active veneer@app
  mounts | grep -F '"state":"mounted"'

  step forward, and back by the tag
  release_1=$(veneer images --format '{{.Name}}' unit.veneer.localhost/app)
  veneer unit app:2 2>&1
  release 2
  veneer unit "$release_1" 2>&1
  release 1
  veneer unit app:3 --keep 2 2>&1
  release 3
  [ "$(veneer images -q unit.veneer.localhost/app | wc -l)" = 2 ] # the one that ran when it was written, and this one
  one_mount

  step arguments and variables are the very ones
  veneer unit quote 2>&1
  systemctl daemon-reload
  systemctl start veneer@quote
  until_ test -e /var/lib/veneer-quote/data/done
  cp /var/lib/veneer-quote/data/{cmdline,environ} /data/
  systemctl stop veneer@quote

  step prune by its timer
  by_timer veneer-prune

  step a build when a directory changes, pushed with a credential
  /opt/veneer/bin/registry serve /data/registry/config.yml >/data/registry/log 2>&1 &
  mkdir -p /etc/veneer /etc/credstore /data/app
  (umask 077; cp /data/registry/login.json /etc/credstore/veneer-registry.json)
  printf 'VENEER_FROM=scratch\nVENEER_DEST=/app\nVENEER_NAME=127.0.0.1:5000/built\nVENEER_FLAGS=--push\nVENEER_ENGINE=embedded\n' >/etc/veneer/data-app.env
  until_ bash -c '>/dev/tcp/127.0.0.1/5000'
  systemctl start veneer-build@data-app.path
  echo changed >/data/app/file
  until_ pushed changed
  systemctl stop veneer-build@data-app.path
  ended() { systemctl show -p Result,ActiveState veneer-build@data-app | grep -qx ActiveState=inactive; }
  until_ ended
  [ "$(systemctl show -p Result --value veneer-build@data-app)" = success ]
  ! (unset DOCKER_CONFIG; veneer push 127.0.0.1:5000/built) 2>/data/refused

  step a build by its timer
  echo hourly >/data/app/file
  by_timer veneer-build@data-app
  pushed hourly

  step a build when something below a directory changes
  mkdir /data/app/below
  systemctl start veneer-watch@data-app # which returns when there is a first image
  echo watched >/data/app/below/file
  until_ pushed watched
  systemctl kill -s KILL veneer-watch@data-app
  until_ systemctl is-active veneer-watch@data-app
  echo again >/data/app/below/file
  until_ pushed again
  systemctl stop veneer-watch@data-app
  [ "$(systemctl show -p Result --value veneer-watch@data-app)" = success ]

  step without a drop-in the unit says what is missing
  ! systemctl start veneer@none 2>/dev/null || ! systemctl is-active veneer@none
  systemctl stop veneer@none

  step the service is enabled, and the power is cut
  ln -sf /etc/systemd/system/veneer@.service /etc/systemd/system/multi-user.target.wants/veneer@app.service
  rm -f /var/lib/veneer-app/data/version
  mkdir -p /data/state
  sync
}

second() {
  step the service runs again
  until_ says 3
  one_mount
  mounts | grep -F '"state":"mounted"'

  step nothing is left that prune does not clear
  systemctl stop veneer@app
  no_mounts() { [ "$(mounts)" = '[]' ]; }
  until_ no_mounts # the unit that mounts is stopped when nothing needs it any more
  ! grep -F /run/veneer /proc/self/mountinfo
  systemctl start veneer-prune.service
  veneer prune
  veneer prune --dry-run | grep -F 'would remove 0 blobs, 0 B'
}

"$1"
step all done
touch /data/done
sync

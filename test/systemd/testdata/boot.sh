#!/bin/bash
# boot.sh NAME DATA UUID: boots this machine's own /usr under systemd-nspawn, with an empty / and /etc in memory. DATA/system
# is /etc/systemd/system in it, DATA/lib is /var/lib/veneer, DATA/bin is /opt/veneer/bin. Whoever kills this kills all of it.
exec unshare --mount --propagation private --pid --fork --kill-child --mount-proc bash -ec '
  umount -R /sys/fs/cgroup 2>/dev/null || true
  mount -t cgroup2 none /sys/fs/cgroup
  mkdir -p "/sys/fs/cgroup/$1"
  echo 0 >"/sys/fs/cgroup/$1/cgroup.procs"
  exec systemd-nspawn --quiet --register=no --keep-unit --boot --volatile=yes --directory=/ --machine="$1" --uuid="$3" \
    --private-network --capability=all --system-call-filter="@keyring bpf" --console=pipe --link-journal=no \
    --bind="$2:/data" --bind="$2/system:/etc/systemd/system" --bind="$2/sysusers:/etc/sysusers.d" --bind="$2/lib:/var/lib/veneer" --bind="$2/bin:/opt/veneer/bin" \
    -- systemd.firstboot=no systemd.unit=multi-user.target systemd.mask=docker-registry.service systemd.mask=nginx.service \
    systemd.mask=redis-server.service systemd.mask=etcd.service systemd.mask=containerd.service systemd.mask=systemd-networkd-wait-online.service </dev/null
' boot "$@"

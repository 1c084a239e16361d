#!/bin/bash
# Installs the Debian packages that the tests use (test/packages.txt); with --missing it only prints those that lack.
# containerd's package starts the system's service when it is installed, and the tests start their own. So a policy
# forbids that meanwhile; one that was there before stays.
set -euo pipefail
cd "$(dirname "$0")/.."

packages=$(grep -v '^#' test/packages.txt)
command -v dpkg-query >/dev/null || {
  [ "${1:-}" != --missing ] || exit 1
  echo "test-deps: this is no Debian. The tests use the programs of these packages:" $packages >&2
  exit 1
}
missing=$(for p in $packages; do dpkg-query -W -f '${db:Status-Status}' "$p" 2>/dev/null | grep -qx installed || echo "$p"; done)
if [ "${1:-}" = --missing ]; then
  echo $missing
  exit
fi
[ -n "$missing" ] || { echo "test-deps: all there"; exit; }
[ "$(id -u)" = 0 ] || { echo "test-deps: run it as root, or install these packages:" $missing >&2; exit 1; }

policy=/usr/sbin/policy-rc.d
if [ ! -e "$policy" ]; then
  trap 'rm -f "$policy"' EXIT
  printf '#!/bin/sh\nexit 101\n' >"$policy"
  chmod 755 "$policy"
fi
echo "test-deps: installs" $missing
export DEBIAN_FRONTEND=noninteractive
apt-get update -qq
apt-get install -y -qq --no-install-recommends $missing >/dev/null

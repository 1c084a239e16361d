#!/bin/sh
# Installs the Debian packages of the programs that `make bench` compares with, and of what they need, as far as they are
# missing. Where that
# cannot be done it says so and goes on: bench skips them, with a line of its own.
set -eu

for program in runc buildah umoci skopeo rsync mmdebstrap xdelta3 bsdiff rdiff zstd sqlite3 npm; do # each in the package of its name
	command -v "$program" >/dev/null && continue
	if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
		echo "SKIP: $program cannot be installed: that needs root and apt-get" >&2
		continue
	fi
	echo "installing $program"
	install="apt-get install -y -qq --no-install-recommends $program"
	export DEBIAN_FRONTEND=noninteractive
	# A fresh machine has no package lists yet.
	$install >/dev/null 2>&1 || { apt-get update -qq && $install >/dev/null; } ||
		echo "SKIP: $program cannot be installed: apt-get failed" >&2
done

#!/usr/bin/env bash
# Makes an image of Veneer with Veneer, from scratch, for each architecture of $ARCHES: dist/image/veneer-VERSION.oci.tar, named
# veneer:VERSION. It holds the program with the list of its modules, the certificates of authorities, the two users that
# every system has, the licences, and the directories that the program writes to. The same commit gives the same bytes.
# $DIST is another directory than dist. What it prints on standard output is the image's digest.
set -euo pipefail
cd "$(dirname "$0")/.."
umask 022
. scripts/version.sh

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# program ARCH: makes it, where it will be in the image.
program() {
  [ -e "$work/linux-$1/usr/bin/veneer" ] || GOOS=linux GOARCH=$1 $MAKE --no-print-directory -s build PROGRAM="$work/linux-$1/usr/bin/veneer"
}
platforms=
for arch in $ARCHES; do
  program "$arch"
  install -d "$work/linux-$arch/usr/share/doc/veneer"
  "$DISTRIBUTION/sbom" "$work/linux-$arch/usr/bin/veneer" "$version" >"$work/linux-$arch/usr/share/doc/veneer/sbom.cdx.json"
  platforms+=${platforms:+,}linux/$arch
done
program "$(go env GOHOSTARCH)" # which builds the image

files=$work/files
install -d "$files"/{etc/ssl/certs,usr/share/doc/veneer,var/lib/veneer}
install -d -m 0700 "$files/root"
install -d -m 1777 "$files/tmp"
install -m 0644 -t "$files/etc" contrib/image/passwd contrib/image/group
install -m 0644 -t "$files/usr/share/doc/veneer" LICENSE NOTICE
"$DISTRIBUTION/cacerts" | install -m 0644 /dev/stdin "$files/etc/ssl/certs/ca-certificates.crt"

revision=$(git rev-parse HEAD)
git diff --quiet HEAD || revision+=-dirty
said=()
while read -r key value; do
  said+=(--label "org.opencontainers.image.$key=$value" --annotation "org.opencontainers.image.$key=$value")
done <<END
title Veneer
description Builds container images as a base plus one thin layer, through containerd's socket
version $version
revision $revision
licenses Apache-2.0
source https://github.com/veneer-build/veneer
END

veneer() { "$work/linux-$(go env GOHOSTARCH)/usr/bin/veneer" --engine embedded --root "$work/engine" --progress quiet "$@"; }
name=veneer:${version//[~+]/-} # neither may be in a tag
digest=$(veneer build --from scratch --platform "$platforms" --no-unpack --copy "$files/:/" \
  --copy "$work/{{.OS}}-{{.Arch}}/:/" -c 'ENTRYPOINT ["/usr/bin/veneer"]' "${said[@]}" -t "$name")
out=${DIST:-$PWD/dist}/image
mkdir -p "$out"
rm -f "$out"/veneer-*.oci.tar
veneer save "$name" -o "$out/veneer-$version.oci.tar"
ls -l "$out" >&2
echo "$digest"

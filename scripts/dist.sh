#!/usr/bin/env bash
# Makes a release's files in dist/: for each architecture of $ARCHES an archive, a .deb and an .rpm, the list of the Go
# modules in the program (CycloneDX), and SHA256SUMS. The same commit gives the same bytes: times are the commit's
# ($SOURCE_DATE_EPOCH), owners are root. $PACKAGE_VERSION is the version where it is
# not to be the commit's, $DIST another directory.
set -euo pipefail
cd "$(dirname "$0")/.."

. scripts/version.sh

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
out=${DIST:-$PWD/dist}
mkdir -p "$out"
rm -f "$out"/veneer[-_]* "$out/SHA256SUMS"

# stage PREFIX DIRECTORY: installs there, with times of the commit.
stage() {
  $MAKE --no-print-directory -s install PREFIX="$1" DESTDIR="$2" PROGRAM="$work/veneer-$GOARCH"
  install -m 0644 "$out/veneer-$version-$GOARCH.cdx.json" "$2$1/share/doc/veneer/sbom.cdx.json"
  find "$2" -exec touch -h -d "@$SOURCE_DATE_EPOCH" {} +
}

for GOARCH in $ARCHES; do
  export GOARCH GOOS=linux
  echo "dist: $version for $GOARCH"
  $MAKE --no-print-directory -s build PROGRAM="$work/veneer-$GOARCH"
  "$DISTRIBUTION/sbom" "$work/veneer-$GOARCH" "$version" >"$out/veneer-$version-$GOARCH.cdx.json"

  # To be unpacked in /usr/local, where an administrator puts what no package has.
  name=veneer-$version-linux-$GOARCH
  stage /usr/local "$work/archive-$GOARCH"
  tar -C "$work/archive-$GOARCH/usr/local" --sort=name --mtime="@$SOURCE_DATE_EPOCH" --owner=0 --group=0 --numeric-owner \
    --transform "s|^\.|$name|" -cf - . | gzip -9n >"$out/$name.tar.gz"

  stage /usr "$work/package-$GOARCH"
  gzip -9n "$work/package-$GOARCH"/usr/share/man/man1/*.1
  STAGE=$work/package-$GOARCH
  export STAGE
  for format in deb rpm; do
    "$DISTRIBUTION/nfpm" package --config contrib/package/nfpm.yaml --packager "$format" --target "$out" >/dev/null
  done
done

cd "$out"
sha256sum veneer[-_]* >SHA256SUMS
ls -l

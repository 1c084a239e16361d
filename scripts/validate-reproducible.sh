#!/usr/bin/env bash
# Builds the program twice, the second time from a copy of the source in another place and with an empty build cache,
# and fails if one byte differs. $1: the linker flags.
set -euo pipefail

temp=$(mktemp -d)
trap 'chmod -R u+w "$temp"; rm -rf "$temp"' EXIT
mkdir "$temp/elsewhere"
# What git would commit, and what is not committed yet; not the caches.
git ls-files -z --cached --others --exclude-standard | while IFS= read -r -d '' file; do
  # A file that is deleted but not yet committed so is still listed.
  if [ -e "$file" ]; then printf '%s\0' "$file"; fi
done | tar -cf - --null -T - | tar -xf - -C "$temp/elsewhere"

export CGO_ENABLED=0
build() { go build -tags nodocs -buildvcs=false -trimpath -ldflags "$1" -o "$2" ./cmd/veneer; }
build "$1" "$temp/a"
(cd "$temp/elsewhere" && GOCACHE="$temp/cache" build "$1" "$temp/b")

sha256sum "$temp/a" "$temp/b" | sed "s#$temp/##"
cmp "$temp/a" "$temp/b"
echo "reproducible: two builds, equal bytes"

#!/usr/bin/env bash
# Builds the program twice, the second time from a copy of the source in another place, with each package of Veneer's
# compiled anew, and fails if one byte differs, or if the program is too large. $1: the linker flags, $2: the tags. With
# FULL=1 the second build has an empty cache, so that the libraries are compiled again too: some minutes.
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
flags=(-tags "$2" -buildvcs=false -trimpath)
build() { go build "${flags[@]}" -v -ldflags "$1" -o "$2" ./cmd/veneer 2>"$2.compiled"; }
build "$1" "$temp/a"
go list "${flags[@]}" -deps -export -f '{{with .Module}}{{if .Main}}{{$.Export}}{{end}}{{end}}' ./cmd/veneer >"$temp/own"
if [ -n "${FULL:-}" ]; then
  export GOCACHE=$temp/cache
else
  # The go command compiles again what its cache has lost.
  xargs rm -f <"$temp/own"
fi
(cd "$temp/elsewhere" && build "$1" "$temp/b")

# A second build that took everything from the cache would prove nothing. (Some may be there again, by another go command.)
compiled=$(wc -l <"$temp/b.compiled")
[ "$compiled" -gt "$(($(wc -l <"$temp/own") / 2))" ] || {
  echo "only $compiled packages were compiled the second time" >&2
  exit 1
}
sha256sum "$temp/a" "$temp/b" | sed "s#$temp/##"
cmp "$temp/a" "$temp/b"
echo "reproducible: two builds, equal bytes ($compiled packages compiled again)"

# Downloads and the memory of small machines grow with it.
most=32000000
size=$(stat -c %s "$temp/a")
[ "$size" -le "$most" ] || {
  echo "the program has $size bytes, and may have $most. To see what is large: go tool nm -size -sort size, of a build without" \
    "-s -w. If the following prints a line, the linker keeps every exported method, which is 5 MB; find in its whole output" \
    "what leads there, often text/template: go build -tags $2 -o /dev/null -ldflags=-dumpdep ./cmd/veneer 2>&1 |" \
    "grep ReflectMethod" >&2
  exit 1
}
echo "the program has $size bytes of at most $most"
